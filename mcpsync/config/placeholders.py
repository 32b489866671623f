"""Placeholders in a configuration: ``${NAME}`` from the environment, ``{{NAME}}`` of a user.

The first are replaced once, when an operator's configuration is loaded; the others for each user
or request, before a connection is made. What has no value is an error: nothing literal is ever
sent upstream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import PlaceholderError
from .resolving import resolve, resolve_headers

__all__ = ["expand", "resolve", "resolve_headers"]

_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(value: Any, environment: Mapping[str, str], where: str) -> Any:
    """Return *value* with every ``${NAME}`` in its strings replaced, lists and dicts included.

    Raises:
        PlaceholderError: A name is not set, or empty. Nothing literal is ever sent upstream.
    """
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: _lookup(match[1], environment, where), value)
    if isinstance(value, Mapping):
        return {key: expand(item, environment, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [expand(item, environment, where) for item in value]
    return value


def _lookup(name: str, environment: Mapping[str, str], where: str) -> str:
    if not _NAME.fullmatch(name):
        raise PlaceholderError(
            f"{where} has the placeholder ${{{name}}}, but that is not the name of a variable."
        )
    found = environment.get(name, "").strip()
    if not found:
        raise PlaceholderError(f"{where} needs the environment variable {name}, which is not set.")
    return found
