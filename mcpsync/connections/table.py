"""Who has which connection: the one place where connections are added, borrowed and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from .._runtime.cancel import Cancellation, Watch
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child, notice_fork
from .._runtime.idle import IdleTracker
from .._runtime.locks import new_lock
from ..errors import MCPSyncError, RequestCancelled
from ..events import (
    ConnectionCreated,
    ConnectionFailed,
    ConnectionJoined,
    ConnectionReused,
    Emit,
    Event,
)
from ..transports.base import CallScope
from .connection import Connection, ConnectionOptions, Key
from .disposal import Disposal, Entry, Lease, Removed, TableCounts, manager_closed, torn_down

SWEEP_BATCH = 16  # how many are removed under one hold of the lock


class Maker(Protocol):
    """Makes connections for a table. (:class:`ConnectionFactory` does.)"""

    def create(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Connection:
        """Make a connection and connect it; nothing is left open if that fails."""

    def lost(self, connection: Connection) -> None:
        """Take note that a connection was found dead."""


class _Creation:
    """A connection on its way; a teardown in the meantime dooms it, as closing the table does."""

    __slots__ = ("began", "doomed", "flight", "stop")

    def __init__(self, flight: object) -> None:
        self.began = 0.0
        self.doomed = False
        self.flight = flight
        self.stop = Cancellation()


class ConnectionTable:
    """Connections by owner and server: made once, lent to many, closed by whoever removes them.

    At most one creation that is wanted is under way for a key. A connection that is borrowed is
    not closed: whoever removes it leaves that to the last borrower, see :class:`Disposal`.
    Thread-safe.

    Args:
        maker: Makes connections; called with no lock held.
        idle_timeout: Seconds after which a connection nobody borrows has expired.
        clock: Tells the time to the idle rule.
        emit: Where events go, if anybody listens.
        tell_reuse: Whether to tell of each reuse, too; it is nearly every call.

    Lock: _lock guards _entries, _by_user, _creations, _idle, _closed, the fields of entries and
        creations, and, handed on, the state of the disposal.
    """

    def __init__(
        self,
        maker: Maker,
        *,
        idle_timeout: float,
        clock: Clock,
        emit: Emit | None,
        tell_reuse: bool = True,
    ) -> None:
        self._maker = maker
        self._clock = clock
        self._emit = emit
        self._tell_reuse = tell_reuse and emit is not None
        self._lock = new_lock("connection table")
        self._entries: dict[Key, Entry] = {}
        self._by_user: dict[str | None, dict[str, Entry]] = {}
        self._creations: dict[Key, _Creation] = {}
        self._idle: IdleTracker[Key] = IdleTracker(idle_timeout, clock.monotonic)
        self._flight: SingleFlight[Key, None] = SingleFlight()
        self._checks: SingleFlight[Entry, bool] = SingleFlight()
        self._disposal = Disposal(clock, self._tell)
        self._closed = False
        after_fork_in_child(self._forget)

    # -- borrowing --------------------------------------------------------------------------------

    def lease(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Lease:
        """Borrow the connection *key* stands for, making it if there is none.

        Raises:
            ConnectionClosed: The table was closed, or the user disconnected meanwhile.
            MCPSyncError: It could not be made. Everybody who waited for it gets a copy.
        """
        return Lease(self, key, options, scope)

    def get(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Connection:
        """Return the connection without borrowing it; its idleness begins anew."""
        with self.lease(key, options, scope) as connection:
            return connection

    def replace(
        self,
        key: Key,
        options: ConnectionOptions,
        scope: CallScope,
        before: Callable[[], None] = lambda: None,
    ) -> Connection:
        """Close the connection there is, then make another and return it. (Seed: ``forceNew``.)

        It joins nobody's attempt, and nobody joins its own: one at a time for a key. *before* is
        called when it is its turn.
        """
        mine: list[Entry] = []

        def anew() -> None:
            self._create(key, options, scope, mine, before)

        try:
            self._flight.do(key, anew, deadline=scope.deadline, cancel=scope.cancel, alone=True)
        except MCPSyncError as error:
            error.with_context(server_name=key.server_name, user_id=key.user_id)
            raise
        if not mine:
            raise manager_closed(key)
        self.give_back(key, mine[0])
        return mine[0].connection

    def borrow(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry:
        """Lend the connection *key* stands for; whoever has it gives it back."""
        waited = False
        while True:
            entry = self._take(key, options)
            if entry is not None:
                if entry.connection.must_check and not self._is_there(key, entry, scope):
                    continue
                if self._tell_reuse and not waited:
                    self._tell(ConnectionReused(key.server_name, key.user_id))
                return entry
            scope.deadline.check(f"waiting for a connection to {key.server_name}")
            mine = self._make_or_join(key, options, scope)
            if mine is not None:
                return mine
            waited = True

    def _make_or_join(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry | None:
        """Make the connection, and borrow it; or wait for whoever is making it."""
        mine: list[Entry] = []
        self._flight.do(
            key,
            lambda: self._create(key, options, scope, mine),
            deadline=scope.deadline,
            cancel=scope.cancel,
            own_affair=scope.is_to_blame_for,
            on_join=lambda: self._tell(ConnectionJoined(key.server_name, key.user_id)),
        )
        return mine[0] if mine else None

    def borrow_existing(self, key: Key) -> Entry | None:
        """Lend a connection if there is one that is open; never make one."""
        notice_fork()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.connection.is_connected or not self._idle.hold(key):
                return None
            entry.leases += 1
            return entry

    def _take(self, key: Key, options: ConnectionOptions) -> Entry | None:
        """Borrow what is there; or remove it, if it is not what the caller wants."""
        with self._lock:
            if self._closed:
                raise manager_closed(key)
            entry = self._entries.get(key)
            if entry is None:
                return None
            if not self._idle.hold(key):
                removed = self._pop_all_locked(self._expired_of_locked(key.user_id), "idle")
            elif self._is_stale_locked(entry, options):
                removed = self._pop_all_locked([key], "stale")
            elif not entry.leases and not entry.connection.is_connected:
                removed = self._pop_all_locked([key], "dead")
            else:
                entry.leases += 1
                return entry
        self._dispose(removed)
        return None

    def _is_stale_locked(self, entry: Entry, options: ConnectionOptions) -> bool:
        """Ask a connection that is held; if a value is missing, it is held no longer."""
        assert self._lock.locked()
        try:
            return entry.connection.is_stale(options)
        except BaseException:
            self._idle.release(entry.key)
            raise

    def _expired_of_locked(self, user_id: str | None) -> list[Key]:
        """Return what a user who was idle for too long leaves behind. [seed]"""
        assert self._lock.locked()
        keys = [Key(user_id, name) for name in self._by_user[user_id]]
        return [key for key in keys if self._idle.has_expired(key)]

    def _is_there(self, key: Key, entry: Entry, scope: CallScope) -> bool:
        """Ask the server whether it is there, once for all who want to know."""
        try:
            there = self._checks.do(
                entry,
                lambda: entry.connection.check(scope),
                deadline=scope.deadline,
                cancel=scope.cancel,
                own_affair=scope.is_to_blame_for,
            )
        except BaseException as error:
            self.give_back(key, entry)
            if isinstance(error, MCPSyncError):
                error.maybe_executed = False  # what the caller wants done was not sent
            raise
        if there:
            return True
        with self._lock:
            found = self._entries.get(key) is entry
            if found:
                self._pop_locked(key, "dead")  # the last of those who borrow it closes it
        if found:
            self._maker.lost(entry.connection)
        self.give_back(key, entry)
        return False

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back; the last borrower of one that was removed closes it."""
        with self._lock:
            entry.leases -= 1
            if entry.doomed is None:
                if self._entries.get(key) is entry:
                    self._idle.release(key)
                return
            removed = self._disposal.released_locked(entry)
        if removed is not None:
            self._disposal.dispose([removed])

    # -- making -----------------------------------------------------------------------------------

    def _create(
        self,
        key: Key,
        options: ConnectionOptions,
        scope: CallScope,
        mine: list[Entry],
        before: Callable[[], None] | None = None,
    ) -> None:
        """Make a connection, put it into the table, and borrow it for whoever made it.

        With *before* it is made instead of the one there is, once that is closed and *before* has
        been called. From the beginning on a teardown ends it.
        """
        creation = _Creation(self._flight.current(key))
        removed: list[Removed] = []
        with self._lock:
            if before is not None:
                removed = self._pop_all_locked([key], "replaced")
            if self._closed or key in self._entries:  # landed between our look and our flight
                return
            self._creations[key] = creation

        def prepare() -> None:
            self._disposal.dispose(removed)
            if before is not None:
                before()
            creation.began = self._clock.monotonic()

        connection = self._connect(key, options, scope, creation, prepare)
        with self._lock:  # one section, so that a teardown sees the creation or the connection
            self._forget_creation_locked(key, creation)
            if not creation.doomed:
                entry = Entry(key, connection)
                self._put_locked(key, entry)
                mine.append(entry)
        if not mine:
            self._disposal.close(connection)
            raise torn_down(key)
        seconds = self._clock.monotonic() - creation.began
        self._tell(ConnectionCreated(key.server_name, key.user_id, seconds))

    def _connect(
        self,
        key: Key,
        options: ConnectionOptions,
        scope: CallScope,
        creation: _Creation,
        prepare: Callable[[], None],
    ) -> Connection:
        stop = creation.stop  # the caller's cancellation, or a teardown's
        watch = Watch(scope.cancel, lambda error: stop.cancel(error.reason))
        try:
            prepare()
            stoppable = CallScope(scope.deadline, stop, scope.headers)
            return self._maker.create(key, options, stoppable)
        except BaseException as error:
            with self._lock:
                self._forget_creation_locked(key, creation)
                doomed = creation.doomed
            self._tell(ConnectionFailed(key.server_name, key.user_id, type(error).__name__))
            if doomed and isinstance(error, RequestCancelled):
                raise torn_down(key) from error
            raise
        finally:
            watch.end()

    def _put_locked(self, key: Key, entry: Entry) -> None:
        assert self._lock.locked()
        self._entries[key] = entry
        self._by_user.setdefault(key.user_id, {})[key.server_name] = entry
        entry.leases = 1
        self._idle.hold(key)

    def _forget_creation_locked(self, key: Key, creation: _Creation) -> None:
        assert self._lock.locked()
        if self._creations.get(key) is creation:
            del self._creations[key]

    # -- removing ---------------------------------------------------------------------------------

    def remove(self, keys: Iterable[Key], reason: str) -> int:
        """Remove connections, made or on their way; those that are borrowed are closed later.

        Whoever waits for one on its way gets ``ConnectionClosed``; whoever comes from now on
        starts afresh.
        """
        notice_fork()
        keys = list(keys)
        with self._lock:
            doomed = self._doom_locked(keys)
            removed = self._pop_all_locked(keys, reason)
        self._end(doomed)
        return self._disposal.dispose(removed)

    def remove_user(self, user_id: str | None, reason: str) -> int:
        """Remove all the connections of a user, made or on their way."""
        notice_fork()
        with self._lock:
            keys = [Key(user_id, name) for name in self._by_user.get(user_id, ())]
            keys += [key for key in self._creations if key.user_id == user_id]
        return self.remove(dict.fromkeys(keys), reason)

    def sweep(self, except_user: str | None = None) -> int:
        """Close what nobody has borrowed for the idle timeout; return how many that were."""
        notice_fork()
        closed = 0

        def is_current(key: Key) -> bool:
            return except_user is not None and key.user_id == except_user

        while True:
            with self._lock:
                expired = self._idle.expired(SWEEP_BATCH, is_current)
                removed = self._pop_all_locked(expired, "idle")
                overdue = self._disposal.overdue_locked()
            self._disposal.dispose(overdue, gently=True)
            closed += self._disposal.dispose(removed, gently=True)
            if len(expired) < SWEEP_BATCH:
                return closed

    def close(self, deadline: Deadline, reason: str = "closed") -> None:
        """Close everything. Works twice.

        Calls under way may end within three quarters of the time; then they are cut.
        """
        notice_fork()
        with self._lock:
            self._closed = True
            doomed = self._doom_locked(list(self._creations))
            removed = self._pop_all_locked(list(self._entries), reason)
        self._end(doomed)
        self._disposal.dispose(removed, deadline)
        drained = self._disposal.drained
        with self._lock:
            waiting = self._disposal.wait_locked()
        if waiting:
            drained.wait(Deadline(0.75 * deadline.remaining()).wait_time())
            with self._lock:
                overdue = self._disposal.overdue_locked(everything=True)
            self._disposal.dispose(overdue, deadline)

    def _doom_locked(self, keys: Iterable[Key]) -> list[tuple[Key, _Creation]]:
        assert self._lock.locked()
        doomed = []
        for key in keys:
            creation = self._creations.pop(key, None)
            if creation is not None:
                creation.doomed = True
                doomed.append((key, creation))
        return doomed

    def _end(self, doomed: list[tuple[Key, _Creation]]) -> None:
        for key, creation in doomed:
            self._flight.forget(key, creation.flight)
            creation.stop.cancel("disconnected")

    def _pop_all_locked(self, keys: Iterable[Key], reason: str) -> list[Removed]:
        """Take entries out; return those that are ours to close, not a borrower's."""
        assert self._lock.locked()
        popped = [self._pop_locked(key, reason) for key in keys]
        return [removed for removed in popped if removed is not None]

    def _pop_locked(self, key: Key, reason: str) -> Removed | None:
        assert self._lock.locked()
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        servers = self._by_user[key.user_id]
        del servers[key.server_name]
        if not servers:
            del self._by_user[key.user_id]
        self._idle.discard(key)
        return self._disposal.removed_locked(entry, reason)

    def _dispose(self, removed: list[Removed]) -> None:
        """Close what was removed, and take note of what had been lost."""
        for lost in removed:
            if lost.reason == "dead":
                self._maker.lost(lost.entry.connection)
        self._disposal.dispose(removed)

    def _tell(self, event: Event) -> None:
        if self._emit is not None:
            self._emit(event)

    def _forget(self) -> None:
        """Have no connections: in a forked child they are the parent's, leases and all."""
        self._lock = new_lock("connection table")
        self._flight.reset()
        self._checks.reset()
        self._idle = IdleTracker(self._idle.timeout, self._clock.monotonic)
        self._disposal.forget()
        self._entries, self._by_user, self._creations = {}, {}, {}

    # -- looking ----------------------------------------------------------------------------------

    def of_user(self, user_id: str | None) -> dict[str, Connection]:
        """Return the connections of a user, by server name."""
        notice_fork()
        with self._lock:
            found = self._by_user.get(user_id, {})
            return {name: entry.connection for name, entry in found.items()}

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def until_next_expiry(self) -> float | None:
        """Return the seconds until the next connection may have to be closed, or None."""
        notice_fork()
        with self._lock:
            times = (self._idle.until_next(), self._disposal.until_overdue_locked())
        return min((time for time in times if time is not None), default=None)

    def counts(self) -> TableCounts:
        """Return how many of each there are, all at one moment."""
        notice_fork()
        with self._lock:
            return TableCounts(
                users=len(self._by_user),
                connections=len(self._entries),
                activity=len(self._idle),
                pending=len(self._creations),
                leased=sum(1 for entry in self._entries.values() if entry.leases),
                closing=self._disposal.pending_locked(),
            )
