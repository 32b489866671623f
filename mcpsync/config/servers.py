"""The configuration of one server: a command to start, or a URL to call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from .fields import (
    API_KEY_VAR,
    LONGEST_NAME,
    STRICT,
    ApiKeyConfig,
    Argument,
    Constant,
    ConstantHeaders,
    CustomUserVar,
    Headers,
    Instructions,
    Name,
    OboConfig,
    Proxy,
    Seconds,
    Stderr,
    Time,
    Title,
    Variables,
)
from .frozen import FrozenDict, frozen
from .oauth import OAuthConfig, for_whom_else
from .predicates import Facts, is_user_sourced, texts_of, why_not_app_level
from .templates import PLACEHOLDER
from .urls import HTTP_SCHEMES, WEBSOCKET_SCHEMES, check_template, shown_target


class OfUsers:
    """Marks a field that a user may send; a field without it is the operator's. [seed: 6]"""


OF_USERS = OfUsers()
_UNSAID = OAuthConfig()
_PLAIN = re.compile(r"[\w@./:+][\w@./:+-]*")


class _ServerConfigBase(BaseModel):
    """What every server has.

    Args:
        title: For people: letters, numbers and spaces.
        description: For people.
        icon_path: Where a picture for people is.
        chat_menu: Whether an application shows the server where its users choose one.
        timeout: Seconds a call may take unless it says otherwise; the manager's own by default.
        connect_timeout: Seconds that making a connection may take, however long the caller would
            wait.
        startup: False: the application never shares a connection between users.
        scope: Whose connections are: the application's or each user's; by default whoever calls.
        server_instructions: Whether to hand on the server's own instructions; or a text instead.
        requires_oauth: Whether users must sign in; found out by default.
        oauth: How to sign in, as far as that is not found out.
        oauth_headers: Sent with every request to authorization servers, as ``oauth.headers`` are.
        custom_user_vars: What each user fills in, by the name of its placeholder.
        source: Where the configuration comes from. What comes from a user is not trusted.
        db_id: Which entry of the application's database it is; without ``source``, that of a user.
        author: Which user made it.
        consume_only: Whether who is shown it may use it, but not look into it.
        updated_at: Seconds since the epoch, or a datetime. Older connections are made anew.
        inspection_failed: The server could not be looked at; the application leaves it alone.
    """

    # Slots are neither compared, copied nor pickled: what is kept in them follows from the fields.
    __slots__ = ("_facts", "_fingerprint", "_target")
    if TYPE_CHECKING:
        _facts: ClassVar[Facts]  # not fields, for whoever checks what a constructor takes
        _fingerprint: ClassVar[str]
        _target: ClassVar[str]

    model_config = STRICT

    title: Annotated[Title | None, OF_USERS] = None
    description: Annotated[str | None, OF_USERS] = None
    icon_path: Annotated[str | None, OF_USERS] = None
    chat_menu: bool | None = None
    timeout: Seconds | None = None
    connect_timeout: Seconds = 30.0
    startup: bool = True
    scope: Literal["app", "user"] | None = None
    server_instructions: Instructions = False
    requires_oauth: bool | None = None
    oauth: Annotated[OAuthConfig | None, OF_USERS] = Field(default=None, repr=False)
    oauth_headers: ConstantHeaders = Field(default_factory=FrozenDict, repr=False)
    custom_user_vars: Annotated[Mapping[Name, CustomUserVar], AfterValidator(frozen), OF_USERS] = (
        Field(default_factory=FrozenDict)
    )
    source: Literal["yaml", "config", "user"] | None = None
    db_id: str | None = None
    author: str | None = None
    consume_only: bool = False
    updated_at: Time | None = None
    inspection_failed: bool = False

    @property
    def said_of_oauth(self) -> OAuthConfig:
        """What is known of signing in, if only that these headers go along."""
        said = self.oauth or _UNSAID
        if not self.oauth_headers:
            return said
        both = frozen({**self.oauth_headers, **said.headers})
        return said.model_copy(update={"headers": both})

    @model_validator(mode="after")
    def _is_of_one_mind(self) -> Self:
        config = cast("ServerConfig", self)
        for at, text in texts_of(config):
            if any(len(found) > LONGEST_NAME for found in PLACEHOLDER.findall(text)):
                raise ValueError(f"{at!r} has a placeholder of more than {LONGEST_NAME} characters")
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
        stderr: Where its standard error goes: ``"pipe"`` to the log, and the last of it into
            errors; ``"inherit"`` where ours goes; ``"ignore"`` nowhere; or an open file's number.
    """

    type: Literal["stdio"] = "stdio"
    command: Constant = Field(min_length=1)
    args: tuple[Argument, ...] = Field(default=(), repr=False)
    env: Variables | None = Field(default=None, repr=False)
    cwd: Constant | None = None
    stderr: Stderr = "pipe"
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
        api_key: A key that is sent as a header beside them.
        obo: How a user's token is exchanged for one of the server.
        proxy: The proxy that it is reached through, whatever the environment says.
    """

    type: Annotated[Literal["streamable-http", "http", "sse"], OF_USERS] = "streamable-http"
    url: Annotated[str, OF_USERS] = Field(repr=False)
    headers: Annotated[Headers, OF_USERS] = Field(default_factory=FrozenDict, repr=False)
    api_key: Annotated[ApiKeyConfig | None, OF_USERS] = None
    obo: Annotated[OboConfig | None, OF_USERS] = None
    proxy: Proxy | None = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _has_users_fill_in_their_keys(cls, written: Any) -> Any:
        if not isinstance(written, Mapping):
            return written
        key, own = written.get("api_key"), written.get("custom_user_vars")
        source = key.source if isinstance(key, ApiKeyConfig) else None
        if isinstance(key, Mapping):
            source = key.get("source")
        if source != "user" or not isinstance(own, Mapping | None) or API_KEY_VAR in (own or {}):
            return written
        return {**written, "custom_user_vars": {**(own or {}), API_KEY_VAR: {"title": "API key"}}}

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        check_template(url, HTTP_SCHEMES)
        return url

    @model_validator(mode="after")
    def _says_each_header_once(self) -> Self:
        seen: dict[str, str] = {}
        for name in self.headers:
            if (other := seen.setdefault(name.lower(), name)) != name:
                raise ValueError(f"'headers' has {other!r} and {name!r}, which are one header")
        name = "" if self.api_key is None else self.api_key.header[0]
        if name.lower() in seen:
            raise ValueError(f"'api_key' and 'headers' both say what the header {name!r} is")
        return self

    @property
    def all_headers(self) -> Mapping[str, str]:
        """What is sent with every request: ``headers``, and that of ``api_key``."""
        if self.api_key is None:
            return self.headers
        name, value = self.api_key.header
        return {**self.headers, name: value}

    @model_validator(mode="after")
    def _takes_nothing_of_others(self) -> Self:
        said = self.oauth
        if said is not None and is_user_sourced(self):
            if said.assertion_file is not None:
                raise ValueError("a user's own server cannot have files of this machine read")
            if said.grant == "enterprise_managed":
                raise ValueError("a user's own server cannot have the ID tokens of users")
        if self.proxy is not None and is_user_sourced(self):
            raise ValueError("a user's own server cannot name a proxy")
        names = {*self.all_headers, *self.said_of_oauth.headers}
        if is_user_sourced(self) and any(name.lower() == "host" for name in names):
            raise ValueError("a user's own server cannot say 'Host': it is that of its URL")
        return self

    @property
    def target(self) -> str:
        """The URL without user info or query, for people."""
        return getattr(self, "_target", None) or shown_target(self.url)


class WebSocketServerConfig(_ServerConfigBase):
    """A server to talk to over WebSocket. Neither headers nor credentials can be sent to it.

    Args:
        url: ``ws://`` or ``wss://``; it may have placeholders.
    """

    type: Annotated[Literal["websocket"], OF_USERS] = "websocket"
    url: Annotated[str, OF_USERS] = Field(repr=False)
    headers: Headers = Field(default_factory=FrozenDict, repr=False, max_length=0)
    obo: None = Field(default=None, repr=False)

    @field_validator("url")
    @classmethod
    def _is_websocket(cls, url: str) -> str:
        check_template(url, WEBSOCKET_SCHEMES)
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
        return getattr(self, "_target", None) or shown_target(self.url)


ServerConfig = StdioServerConfig | HttpServerConfig | WebSocketServerConfig
