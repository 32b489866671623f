"""``mcpServers`` as other programs write it: LibreChat's YAML, the ``mcp.json`` of desktops.

There durations are milliseconds, and there are fields that only mean something there. What they
say is taken as it is meant, or, where nothing follows from it here, checked and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .parsing import mistake

# Milliseconds there, seconds here.
_DURATIONS = {
    "timeout": "timeout",
    "initTimeout": "connect_timeout",
    "connectTimeout": "connect_timeout",
}
_SHORTEST = 1000  # what is less was meant as seconds, or is a mistake
NAMES: Mapping[str, str] = {"serverUrl": "url", "httpUrl": "url"}
TYPES = {"streamableHttp": "streamable-http", "streamable_http": "streamable-http"}
# Nothing follows from them: a stream is not cut because nothing comes on it, a token is refreshed
# within the time of its call, and nobody is asked whether a tool may be called.
_WITHOUT_EFFECT: Mapping[str, Mapping[str, Any]] = {
    "sseReadTimeout": {"type": "integer", "exclusiveMinimum": 0},
    "deferLoading": {},
    "oauthRefreshWaitTimeout": {"type": "integer", "exclusiveMinimum": 0},
    "oauthRefreshCoordination": {},
    "oauthPersistenceWaitTimeout": {"type": "integer", "exclusiveMinimum": 0},
    "autoApprove": {},
    "alwaysAllow": {},
}
_MILLISECONDS = {
    "type": "number",
    "anyOf": [{"const": 0}, {"minimum": _SHORTEST}],
    "description": "Milliseconds.",
}
FOREIGN: Mapping[str, Mapping[str, Any]] = {
    **_WITHOUT_EFFECT,
    **dict.fromkeys(_DURATIONS, _MILLISECONDS),
    "disabled": {"type": "boolean"},
}
"""The JSON Schema of the fields that mean something below ``mcpServers`` alone."""


def from_foreign(servers: Mapping[str, Any]) -> dict[str, Any]:
    """Return *servers*, as other programs write them, as we do; those ``disabled`` are left out.

    Raises:
        ConfigurationError: A field cannot mean what it says; the server is named.
    """
    found: dict[str, Any] = {}
    for name, written in servers.items():
        if not isinstance(written, Mapping):
            found[name] = written
        elif not _is_disabled(name, written):
            found[name] = _from_foreign(name, written)
    return found


def _is_disabled(name: str, written: Mapping[str, Any]) -> bool:
    said = written.get("disabled", False)
    if not isinstance(said, bool):
        raise mistake(name, ("disabled",), "it is neither true nor false")
    return said


def _from_foreign(name: str, written: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in written.items():
        if key == "disabled":
            continue
        if key in _WITHOUT_EFFECT:
            _check(name, key, value)
            continue
        ours = NAMES.get(key, key)
        if key in _DURATIONS:
            ours, value = _DURATIONS[key], _seconds(name, key, value)
            if value is None:
                continue
        elif key == "type" and isinstance(value, str):
            value = TYPES.get(value, value)
        if ours in found:
            raise mistake(name, (key,), f"{ours!r} is said twice")
        found[ours] = value
    return found


def _seconds(name: str, key: str, value: Any) -> float | None:
    """Return milliseconds as seconds; 0 says nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise mistake(name, (key,), "it is no number of milliseconds")
    if value == 0:
        return None
    if value < _SHORTEST:
        raise mistake(
            name,
            (key,),
            f"below 'mcpServers' it is milliseconds, and {value:g} are too few to be meant; "
            "seconds are said below 'servers'",
        )
    try:
        return value / 1000
    except OverflowError:
        raise mistake(name, (key,), "it is no number of milliseconds") from None


def _check(name: str, key: str, value: Any) -> None:
    is_time = key.endswith("Timeout")
    if is_time and (isinstance(value, bool) or not isinstance(value, int) or value <= 0):
        raise mistake(name, (key,), "it is no positive number of milliseconds")
