"""Questions to a configuration: whose its connections are, and what they need to be made.

The answers to all of them are worked out once for each configuration and kept with it, since a
manager asks on every call. Every function here may be called from any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .templates import body_field, field_of, in_seed_order, kind_of, placeholders_in, text_of

if TYPE_CHECKING:
    from .servers import HttpServerConfig, ServerConfig, WebSocketServerConfig

Scope = Literal["app", "user", "request"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What follows from a configuration.

    Args:
        user_sourced: See :func:`is_user_sourced`.
        operators: See :func:`is_where_the_operator_says`.
        oauth_server: See :func:`is_oauth_server`.
        oauth_machinery: See :func:`requires_oauth_machinery`.
        app_level: See :func:`is_allowed_at_app_level`.
        user_scope_reason: Why each user needs a connection of their own, if so.
        body_fields: The fields of a request's body that are needed, in the seed's order.
        templated: Whether anything has to be resolved before a connection is made.
        templated_headers: The headers that have placeholders.
        scope: See :func:`scope_of_server`.
    """

    user_sourced: bool
    operators: bool
    oauth_server: bool
    oauth_machinery: bool
    app_level: bool
    user_scope_reason: str | None
    body_fields: tuple[str, ...]
    templated: bool
    templated_headers: tuple[str, ...]
    scope: Scope | None


def facts_of(config: ServerConfig) -> Facts:
    """Return what follows from *config*, worked out when it is first asked for."""
    try:
        return config._facts  # noqa: SLF001 - the slot that is there for this
    except AttributeError:
        facts = _work_out(config)
        keep_facts(config, facts)
        return facts


def keep_facts(config: ServerConfig, facts: Facts) -> None:
    """Keep *facts* with *config*; a configuration that was resolved keeps those of its template."""
    object.__setattr__(config, "_facts", facts)  # a slot: copies and comparisons do not see it


def is_user_sourced(config: ServerConfig) -> bool:
    """Whether a user made this configuration, not the operator: then it is not trusted.

    A ``db_id`` without a ``source`` counts as one. [seed: isUserSourced]
    """
    return facts_of(config).user_sourced


def is_where_the_operator_says(config: ServerConfig) -> bool:
    """Whether scheme, host and port of the server are the operator's own words.

    Not if a user made the configuration, nor if what stands for a value of somebody else is in
    them. A configuration whose placeholders were filled in answers as it did before.
    """
    return facts_of(config).operators


def is_oauth_server(config: ServerConfig) -> bool:
    """Whether signing in to the server is by OAuth: said so, or described. [seed: isOAuthServer]

    ``requires_oauth: false`` has the last word.
    """
    return facts_of(config).oauth_server


def requires_oauth_machinery(config: ServerConfig) -> bool:
    """Whether a connection needs token storage and the like: OAuth or on-behalf-of. [seed]"""
    return facts_of(config).oauth_machinery


def has_custom_user_vars(config: ServerConfig) -> bool:
    """Whether users have variables of their own to fill in. [seed: hasCustomUserVars]"""
    return bool(config.custom_user_vars)


def requires_user_scoped_connection(config: ServerConfig) -> bool:
    """Whether each user needs a connection of their own. [seed: requiresUserScopedConnection]

    So it is with ``requires_oauth: true``, ``oauth`` that is users' own, ``obo``,
    ``custom_user_vars``, and placeholders for what belongs to a user or a request, unless a user
    made the configuration: these are not resolved for it.
    """
    return facts_of(config).user_scope_reason is not None


def requires_ephemeral_user_connection(config: ServerConfig) -> bool:
    """Whether a connection must end with its request: there are placeholders for its body.

    Never for a configuration that a user made. [seed: requiresEphemeralUserConnection]
    """
    return bool(facts_of(config).body_fields)


def is_allowed_at_app_level(config: ServerConfig) -> bool:
    """Whether the application may share one connection between users. [seed: 2.4]

    Not if users need their own, ``startup`` is false, a user made it, the server could not be
    inspected, or ``scope: user`` says so.
    """
    return facts_of(config).app_level


