"""A name for where a configuration leads and as whom, which says nothing about its secrets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .predicates import is_user_sourced
from .servers import ServerConfig

_DESCRIPTIVE = frozenset(
    {
        "title",
        "description",
        "icon_path",
        "chat_menu",
        "timeout",
        "connect_timeout",
        "startup",
        "scope",
        "server_instructions",
        "custom_user_vars",
        "source",
        "db_id",
        "author",
        "consume_only",
        "updated_at",
        "inspection_failed",
    }
)


def fingerprint(config: ServerConfig) -> str:
    """Return the same text for configurations that connect to the same place as the same party.

    It covers the address or command, headers, variables and credentials; not what is there for
    people, how long to wait, or whose connections are. It is stable between processes, and kept
    with the configuration. May be called from any thread.

    Returns:
        32 hexadecimal digits of a SHA-256.
    """
    try:
        return config._fingerprint  # noqa: SLF001 - the slot that is there for this
    except AttributeError:
        text = json.dumps(_what_counts(config), sort_keys=True, separators=(",", ":"))
        found = hashlib.sha256(text.encode()).hexdigest()[:32]
        object.__setattr__(config, "_fingerprint", found)  # a slot, see servers.py
        return found


def _what_counts(config: ServerConfig) -> dict[str, Any]:
    # What is not known to be descriptive counts, so that a new field is not forgotten.
    written = config.model_dump(exclude=set(_DESCRIPTIVE))
    if config.type == "stdio":
        written["env"] = config.env or {}
    else:
        written["type"] = "streamable-http" if config.type == "http" else config.type
        written["headers"] = sorted([name.lower(), text] for name, text in config.headers.items())
    written["trusted"] = not is_user_sourced(config)
    written["own"] = sorted(config.custom_user_vars)
    return {name: _plain(value) for name, value in written.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
