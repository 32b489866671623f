"""``Client``: one MCP server, called from any thread."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, Unpack
from urllib.parse import urlsplit

from pydantic import BaseModel

from .._runtime.deadline import Deadline
from ..config import HttpServerConfig, ServerConfig, parse_server
from ..config.placeholders import resolve
from ..errors import ConfigurationError, MCPSyncError
from ..http import Limits
from ..http.settings import Auth, Session
from ..protocol.lifecycle import State
from ..protocol.versions import MODERN_VERSIONS
from ..security.redaction import safe_url
from ..session.answers import (
    ElicitationCallback,
    ListRootsCallback,
    SamplingCallback,
)
from ..session.callbacks import MAX_ROUNDS, Callbacks, LoggingCallback, MessageHandler
from ..session.facts import ServerFacts
from ..session.opening import Opening
from ..session.tracing import Peer, Tracing
from ..version import __version__
from .caching import DEFAULT_CACHE, CacheConfig, ResponseCache
from .carriers import carrier_for
from .core import SessionKeeper
from .extensions import TASKS, Extensions, result_types_of, settings_of
from .features import Features
from .known_tools import KnownTools
from .options import (
    CLOSE_TIMEOUT,
    DEFAULT_TIMEOUT,
    AnsweringOptions,
    CallOptions,
    answers_of,
    checked_timeout,
)
from .tasks import ToolTasks

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
        elicitation_callback: Asks the user what the server wants to know. This and the next two
            run on the thread of the call that waits, within its *timeout*; the server is told that
            we can do what there is a callback for. See :mod:`mcpsync.session.answers`.
        elicitation_capabilities: Which modes it can: forms alone by default; with ``url`` it may
            be asked to have the user visit a page.
        sampling_callback: Asks a language model for the server.
        sampling_capabilities: What it can besides, such as tools.
        list_roots_callback: Says which directories the server may look at.
        input_required_max_rounds: How often one request is sent again with what a modern server
            asked for; with 0 the call raises ``InputRequired`` and :meth:`resume` goes on.
        extensions: What to offer servers besides the core protocol: ids and their settings, or
            extensions such as :class:`TasksExtension` and those that :func:`advertise` returns.
        tracing: What traces the requests, such as
            :class:`mcpsync.observability.OpenTelemetryTracing`.
        limits: How much the server may send.
        cache: How listings and resources are kept that the server says are good for a while
            (:class:`CacheConfig`); None to keep nothing.
        validate_structured_content: Whether a tool's structured content is held against its
            ``outputSchema``, if the tool was listed before.
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
        elicitation_callback: ElicitationCallback | None = None,
        elicitation_capabilities: types.ElicitationCapability | None = None,
        sampling_callback: SamplingCallback | None = None,
        sampling_capabilities: types.SamplingCapability | None = None,
        list_roots_callback: ListRootsCallback | None = None,
        input_required_max_rounds: int = MAX_ROUNDS,
        extensions: Extensions | None = None,
        tracing: Tracing | None = None,
        limits: Limits | None = None,
        cache: CacheConfig | ResponseCache | None = DEFAULT_CACHE,
        validate_structured_content: bool = True,
        server_name: str | None = None,
    ) -> None:
        config = _config_of(server)
        _check_mode(mode)
        self.server_name = server_name if server_name is not None else config.target
        config = resolve(  # nothing is filled in here: a placeholder that is left is refused
            config, user=None, custom_user_vars=None, body=None, server_name=self.server_name
        )
        self._limits = limits if limits is not None else Limits()
        given = timeout if timeout is not None else read_timeout_seconds
        self._timeout = checked_timeout(given, config.timeout or DEFAULT_TIMEOUT)
        self._extensions = settings_of(extensions)
        if tracing is not None:
            self._tracing, self._peer = tracing, _peer_of(config)
        self._over_http = isinstance(config, HttpServerConfig)
        self._known = KnownTools(with_output=validate_structured_content)
        self._cache = ResponseCache(cache) if isinstance(cache, CacheConfig) else cache
        answering: AnsweringOptions = {
            "elicitation_callback": elicitation_callback,
            "elicitation_capabilities": elicitation_capabilities,
            "sampling_callback": sampling_callback,
            "sampling_capabilities": sampling_capabilities,
            "list_roots_callback": list_roots_callback,
            "input_required_max_rounds": input_required_max_rounds,
        }
        answers = answers_of(self.server_name, self.user_id, answering)
        callbacks = Callbacks(
            client_info or _introduction(),
            logging_callback,
            message_handler,
            log_level,
            self._extensions,
            result_types_of(self._extensions),
            answers=answers,
            max_rounds=input_required_max_rounds,
            on_notification=None if self._cache is None else self._cache.notified,
        )
        try:
            carrier = carrier_for(
                config, headers=headers, auth=auth, session=session, limits=self._limits
            )
            opening = Opening(carrier, callbacks, mode)
        except ConfigurationError as error:
            error.with_context(server_name=self.server_name)
            raise
        self._keeper = SessionKeeper(opening, carrier.origin, config.connect_timeout)
        self._tool_tasks = ToolTasks(
            self._keeper, TASKS in self._extensions, self._limits.max_pages
        )

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
        info = self._facts().server_info
        return None if info is None else info.model_copy(deep=True)

    @property
    def server_capabilities(self) -> types.ServerCapabilities:
        """What the server can do. Connects if need be."""
        return self._facts().capabilities.model_copy(deep=True)

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


def _check_mode(mode: str) -> None:
    if mode not in ("auto", "legacy", *MODERN_VERSIONS):
        raise ConfigurationError(
            f"mode= is 'auto', 'legacy' or {' or '.join(map(repr, MODERN_VERSIONS))}, not {mode!r}."
        )


def _config_of(server: str | ServerConfig) -> ServerConfig:
    if isinstance(server, ServerConfig):
        return server
    if isinstance(server, str):
        return parse_server(safe_url(server), {"url": server})
    raise ConfigurationError(
        "a server is a URL, a StdioServerParameters or a server configuration, "
        f"not {type(server).__name__}."
    )


def _peer_of(config: ServerConfig) -> Peer:
    if not isinstance(config, HttpServerConfig):
        return Peer()
    url = urlsplit(config.url)
    return Peer("tcp", url.hostname, url.port or (443 if url.scheme == "https" else 80))


@functools.cache
def _introduction() -> types.Implementation:
    from mcp_types import Implementation

    return Implementation(name="mcpsync", version=__version__)
