"""Which server the command line means, and the client for it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import click

from ..auth import BearerAuth
from ..client import Client
from ..client.options import DEFAULT_TIMEOUT
from ..config import (
    HttpServerConfig,
    ServerConfig,
    StdioServerConfig,
    load_yaml,
    parse_server,
)
from ..config.documents import read_document
from ..errors import ConfigurationError, ServerNotFound
from ..http import Authorizer, AuthorizerSource
from .options import Settings

DEFAULT_CONFIG = "mcpsync.yaml"


@dataclass(frozen=True, slots=True)
class Target:
    """A server.

    Args:
        config: How it is reached.
        name: What errors call it.
    """

    config: ServerConfig
    name: str


def find_target(word: str | None, command: Sequence[str] | None, path: str | None) -> Target:
    """Return the server that is meant.

    Args:
        word: A URL, or a name in the configuration.
        command: What stood behind ``--``, if that was there.
        path: The configuration file; ``./mcpsync.yaml`` by default.

    Raises:
        click.UsageError: None is meant, or two are, or there is no configuration to look in.
        ConfigurationError: What is meant cannot be.
        ServerNotFound: The configuration has no such name.
    """
    if command is not None:
        if word is not None:
            raise click.UsageError(f"give the TARGET {word!r} or a command after --, not both.")
        if not command:
            raise click.UsageError("there is no command after --.")
        config = StdioServerConfig(command=command[0], args=tuple(command[1:]))
        return Target(config, config.target)
    if word is None:
        raise click.UsageError("give a TARGET: a URL, a configured name, or -- and a command.")
    if "://" in word:
        return _url(word)
    return _configured(word, path)


def _url(word: str) -> Target:
    try:
        config = parse_server(word, {"url": word})
    except ConfigurationError:
        raise click.UsageError(f"{word!r} is not an http:// or https:// URL.") from None
    return Target(config, config.target)


def _configured(name: str, path: str | None) -> Target:
    if path is None and not os.path.exists(DEFAULT_CONFIG):
        raise click.UsageError(
            f"{name!r} is not a URL (https://…), and there is no {DEFAULT_CONFIG} here to look it "
            "up in; --config names another."
        )
    source = DEFAULT_CONFIG if path is None else path
    document = read_document(source)
    servers = document.servers
    if name not in servers:
        near = difflib.get_close_matches(name, servers, n=1)
        names = ", ".join(servers) or "none"
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {names}."
        raise ServerNotFound(f"{source} has no server of this name. {hint}", server_name=name)
    return Target(load_yaml(document, only=name)[name], name)


def timeout_of(target: Target, settings: Settings) -> float:
    """Return the seconds that the whole command may take."""
    return settings.timeout or target.config.timeout or DEFAULT_TIMEOUT


def make_client(
    target: Target,
    settings: Settings,
    auth: Authorizer | AuthorizerSource | None = None,
    *,
    timeout: float | None = None,
) -> Client:
    """Return the client; it is not connected yet.

    Args:
        target: The server.
        settings: The options.
        auth: Adds credentials if the options have none.
        timeout: Seconds that a call may take; what the options say by default.

    Raises:
        click.UsageError: An option is not for this kind of server, or cannot be used.
        ConfigurationError: The same, found by the library.
    """
    headers = read_headers(settings.headers)
    token = read_token(settings.bearer_env)
    if not isinstance(target.config, HttpServerConfig) and (headers or token):
        raise click.UsageError("--header and --bearer-env are for servers with a URL.")
    try:
        return Client(
            target.config,
            headers=headers,
            auth=BearerAuth(token) if token else auth,
            timeout=timeout or timeout_of(target, settings),
            mode=settings.mode,
            server_name=target.name,
        )
    except ConfigurationError as error:
        error.with_context(server_name=target.name)
        raise


def read_headers(lines: Sequence[str]) -> dict[str, str]:
    """Read ``Name: value`` lines; the value is not shown when one is wrong.

    Raises:
        click.UsageError: One is no header.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.UsageError("a --header is written 'Name: value'.")
        headers[name.strip()] = value.strip()
    return headers


def read_token(variable: str | None) -> str | None:
    """Return the token that the environment variable holds.

    Raises:
        click.UsageError: It is not set, or empty.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise click.UsageError(f"--bearer-env: the environment variable {variable} is not set.")
    return token
