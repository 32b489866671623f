"""Servers from a mapping or a YAML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .placeholders import expand
from .servers import ServerConfig, parse_server


def load_servers(
    servers: Mapping[str, ServerConfig | Mapping[str, Any]],
    *,
    environment: Mapping[str, str] | None = None,
) -> dict[str, ServerConfig]:
    """Make the configurations of *servers*, a mapping of names to what was written for each.

    ``${NAME}`` is replaced, but not in what a user made (``source: user``).

    Args:
        servers: By name.
        environment: Where ``${NAME}`` is looked up; the process's own by default.

    Raises:
        ConfigurationError: One of them is wrong; it is named.
        PlaceholderError: A ``${NAME}`` is not set.
    """
    if not isinstance(servers, Mapping):
        raise ConfigurationError(
            f"the servers must be a mapping of names, not {type(servers).__name__}."
        )
    environment = os.environ if environment is None else environment
    loaded: dict[str, ServerConfig] = {}
    for name, value in servers.items():
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a server's name must be a non-empty string, not {name!r}.")
        if isinstance(value, Mapping) and not _is_a_users(value):
            value = expand(value, environment, name)
        loaded[name] = parse_server(name, value)
    return loaded


def load_yaml(
    path: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None
) -> dict[str, ServerConfig]:
    """Load servers from a YAML (or JSON) file, from ``servers:`` or, as desktops, ``mcpServers:``.

    Raises:
        ConfigurationError: The file cannot be read, is not YAML, or describes no servers.
    """
    return load_servers(read_servers(path), environment=environment)


def read_servers(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return what a YAML file says of each server, as it was written.

    Raises:
        ConfigurationError: The file cannot be read, is not YAML, or describes no servers.
    """
    document = _read_yaml(Path(path))
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"{path} must hold a mapping with 'servers:' in it.")
    found = document.get("servers", document.get("mcpServers"))
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{path} has no 'servers:' mapping.")
    return found


def _is_a_users(written: Mapping[str, Any]) -> bool:
    """Whether *written* comes from a user, who must not read our environment with it."""
    source = written.get("source")
    return source == "user" or (source is None and written.get("db_id") is not None)


def _read_yaml(path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigurationError(
            "reading YAML needs PyYAML: pip install 'mcpsync[yaml]'."
        ) from None
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        # Not chained: the text of a YAML error quotes the line, and that may hold a secret.
        raise ConfigurationError(f"{path} is not YAML: {_where(error)}.") from None


def _where(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return "it cannot be read as text" if isinstance(error, ValueError) else "it makes no sense"
    return f"{problem}, in line {mark.line + 1}, column {mark.column + 1}"
