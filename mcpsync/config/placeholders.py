"""Placeholders in a configuration: ``${NAME}`` from the environment, ``{{NAME}}`` of a user.

The first are replaced once, when an operator's configuration is loaded; the others for each user
or request, before a connection is made. What has no value is an error: nothing literal is ever
sent upstream.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from ..errors import ConfigurationError, PlaceholderError
from .resolving import resolve, resolve_headers

__all__ = ["DEEPEST", "NEVER", "expand", "resolve", "resolve_headers"]

NEVER = frozenset(
    {
        "JWT_SECRET",
        "JWT_REFRESH_SECRET",
        "CREDS_KEY",
        "CREDS_IV",
        "MEILI_MASTER_KEY",
        "MONGO_URI",
        "REDIS_URI",
        "REDIS_PASSWORD",
        "SECRET_KEY",
    }
)
"""What an application keeps its own secrets in, which no server is told. [seed: 5.7]"""
DEEPEST = 32
_LONGEST = 200
_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(
    value: Any,
    environment: Mapping[str, str],
    where: str,
    never: Container[str] = (),
    at: str = "",
    depth: int = 0,
) -> Any:
    """Return *value* with every ``${NAME}`` in its strings replaced, lists and dicts included.

    What was put in is not looked at again; a value that has such a placeholder itself is an
    error, so that there are no cycles of them.

    Args:
        value: It is left as it is; a copy is returned.
        environment: What the variables hold.
        where: For the errors: the name of the server.
        never: Variables that are not put in, whatever they hold.
        at: The field, in what was written for the server.
        depth: How deep it is in that.

    Raises:
        ConfigurationError: It is nested too deeply, or in itself.
        PlaceholderError: A name is not set, or empty. Nothing literal is ever sent upstream.
    """
    if depth > DEEPEST:
        raise ConfigurationError(f"{f'{where}.{at}'[:100]}… is nested too deeply.")
    if isinstance(value, str):
        return _PLACEHOLDER.sub(
            lambda found: _lookup(found[1], environment, where, at, never), value
        )
    if isinstance(value, Mapping):
        return {
            key: expand(item, environment, where, never, _below(at, key), depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [expand(item, environment, where, never, at, depth + 1) for item in value]
    return value


def _below(at: str, key: object) -> str:
    shown = str(key)[:_LONGEST]
    return f"{at}.{shown}" if at else shown


def _lookup(
    name: str, environment: Mapping[str, str], server: str, at: str, never: Container[str]
) -> str:
    field = at or None
    where = f"{server}.{at}" if at else server
    name = name.removeprefix("env:")  # as some desktops have it
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        shown = name if len(name) <= _LONGEST else f"{name[:20]}…"
        raise PlaceholderError(
            f"{where} has the placeholder ${{{shown}}}, but that is not the name of a variable.",
            field=field,
        )
    if name in never:
        raise PlaceholderError(
            f"{where} has the placeholder ${{{name}}}, but that variable holds a secret of the "
            "application, which no server is told.",
            field=field,
        )
    found = environment.get(name, "").strip()
    if not found:
        raise PlaceholderError(
            f"{where} needs the environment variable {name}, which is not set.", field=field
        )
    inner = _PLACEHOLDER.search(found)
    if inner is not None and _NAME.fullmatch(inner[1]):
        raise PlaceholderError(
            f"{where} needs the environment variable {name}, which has the placeholder "
            f"${{{inner[1]}}} itself; what is put in is not looked at again.",
            field=field,
        )
    return found
