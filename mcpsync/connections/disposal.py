"""Closing what was removed: not before its last borrower is done, and not never."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol

from .._runtime.backoff import pause
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.fanout import fan_out
from .._runtime.locks import assert_none_held
from ..client.options import CLOSE_TIMEOUT
from ..errors import ConnectionClosed, MCPSyncError
from ..events import ConnectionClosed as ConnectionClosedEvent
from ..events import Event
from ..transports.base import CallScope
from .connection import Connection, ConnectionOptions, Key

logger = logging.getLogger(__name__)

DRAIN_TIMEOUT = 300.0  # seconds a borrower may keep a connection that was removed, without calls
AT_ONCE = 4  # how many are closed at a time; each may have to tell its server
GENTLY = 2  # the same, if nobody waits for it
PAUSE = 0.0005  # seconds between two then: unasked, Python lets others in only every 5 ms


class Entry:
    """A connection, how many borrow it, and why it is to be closed once nobody does."""

    __slots__ = ("__weakref__", "connection", "doomed", "key", "leases")

    def __init__(self, key: Key, connection: Connection) -> None:
        self.key = key
        self.connection = connection
        self.leases = 0
        self.doomed: str | None = None


class Removed(NamedTuple):
    """An entry that is out of its table, and why. Whoever has it closes it."""

    entry: Entry
    reason: str


class Lender(Protocol):
    """What lends connections."""

    def borrow(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry:
        """Lend the connection *key* stands for, making it if there is none."""

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back."""


class Lease:
    """Borrows a connection for as long as it is entered; for one thread, once.

    Args:
        lender: Whose it is to lend.
        key: Which connection.
        options: What it is made from, if there is none.
        scope: Bounds waiting for it.
        afterwards: Called once it was given back.
    """

    __slots__ = ("_entry", "afterwards", "key", "lender", "options", "scope")

    def __init__(
        self,
        lender: Lender,
        key: Key,
        options: ConnectionOptions,
        scope: CallScope,
        afterwards: Callable[[], object] | None = None,
    ) -> None:
        self.lender = lender
        self.key = key
        self.options = options
        self.scope = scope
        self.afterwards = afterwards
        self._entry: Entry | None = None

    def __enter__(self) -> Connection:
        try:
            self._entry = entry = self.lender.borrow(self.key, self.options, self.scope)
        except BaseException as error:
            if isinstance(error, MCPSyncError):
                error.with_context(server_name=self.key.server_name, user_id=self.key.user_id)
            if self.afterwards is not None:
                self.afterwards()
            raise
        return entry.connection

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            self.lender.give_back(self.key, entry)
            if self.afterwards is not None:
                self.afterwards()


class Disposal:
    """Entries that were removed while they were borrowed.

    The last borrower closes one. A borrower who keeps it for ever, without a call under way on
    it, does not keep it open for ever: after :data:`DRAIN_TIMEOUT` it is overdue. Not thread-safe
    by itself: methods that end in ``_locked`` are called under the lock of the table it serves.

    Args:
        clock: Tells the time to the rule above.
        tell: Where events go.
    """

    def __init__(self, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._waiting: dict[Entry, float] = {}  # in order of time
        self.drained = threading.Event()

    def removed_locked(self, entry: Entry, reason: str) -> Removed | None:
        """Take an entry that left the table; give it back if nobody borrows it."""
        if not entry.leases:
            return Removed(entry, reason)
        entry.doomed = reason
        self._waiting[entry] = self._clock.monotonic()
        return None

    def released_locked(self, entry: Entry) -> Removed | None:
        """Give an entry back once its last borrower is done, unless it was overdue."""
        if entry.leases or self._waiting.pop(entry, None) is None:
            return None
        if not self._waiting:
            self.drained.set()
        assert entry.doomed is not None
        return Removed(entry, entry.doomed)

    def overdue_locked(self, *, everything: bool = False) -> list[Removed]:
        """Give back what has been waiting for too long and is not in the midst of a call.

        Args:
            everything: What has not, and is, too.
        """
        limit = self._clock.monotonic() - DRAIN_TIMEOUT
        overdue = [
            entry
            for entry, since in self._waiting.items()
            if everything or (since <= limit and not entry.connection.busy)
        ]
        for entry in overdue:
            del self._waiting[entry]
        if overdue and not self._waiting:
            self.drained.set()
        return [Removed(entry, str(entry.doomed)) for entry in overdue]

    def until_overdue_locked(self) -> float | None:
        """Return the seconds until something may be overdue, or None."""
        for since in self._waiting.values():
            return max(1.0, since + DRAIN_TIMEOUT - self._clock.monotonic())
        return None

    def wait_locked(self) -> bool:
        """Have :attr:`drained` set when nothing waits any more; return whether anything does."""
        if self._waiting:
            self.drained.clear()
        return bool(self._waiting)

    def pending_locked(self) -> int:
        """Return how many wait for their last borrower."""
        return len(self._waiting)

    def forget(self) -> None:
        """Have nothing to close: in a forked child it is the parent's."""
        self._waiting = {}
        self.drained = threading.Event()

    def dispose(
        self, removed: list[Removed], deadline: Deadline | None = None, *, gently: bool = False
    ) -> int:
        """Close connections, several at a time, and return how many those were.

        Args:
            removed: What to close.
            deadline: Bounds all of it.
            gently: Whether to make way for the calls of others after each; it takes longer.
        """
        if not removed:
            return 0
        assert_none_held("closing connections")

        def close(each: Removed) -> None:
            self._close(each, deadline)
            if gently:
                pause(PAUSE, Deadline(math.inf))

        fan_out("closer", close, removed, limit=GENTLY if gently else AT_ONCE)
        return len(removed)

    def _close(self, removed: Removed, deadline: Deadline | None) -> None:
        key = removed.entry.key
        self.close(removed.entry.connection, deadline)
        self._tell(ConnectionClosedEvent(key.server_name, key.user_id, removed.reason))

    def close(self, connection: Connection, deadline: Deadline | None = None) -> None:
        """Close one connection; if that fails, it is logged: nobody has it any more."""
        timeout = CLOSE_TIMEOUT if deadline is None else deadline.remaining()
        try:
            connection.close(timeout=timeout)
        except Exception:
            logger.exception("closing the connection to %s failed", connection.key.server_name)


def manager_closed(key: Key) -> ConnectionClosed:
    """Return what whoever wants a connection of a closed table is told."""
    return ConnectionClosed(
        "the manager is closed.", server_name=key.server_name, user_id=key.user_id
    )


def torn_down(key: Key) -> ConnectionClosed:
    """Return what whoever waits for a connection is told that a teardown ended."""
    return ConnectionClosed(
        "the user was disconnected while the connection was made.",
        server_name=key.server_name,
        user_id=key.user_id,
    )


class TableCounts(NamedTuple):
    """How many of each there are.

    Args:
        users: With at least one connection.
        connections: That are made.
        activity: Entries that the idle rule has.
        pending: Connections on their way.
        leased: Connections that are borrowed.
        closing: Connections that were removed and wait for their last borrower.
    """

    users: int
    connections: int
    activity: int
    pending: int
    leased: int
    closing: int
