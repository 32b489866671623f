"""``ConnectionsRepository``: the application's own connections, one per server, shared by all."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping

from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.fanout import fan_out
from ..config import ServerConfig
from ..config.predicates import is_allowed_at_app_level
from ..errors import ConnectionClosed, MCPSyncError
from ..events import Emit
from ..transports.base import CallScope
from .connection import Connection, ConnectionOptions, Key
from .disposal import Entry
from .table import ConnectionTable, Maker

logger = logging.getLogger(__name__)

AT_ONCE = 3  # how many connections get_many makes at a time [seed]
CHECKOUTS = 3  # how often a connection is made anew because its configuration changed meanwhile

FindConfig = Callable[[str], ServerConfig | None]


class ConnectionsRepository:
    """Connections that belong to no user. They are never idle for too long. Thread-safe.

    A server is allowed here only if nothing about it is a user's own: see
    :func:`~mcpsync.config.predicates.is_allowed_at_app_level`. What is done to one server is
    done one after the other.

    Args:
        maker: Makes connections.
        find: Returns the configuration of a server as it is now, or None.
        names: Returns the names of all servers.
        clock: Tells the time.
        emit: Where events go, if anybody listens.
        tell_reuse: Whether to tell of each reuse, too.
    """

    def __init__(
        self,
        maker: Maker,
        find: FindConfig,
        names: Callable[[], Iterable[str]],
        *,
        clock: Clock,
        emit: Emit | None,
        tell_reuse: bool = True,
    ) -> None:
        self._find = find
        self._names = names
        self._shutting_down = False
        self._table = ConnectionTable(
            maker, idle_timeout=math.inf, clock=clock, emit=emit, tell_reuse=tell_reuse
        )

    @property
    def shutting_down(self) -> bool:
        """Whether :meth:`close` was called; from then on there are no connections to be had."""
        return self._shutting_down

    def has(self, server_name: str) -> bool:
        """Whether the application may have a connection to a server. [seed]

        If it may not (any more), one that is left over is closed.
        """
        return self._allowed(server_name) is not None

    def get(self, server_name: str, scope: CallScope) -> Connection | None:
        """Return the connection to a server, or None if the application may have none.

        One that is stale or dead is closed and made anew. A left-over one is closed.

        Raises:
            MCPSyncError: It could not be made.
        """
        config = self._allowed(server_name)
        if config is None:
            return None
        key = Key(None, server_name)
        entry = self._check_out(key, ConnectionOptions(config), scope)
        if entry is None:
            return None
        self._table.give_back(key, entry)
        return entry.connection

    def get_many(
        self, server_names: Iterable[str], scope: CallScope, *, continue_on_error: bool = False
    ) -> dict[str, Connection]:
        """Return the connections to several servers, by name, made three at a time. [seed]

        Args:
            server_names: Which; those that are not allowed are left out.
            scope: Bounds it all.
            continue_on_error: Log what fails, and leave it out.

        Raises:
            MCPSyncError: The first of them that failed, unless *continue_on_error*.
        """
        names = list(server_names)
        outcomes = fan_out("connector", lambda name: self.get(name, scope), names, limit=AT_ONCE)
        found: dict[str, Connection] = {}
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, MCPSyncError) and continue_on_error:
                logger.warning("[MCP][%s] no connection: %s", name, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            elif outcome is not None:
                found[name] = outcome
        return found

    def get_all(self, scope: CallScope) -> dict[str, Connection]:
        """Return the connections to all servers that are allowed, as far as they can be made."""
        return self.get_many(self._names(), scope, continue_on_error=True)

    def get_loaded(self) -> Mapping[str, Connection]:
        """Return the connections that are there, by server name."""
        return self._table.of_user(None)

    def borrow(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry:
        """Lend a connection; whoever has it gives it back with :meth:`give_back`.

        Raises:
            ConnectionClosed: The application may have none any more, or it was closed meanwhile.
            MCPSyncError: It could not be made.
        """
        entry = self._check_out(key, options, scope)
        if entry is None:
            raise _changed(key.server_name)
        return entry

    def borrow_existing(self, key: Key) -> Entry | None:
        """Lend a connection if there is one that is open and up to date; never make one.

        A left-over one is closed.
        """
        config = self._allowed(key.server_name)
        entry = None if config is None else self._table.borrow_existing(key)
        if config is None or entry is None:
            return None
        if entry.connection.is_stale(ConnectionOptions(config)):
            self._table.give_back(key, entry)
            return None
        return entry

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back."""
        self._table.give_back(key, entry)

    def disconnect(self, server_name: str) -> None:
        """Close the connection to a server; one on its way will not appear any more."""
        self._table.remove([Key(None, server_name)], "disconnected")

    def disconnect_all(self) -> None:
        """Close all connections, several at a time; those on their way will not appear."""
        self._table.remove_user(None, "disconnected")

    def get_connection_count(self) -> int:
        """Return how many there are."""
        return self._table.counts().connections

    def close(self, deadline: Deadline) -> None:
        """Close them all for good. Works twice."""
        self._shutting_down = True
        self._table.close(deadline)

    def _check_out(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry | None:
        """Borrow a connection that is up to date even if the configuration changes meanwhile.

        Returns:
            None if the application may have none any more.
        """
        for _ in range(CHECKOUTS):
            entry = self._table.borrow(key, options, scope)
            now = self._find(key.server_name)
            if now is options.config:
                return entry
            if now is not None and is_allowed_at_app_level(now):
                options = options._replace(config=now)
                if not entry.connection.is_stale(options):
                    return entry
            self._table.give_back(key, entry)
            if self._allowed(key.server_name) is None:  # and what is left over is closed
                return None
        raise _changed(key.server_name)

    def _allowed(self, server_name: str) -> ServerConfig | None:
        config = None if self._shutting_down else self._find(server_name)
        if config is not None and is_allowed_at_app_level(config):
            return config
        if Key(None, server_name) in self._table:
            self._table.remove([Key(None, server_name)], "disconnected")
        return None


def _changed(server_name: str) -> ConnectionClosed:
    return ConnectionClosed(
        f'Configuration for server "{server_name}" changed during connection checkout.',
        server_name=server_name,
        retryable=True,
    )
