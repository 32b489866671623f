"""Over whose connection a call goes. (Seed: ``getConnection``)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from .._runtime.fork import notice_fork
from ..client.options import scope_of
from ..config import ServerConfig, as_user
from ..config.placeholders import resolve_headers
from ..config.predicates import is_allowed_at_app_level, scope_of_server
from ..errors import ConfigurationError
from .connection import ConnectionOptions, Key
from .disposal import Lease, Lender
from .options import ManagerOptions, part
from .repository import ConnectionsRepository
from .request_scope import RequestScope
from .table import ConnectionTable
from .users import UserConnectionManager


class Router:
    """Decides whose connection a call goes over: a user's, the application's, a request's.

    Thread-safe.

    Args:
        require: Returns the configuration of a server as it is now, or raises ``ServerNotFound``.
        users: The users' connections.
        app: The application's.
        request_table: Makes the table of a request's.
        timeout: Seconds a call may take where neither it nor the configuration says.
    """

    def __init__(
        self,
        require: Callable[[str], ServerConfig],
        users: UserConnectionManager,
        app: ConnectionsRepository,
        request_table: Callable[[], ConnectionTable],
        timeout: float,
    ) -> None:
        self._require = require
        self._users = users
        self._app = app
        self._request_table = request_table
        self._timeout = timeout
        self._current: ContextVar[RequestScope | None] = ContextVar("mcpsync", default=None)

    def lease(
        self, server: str, user: Any, options: ManagerOptions, *, of_user: bool = False
    ) -> Lease:
        """Return what borrows the connection of a call. Nothing is connected before it is entered.

        What belongs to a request, or to a user, is never the application's. [seed 1.2, 2.4]

        Args:
            server: The configured name.
            user: What the caller gave.
            options: The call's.
            of_user: Take the user's own even if the application's would do.

        Raises:
            ServerNotFound: No server of that name is configured.
            ConfigurationError: The user has no id but needs one, or nobody may have a connection.
            PlaceholderError: A header needs a value that is not there.
        """
        notice_fork()
        config = self._require(server)
        owner = None if user is None else as_user(user)
        parted = part(options)
        scope = scope_of(parted.call, config.timeout or self._timeout)
        made_from = ConnectionOptions(
            config, owner, parted.custom_user_vars, None, parted.connection_timeout
        )
        body, afterwards, lender = parted.request_body, None, self._lender(config, owner, of_user)
        if lender is self._users:
            key = self._users.key_of(server, made_from)
        elif lender is not None:
            key = Key(None, server)
        elif scope_of_server(config) == "request":
            key = Key(as_user(owner).id, server)
            lender, afterwards = self._request(body, parted.request_scope)
            body = lender.body
        else:
            text = f'No connection found for server "{server}".'
            raise ConfigurationError(text, server_name=server)
        headers = resolve_headers(
            config, user=owner, custom_user_vars=parted.custom_user_vars, body=body
        )
        if headers is not None:  # of this call only, and the caller's own win
            scope = replace(scope, headers={**headers, **(scope.headers or {})})
        return Lease(lender, key, made_from, scope, afterwards)

    def _lender(self, config: ServerConfig, owner: object, of_user: bool) -> Lender | None:
        where = scope_of_server(config)
        if where == "request":
            return None
        if where == "user" or of_user or (where is None and owner is not None):
            return self._users
        return self._app if is_allowed_at_app_level(config) else None

    def request_scope(self, body: Mapping[str, Any] | None) -> RequestScope:
        """Return the connections of one request; entering it makes it the thread's own."""
        return RequestScope({} if body is None else body, self._request_table, self._current)

    def _request(
        self, body: Mapping[str, Any] | None, inside: RequestScope | None
    ) -> tuple[RequestScope, Callable[[], object] | None]:
        """Return the connections of a request, and what is to be done when the call is over."""
        current = inside or self._current.get()
        if body is None and current is not None:
            return current, None
        own = self.request_scope(body)
        return own, own.close
