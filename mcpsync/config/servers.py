"""The configuration of one server: a command to start, or a URL to call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..errors import ConfigurationError

Seconds = Annotated[float, Field(gt=0)]


_PLAIN = re.compile(r"[\w@./:+][\w@./:+-]*")


class _ServerConfigBase(BaseModel):
    # What was written may hold secrets, and errors are logged.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    title: str | None = None
    description: str | None = None
    timeout: Seconds | None = None
    """Seconds a call may take unless it says otherwise; None for the manager's own default."""
    connect_timeout: Seconds = 30.0
    """Seconds that making a connection may take, however long the caller would wait."""


class StdioServerConfig(_ServerConfigBase):
    """A server to start as a child process and talk to over its standard input and output.

    Args:
        command: The program; looked up on ``PATH``.
        args: Its arguments.
        env: Variables for it, on top of the few that are safe to inherit.
        cwd: The directory to start it in.
    """

    type: Literal["stdio"] = "stdio"
    command: str = Field(min_length=1)
    args: tuple[str, ...] = Field(default=(), repr=False)
    env: Mapping[str, str] | None = Field(default=None, repr=False)
    cwd: str | None = None

    @property
    def target(self) -> str:
        """The command and what it is first told, for people; its options may be secrets."""
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
    """A server to call over streamable HTTP.

    Args:
        url: Its MCP endpoint, ``http://`` or ``https://``.
        headers: Sent with every request to it.
    """

    type: Literal["streamable-http", "http"] = "streamable-http"
    url: str = Field(repr=False)
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018 - raises if it is not a number
        except ValueError:
            raise ValueError("it is not a URL") from None  # whatever it is, it may hold a secret
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{_shown(url)} is not an http:// or https:// URL")
        return url

    @property
    def target(self) -> str:
        """The URL without user info or query, for people."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"


ServerConfig = StdioServerConfig | HttpServerConfig


def parse_server(name: str, value: ServerConfig | Mapping[str, Any]) -> ServerConfig:
    """Make the configuration of the server *name* from what was written.

    A ``command`` makes it stdio, a ``url`` streamable HTTP, unless ``type`` says so itself.

    Raises:
        ConfigurationError: It is neither; the sentence names server and field.
    """
    if isinstance(value, StdioServerConfig | HttpServerConfig):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"the configuration of server {name!r} is {type(value).__name__}, not a mapping.",
            server_name=name,
        )
    model = StdioServerConfig if _is_stdio(value) else HttpServerConfig
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        raise ConfigurationError(_sentence(error), server_name=name) from error


def _shown(url: str) -> str:
    """Return *url* as an error may show it: not at all if it may hold a secret."""
    return "it" if "@" in url or "?" in url else repr(url)


def _is_stdio(value: Mapping[str, Any]) -> bool:
    return value.get("type") == "stdio" or ("command" in value and "url" not in value)


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"its configuration is wrong at {field!r}: {text}."
