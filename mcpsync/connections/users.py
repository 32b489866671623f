"""``UserConnectionManager``: each user's own connections. (Seed: the class of that name.)"""

from __future__ import annotations

from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.threads import PeriodicThread
from ..config import as_user
from ..errors import ConfigurationError
from ..events import Emit, SweepFinished
from ..transports.base import CallScope
from .connection import Connection, ConnectionOptions, Key, require_flow_manager
from .disposal import Entry, TableCounts
from .factory import ConnectionFactory
from .table import ConnectionTable

CHECK_AT_LEAST_EVERY = 60.0  # seconds; so that a manager nobody holds is noticed to be gone
CHECK_AT_MOST_EVERY = 0.05


class _SweptMaker:
    """Makes connections that a sweeper looks after; it runs from the first of them on."""

    def __init__(self, factory: ConnectionFactory, sweeper: PeriodicThread) -> None:
        self._factory = factory
        self._sweeper = sweeper

    def create(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Connection:
        """Make a connection and connect it."""
        self._sweeper.ensure_running()
        return self._factory.create(key, options, scope)

    def lost(self, connection: Connection) -> None:
        """Take note that a connection was found dead."""
        self._factory.lost(connection)


class UserConnectionManager:
    """Gives every user connections of his own, made once and shared by his threads. Thread-safe.

    Concurrent callers of one user and server share one attempt and its error. What nobody has
    used for *idle_timeout* seconds is closed by one daemon thread, started with the first
    connection; what is borrowed never is.

    Args:
        factory: Makes connections.
        idle_timeout: Seconds.
        clock: Tells the time to the idle rule.
        emit: Where events go, if anybody listens.
        tell_reuse: Whether to tell of each reuse, too.
    """

    def __init__(
        self,
        factory: ConnectionFactory,
        *,
        idle_timeout: float,
        clock: Clock,
        emit: Emit | None,
        tell_reuse: bool = True,
    ) -> None:
        self._factory = factory
        self._sweeper = PeriodicThread("sweeper", self._sweep)
        maker = _SweptMaker(factory, self._sweeper)
        self._table = ConnectionTable(
            maker, idle_timeout=idle_timeout, clock=clock, emit=emit, tell_reuse=tell_reuse
        )
        self._emit = emit
        self._idle_timeout = idle_timeout
        after_fork_in_child(self._sweeper.forget)

    def key_of(self, server_name: str, options: ConnectionOptions) -> Key:
        """Return what stands for the user's connection, once it is clear that he may have one.

        Raises:
            ConfigurationError: There is no user id, the server is the application's own, or it
                needs a sign-in and there is nothing that signs in. [seed]
        """
        user = as_user(options.user)
        config = options.config
        if config.scope == "app":
            raise ConfigurationError(
                f"[MCP][User: {user.id}] Trying to create user-specific connection for "
                f'app-level server "{server_name}".',
                server_name=server_name,
            )
        if options.flow_manager is None:
            require_flow_manager(server_name, options)
        return Key(user.id, server_name)

    def borrow(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry:
        """Lend a connection; whoever has it gives it back with :meth:`give_back`."""
        return self._table.borrow(key, options, scope)

    def borrow_existing(self, key: Key) -> Entry | None:
        """Lend a connection if there is one that is open; never make one."""
        return self._table.borrow_existing(key)

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back."""
        self._table.give_back(key, entry)

    def get_user_connection(
        self,
        server_name: str,
        options: ConnectionOptions,
        scope: CallScope,
        *,
        force_new: bool = False,
    ) -> Connection:
        """Return the user's connection to a server, making it if there is none.

        Args:
            server_name: The server.
            options: Whose, and from what.
            scope: Its deadline and cancellation end this caller's wait.
            force_new: Forget what failed lately, close the one there is, and make another. Such
                an attempt joins nobody's, is joined by nobody, and is one at a time for a user
                and server.

        Raises:
            ConfigurationError: See :meth:`key_of`.
            MCPSyncError: It could not be made.
        """
        key = self.key_of(server_name, options)
        if not force_new:
            return self._table.get(key, options, scope)
        return self._table.replace(
            key,
            options,
            scope,
            before=lambda: self._factory.clear_cooldown(server_name, key.user_id),
        )

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
