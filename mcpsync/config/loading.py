"""Servers from a mapping or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from .dialects import from_foreign
from .documents import Document, Source, read_document
from .fields import LONGEST_NAME
from .parsing import parse_server
from .placeholders import NEVER, expand
from .servers import ServerConfig


def load_servers(
    servers: Mapping[str, ServerConfig | Mapping[str, Any]],
    *,
    environment: Mapping[str, str] | None = None,
) -> dict[str, ServerConfig]:
    """Make the configurations of *servers*, a mapping of names to what was written for each.

    ``${NAME}`` is replaced, but not in what a user made (``source: user``).

    Args:
        servers: By name.
        environment: Where ``${NAME}`` is looked up; the process's own by default, but for the
            names that keep the application's own secrets (``JWT_SECRET`` and the like).

    Raises:
        ConfigurationError: One of them is wrong; it is named.
        PlaceholderError: A ``${NAME}`` is not set.
    """
    if not isinstance(servers, Mapping):
        raise ConfigurationError(
            f"the servers must be a mapping of names, not {type(servers).__name__}."
        )
    return {name: _load(name, value, environment) for name, value in servers.items()}


def load_yaml(
    path: Source,
    *,
    environment: Mapping[str, str] | None = None,
    only: str | None = None,
) -> dict[str, ServerConfig]:
    """Load servers from a YAML or JSON file: those below ``servers:``.

    Or below ``mcpServers:``, as LibreChat and desktop applications have them; there, durations
    are milliseconds.

    Args:
        path: The file, or what :func:`read_document` returned of it.
        environment: As :func:`load_servers`.
        only: The one server to load; the others may be wrong, and need no variables.

    Raises:
        ConfigurationError: The file cannot be read, is neither, or describes no servers; or one
            of them is wrong: the sentence names file, line, server and field.
    """
    document = read_document(path)
    loaded: dict[str, ServerConfig] = {}
    for name in document.servers:
        if only in (None, name):
            loaded |= _load_written(document, name, environment)
    return loaded


def try_yaml(
    path: Source, *, environment: Mapping[str, str] | None = None
) -> dict[str, ServerConfig | ConfigurationError]:
    """Load the servers of a file as :func:`load_yaml` does, and say of each that is wrong why.

    Raises:
        ConfigurationError: The file cannot be read, is neither, or describes no servers.
    """
    document = read_document(path)
    found: dict[str, ServerConfig | ConfigurationError] = {}
    for name in document.servers:
        try:
            found |= _load_written(document, name, environment)
        except ConfigurationError as error:
            found[str(name)] = error
    return found


def check_name(name: object) -> None:
    """Check that a server can be called *name*.

    Raises:
        ConfigurationError: It is no text or an empty one, too long, or does not print.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"a server's name must be a non-empty string, not {name!r}.")
    if len(name) > LONGEST_NAME:
        raise ConfigurationError(
            f"a server's name has at most {LONGEST_NAME} characters, and {name[:20]!r}… has more."
        )
    if not name.isprintable():
        raise ConfigurationError(f"a server's name has no control characters, as {name!r} has.")


def _load(name: str, value: Any, environment: Mapping[str, str] | None) -> ServerConfig:
    check_name(name)
    if isinstance(value, Mapping):
        value = expanded(name, value, environment)
    return parse_server(name, value)


def _load_written(
    document: Document, name: str, environment: Mapping[str, str] | None
) -> dict[str, ServerConfig]:
    """Return one server of a file by its name; nothing if it is switched off there."""
    written = {name: document.servers[name]}
    try:
        each = from_foreign(written) if document.is_foreign else written
        return load_servers(each, environment=environment)
    except ConfigurationError as error:
        raise document.located(error, name if isinstance(name, str) else "") from None


def expanded(
    name: str, written: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """Return what was written for a server with each ``${NAME}`` replaced, unless a user made it.

    Raises:
        PlaceholderError: A ``${NAME}`` is not set.
    """
    if _is_a_users(written):
        return written
    never = NEVER if environment is None else frozenset()
    found: Mapping[str, Any] = expand(
        written, os.environ if environment is None else environment, name, never
    )
    return found


def _is_a_users(written: Mapping[str, Any]) -> bool:
    """Whether *written* comes from a user, who must not read our environment with it."""
    source, db_id = written.get("source"), written.get("db_id", written.get("dbId"))
    return source == "user" or (source is None and db_id is not None)
