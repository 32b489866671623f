"""Work that goes on to its end, whoever has stopped waiting for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeVar

from .cancel import Cancellation
from .deadline import Deadline
from .exit import at_exit
from .flight import await_outcome
from .fork import after_fork_in_child
from .locks import assert_none_held
from .threads import start_thread

V = TypeVar("V")


class _UnderWay:
    """What is being done at this moment. Each step is one of a set, so it needs no lock."""

    def __init__(self) -> None:
        self._outcomes: set[Future[Any]] = set()
        self._goodbye: object | None = None

    def add(self, outcome: Future[Any]) -> None:
        """Take note of work that begins; the interpreter's exit waits for it, too."""
        self._outcomes.add(outcome)
        outcome.add_done_callback(self._outcomes.discard)
        if self._goodbye is None:
            self._goodbye = at_exit(self.wait)

    def wait(self, deadline: Deadline) -> None:
        """Wait until it is done, or the deadline has passed."""
        for outcome in tuple(self._outcomes):
            with contextlib.suppress(FutureTimeout):
                outcome.exception(timeout=deadline.wait_time())

    def forget(self) -> None:
        """Have nothing under way: its threads do not exist in a forked child."""
        self._outcomes = set()
        self._goodbye = None


_under_way = _UnderWay()
after_fork_in_child(_under_way.forget)


def do_aside(
    role: str,
    work: Callable[[], V],
    *,
    deadline: Deadline,
    cancel: Cancellation | None = None,
    doing: str,
) -> V:
    """Return ``work()``, which is seen through on a thread of its own even if this caller leaves.

    Args:
        role: What the thread's name says.
        work: Bounded by itself. What it raises after the caller has left is nobody's.
        deadline: Ends this caller's wait, not the work.
        cancel: The same.
        doing: What an error says the caller was waiting for.

    Raises:
        RequestTimeout: The deadline passed first; the work goes on.
        RequestCancelled: *cancel* fired first; the work goes on.
    """
    assert_none_held(doing)
    outcome: Future[V] = Future()

    def do() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is the waiting caller's
            outcome.set_exception(error)

    _under_way.add(outcome)
    try:
        start_thread(role, do)
    except BaseException as error:
        outcome.set_exception(error)
        raise
    await_outcome(outcome, deadline, cancel, doing)
    return outcome.result(timeout=0)


def wait_for_asides(timeout: float) -> None:
    """Wait for what is being done aside in this process, for *timeout* seconds at most."""
    _under_way.wait(Deadline(timeout))
