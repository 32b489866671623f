"""Over whose connection a call goes. (Seed: ``getConnection``)"""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .._runtime.deadline import Deadline
from .._runtime.fanout import fan_out
from .._runtime.fork import after_fork_in_child, notice_fork
from .._runtime.locks import new_lock
from ..client.options import scope_of
from ..config import ServerConfig, User, as_user
from ..config.predicates import Facts, facts_of
from ..errors import (
    AuthError,
    ConfigurationError,
    ConnectTimeout,
    MCPSyncError,
    RefusedError,
    ServerNotFound,
)
from ..transports.base import CallScope
from .connection import (
    Connection,
    ConnectionOptions,
    FlowManager,
    Key,
    fill_in,
    require_flow_manager,
)
from .disposal import Lease, Lender
from .options import ManagerOptions, part
from .repository import ConnectionsRepository
from .request_scope import RequestScope
from .table import ConnectionTable
from .users import UserConnectionManager

NOT_LATE = 0.01  # seconds that finding a configuration may take before they count
CLOSED_AT_ONCE = 4  # requests' scopes; each may have calls to wait for


@dataclass(frozen=True, slots=True)
class _Scope(CallScope):
    """A call's scope that knows what the caller himself brought along for the connection.

    Args:
        has_own_values: Headers, or values for the configuration's variables.
        has_own_limit: A time for connecting.
    """

    has_own_values: bool = False
    has_own_limit: bool = False

    def is_to_blame_for(self, error: BaseException) -> bool:
        """Whether *error* comes of what this caller brought along, and not of the server."""
        if self.has_own_limit and isinstance(error, ConnectTimeout):
            return True
        return self.has_own_values and isinstance(
            error, AuthError | ConfigurationError | RefusedError
        )


