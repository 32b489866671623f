"""The configuration of one server: a command to start, or a URL to call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from ..errors import ConfigurationError
from .oauth import OAuthConfig, for_whom_else
from .predicates import Facts, is_user_sourced, why_not_app_level
from .templates import NAME, PLACEHOLDER, placeholders_in

# What was written may hold secrets, and errors are logged.
_STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
HTTP_SCHEMES = ("http", "https")
WEBSOCKET_SCHEMES = ("ws", "wss")
_PLAIN = re.compile(r"[\w@./:+][\w@./:+-]*")


def _seconds_since_epoch(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError("a time without a time zone is not one moment")
    return value.timestamp()


def _is_name(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError("its name must be letters, digits, '_', '.' and '-'")
    return name


def _is_constant(text: str) -> str:
    if any(True for _ in placeholders_in(text, ())):
        raise ValueError("placeholders are not replaced here")
    return text


Seconds = Annotated[float, Field(gt=0)]
Time = Annotated[float, BeforeValidator(_seconds_since_epoch), Field(allow_inf_nan=False)]
Name = Annotated[str, AfterValidator(_is_name)]
Constant = Annotated[str, AfterValidator(_is_constant)]


class CustomUserVar(BaseModel):
    """A variable that each user fills in, such as a key of their own.

    Args:
        title: For people.
        description: For people.
        sensitive: Whether its values are secrets.
    """

    model_config = _STRICT

    title: str = ""
    description: str = ""
    sensitive: bool = True


class OboConfig(BaseModel):
    """How a user's token is exchanged for one that the server takes (on behalf of).

    Args:
        scopes: What to ask for, separated by blanks.
    """

    model_config = _STRICT

    scopes: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _ServerConfigBase(BaseModel):
    # Slots are neither compared, copied nor pickled: what is kept in them follows from the fields.
    __slots__ = ("_facts", "_fingerprint", "_target")
    if TYPE_CHECKING:
        _facts: ClassVar[Facts]  # not fields, for whoever checks what a constructor takes
        _fingerprint: ClassVar[str]
        _target: ClassVar[str]

    model_config = _STRICT

    title: str | None = None
    description: str | None = None
    timeout: Seconds | None = None
    """Seconds a call may take unless it says otherwise; None for the manager's own default."""
    connect_timeout: Seconds = 30.0
    """Seconds that making a connection may take, however long the caller would wait."""
    startup: bool = True
    """False: the application never shares a connection between users."""
    scope: Literal["app", "user"] | None = None
    """Whose connections are: the application's or each user's; None for whoever calls."""
    server_instructions: bool | str = False
    """Whether to hand on the server's own instructions; or a text instead of them."""
    requires_oauth: bool | None = None
    """Whether users must sign in; None if that is to be found out."""
    oauth: OAuthConfig | None = Field(default=None, repr=False)
    """How to sign in, as far as that is not found out."""
    custom_user_vars: Mapping[Name, CustomUserVar] = Field(default_factory=dict)
    """What each user fills in, by the name of its placeholder."""
    source: Literal["yaml", "config", "user"] | None = None
    """Where the configuration comes from. What comes from a user is not trusted."""
    db_id: str | None = None
    """Which entry of the application's database it is; without ``source``, that of a user."""
    updated_at: Time | None = None
    """Seconds since the epoch, or a datetime. Older connections are made anew."""
    inspection_failed: bool = False

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> Self:
        config = cast("ServerConfig", self)
        why = why_not_app_level(config) if self.scope == "app" else None
        if why:
            raise ValueError(f"'scope' is 'app', but {why}")
        if self.oauth is not None and is_user_sourced(config):
            elsewhere = for_whom_else(self.oauth)
            if elsewhere is not None:
                raise ValueError(
                    f"'oauth.{elsewhere}' says for whom tokens are, and a user made it"
                )
        return self


class StdioServerConfig(_ServerConfigBase):
    """A server to start as a child process and talk to over its standard input and output.

    Args:
        command: The program; looked up on ``PATH``.
        args: Its arguments.
        env: Variables for it, on top of the few that are safe to inherit.
        cwd: The directory to start it in.
    """

    type: Literal["stdio"] = "stdio"
    command: Constant = Field(min_length=1)
    args: tuple[str, ...] = Field(default=(), repr=False)
    env: Mapping[str, str] | None = Field(default=None, repr=False)
    cwd: Constant | None = None
    obo: None = Field(default=None, repr=False)

    @field_validator("obo", mode="before")
    @classmethod
    def _has_no_obo(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("a token can be sent to a server over HTTP only, not to a command")
        return value

    @model_validator(mode="after")
    def _is_the_operators(self) -> Self:
        if is_user_sourced(self):
            raise ValueError("a user's own server cannot be a command")
        return self

    @property
    def target(self) -> str:
        """The command and what it is first told, for people; its options may be secrets."""
        return getattr(self, "_target", None) or self._own_target()

    def _own_target(self) -> str:
        shown = [self.command]
        for argument in self.args:
            is_usual = argument in ("-y", "--yes", "-m")  # npx, uvx and python name things so
            if not is_usual and not _PLAIN.fullmatch(argument):
                break
            shown.append(argument)
            if not is_usual:
                break
        return " ".join(shown)


class HttpServerConfig(_ServerConfigBase):
    """A server to call over HTTP.

    Args:
        type: ``"streamable-http"``, or ``"sse"`` for HTTP+SSE of 2024-11-05 and nothing else. An
            HTTP+SSE server is found out without it, too, at the cost of some requests.
        url: Its MCP endpoint, ``http://`` or ``https://``; it may have placeholders.
        headers: Sent with every request to it.
        obo: How a user's token is exchanged for one of the server.
    """

    type: Literal["streamable-http", "http", "sse"] = "streamable-http"
    url: str = Field(repr=False)
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)

    obo: OboConfig | None = None

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if "{{" in url:
            _check_template(url)
        else:
            check_url(url)
        return url

    @property
    def target(self) -> str:
        """The URL without user info or query, for people."""
        return getattr(self, "_target", None) or _shown_target(self.url)


