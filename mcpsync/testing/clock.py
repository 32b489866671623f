"""A clock that a test holds."""

from __future__ import annotations

import threading


class FakeClock:
    """Tells the time it was given; only :meth:`advance` moves it. Thread-safe.

    Args:
        start: Seconds since the epoch at the beginning; the monotonic time begins there, too.
    """

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._lock = threading.Lock()
        self._now = start

    def monotonic(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def time(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        with self._lock:
            self._now += seconds
