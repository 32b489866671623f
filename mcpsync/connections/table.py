"""Who has which connection: the one place where connections are added, borrowed and removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TypeAlias

from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from .._runtime.idle import IdleTracker
from .._runtime.locks import assert_none_held, new_lock
from ..client.options import CLOSE_TIMEOUT
from ..errors import ConnectionClosed
from ..events import ConnectionClosed as ConnectionClosedEvent
from ..events import (
    ConnectionCreated,
    ConnectionFailed,
    ConnectionJoined,
    ConnectionReused,
    Emit,
    Event,
)
from ..transports.base import CallScope
from .connection import Connection, Key

logger = logging.getLogger(__name__)

Connect: TypeAlias = Callable[[Key, CallScope], Connection]


class Entry:
    """A connection, how many borrow it, and why it is to be closed once nobody does."""

    __slots__ = ("connection", "doomed", "leases")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.leases = 0
        self.doomed: str | None = None


class Lease:
    """Borrows a connection for as long as it is entered; for one thread, once."""

    __slots__ = ("_entry", "_key", "_scope", "_table")

    def __init__(self, table: ConnectionTable, key: Key, scope: CallScope) -> None:
        self._table = table
        self._key = key
        self._scope = scope
        self._entry: Entry | None = None

    def __enter__(self) -> Connection:
        self._entry = entry = self._table.borrow(self._key, self._scope)
        return entry.connection

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            self._table.give_back(self._key, entry)


class _Creation:
    """A connection on its way; a teardown in the meantime dooms it, as closing the table does."""

    __slots__ = ("doomed",)

    def __init__(self) -> None:
        self.doomed = False


class ConnectionTable:
    """Connections by owner and server: made once, lent to many, closed by whoever removes them.

    A connection that is borrowed is never closed: whoever removes it leaves that to the last
    borrower. Only :meth:`close` does not wait. Thread-safe.

    Args:
        connect: Makes a connection and connects it; called with no lock held.
        idle_timeout: Seconds after which a connection nobody borrows has expired.
        clock: Tells the time to the idle rule.
        emit: Where events go, if anybody listens.

    Lock: _lock guards _entries, _creations, _idle, _closed, and the entries' and creations' fields.
    """

    def __init__(
        self, connect: Connect, *, idle_timeout: float, clock: Clock, emit: Emit | None
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._emit = emit
        self._lock = new_lock("connection table")
        self._entries: dict[Key, Entry] = {}
        self._by_user: dict[str | None, dict[str, Entry]] = {}
        self._creations: dict[Key, _Creation] = {}
        self._idle: IdleTracker[Key] = IdleTracker(idle_timeout, clock.monotonic)
        self._flight: SingleFlight[Key, None] = SingleFlight()
        self._closed = False
        self._at_fork = after_fork_in_child(self._forget)

    # -- borrowing --------------------------------------------------------------------------------

    def lease(self, key: Key, scope: CallScope) -> Lease:
        """Borrow the connection *key* stands for, making it if there is none.

        Raises:
            ConnectionClosed: The table was closed, or the user disconnected meanwhile.
            MCPSyncError: It could not be made. Everybody who waited for it gets a copy.
        """
        return Lease(self, key, scope)

    def get(self, key: Key, scope: CallScope) -> Connection:
        """Return the connection without borrowing it; its idleness begins anew."""
        with self.lease(key, scope) as connection:
            return connection

    def replace(self, key: Key, scope: CallScope) -> Connection:
        """Close the connection there is, and return a new one. Joins nobody's attempt."""
        self.remove([key], "replaced")
        return self.get(key, scope)

    def borrow(self, key: Key, scope: CallScope) -> Entry:
        """Lend the connection *key* stands for; whoever has it gives it back."""
        made = False
        while True:
            entry, dead = self._take(key)
            if dead is not None:
                self._dispose([(key, dead)], "dead")
            if entry is not None:
                if not made and self._emit is not None:
                    self._emit(ConnectionReused(key.server_name, key.user_id))
                return entry
            scope.deadline.check(f"waiting for a connection to {key.server_name}")
            self._flight.do(
                key,
                lambda: self._create(key, scope),
                deadline=scope.deadline,
                cancel=scope.cancel,
                own_affair=scope.is_to_blame_for,
                on_join=lambda: self._tell(ConnectionJoined(key.server_name, key.user_id)),
            )
            made = True

    def _take(self, key: Key) -> tuple[Entry | None, Entry | None]:
        """Borrow what is there; return it, or what was there and is dead and unused."""
        with self._lock:
            if self._closed:
                raise ConnectionClosed("the manager is closed.", server_name=key.server_name)
            entry = self._entries.get(key)
            if entry is None:
                return None, None
            if not entry.connection.is_connected and not entry.leases:
                return None, self._pop_locked(key, "dead")
            entry.leases += 1
            self._idle.hold(key)
            return entry, None

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back; the last borrower of one that was removed closes it."""
        with self._lock:
            entry.leases -= 1
            doomed = entry.doomed if entry.leases == 0 else None
            if entry.doomed is None and self._entries.get(key) is entry:
                self._idle.release(key)
        if doomed is not None:
            self._dispose([(key, entry)], doomed)

    # -- making -----------------------------------------------------------------------------------

    def _create(self, key: Key, scope: CallScope) -> None:
        creation = _Creation()
        with self._lock:
            if self._closed or key in self._entries:  # landed between our look and our flight
                return
            self._creations[key] = creation
        began = self._clock.monotonic()
        try:
            connection = self._connect(key, scope)
        except BaseException as error:
            with self._lock:
                self._forget_creation_locked(key, creation)
            self._tell(ConnectionFailed(key.server_name, key.user_id, type(error).__name__))
            raise
        with self._lock:  # one section, so that a teardown sees the creation or the connection
            self._forget_creation_locked(key, creation)
            wanted = not creation.doomed and not self._closed
            if wanted:
                self._put_locked(key, Entry(connection))
        if not wanted:
            connection.close()
            raise ConnectionClosed(
                "the user was disconnected while the connection was made.",
                server_name=key.server_name,
                user_id=key.user_id,
            )
        seconds = self._clock.monotonic() - began
        self._tell(ConnectionCreated(key.server_name, key.user_id, seconds))

    def _put_locked(self, key: Key, entry: Entry) -> None:
        assert self._lock.locked()
        self._entries[key] = entry
        self._by_user.setdefault(key.user_id, {})[key.server_name] = entry
        self._idle.touch(key)

    def _forget_creation_locked(self, key: Key, creation: _Creation) -> None:
        assert self._lock.locked()
        if self._creations.get(key) is creation:
            del self._creations[key]

    # -- removing ---------------------------------------------------------------------------------

    def remove(self, keys: Iterable[Key], reason: str) -> int:
        """Remove connections, made or on their way, and close those that nobody borrows."""
        keys = list(keys)
        with self._lock:
            for key in keys:
                creation = self._creations.pop(key, None)
                if creation is not None:
                    creation.doomed = True
            removed = self._pop_all_locked(keys, reason)
        for key in keys:
            self._flight.forget(key)  # whoever comes now starts afresh
        return self._dispose(removed, reason)

    def remove_user(self, user_id: str | None, reason: str) -> int:
        """Remove all the connections of a user, made or on their way."""
        with self._lock:
            keys = [Key(user_id, name) for name in self._by_user.get(user_id, ())]
            keys += [key for key in self._creations if key.user_id == user_id]
        return self.remove(dict.fromkeys(keys), reason)

    def sweep(self, except_user: str | None = None) -> int:
        """Close what nobody has borrowed for the idle timeout; return how many that were."""
        with self._lock:
            expired = [
                key
                for key in self._idle.expired()
                if except_user is None or key.user_id != except_user
            ]
            removed = self._pop_all_locked(expired, "idle")
        return self._dispose(removed, "idle")

    def close(self, deadline: Deadline) -> None:
        """Close everything, borrowed or not; calls under way end. Works twice."""
        with self._lock:
            self._closed = True
            entries, self._entries = list(self._entries.items()), {}
            self._by_user.clear()
            for key, _ in entries:
                self._idle.discard(key)
        for key, entry in entries:
            self._close_one(key, entry, "closed", deadline.remaining())

    def _pop_all_locked(self, keys: Iterable[Key], reason: str) -> list[tuple[Key, Entry]]:
        popped = [(key, self._pop_locked(key, reason)) for key in keys]
        return [(key, entry) for key, entry in popped if entry is not None]

    def _pop_locked(self, key: Key, reason: str) -> Entry | None:
        """Take an entry out; return it if it is ours to close, not a borrower's."""
        assert self._lock.locked()
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        servers = self._by_user[key.user_id]
        del servers[key.server_name]
        if not servers:
            del self._by_user[key.user_id]
        self._idle.discard(key)
        if entry.leases:
            entry.doomed = reason
            return None
        return entry

    def _dispose(self, removed: list[tuple[Key, Entry]], reason: str) -> int:
        assert_none_held("closing connections")
        for key, entry in removed:
            self._close_one(key, entry, reason)
        return len(removed)

    def _close_one(
        self, key: Key, entry: Entry, reason: str, timeout: float = CLOSE_TIMEOUT
    ) -> None:
        try:
            entry.connection.close(timeout=timeout)
        except Exception:  # it is out of the table: the others have to be closed, too
            logger.exception("closing the connection to %s failed", key.server_name)
        self._tell(ConnectionClosedEvent(key.server_name, key.user_id, reason))

    def _tell(self, event: Event) -> None:
        if self._emit is not None:
            self._emit(event)

    def _forget(self) -> None:
        """Have no connections: in a forked child they are the parent's, leases and all."""
        self._lock = new_lock("connection table")
        self._flight.reset()
        for key in self._entries:
            self._idle.discard(key)
        self._entries, self._by_user, self._creations = {}, {}, {}

    # -- looking ----------------------------------------------------------------------------------

    def of_user(self, user_id: str | None) -> dict[str, Connection]:
        """Return the connections of a user, by server name."""
        with self._lock:
            found = self._by_user.get(user_id, {})
            return {name: entry.connection for name, entry in found.items()}

    def until_next_expiry(self) -> float | None:
        """Return the seconds until the next connection may expire, or None."""
        with self._lock:
            return self._idle.until_next()

    def counts(self) -> TableCounts:
        """Return how many of each there are, all at one moment."""
        with self._lock:
            return TableCounts(
                users=len(self._by_user),
                connections=len(self._entries),
                activity=len(self._idle),
                pending=len(self._creations),
                leased=sum(1 for entry in self._entries.values() if entry.leases),
            )


class TableCounts:
    """How many users, connections, activity entries, creations under way and borrowed there are."""

    __slots__ = ("activity", "connections", "leased", "pending", "users")

    def __init__(
        self, *, users: int, connections: int, activity: int, pending: int, leased: int
    ) -> None:
        self.users = users
        self.connections = connections
        self.activity = activity
        self.pending = pending
        self.leased = leased