class Router:
    """Decides whose connection a call goes over: a user's, the application's, a request's.

    Thread-safe.

    Args:
        require: Returns the configuration of a server as it is now for a user, or raises
            ``ServerNotFound``; given the call's timeout and cancellation, as it came with them.
        users: The users' connections.
        app: The application's.
        request_table: Makes the table of a request's.
        timeout: Seconds a call may take where neither it nor the configuration says.
        flow_manager: What signs users in.

    Lock: _lock guards _scopes, _closed.
    """

    def __init__(
        self,
        require: Callable[[str, Any, Any, Any], ServerConfig],
        users: UserConnectionManager,
        app: ConnectionsRepository,
        request_table: Callable[[], ConnectionTable],
        timeout: float,
        flow_manager: FlowManager | None = None,
    ) -> None:
        self._require = require
        self._users = users
        self._app = app
        self._request_table = request_table
        self._timeout = timeout
        self._flow_manager = flow_manager
        self._current: ContextVar[RequestScope | None] = ContextVar("mcpsync", default=None)
        self._lock = new_lock("router")
        self._scopes: weakref.WeakSet[RequestScope] = weakref.WeakSet()
        self._closed = False
        after_fork_in_child(self._forget)

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
            ServerNotFound: No server of that name is configured. Connections that are left over
                from when it was are closed.
            ConfigurationError: The user has no id but needs one, or nobody may have a connection.
            PlaceholderError: The configuration needs a value that is not there.
        """
        notice_fork()
        owner: User | None = None
        try:
            began = time.monotonic()
            config = self._require(server, user, options.get("timeout"), options.get("cancel"))
            late = time.monotonic() - began
            owner = None if user is None else as_user(user)
            return self._lease(server, config, owner, options, of_user, late)
        except MCPSyncError as error:
            if isinstance(error, ServerNotFound):
                self._close_leftovers(server, user)
            error.with_context(server_name=server, user_id=None if owner is None else owner.id)
            raise

    def _lease(
        self,
        server: str,
        config: ServerConfig,
        owner: User | None,
        options: ManagerOptions,
        of_user: bool,
        late: float,
    ) -> Lease:
        parted = part(options)
        scope = scope_of(parted.call, config.timeout or self._timeout)
        if late > NOT_LATE:
            left = scope.deadline.within(max(0.0, scope.deadline.timeout - late))
            scope = dataclasses.replace(scope, deadline=left)
        facts = facts_of(config)
        made_from = ConnectionOptions(
            config,
            owner,
            parted.custom_user_vars,
            None,
            parted.connection_timeout,
            self._flow_manager_for(config) if facts.oauth_machinery else self._flow_manager,
        )
        lender, afterwards = self._lender(facts, owner, of_user), None
        if lender is self._users:
            key = self._users.key_of(server, made_from)
        elif lender is not None:
            key = Key(None, server)
            shared = config if owner is None else self._shared(server, config)
            made_from = made_from._replace(config=shared, user=None, custom_user_vars=None)
        elif facts.scope == "request":
            key = Key(as_user(owner).id, server)
            require_flow_manager(server, made_from)
            lender, afterwards = self._request(parted.request_body, parted.request_scope)
            made_from = made_from._replace(request_body=lender.body)
        else:
            raise _no_connection(server)
        if facts.templated or made_from.connection_timeout is not None:
            scope = _with_own(scope, made_from)
        return Lease(lender, key, made_from, scope, afterwards)

    def _shared(self, server: str, config: ServerConfig) -> ServerConfig:
        """Return the configuration of a server that is for everybody, whatever is said for one."""
        shared = self._require(server, None, None, None)
        if shared is not config and not facts_of(shared).app_level:
            raise _no_connection(server)
        return shared

    def _flow_manager_for(self, config: ServerConfig) -> FlowManager | None:
        found = self._flow_manager
        return found if found is not None and found.signs_in(config) else None

    def _close_leftovers(self, server: str, user: Any) -> None:
        """Close what the application, and the user who asks, have to a server that is gone."""
        self._app.has(server)
        try:
            self._users.disconnect_user_connection(as_user(user).id, server)
        except ConfigurationError:  # whoever asks has no connections
            return

    def _lender(self, facts: Facts, owner: User | None, of_user: bool) -> Lender | None:
        if facts.scope == "request":
            return None
        if facts.scope == "user" or of_user or (facts.scope is None and owner is not None):
            return self._users
        return self._app if facts.app_level else None

    def request_scope(self, body: Mapping[str, Any] | None) -> RequestScope:
        """Return the connections of one request; entering it makes it the thread's own."""
        scope = RequestScope({} if body is None else body, self._request_table, self._current)
        with self._lock:
            self._scopes.add(scope)
            closed = self._closed
        if closed:
            scope.close()
        return scope

    def _request(
        self, body: Mapping[str, Any] | None, inside: RequestScope | None
    ) -> tuple[RequestScope, Callable[[], object] | None]:
        """Return the connections of a request, and what is to be done when the call is over."""
        if inside is not None and not (
            isinstance(inside, RequestScope) and inside.is_of(self._current)
        ):
            raise ConfigurationError(
                "request_scope= takes what this manager's request_scope() gave."
            )
        current = inside if inside is not None else self._current.get()
        if body is None and current is not None:
            return current, None
        own = self.request_scope(body)
        return own, own.close

    def close(self, deadline: Deadline) -> None:
        """Close the connections of every request; there are none to be had any more. Works twice.

        Calls under way may end within three quarters of the time; then they are cut.
        """
        with self._lock:
            self._closed = True
            scopes = list(self._scopes)
        fan_out(
            "closer",
            lambda scope: scope.close(timeout=deadline.remaining()),
            scopes,
            limit=CLOSED_AT_ONCE,
        )

    def _forget(self) -> None:
        self._lock = new_lock("router")


def _with_own(scope: CallScope, made_from: ConnectionOptions) -> CallScope:
    """Return the scope of a call with what is the user's or the request's, and of it only.

    Raises:
        PlaceholderError: A value is missing. Not later: it would be others' error, too.
    """
    filled_in = fill_in(made_from)
    headers, names = scope.headers, facts_of(made_from.config).templated_headers
    if names and filled_in.type != "stdio":
        headers = {**{name: filled_in.headers[name] for name in names}, **(headers or {})}
    return _Scope(
        scope.deadline,
        scope.cancel,
        headers,
        scope.on_message,
        has_own_values=bool(scope.headers or made_from.custom_user_vars),
        has_own_limit=made_from.connection_timeout is not None,
    )


def _no_connection(server: str) -> ConfigurationError:
    return ConfigurationError(f'No connection found for server "{server}".', server_name=server)


def borrowed_once(lease: Lease) -> Connection:
    """Return a connection that is there afterwards, too; it is given back at once."""
    if lease.afterwards is not None:
        raise ConfigurationError(
            f'server "{lease.key.server_name}" needs values of one request: '
            "with manager.request_scope(body=…).",
            server_name=lease.key.server_name,
        )
    with lease as connection:
        return connection
