"""``ConnectionsRepository``: the application's own connections, one per server, shared by all."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from ..events import Emit
from ..transports.base import CallScope
from .connection import Connection, Key
from .table import Connect, ConnectionTable


class ConnectionsRepository:
    """Connections that belong to no user. They are never idle for too long. Thread-safe.

    Args:
        connect: Makes a connection and connects it.
        clock: Tells the time.
        emit: Where events go, if anybody listens.
    """

    def __init__(self, connect: Connect, *, clock: Clock, emit: Emit | None) -> None:
        self._table = ConnectionTable(connect, idle_timeout=math.inf, clock=clock, emit=emit)

    def lease(self, server_name: str, scope: CallScope) -> AbstractContextManager[Connection]:
        """Borrow the connection to a server, making it if there is none."""
        return self._table.lease(Key(None, server_name), scope)

    def disconnect(self, server_name: str) -> None:
        """Close the connection to a server; one on its way will not appear any more."""
        self._table.remove([Key(None, server_name)], "disconnected")

    def get_connection_count(self) -> int:
        """Return how many there are."""
        return self._table.counts().connections

    def close(self, deadline: Deadline) -> None:
        """Close them all. Works twice."""
        self._table.close(deadline)
