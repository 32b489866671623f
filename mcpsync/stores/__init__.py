"""Where tokens, registrations and sign-ins under way are kept, shared by whoever has the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Entry, Store
from .memory import MemoryStore
from .sealing import new_key

if TYPE_CHECKING:
    from .redis import RedisStore
    from .sqlite import SQLiteStore
    from .user_servers import SQLiteUserServers, UserServer, UserServers

__all__ = [
    "Entry",
    "MemoryStore",
    "RedisStore",
    "SQLiteStore",
    "SQLiteUserServers",
    "Store",
    "UserServer",
    "UserServers",
    "new_key",
]


def __getattr__(name: str) -> Any:
    if name == "SQLiteStore":
        from .sqlite import SQLiteStore

        return SQLiteStore
    if name == "RedisStore":
        from .redis import RedisStore

        return RedisStore
    if name in ("SQLiteUserServers", "UserServer", "UserServers"):
        from . import user_servers

        return getattr(user_servers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
