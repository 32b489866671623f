"""``Client``: one MCP server, called from any thread."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, Unpack

from pydantic import BaseModel

from .._runtime.deadline import Deadline
from ..config import ServerConfig, parse_server
from ..config.placeholders import resolve
from ..errors import ConfigurationError, MCPSyncError
from ..http import Limits
from ..http.settings import Auth, Session
from ..protocol.lifecycle import State
from ..protocol.versions import MODERN_VERSIONS
from ..security.redaction import safe_url
from ..session.base import ServerFacts
from ..session.callbacks import Callbacks, LoggingCallback, MessageHandler
from ..session.opening import Opening
from ..version import __version__
from .carriers import carrier_for
from .core import SessionKeeper
from .features import Features
from .options import (
    CLOSE_TIMEOUT,
    DEFAULT_TIMEOUT,
    CallOptions,
    checked_timeout,
)

if TYPE_CHECKING:
    import mcp_types as types

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound="types.PaginatedResult")
T = TypeVar("T")


class Client(Features):
    """A blocking client for one MCP server: ``mcp.Client`` without ``await``.

    It connects on first use, may be shared by any number of threads, survives a restart of the
    server, and begins anew in a forked child. ``with`` closes it at the end.

    Args:
        server: A URL (streamable HTTP, HTTP+SSE where that is all there is, or WebSocket if it
            begins with ``ws://`` or ``wss://``), or a :class:`StdioServerParameters` (a command
            to start), or any server configuration.
        headers: Sent with every HTTP request.
        auth: ``(user, password)``, a :class:`BearerAuth`, or any ``requests`` auth callable;
            asked for every request.
        timeout: Seconds a call may take unless it says otherwise; ``math.inf`` for no limit.
        session: A configured ``requests.Session``: its proxies, ``verify``, ``cert``, headers and
            auth are read now. It is neither kept nor closed.
        mode: ``"auto"`` asks the server for its era, ``"legacy"`` shakes hands at once, and a
            modern version (``"2026-07-28"``) is spoken without asking.
        read_timeout_seconds: Another name for *timeout*, as the official SDK has it.
        client_info: How to introduce ourselves.
        logging_callback: Called with each log message that comes while a call waits.
        log_level: From which level on a modern server is asked for log messages.
        message_handler: Called with each other notification, as its ``mcp_types`` model.
        limits: How much the server may send.
        server_name: What errors call the server; its URL or command by default.

    Raises:
        ConfigurationError: One of the arguments is not usable. Nothing is started.
        PlaceholderError: The configuration has ``{{NAME}}`` in it: who fills those in is
            :class:`~mcpsync.MCPManager`.
    """

    def __init__(
        self,
        server: str | ServerConfig,
        *,
        headers: Mapping[str, str] | None = None,
        auth: Auth = None,
        timeout: float | None = None,
        session: Session | None = None,
        mode: str = "auto",
        read_timeout_seconds: float | None = None,
        client_info: types.Implementation | None = None,
        logging_callback: LoggingCallback | None = None,
        log_level: types.LoggingLevel | None = None,
        message_handler: MessageHandler | None = None,
        limits: Limits | None = None,
        server_name: str | None = None,
    ) -> None:
        config = _config_of(server)
        if mode not in ("auto", "legacy", *MODERN_VERSIONS):
            raise ConfigurationError(
                f"mode= is 'auto', 'legacy' or {' or '.join(map(repr, MODERN_VERSIONS))}, "
                f"not {mode!r}."
            )
        self.server_name = server_name if server_name is not None else config.target
        config = resolve(  # nothing is filled in here: a placeholder that is left is refused
            config, user=None, custom_user_vars=None, body=None, server_name=self.server_name
        )
        self.user_id: str | None = None
        self._limits = limits if limits is not None else Limits()
        given = timeout if timeout is not None else read_timeout_seconds
        self._timeout = checked_timeout(given, config.timeout or DEFAULT_TIMEOUT)
        try:
            carrier = carrier_for(
                config, headers=headers, auth=auth, session=session, limits=self._limits
            )
            callbacks = Callbacks(
                client_info or _introduction(), logging_callback, message_handler, log_level
            )
            opening = Opening(carrier, callbacks, mode)
        except ConfigurationError as error:
            error.with_context(server_name=self.server_name)
            raise
        self._keeper = SessionKeeper(opening, carrier.origin, config.connect_timeout)

    # -- the conversation -------------------------------------------------------------------------

    def connect(self, **options: Unpack[CallOptions]) -> Self:
        """Connect now instead of on first use. Does nothing if connected.

        Raises:
            MCPSyncError: It did not work out; the client may try again.
        """
        call = self._call(options)
        try:
            self._keeper.session(call)
        except MCPSyncError as error:
            error.with_context(server_name=self.server_name, user_id=self.user_id)
            raise
        return self

    def close(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """End the session and its calls, which raise ``ConnectionClosed``. Works twice.

        Args:
            timeout: Seconds that saying goodbye, or ending a child process, may take.
        """
        self._keeper.close(Deadline(timeout))

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._keeper.state

    def _facts(self, options: CallOptions | None = None) -> ServerFacts:
        call = self._call(options or {})
        try:
            return self._keeper.session(call).facts(call)
        except MCPSyncError as error:
            error.with_context(server_name=self.server_name, user_id=self.user_id)
            raise

    @property
    def protocol_version(self) -> str:
        """The protocol version that was negotiated. Connects if need be."""
        self.connect()
        return self._keeper.session(self._call({})).protocol_version

    @property
    def server_info(self) -> types.Implementation | None:
        """What the server calls itself; for display only. Connects if need be."""
        return self._facts().server_info

    @property
    def server_capabilities(self) -> types.ServerCapabilities:
        """What the server can do. Connects if need be."""
        return self._facts().capabilities

    @property
    def instructions(self) -> str | None:
        """How the server wants to be used, in its own words. Connects if need be."""
        return self._facts().instructions

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
        user = f" user={self.user_id!r}" if self.user_id is not None else ""
        return f"<{type(self).__name__} {self.server_name!r}{user} {self.state}>"


def _config_of(server: str | ServerConfig) -> ServerConfig:
    if isinstance(server, ServerConfig):
        return server
    if isinstance(server, str):
        return parse_server(safe_url(server), {"url": server})
    raise ConfigurationError(
        "a server is a URL, a StdioServerParameters or a server configuration, "
        f"not {type(server).__name__}."
    )


def _introduction() -> types.Implementation:
    from mcp_types import Implementation

    return Implementation(name="mcpsync", version=__version__)