class WebSocketServerConfig(_ServerConfigBase):
    """A server to talk to over WebSocket. Neither headers nor credentials can be sent to it.

    Args:
        url: ``ws://`` or ``wss://``; it may have placeholders.
    """

    type: Literal["websocket"] = "websocket"
    url: str = Field(repr=False)
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False, max_length=0)
    obo: None = Field(default=None, repr=False)

    @field_validator("url")
    @classmethod
    def _is_websocket(cls, url: str) -> str:
        if "{{" in url:
            _check_template(url, WEBSOCKET_SCHEMES)
        else:
            check_url(url, schemes=WEBSOCKET_SCHEMES)
        if "@" in urlsplit(url).netloc:
            raise ValueError("there are credentials in it, which cannot be sent over WebSocket")
        return url

    @field_validator("headers", mode="before")
    @classmethod
    def _has_no_headers(cls, value: Any) -> Any:
        if value:
            raise ValueError("headers cannot be sent over WebSocket")
        return value

    @field_validator("obo", mode="before")
    @classmethod
    def _has_no_obo(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("a token can be sent to a server over HTTP only, not over WebSocket")
        return value

    @property
    def target(self) -> str:
        """The URL without query, for people."""
        return getattr(self, "_target", None) or _shown_target(self.url)


ServerConfig = StdioServerConfig | HttpServerConfig | WebSocketServerConfig


def parse_server(name: str, value: ServerConfig | Mapping[str, Any]) -> ServerConfig:
    """Make the configuration of the server *name* from what was written.

    A ``command`` makes it stdio, a ``url`` streamable HTTP, or WebSocket if it begins with
    ``ws://`` or ``wss://``, unless ``type`` says so itself.

    Raises:
        ConfigurationError: It is neither; the sentence names server and field.
    """
    if isinstance(value, ServerConfig):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"the configuration of server {name!r} is {type(value).__name__}, not a mapping.",
            server_name=name,
        )
    model: type[ServerConfig] = HttpServerConfig
    if _is_stdio(value):
        model = StdioServerConfig
    elif _is_websocket(value):
        model = WebSocketServerConfig
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise ConfigurationError(_sentence(error), server_name=name) from error


def check_url(url: str, shown: str | None = None, schemes: tuple[str, str] = HTTP_SCHEMES) -> None:
    """Check that *url* is one that can be called; the error says *shown* instead of it.

    Raises:
        ValueError: It is not. The text never holds what may be a secret.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises if it is not a number
    except ValueError:
        raise ValueError("it is not a URL") from None  # whatever it is, it may hold a secret
    if parts.scheme not in schemes or not parts.hostname:
        article = "an" if schemes is HTTP_SCHEMES else "a"
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"{shown or _shown(url)} is not {article} {wanted} URL")


def _check_template(url: str, schemes: tuple[str, str] = HTTP_SCHEMES) -> None:
    """Check as much of *url* as is known before its placeholders are resolved."""
    bare = PLACEHOLDER.sub("1", url)  # good for a host, a port and a path
    if "{{" in bare:
        raise ValueError("'{{' in it does not begin a placeholder")
    if not PLACEHOLDER.match(url):
        check_url(bare, shown=_shown(url), schemes=schemes)


def _shown_target(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not parts.scheme:  # it begins with a placeholder
        return parts.path.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _shown(url: str) -> str:
    """Return *url* as an error may show it: not at all if it may hold a secret."""
    return "it" if "@" in url or "?" in url else repr(url)


def _is_stdio(value: Mapping[str, Any]) -> bool:
    return value.get("type") == "stdio" or ("command" in value and "url" not in value)


def _is_websocket(value: Mapping[str, Any]) -> bool:
    if "type" in value:
        return bool(value["type"] == "websocket")
    url = value.get("url")
    return isinstance(url, str) and url[:6].lower().startswith(("ws://", "wss://"))


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"its configuration is wrong{f' at {field!r}' if field else ''}: {text}."
