"""How long to wait before the next attempt, and waiting that long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import RequestCancelled
from .cancel import Cancellation, Watch
from .deadline import Deadline
from .locks import assert_none_held

JITTER = 0.25  # the most that chance adds, as a share of the delay
_MOST_DOUBLINGS = 64  # beyond any cap; 2.0 ** 1024 would be an OverflowError


def linear(attempt: int, step: float, random: Callable[[], float]) -> float:
    """Return the seconds to wait after the *attempt*-th attempt failed: *step* more each time.

    Chance adds up to 25 %, so that those who failed together do not all come back together.
    Source: the seed's factory, with a step of 2 s.

    Args:
        attempt: The number of the attempt that failed, from 1.
        step: Seconds.
        random: Returns a number from 0 up to 1.
    """
    return _jittered(step * attempt, random)


def exponential(attempt: int, base: float, cap: float, random: Callable[[], float]) -> float:
    """Return the seconds to wait after the *attempt*-th attempt failed: twice as long each time.

    Chance adds up to 25 %, beyond the cap too: those who have reached it are the most of all.
    Source: the seed's reconnection.

    Args:
        attempt: The number of the attempt that failed, from 1.
        base: Seconds after the first attempt, before chance.
        cap: The most seconds, before chance.
        random: Returns a number from 0 up to 1.
    """
    return _jittered(doubled(base, attempt - 1, cap), random)


def doubled(base: float, times: int, cap: float) -> float:
    """Return *base* doubled so many *times*, at most *cap*."""
    return min(base * 2.0 ** min(times, _MOST_DOUBLINGS), cap)


def _jittered(delay: float, random: Callable[[], float]) -> float:
    return delay * (1 + JITTER * random())


def pause(
    seconds: float,
    deadline: Deadline,
    cancel: Cancellation | None = None,
    *,
    doing: str = "waiting to try again",
) -> None:
    """Wait for so many *seconds* of real time, if the deadline and the caller's patience allow.

    Thread-safe.

    Args:
        seconds: How long. What is not positive is no wait.
        deadline: Ends the wait if it passes first.
        cancel: Ends the wait when it fires, or at once if it has fired.
        doing: What the error says the time ran out with.

    Raises:
        RequestTimeout: The deadline passed first.
        RequestCancelled: *cancel* fired.
    """
    assert_none_held("pausing")
    over = threading.Event()
    cancelled: list[RequestCancelled] = []

    def abort(error: RequestCancelled) -> None:
        cancelled.append(error)
        over.set()

    remaining = deadline.remaining()
    watch = Watch(cancel, abort)
    try:
        over.wait(min(seconds, remaining, threading.TIMEOUT_MAX))
    finally:
        watch.end()
    if cancelled:
        raise cancelled[0]
    if seconds > remaining:
        raise deadline.error(doing)
