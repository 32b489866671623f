"""``UserConnectionManager``: each user's own connections. (Seed: the class of that name.)"""

from __future__ import annotations

from contextlib import AbstractContextManager

from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.threads import PeriodicThread
from ..config.user import User
from ..events import Emit, SweepFinished
from ..transports.base import CallScope
from .connection import Connection, Key
from .table import Connect, ConnectionTable, TableCounts

CHECK_AT_LEAST_EVERY = 60.0  # seconds; so that a manager nobody holds is noticed to be gone
CHECK_AT_MOST_EVERY = 0.05


class UserConnectionManager:
    """Gives every user connections of his own, made once and shared by his threads. Thread-safe.

    Concurrent callers of one user and server share one attempt and its error. What nobody has
    used for *idle_timeout* seconds is closed by one daemon thread, started with the first
    connection; what is borrowed never is.

    Args:
        connect: Makes a connection and connects it.
        idle_timeout: Seconds.
        clock: Tells the time to the idle rule.
        emit: Where events go, if anybody listens.
    """

    def __init__(
        self, connect: Connect, *, idle_timeout: float, clock: Clock, emit: Emit | None
    ) -> None:
        self._table = ConnectionTable(connect, idle_timeout=idle_timeout, clock=clock, emit=emit)
        self._emit = emit
        self._idle_timeout = idle_timeout
        self._sweeper = PeriodicThread("sweeper", self._sweep)
        self._at_fork = after_fork_in_child(self._sweeper.forget)

    def lease(
        self,
        server_name: str,
        user: User,
        scope: CallScope,
    ) -> AbstractContextManager[Connection]:
        """Borrow the user's connection to a server; it is not closed before it is given back."""
        self._sweeper.ensure_running()
        return self._table.lease(Key(user.id, server_name), scope)

    def get_user_connection(
        self,
        server_name: str,
        user: User,
        scope: CallScope,
        *,
        force_new: bool = False,
    ) -> Connection:
        """Return the user's connection to a server, making it if there is none.

        Args:
            server_name: The server.
            user: Whose.
            scope: Its deadline and cancellation end this caller's wait.
            force_new: Close the one there is, and make another.
        """
        self._sweeper.ensure_running()
        key = Key(user.id, server_name)
        if force_new:
            return self._table.replace(key, scope)
        return self._table.get(key, scope)

    def get_user_connections(self, user_id: str) -> dict[str, Connection]:
        """Return the connections of a user, by server name."""
        return self._table.of_user(user_id)

    def disconnect_user_connection(self, user_id: str, server_name: str) -> None:
        """Close a user's connection to a server; one on its way will not appear any more."""
        self._table.remove([Key(user_id, server_name)], "disconnected")

    def disconnect_user_connections(self, user_id: str) -> None:
        """Close all the connections of a user; those on their way will not appear any more."""
        self._table.remove_user(user_id, "disconnected")

    def check_idle_connections(self, current_user_id: str | None = None) -> int:
        """Close what has been idle for too long, except of *current_user_id*; return how many."""
        closed = self._table.sweep(current_user_id)
        if closed and self._emit is not None:
            self._emit(SweepFinished(closed))
        return closed

    def counts(self) -> TableCounts:
        """Return how many there are."""
        return self._table.counts()

    def close(self, deadline: Deadline) -> None:
        """Close every connection and stop the sweeper. Works twice."""
        self._table.close(deadline)
        self._sweeper.stop(deadline.within(1.0).remaining())

    def _sweep(self) -> float:
        """Sweep, and return the seconds until there may be something to sweep again."""
        self.check_idle_connections()
        until = self._table.until_next_expiry()
        delay = self._idle_timeout if until is None else until
        return min(max(delay, CHECK_AT_MOST_EVERY), CHECK_AT_LEAST_EVERY)
