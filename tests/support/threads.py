"""Threads in tests: run some, wait for what is visible, hold a step until it is let go."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

PATIENCE = 10.0


def start(call: Callable[..., Any], *args: Any) -> "Future[Any]":
    """Run *call* on a thread of its own; the future has its result or its error."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test wants to see it
            future.set_exception(error)

    threading.Thread(target=run, name="test", daemon=True).start()
    return future


def outcome(future: "Future[Any]") -> Any:
    """Return what a started call gave: its result, or the error it raised."""
    error = future.exception(timeout=PATIENCE)
    return future.result() if error is None else error


def wait_until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait until *condition* holds; fail if it does not within ten seconds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} never came true")
        time.sleep(0.001)


class Gate:
    """A step that waits until it is let through, and tells that it is there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self._open.wait(PATIENCE), "nobody opened the gate"

    def open(self) -> None:
        self._open.set()

    def wait_reached(self) -> None:
        assert self.reached.wait(PATIENCE), "nobody came to the gate"
