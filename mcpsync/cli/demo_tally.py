"""What the demo counts: the manager's events, and whether any user saw what was another's."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._runtime.locks import new_lock
from ..events import (
    CallFinished,
    ConnectionClosed,
    ConnectionCreated,
    ConnectionJoined,
    ConnectionReused,
    Event,
    SweepFinished,
)


@dataclass(frozen=True, slots=True)
class Count:
    """The numbers at one moment.

    Attributes:
        p50: Seconds half of the calls took at most; without those that waited for a connection.
        p99: The same for 99 of 100 calls.
        first: Seconds half of those calls took at most that waited for a connection.
    """

    calls: int = 0
    errors: int = 0
    made: int = 0
    joined: int = 0
    reused: int = 0
    swept: int = 0
    connected: frozenset[str] = frozenset()
    p50: float = 0.0
    p99: float = 0.0
    first: float = 0.0


class Tally:
    """Counts the manager's events (it is its ``on_event``) and looks at the answers. Thread-safe.

    Lock: _lock guards _seen, _connected, _swept, _seconds, _first, _waited, _owners, _counted,
    _highest, strangers, trouble.

    Attributes:
        strangers: How many answers held something of another user.
        trouble: The first error, if there was one.
        closed: Set whenever a connection is closed.
    """

    def __init__(self) -> None:
        self._lock = new_lock("demo tally")
        self._seen: Counter[str] = Counter()
        self._connected: set[str] = set()
        self._swept = 0
        self._seconds: list[float] = []
        self._first: list[float] = []
        self._waited: set[int] = set()  # threads whose call under way waited for a connection
        self._owners: dict[tuple[str, str], str] = {}
        self._counted = self._highest = 0
        self.strangers = 0
        self.trouble: str | None = None
        self.closed = threading.Event()

    def __call__(self, event: Event | SweepFinished) -> None:
        """Take an event of the manager."""
        with self._lock:
            self._take_locked(event)
        if isinstance(event, ConnectionClosed):
            self.closed.set()

    def _take_locked(self, event: Event | SweepFinished) -> None:
        assert self._lock.locked()
        if isinstance(event, SweepFinished):
            return
        self._seen[type(event).__name__] += 1
        user = event.user_id or ""
        if isinstance(event, ConnectionCreated | ConnectionJoined):
            self._waited.add(threading.get_ident())  # events come on the caller's own thread
        if isinstance(event, ConnectionCreated):
            self._connected.add(user)
        elif isinstance(event, ConnectionClosed):
            self._connected.discard(user)
            self._swept += event.reason == "idle"
        elif isinstance(event, CallFinished):
            waited = threading.get_ident() in self._waited
            self._waited.discard(threading.get_ident())
            (self._first if waited else self._seconds).append(event.seconds)
            self._seen["error"] += event.error is not None

    def note_trouble(self, error: Exception) -> None:
        """Take a call that failed; the manager's events count it, this keeps what it said."""
        with self._lock:
            self.trouble = self.trouble or f"{type(error).__name__}: {error}"

    def note_whoami(self, user: str, answer: Mapping[str, Any]) -> None:
        """Take who the server says has called: it must be *user*, with what no one else has."""
        mine = [(kind, answer[kind]) for kind in ("session", "cookie") if answer.get(kind)]
        with self._lock:
            owners = [self._owners.setdefault(thing, user) for thing in mine]
            self.strangers += answer.get("user") != user or any(who != user for who in owners)

    def note_sum(self, expected: float, answer: Mapping[str, Any]) -> None:
        """Take the answer to ``add``: another caller's would be another sum."""
        with self._lock:
            self.strangers += answer.get("sum") != expected

    def note_counter(self, answer: Mapping[str, Any]) -> None:
        """Take the answer to ``counter``, which says how often the server has run it."""
        with self._lock:
            self._counted += 1
            self._highest = max(self._highest, answer["total"])

    @property
    def run_twice(self) -> int:
        """How many calls more the server has run than were made."""
        with self._lock:
            return self._highest - self._counted

    def count(self) -> Count:
        """Return the numbers as they are now."""
        with self._lock:
            seen, seconds, first = self._seen.copy(), self._seconds.copy(), self._first.copy()
            swept, connected = self._swept, frozenset(self._connected)
        seconds.sort()
        first.sort()
        return Count(
            calls=seen[CallFinished.__name__],
            errors=seen["error"],
            made=seen[ConnectionCreated.__name__],
            joined=seen[ConnectionJoined.__name__],
            reused=seen[ConnectionReused.__name__],
            swept=swept,
            connected=connected,
            p50=_percentile(seconds, 0.50),
            p99=_percentile(seconds, 0.99),
            first=_percentile(first, 0.50),
        )


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0
