"""Stores of each kind, for the processes of a test."""

from pathlib import Path

from mcpsync.stores import MemoryStore, RedisStore, SQLiteStore, Store, new_key

KEY = new_key()


def description(kind: str, redis_url: str, folder: Path) -> tuple[str, ...]:
    """What another process needs to open the same store."""
    key = KEY if kind.endswith("encrypted") else ""
    if kind.startswith("redis"):
        return "redis", redis_url, key, f"{folder}:"
    return kind.partition(" ")[0], str(folder / "store.db"), key, ""


def make(kind: str, where: str, key: str, prefix: str) -> Store:
    """Open a store as it was described."""
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return SQLiteStore(where, key=key or None)
    return RedisStore(where, key=key or None, prefix=prefix)
