"""``{{NAME}}`` in a configuration, replaced by what belongs to a user or a request."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

from ..errors import PlaceholderError
from .frozen import frozen
from .of_users import is_expired, openid_field, user_field
from .predicates import facts_of, keep_facts, missing_body_fields
from .servers import HttpServerConfig, ServerConfig, WebSocketServerConfig
from .templates import PLACEHOLDER, field_of, folded, is_placeholder, kind_of, text_of
from .urls import HTTP_SCHEMES, WEBSOCKET_SCHEMES, check_url
from .user import User

_SPELT_AS_PEOPLE_DO = {"NAME", "USERNAME", "EMAIL"}
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f]")
_NO_TEXT = re.compile("[\ud800-\udfff]")  # half of a character, as JSON can have it
_LATIN_1 = 255


def resolve(
    config: ServerConfig,
    *,
    user: User | None,
    custom_user_vars: Mapping[str, str] | None,
    body: Mapping[str, Any] | None,
    server_name: str | None = None,
    now: float | None = None,
) -> ServerConfig:
    """Return *config* with every ``{{NAME}}`` in arguments, variables, headers and URL replaced.

    Custom variables come first, then, unless a user made the configuration, ``USER_…``,
    ``OPENID_…`` and ``BODY_…``, with or without ``LIBRECHAT_`` before them. What was put in is
    not looked at again. In a URL it is quoted, unless the URL begins with it. May be called from
    any thread.

    Args:
        config: Never changed; returned itself if there is nothing to replace.
        user: Whose connection it will be; None for the application's.
        custom_user_vars: The values the user filled in.
        body: The fields of the request that asks.
        server_name: For the errors.
        now: Seconds since the epoch, to see whether a user's OpenID tokens have expired; it is not
            looked at by default.

    Raises:
        PlaceholderError: One has no value or a blank one, is unknown, or its value cannot stand
            where it is; the sentence names server and field, and shows no value. [seed: 5.7, but
            there the placeholder is sent as it is]
    """
    if not facts_of(config).templated:
        return config
    values = _Values(config, user, custom_user_vars or {}, body, server_name, now)
    values.check_body()
    return _copy(config, _resolved_fields(config, values))


def resolve_headers(
    config: ServerConfig,
    *,
    user: User | None,
    custom_user_vars: Mapping[str, str] | None,
    body: Mapping[str, Any] | None,
    server_name: str | None = None,
    now: float | None = None,
) -> dict[str, str] | None:
    """Return those headers of *config* that have placeholders, resolved as by :func:`resolve`.

    They are sent with each request, so that a connection never keeps what belongs to one.

    Returns:
        None if no header has a placeholder; this costs next to nothing.

    Raises:
        PlaceholderError: As :func:`resolve`.
    """
    names = facts_of(config).templated_headers
    if not names or not isinstance(config, HttpServerConfig):
        return None
    values = _Values(config, user, custom_user_vars or {}, body, server_name, now)
    values.check_body()
    said = config.all_headers
    return {name: values.header(f"headers.{name}", said[name]) for name in names}


def _resolved_fields(config: ServerConfig, values: _Values) -> dict[str, Any]:
    if isinstance(config, HttpServerConfig):
        said = config.all_headers
        resolved = {at: values.header(f"headers.{at}", text) for at, text in said.items()}
        return {"headers": frozen(resolved), "api_key": None, "url": values.url(config.url)}
    if isinstance(config, WebSocketServerConfig):
        return {"url": values.url(config.url)}
    args = tuple(values.plain(f"args.{at}", text) for at, text in enumerate(config.args))
    env = {at: values.plain(f"env.{at}", text) for at, text in (config.env or {}).items()}
    return {"args": args, "env": config.env and frozen(env)}


def _copy(config: ServerConfig, fields: Mapping[str, Any]) -> ServerConfig:
    copy = config.model_copy(update=fields)
    # Whose connection it is follows from the template, and so does what people are shown.
    facts = replace(facts_of(config), templated=False, templated_headers=())
    keep_facts(copy, facts)
    object.__setattr__(copy, "_target", config.target)
    return copy


@dataclass(frozen=True, slots=True)
class _Values:
    """What there is to put in place of the placeholders of one configuration."""

    config: ServerConfig
    user: User | None
    custom: Mapping[str, str]
    body: Mapping[str, Any] | None
    server_name: str | None
    now: float | None

    def error(self, text: str, field: str | None = None) -> PlaceholderError:
        """Make an error that names the server."""
        return PlaceholderError(text, server_name=self.server_name, field=field)

    def check_body(self) -> None:
        """Raise an error if the request's body lacks anything; it names all that is missing."""
        missing = missing_body_fields(self.config, self.body)
        if missing:
            raise self.error(
                "Request body field(s) required to resolve runtime MCP placeholders: "
                f"{', '.join(missing)}."
            )

    def plain(self, where: str, template: str) -> str:
        """Resolve an argument or a variable of a command."""

        def put(match: re.Match[str], value: str) -> str:
            if "\0" in value:
                raise self.error(f"{where} cannot hold the value of {{{{{match[1]}}}}}.", where)
            return value

        return self._fill(where, template, put)

    def header(self, where: str, template: str) -> str:
        """Resolve a header."""

        def put(match: re.Match[str], value: str) -> str:
            kind, field = kind_of(match[1], self.config.custom_user_vars)
            beyond = max(map(ord, value)) > _LATIN_1
            if kind == "user" and folded(field) in _SPELT_AS_PEOPLE_DO and beyond:
                return f"b64:{base64.b64encode(value.encode()).decode()}"
            if beyond or _CONTROL.search(value):
                raise self.error(
                    f"{where} cannot hold the value of {{{{{match[1]}}}}}: there are characters "
                    "in it that a header must not have.",
                    where,
                )
            return value

        return self._fill(where, template, put)

    def url(self, template: str) -> str:
        """Resolve a URL; no value changes where the rest of it leads."""

        def put(match: re.Match[str], value: str) -> str:
            place = _place(template, match.start())
            if place == "host" and not _HOST.fullmatch(value):
                raise self.error(f"url cannot have the value of {{{{{match[1]}}}}} in its host.")
            if place == "start" and _NOT_IN_URLS.search(value):
                raise self.error(f"url cannot begin with the value of {{{{{match[1]}}}}}.")
            return value if place in ("start", "host") else quote(value, safe="")

        filled = self._fill("url", template, put)
        if "{{" in filled:
            raise self.error(
                "Runtime URL still contains unresolved MCP placeholders after resolution."
            )
        if filled != template:
            self._check(template, filled)
        return filled

    def _check(self, template: str, url: str) -> None:
        try:
            over_http = self.config.type != "websocket"
            schemes = HTTP_SCHEMES if over_http else WEBSOCKET_SCHEMES
            check_url(url, shown="the resolved URL", schemes=schemes)
        except ValueError as error:
            problem = str(error)
        else:
            climbs = {".", ".."} & (_segments(url) - _segments(template))
            problem = "a value in it leads elsewhere" if climbs else ""
        if problem:
            raise self.error(f"url is wrong once its placeholders are resolved: {problem}.")

    def _fill(self, where: str, template: str, put: Callable[[re.Match[str], str], str]) -> str:
        def fill(match: re.Match[str]) -> str:
            if not is_placeholder(match[1], self.config.custom_user_vars):
                return match[0]
            return put(match, self._look_up(where, match[1]))

        return PLACEHOLDER.sub(fill, template) if "{{" in template else template

    def _look_up(self, where: str, name: str) -> str:
        kind, field = kind_of(name, self.config.custom_user_vars)
        trusted = not facts_of(self.config).user_sourced
        found: str | None = None
        missing = f"a value for {{{{{name}}}}}, and there is none"
        if kind == "custom":
            found = text_of(self.custom.get(name))
            missing = f"the custom variable {name}, which has no value"
        elif not trusted:
            missing = f"{{{{{name}}}}}, which is not resolved in what a user configured"
        elif kind == "body":
            found = field_of(self.body, field)
        elif kind in ("user", "openid") and self.user is None:
            missing = f"a user for {{{{{name}}}}}, and there is none"
        elif kind == "openid" and self.user is not None:
            if is_expired(self.user, field, self.now):
                missing = f"{{{{{name}}}}}, which has expired: the user has to sign in again"
            else:
                found = openid_field(self.user, field)
        elif kind == "user" and self.user is not None:
            found = user_field(self.user, field)
        if found is None:
            raise self.error(f"{where} needs {missing}.", where)
        if _NO_TEXT.search(found):
            raise self.error(
                f"{where} cannot hold the value of {{{{{name}}}}}: it is no text.", where
            )
        return found


def _place(template: str, start: int) -> str:
    """Return which part of the URL *template* the placeholder at *start* stands in."""
    if start == 0:
        return "start"
    head, found, rest = template[:start].partition("://")
    if re.search("[/?#]", rest if found else head):
        return "behind"
    return "userinfo" if "@" in re.split("[/?#]", template[start:])[0] else "host"


def _segments(url: str) -> set[str]:
    return set(urlsplit(url).path.split("/"))