def scope_of_server(config: ServerConfig) -> Scope | None:
    """Whom a connection to the server belongs to.

    Returns:
        "request" if it needs something of one request, "user" if of one user; otherwise what
        the configuration says; None if it says nothing: then a call with a user has the user's
        own connection, and a call without one the application's.
    """
    return facts_of(config).scope


def missing_body_fields(config: ServerConfig, body: Mapping[str, Any] | None) -> list[str]:
    """Return the fields of a request's body that are needed and absent or blank in *body*.

    Those the seed knows come first: messageId, parentMessageId, conversationId.
    """
    needed = facts_of(config).body_fields
    return [name for name in needed if field_of(body, name) is None] if needed else []


def get_missing_custom_user_vars(
    config: ServerConfig, values: Mapping[str, str] | None
) -> list[str]:
    """Return the custom variables that have no value, or a blank one, among *values*. [seed]"""
    values = values or {}
    return [name for name in config.custom_user_vars if text_of(values.get(name)) is None]


def why_not_app_level(config: ServerConfig) -> str | None:
    """Return why a configuration cannot say ``scope: app``, as the end of a sentence."""
    facts = facts_of(config)
    if facts.user_sourced:
        return "a user made it"
    return facts.user_scope_reason or (None if config.startup else "'startup' is false")


def _work_out(config: ServerConfig) -> Facts:
    declared = config.custom_user_vars
    found = [
        (at, name) for at, text in texts_of(config) for name in placeholders_in(text, declared)
    ]
    user_sourced = config.source == "user" or (config.source is None and config.db_id is not None)
    kinds = [(at, name, *kind_of(name, declared)) for at, name in found]
    trusted = [] if user_sourced else [each for each in kinds if each[2] != "custom"]
    reason = _reason(config, trusted)
    body = in_seed_order(body_field(field) for _, _, kind, field in trusted if kind == "body")
    oauth_server = config.requires_oauth is not False and (
        config.requires_oauth is True or config.oauth is not None
    )
    own = reason is not None or user_sourced or not config.startup
    scope: Scope | None = "request" if body else "user" if own else config.scope
    in_headers = [at.removeprefix("headers.") for at, _ in found if at.startswith("headers.")]
    return Facts(
        user_sourced=user_sourced,
        operators=not user_sourced and (config.type == "stdio" or _has_origin(config.url)),
        oauth_server=oauth_server,
        oauth_machinery=oauth_server or config.obo is not None,
        app_level=scope in (None, "app") and config.startup and not config.inspection_failed,
        user_scope_reason=reason,
        body_fields=body,
        templated=bool(found) or (config.type != "stdio" and "{{" in config.url),
        templated_headers=tuple(dict.fromkeys(in_headers)),
        scope=scope,
    )


def _has_origin(url: str) -> bool:
    """Whether nothing is to be filled in that would say where *url* leads: user info does not."""
    scheme, found, rest = url.partition("://")
    place = re.split("[/?#]", rest)[0].rpartition("@")[2]
    return bool(found) and "{{" not in scheme + place


def texts_of(config: ServerConfig) -> Iterator[tuple[str, str]]:
    """Yield each text of *config* that may have placeholders, and where it is."""
    if config.type == "stdio":
        yield from ((f"args.{index}", text) for index, text in enumerate(config.args))
        yield from ((f"env.{name}", text) for name, text in (config.env or {}).items())
    else:
        yield "url", config.url
        yield from ((f"headers.{name}", text) for name, text in _headers_of(config).items())


def _headers_of(config: HttpServerConfig | WebSocketServerConfig) -> Mapping[str, str]:
    return config.all_headers if config.type != "websocket" else config.headers


def _reason(config: ServerConfig, trusted: Sequence[tuple[str, str, str, str]]) -> str | None:
    if config.requires_oauth:
        return "'requires_oauth' is true"
    if config.obo is not None:
        return "it has 'obo'"
    if config.oauth is not None and config.oauth.is_of_users and config.requires_oauth is None:
        return "it has 'oauth'"
    if config.custom_user_vars:
        return "it has 'custom_user_vars'"
    return f"{trusted[0][0]!r} has {{{{{trusted[0][1]}}}}}" if trusted else None
