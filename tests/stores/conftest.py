"""Every store, as one thread and as several processes have it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpsync.stores import Store
from support.stores import description, make
from support.workers import Worker

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
