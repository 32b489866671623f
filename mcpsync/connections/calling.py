"""The calls of a manager: over whose connection, and told of; going on with one later."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from .._runtime.clock import Clock
from ..config import as_user
from ..errors import (
    AuthorizationRequired,
    ConfigurationError,
    InputRequired,
    MCPSyncError,
    RefusedError,
)
from ..events import CallFinished, Emit, EventSink
from ..session.callbacks import ProgressCallback
from .connection import Connection
from .disposal import Lease
from .options import ManagerOptions
from .routing import Router
from .signing_in import SignIns, WhoMayWait

if TYPE_CHECKING:
    from mcp_types import CallToolResult, GetPromptResult, ReadResourceResult

T = TypeVar("T")


class Calling:
    """What a manager calls with."""

    _router: Router
    _clock: Clock
    _on_event: EventSink | None
    _emit: Emit
    _sign_ins: SignIns

    def call_tool(
        self,
        server: str,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        user: Any = None,
        progress_callback: ProgressCallback | None = None,
        **options: Unpack[ManagerOptions],
    ) -> CallToolResult:
        """Call a tool of a server, once, for a user.

        Args:
            server: The configured name.
            tool: The tool.
            arguments: Its arguments.
            user: A :class:`~mcpsync.User`, an id, or an object with an ``id``; None for a call on
                the application's own behalf.
            progress_callback: Called with progress, total and message, on this thread.
            options: See :class:`~mcpsync.client.options.CallOptions` and
                :class:`ConnectOptions`. *timeout* bounds the whole call, waiting for a
                connection included.

        Raises:
            ServerNotFound: No server of that name is configured.
            PlaceholderError: The configuration needs a value that is not there. Nothing was sent.
            CircuitOpen: The server failed too often lately. Nothing was sent.
            MCPSyncError: As :meth:`mcpsync.Client.call_tool`.
        """

        def call(lease: Lease) -> CallToolResult:
            with lease as connection:
                return connection.call_tool_in(
                    lease.scope, tool, arguments, progress_callback, options.get("meta")
                )

        began = 0.0 if self._on_event is None else self._clock.monotonic()
        failure: str | None = None
        try:
            return self._leased(server, user, options, call)
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

    def _leased(
        self,
        server: str,
        user: Any,
        options: ManagerOptions,
        do: Callable[[Lease], T],
        *,
        of_user: bool = False,
    ) -> T:
        """Do it over a lease; where the caller waits for a user to sign in, once more after that.

        What was turned down for want of a sign-in has not been run.
        """
        lease = self._router.lease(server, user, options, of_user=of_user)
        try:
            return do(lease)
        except AuthorizationRequired as required:
            again: ManagerOptions = {**options, "timeout": lease.scope.deadline}
            who = WhoMayWait(
                options.get("oauth_start"),
                options.get("oauth_end"),
                bool(options.get("return_on_oauth")),
            )
            return self._sign_ins.go_on(
                required,
                lease.scope,
                who,
                lambda: do(self._router.lease(server, user, again, of_user=of_user)),
            )

    @contextlib.contextmanager
    def _lent(self, server: str, user: Any, options: ManagerOptions) -> Iterator[Connection]:
        """Lend a connection to a caller who waits for a user who has to sign in."""
        with contextlib.ExitStack() as lent:
            yield self._leased(server, user, options, lent.enter_context)

    def resume(
        self,
        required: InputRequired,
        responses: Mapping[str, Any],
        *,
        user: Any = None,
        **options: Unpack[ManagerOptions],
    ) -> CallToolResult | GetPromptResult | ReadResourceResult:
        """Make the request again that led to ``InputRequired``, with the answers.

        It goes to the same server for the same user, from whatever process.

        Args:
            required: What was raised, or made by ``InputRequired.from_dict``.
            responses: The answers; see :meth:`mcpsync.Client.resume`.
            user: The user, where the configuration wants to know more of him than his id.
            options: As for :meth:`call_tool`.

        Raises:
            RefusedError: It is another user than the one who was asked. Nothing was sent.
            ConfigurationError: The answers do not answer what was asked. Nothing was sent.
            MCPSyncError: As :meth:`call_tool`.
        """
        server = getattr(required, "server_name", None)
        if not isinstance(required, InputRequired) or server is None:
            raise ConfigurationError("there is nothing to resume: this is no InputRequired.")
        if user is None:
            user = required.user_id
        elif as_user(user).id != required.user_id:
            raise RefusedError(
                "what one user was asked is not for another to answer.",
                server_name=server,
                user_id=required.user_id,
            )

        def resume(
            lease: Lease,
        ) -> CallToolResult | GetPromptResult | ReadResourceResult:
            with lease as connection:
                scope = lease.scope
                return connection.resume(
                    required,
                    responses,
                    timeout=scope.deadline,
                    cancel=scope.cancel,
                    headers=scope.headers,
                    meta=options.get("meta"),
                )

        with self._telling(server, required.user_id, required.tool_name):
            return self._leased(server, user, options, resume)

    @contextlib.contextmanager
    def _telling(self, server: str, user_id: str | None, tool: str | None) -> Iterator[None]:
        """Have errors say whose they are, and observers hear of a tool call's end."""
        began, failure = self._clock.monotonic(), None
        try:
            yield
        except BaseException as error:
            failure = type(error).__name__
            if isinstance(error, MCPSyncError):
                error.with_context(server_name=server, user_id=user_id, tool_name=tool)
            raise
        finally:
            if self._on_event is not None and tool is not None:
                seconds = self._clock.monotonic() - began
                self._emit(CallFinished(server, user_id, tool, seconds, failure))


def _id_of(user: Any) -> str | None:
    try:
        return None if user is None else as_user(user).id
    except ConfigurationError:
        return None
