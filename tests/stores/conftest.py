"""Every store, as one thread and as several processes have it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mcpsync
from mcpsync.stores import MemoryStore, RedisStore, SQLiteStore, Store, new_key
from support.redis import redis_server

KEY = new_key()
SHARED = ["sqlite", "sqlite encrypted", "redis", "redis encrypted"]


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


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


class Worker:
    """Another process with the same store: it does what it is told, a line of Python each."""

    def __init__(self, *described: str) -> None:
        code = f"from stores.worker import serve; serve(*{described!r})"
        tests = Path(__file__).parent.parent
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join([str(Path(mcpsync.__file__).parents[1]), str(tests)])},
        )

    def tell(self, expression: str) -> None:
        """Have it begin to evaluate an expression in which ``store`` is the store."""
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def said(self) -> Any:
        """Wait for what came of it."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, expression: str) -> Any:
        self.tell(expression)
        return self.said()

    def kill(self) -> None:
        """End it with SIGKILL, in the midst of whatever it does."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(10)


@pytest.fixture(params=SHARED)
def shared(
    request: pytest.FixtureRequest, redis_url: str, tmp_path: Path, opened: Callable[[str], Store]
) -> Iterator[tuple[Store, Callable[[], Worker]]]:
    """A store, and who makes other processes that have it."""
    workers: list[Worker] = []
    described = description(request.param, redis_url, tmp_path)

    def another() -> Worker:
        workers.append(Worker(*described))
        return workers[-1]

    yield opened(request.param), another
    for worker in workers:
        worker.close()
