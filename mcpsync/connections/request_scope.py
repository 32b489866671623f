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
from ..config.predicates import missing_body_fields
from ..errors import ConfigurationError, PlaceholderError
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
    :meth:`~mcpsync.MCPManager.request_scope`. Thread-safe.

    Args:
        body: The request's fields: what ``{{BODY_…}}`` stands for.
        table: Makes the table of its connections.
        current: Where the scope that a thread is in is kept.
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

    def borrow(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Entry:
        """Lend a connection, making it if there is none; it is given back by whoever has it.

        Raises:
            PlaceholderError: The request lacks a field that the configuration needs.
        """
        options = options._replace(request_body=self.body)
        missing = missing_body_fields(options.config, self.body)
        if missing:
            raise PlaceholderError(
                "Request body field(s) required to resolve runtime MCP placeholders: "
                f"{', '.join(missing)}.",
                server_name=key.server_name,
            )
        return self._table.borrow(key, options, scope)

    def give_back(self, key: Key, entry: Entry) -> None:
        """Take a lent connection back."""
        self._table.give_back(key, entry)

    def get_connection_count(self) -> int:
        """Return how many connections it has."""
        return self._table.counts().connections

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close its connections, in *timeout* seconds at most. Works twice."""
        self._table.close(Deadline(timeout), "request")

    def __enter__(self) -> Self:
        self._token = self._current.set(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        token, self._token = self._token, None
        if token is not None:
            self._current.reset(token)
        self.close()
        return False


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
