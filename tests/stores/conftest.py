"""Every store, as one thread and as several processes have it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpsync.stores import MemoryStore, RedisStore, SQLiteStore, Store, new_key
from support.workers import Worker

KEY = new_key()
SHARED = ["sqlite", "sqlite encrypted", "redis", "redis encrypted"]


@pytest.fixture
def opened(redis_url: str, tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """Open a store by its kind; the same one each time within a test."""
    made: list[Store] = []

    def open_one(kind: str) -> Store:
        made.append(make(*description(kind, redis_url, tmp_path)))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


def description(kind: str, redis_url: str, folder: Path) -> tuple[str, ...]:
    """What another process needs to open the same store."""
    key = KEY if kind.endswith("encrypted") else ""
    if kind.startswith("redis"):
        return "redis", redis_url, key, f"{folder}:"
    return kind.partition(" ")[0], str(folder / "store.db"), key, ""


def make(kind: str, where: str, key: str, prefix: str) -> Store:
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return SQLiteStore(where, key=key or None)
    return RedisStore(where, key=key or None, prefix=prefix)


@pytest.fixture(params=["memory", *SHARED])
def store(request: pytest.FixtureRequest, opened: Callable[[str], Store]) -> Store:
    return opened(request.param)


@pytest.fixture(params=SHARED)
def shared(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, opened: Callable[[str], Store]
) -> Iterator[tuple[Store, Callable[[], Worker]]]:
    """A store, and who makes other processes that have it."""
    workers: list[Worker] = []
    described = description(request.param, redis_url, tmp_path)

    def another() -> Worker:
        workers.append(Worker("stores.worker", *described))
        return workers[-1]

    yield opened(request.param), another
    for worker in workers:
        worker.close()
