"""One piece of work for each of several things, a few at a time."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar, cast

from .locks import assert_none_held
from .threads import start_thread

T = TypeVar("T")
R = TypeVar("R")


def fan_out(
    role: str, work: Callable[[T], R], items: Iterable[T], *, limit: int
) -> list[R | BaseException]:
    """Return what *work* makes of each item, or the error it raised, in the order of the items.

    The calling thread works too; the others live only for this, and are gone when it returns.
    There are none for a single item, and where none can be started (the interpreter exits, or
    the process is at its limit) the calling thread does all. It ends when the work does: *work*
    bounds itself. An interruption of the calling thread propagates at once; what was begun then
    ends on its own, and nothing more is begun.

    Args:
        role: What the threads' names say.
        work: Called with no lock held, on any of the threads.
        items: What to call it with.
        limit: How many are worked on at a time, at most.
    """
    assert_none_held("fanning out")
    job = _Job(work, list(items))
    helpers: list[threading.Thread] = []
    try:
        with contextlib.suppress(RuntimeError):  # no more threads to be had
            while job.places and len(helpers) < min(limit, len(job.items)) - 1:
                helpers.append(start_thread(role, job.help))
        job.take_part(Exception)
        for helper in helpers:
            while helper.is_alive():
                helper.join(timeout=1.0)
    finally:
        job.places.clear()
    return job.take_outcomes()


class _Job(Generic[T, R]):
    """What is to be done and what has been. Thread-safe: each place is taken once."""

    def __init__(self, work: Callable[[T], R], items: list[T]) -> None:
        self.items = items
        self.places = deque(range(len(items)))  # of the items that nobody has taken
        self._work = work
        self._outcomes: list[R | BaseException | None] = [None] * len(items)

    def help(self) -> None:
        """Take part on a thread that has no caller: whatever is raised is an outcome."""
        self.take_part(BaseException)

    def take_part(self, caught: type[BaseException]) -> None:
        """Work on one item after the other until none is left."""
        while True:
            try:
                place = self.places.popleft()
            except IndexError:
                return
            try:
                self._outcomes[place] = self._work(self.items[place])
            except caught as error:
                self._outcomes[place] = error

    def take_outcomes(self) -> list[R | BaseException]:
        """Return the outcomes, and keep them no longer: an error's traceback leads back here."""
        outcomes, self._outcomes = self._outcomes, []
        return cast("list[R | BaseException]", outcomes)
