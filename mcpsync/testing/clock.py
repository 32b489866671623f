"""A clock that stands still until it is told otherwise."""

from __future__ import annotations

import threading

_EPOCH = 1_800_000_000.0  # a day in January 2027; any would do


class FakeClock:
    """A ``Clock`` for tests: time passes only when :meth:`advance` says so. Thread-safe.

    Hand it to whatever takes a ``clock``. It tells policies the time, such as when a connection
    is idle; what waits, waits in real time.

    Args:
        time: What the calendar shows at the beginning, in seconds since the epoch.
        monotonic: What the stop-watch shows at the beginning, in seconds.
    """

    def __init__(self, *, time: float = _EPOCH, monotonic: float = 1000.0) -> None:
        self._lock = threading.Lock()
        self._time = time
        self._monotonic = monotonic

    def monotonic(self) -> float:
        """Return the seconds on the stop-watch."""
        return self._monotonic

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass.

        Raises:
            ValueError: They are negative: this clock, too, never goes backwards.
        """
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        with self._lock:
            self._time += seconds
            self._monotonic += seconds

    def __repr__(self) -> str:
        return f"<FakeClock at {self._monotonic:g} s>"
