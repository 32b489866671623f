"""Connections that live and die with one request of the application."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Literal, Self

from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from ..client.options import CLOSE_TIMEOUT
from ..errors import ConfigurationError, ConnectionClosed
from ..events import Emit
from ..transports.base import CallScope
from .connection import Connection, ConnectionOptions, Key
from .disposal import Entry
from .factory import ConnectionFactory
from .table import ConnectionTable


class EphemeralMaker:
    """Makes connections whose failures and losses nobody counts: they are a request's own."""

    def __init__(self, factory: ConnectionFactory) -> None:
        self._factory = factory

    def create(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Connection:
        """Make a connection and connect it."""
        return self._factory.create(key, options, scope, ephemeral=True)

    def lost(self, connection: Connection) -> None:
        """Do nothing."""


class RequestScope:
    """The connections of one request to servers whose configuration needs values of it.

    Reused by all the calls within it, from whichever thread; never idle, never seen by another
    request; closed when it ends, after the calls under way. Made by
    :meth:`~mcpsync.MCPManager.request_scope`. Thread-safe; entered by one thread, once.

    Args:
        body: The request's fields: what ``{{BODY_…}}`` stands for.
        table: Makes the table of its connections.
        current: Where the scope that a thread is in is kept.

    Attributes:
        body: As it was given; a copy.
        closed: Whether the request is over.
        outer: The scope that its thread was in when it entered this one.
    """

    def __init__(
        self,
        body: Mapping[str, Any],
        table: Callable[[], ConnectionTable],
        current: ContextVar[RequestScope | None],
    ) -> None:
        if not isinstance(body, Mapping):
            raise ConfigurationError(
                f"a request's body must be a mapping of names to values, not {type(body).__name__}."
            )
        self.body = dict(body)
        self._table = table()
        self._current = current
        self._token: Token[RequestScope | None] | None = None
        self.outer: RequestScope | None = None
        self.closed = False

    def is_of(self, current: ContextVar[RequestScope | None]) -> bool:
        """Whether it is one of those that *current* may hold: a manager's own."""
        return self._current is current

    def borrow(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry:
        """Lend a connection, making it if there is none; it is given back by whoever has it.

        Raises:
            PlaceholderError: The request lacks a field that the configuration needs.
            ConnectionClosed: The request is over.
            MCPSyncError: The connection could not be made.
        """
        options = options._replace(request_body=self.body)
        try:
            return self._table.borrow(key, options, scope)
        except ConnectionClosed:
            self._check_open(key)  # that says more than that some table is closed
            raise

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back."""
        self._table.give_back(key, entry)

    def get_connection_count(self) -> int:
        """Return how many connections it has."""
        return self._table.counts().connections

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close its connections, in *timeout* seconds at most. Works twice.

        Calls under way may end within three quarters of the time; then they are cut.
        """
        self.closed = True
        self._table.close(Deadline(timeout), "request")

    def _check_open(self, key: Key) -> None:
        if self.closed:
            raise ConnectionClosed(
                "the request is over: its scope was closed.",
                server_name=key.server_name,
                user_id=key.user_id,
            )

    def __enter__(self) -> Self:
        if self.closed:
            raise ConnectionClosed("the request is over: its scope was closed.")
        if self._token is not None:
            raise ConfigurationError(
                "a request's scope is entered once; give it to other threads as request_scope=."
            )
        self.outer = self._current.get()
        self._token = self._current.set(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        token, self._token = self._token, None
        try:
            if token is not None:
                self._leave(token)
        finally:
            self.close()
        return False

    def _leave(self, token: Token[RequestScope | None]) -> None:
        try:
            self._current.reset(token)
        except ValueError:  # left in another context than it was entered in: not ours to tidy
            return
        outer = self._current.get()
        while outer is not None and outer.closed:  # they were left in the wrong order
            outer = outer.outer
            self._current.set(outer)


def table_of_a_request(
    factory: ConnectionFactory, clock: Clock, emit: Emit | None, *, tell_reuse: bool
) -> Callable[[], ConnectionTable]:
    """Return what makes the table of one request's connections."""

    def make() -> ConnectionTable:
        return ConnectionTable(
            EphemeralMaker(factory),
            idle_timeout=math.inf,
            clock=clock,
            emit=emit,
            tell_reuse=tell_reuse,
        )

    return make
