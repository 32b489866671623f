"""One budget of time over several waits."""

from __future__ import annotations

import math
import threading
import time

from ..errors import RequestTimeout


class Deadline:
    """A moment by which a whole call must be over. Immutable and thread-safe.

    Waiting time is real time: this clock is never faked (policy time is ``Clock``'s).

    Args:
        timeout: Seconds from now. ``math.inf`` is no limit, and so is what no platform can wait.
    """

    __slots__ = ("_at", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        endless = timeout >= threading.TIMEOUT_MAX
        self._at = math.inf if endless else time.monotonic() + timeout

    def remaining(self) -> float:
        """Return the seconds that remain, never less than zero, possibly ``math.inf``."""
        return max(0.0, self._at - time.monotonic())

    def wait_time(self) -> float | None:
        """Return the seconds that remain as the standard library takes them: None for ever."""
        return None if self._at == math.inf else self.remaining()

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return time.monotonic() >= self._at

    def within(self, timeout: float) -> Deadline:
        """Return the earlier of this deadline and *timeout* seconds from now."""
        return self if self.remaining() <= timeout else Deadline(timeout)

    def check(self, doing: str, *, maybe_executed: bool = False) -> None:
        """Raise :class:`RequestTimeout` if the moment has passed."""
        if self.expired:
            raise self.error(doing, maybe_executed=maybe_executed)

    def error(self, doing: str, *, maybe_executed: bool = False) -> RequestTimeout:
        """Make the error that says the time ran out while *doing* something."""
        return RequestTimeout(
            f"timed out after {self.timeout:g} s {doing}.",
            timeout=self.timeout,
            maybe_executed=maybe_executed,
        )

    def __repr__(self) -> str:
        return f"<Deadline {self.remaining():.3f} of {self.timeout:g} s remain>"
