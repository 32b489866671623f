"""Work that goes on to its end, whoever has stopped waiting for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from .cancel import Cancellation
from .deadline import Deadline
from .flight import await_outcome
from .locks import assert_none_held
from .threads import start_thread

V = TypeVar("V")


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

    start_thread(role, do)
    await_outcome(outcome, deadline, cancel, doing)
    return outcome.result(timeout=0)
