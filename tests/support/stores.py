"""Stores for tests: of each kind, for several processes, and one that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mcpsync.errors import StoreError
from mcpsync.stores import Entry, MemoryStore, RedisStore, SQLiteStore, Store, new_key

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


class FailingStore(MemoryStore):
    """One that cannot be reached by those of its methods that are in :attr:`broken`."""

    broken: tuple[str, ...] = ()

    def _check(self, doing: str) -> None:
        if doing in self.broken:
            raise StoreError("the store cannot be reached.")

    def get(self, key: str) -> Entry | None:
        self._check("get")
        return super().get(key)

    def set(self, *what: Any) -> int:
        self._check("set")
        return super().set(*what)

    def compare_and_set(self, *what: Any) -> int | None:
        self._check("compare_and_set")
        return super().compare_and_set(*what)

    def delete(self, *what: Any) -> bool:
        self._check("delete")
        return super().delete(*what)
