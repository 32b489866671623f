"""A store that fails when it is told to."""

from __future__ import annotations

from typing import Any

from mcpsync.errors import StoreError
from mcpsync.stores import Entry, MemoryStore


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
