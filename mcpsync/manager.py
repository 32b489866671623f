"""``MCPManager``: many servers, many users, any thread."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from ._runtime.clock import Clock, SystemClock
from ._runtime.deadline import Deadline
from .client.options import (
    CLOSE_TIMEOUT,
    DEFAULT_TIMEOUT,
    CallOptions,
    checked_timeout,
    scope_of,
)
from .config import ServerConfig, as_user, load_servers, load_yaml
from .connections import (
    Connection,
    ConnectionFactory,
    ConnectionsRepository,
    UserConnectionManager,
)
from .errors import ConfigurationError, MCPSyncError, ServerNotFound
from .events import CallFinished, Event, EventSink, SweepFinished
from .http import Limits
from .http.settings import Session
from .session.callbacks import ProgressCallback
from .transports.base import CallScope

if TYPE_CHECKING:
    from mcp_types import CallToolResult

logger = logging.getLogger(__name__)

IDLE_TIMEOUT = 900.0


class MCPManager:
    """Calls tools of configured servers for users, over connections it keeps. Thread-safe.

    Each user has connections of his own; a call without a user goes over one that belongs to the
    application. Nothing is connected, and no thread started, before the first call. In a forked
    child it begins anew.

    Args:
        servers: Configurations by name: what YAML would hold, or config objects.
        idle_timeout: Seconds after which a connection that nobody uses is closed (15 minutes).
        timeout: Seconds a call may take where neither it nor the server's configuration says.
        on_event: Called with each event of :mod:`mcpsync.events`, on the thread it happens on.
        session: A ``requests.Session`` to take proxies, TLS settings and headers from.
        limits: How much a server may send.
        clock: Tells the time to the idle rule.

    Raises:
        ConfigurationError: A configuration is wrong; the server is named.
    """

    def __init__(
        self,
        servers: Mapping[str, ServerConfig | Mapping[str, Any]],
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        timeout: float = DEFAULT_TIMEOUT,
        on_event: EventSink | None = None,
        session: Session | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._servers = load_servers(servers)
        self._timeout = checked_timeout(timeout, DEFAULT_TIMEOUT)
        self._clock = clock if clock is not None else SystemClock()
        self._on_event = on_event
        factory = ConnectionFactory(
            self._config, timeout=self._timeout, session=session, limits=limits
        )
        emit = self._emit if on_event is not None else None
        self._users = UserConnectionManager(
            factory.create,
            idle_timeout=checked_timeout(idle_timeout, IDLE_TIMEOUT),
            clock=self._clock,
            emit=emit,
        )
        self._app = ConnectionsRepository(factory.create, clock=self._clock, emit=emit)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """Make a manager for the servers of a YAML file; *options* are the constructor's.

        Raises:
            ConfigurationError: The file, or a configuration in it, is wrong.
        """
        return cls(load_yaml(path), **options)

    @property
    def server_names(self) -> list[str]:
        """The names of the configured servers."""
        return list(self._servers)

    # -- calling ----------------------------------------------------------------------------------

    def call_tool(
        self,
        server: str,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        user: Any = None,
        progress_callback: ProgressCallback | None = None,
        **options: Unpack[CallOptions],
    ) -> CallToolResult:
        """Call a tool of a server, once, for a user.

        Args:
            server: The configured name.
            tool: The tool.
            arguments: Its arguments.
            user: A :class:`~mcpsync.User`, an id, or an object with an ``id``; None for a call on
                the application's own behalf.
            progress_callback: Called with progress, total and message, on this thread.
            options: See :class:`~mcpsync.client.options.CallOptions`. *timeout* bounds the whole
                call, waiting for a connection included.

        Raises:
            ServerNotFound: No server of that name is configured.
            MCPSyncError: As :meth:`mcpsync.Client.call_tool`.
        """
        began = self._clock.monotonic()
        failure: str | None = None
        try:
            scope = self._scope(server, options)
            with self._lease(server, user, scope) as connection:
                options["timeout"] = scope.deadline
                return connection.call_tool(
                    tool, arguments, progress_callback=progress_callback, **options
                )
        except MCPSyncError as error:
            failure = type(error).__name__
            error.with_context(server_name=server, user_id=_id_of(user), tool_name=tool)
            raise
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            if self._on_event is not None:
                seconds = self._clock.monotonic() - began
                self._emit(CallFinished(server, _id_of(user), tool, seconds, failure))

    def connection(
        self, server: str, *, user: Any = None, **options: Unpack[CallOptions]
    ) -> AbstractContextManager[Connection]:
        """Borrow a connection: ``with manager.connection("crm", user=user) as connection: …``.

        It is not closed under you by the sweeper or a disconnect; only by :meth:`close`.

        Raises:
            ServerNotFound: No server of that name is configured.
            MCPSyncError: It could not be made.
        """
        return self._lease(server, user, self._scope(server, options))

    def get_user_connection(
        self,
        server: str,
        *,
        user: Any,
        force_new: bool = False,
        **options: Unpack[CallOptions],
    ) -> Connection:
        """Return a user's connection to a server, making it if there is none.

        It is not borrowed: the sweeper closes it when it is idle. Prefer :meth:`connection`.

        Args:
            server: The configured name.
            user: See :meth:`call_tool`; it must have an id.
            force_new: Close the connection there is, and make another.
            options: Its *timeout* and *cancel* end this caller's wait.

        Raises:
            ConfigurationError: The user has no id.
            ServerNotFound: No server of that name is configured.
            MCPSyncError: It could not be made.
        """
        owner = as_user(user)
        scope = self._scope(server, options)
        return self._users.get_user_connection(server, owner, scope, force_new=force_new)

    # -- looking after ----------------------------------------------------------------------------

    def get_user_connections(self, user_id: str) -> dict[str, Connection]:
        """Return the connections of a user, by server name."""
        return self._users.get_user_connections(str(user_id))

    def disconnect_user_connection(self, user_id: str, server: str) -> None:
        """Close a user's connection to a server, after the calls under way on it."""
        self._users.disconnect_user_connection(str(user_id), server)

    def disconnect_user_connections(self, user_id: str) -> None:
        """Close all the connections of a user, after the calls under way on them."""
        self._users.disconnect_user_connections(str(user_id))

    def check_idle_connections(self, current_user_id: str | None = None) -> int:
        """Close what has been idle for too long now, and return how many that were.

        A thread of the manager does this by itself.

        Args:
            current_user_id: Whose connections are left alone.
        """
        return self._users.check_idle_connections(current_user_id)

    def get_connection_stats(self) -> dict[str, int]:
        """Return how many users and connections there are, of all kinds."""
        counts = self._users.counts()
        return {
            "tracked_users": counts.users,
            "total_connections": counts.connections,
            "activity_entries": counts.activity,
            "app_connection_count": self._app.get_connection_count(),
            "pending_connections": counts.pending,
            "leased_connections": counts.leased,
        }

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Close every connection; calls under way raise ``ConnectionClosed``. Works twice.

        Args:
            timeout: Seconds it may take in all.
        """
        deadline = Deadline(timeout)
        self._users.close(deadline)
        self._app.close(deadline)

    def _lease(
        self, server: str, user: Any, scope: CallScope
    ) -> AbstractContextManager[Connection]:
        if user is None:
            return self._app.lease(server, scope)
        return self._users.lease(server, as_user(user), scope)

    def _scope(self, server: str, options: CallOptions) -> CallScope:
        return scope_of(options, self._config(server).timeout or self._timeout)

    def _config(self, name: str) -> ServerConfig:
        config = self._servers.get(name)
        if config is None:
            near = difflib.get_close_matches(str(name), self._servers, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ServerNotFound(
                f'configuration for server "{name}" not found.{hint}', server_name=str(name)
            )
        return config

    def _emit(self, event: Event | SweepFinished) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("the event sink failed on %s", type(event).__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        counts = self._users.counts()
        return (
            f"<MCPManager {len(self._servers)} servers, {counts.users} users, "
            f"{counts.connections} connections, {counts.leased} leased>"
        )


def _id_of(user: Any) -> str | None:
    try:
        return None if user is None else as_user(user).id
    except ConfigurationError:
        return None
