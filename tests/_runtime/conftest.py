"""Threads, forks and bounded waits for the tests of what is built on them."""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

PATIENCE = 20.0  # seconds; only ever used up by a test that fails


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Wait for something the library makes visible; fail if it does not happen."""

    def wait(condition: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < give_up, "what the test waits for does not happen"
            time.sleep(0.001)

    return wait


@pytest.fixture
def spawn() -> Iterator[Callable[..., "Future[Any]"]]:
    """Run a function on a thread of its own; the future is what becomes of it."""
    with ThreadPoolExecutor(max_workers=100) as pool:
        yield pool.submit


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Have the interpreter switch threads as often as it can, to provoke races."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def in_child() -> Callable[[Callable[[], Any]], Any]:
    """Call a function in a forked child and return its result, which must fit into JSON."""

    def call(function: Callable[[], Any]) -> Any:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                answer = function()
            except BaseException as error:  # noqa: BLE001 - the parent's test is to see it
                answer = repr(error)
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
        os.close(writing)
        try:
            ready, _, _ = select.select([reading], [], [], PATIENCE)
            if not ready:
                os.kill(pid, signal.SIGKILL)
            return json.loads(os.read(reading, 65536) or b'"the child said nothing"')
        finally:
            os.close(reading)
            os.waitpid(pid, 0)

    return call
