"""Policy time: idleness, expiry, back-off. Injected, so that a test can hold it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What tells the time to a policy. Thread-safe."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards; only differences mean something."""

    def time(self) -> float:
        """Return seconds since the epoch, for expiry dates and for people."""


class SystemClock:
    """The machine's own clock. Thread-safe."""

    def monotonic(self) -> float:
        """Return the machine's monotonic time in seconds."""
        return time.monotonic()

    def time(self) -> float:
        """Return the machine's wall-clock time in seconds since the epoch."""
        return time.time()
