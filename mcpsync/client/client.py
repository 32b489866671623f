"""``Client``: one MCP server, called from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

from pydantic import BaseModel

from .._runtime.deadline import Deadline
from .._runtime.fork import notice_fork
from ..config import HttpServerConfig, ServerConfig, StdioServerConfig, parse_server
from ..config.placeholders import resolve
from ..errors import ConfigurationError, MCPSyncError
from ..http import Limits
from ..http.settings import Auth, Session
from ..protocol.lifecycle import State
from ..protocol.versions import MODERN_VERSIONS
from ..security.redaction import safe_url
from ..session.base import Call, ServerFacts
from ..session.callbacks import Callbacks, LoggingCallback, MessageHandler, ProgressCallback
from ..session.opening import Opening
from ..session.wire import validated
from ..version import __version__
from .carriers import carrier_for
from .core import SessionKeeper
from .options import (
    CLOSE_TIMEOUT,
    DEFAULT_TIMEOUT,
    CallOptions,
    check_options,
    checked_timeout,
    scope_of,
)
from .paging import pages

if TYPE_CHECKING:
    import mcp_types as types

M = TypeVar("M", bound=BaseModel)
P = TypeVar("P", bound="types.PaginatedResult")
T = TypeVar("T")


class Client:
    """A blocking client for one MCP server: ``mcp.Client`` without ``await``.

    It connects on first use, may be shared by any number of threads, survives a restart of the
    server, and begins anew in a forked child. ``with`` closes it at the end.

    Args:
        server: A URL (streamable HTTP), or a :class:`StdioServerParameters` (a command to start),
            or any server configuration.
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
        except ConfigurationError as error:
            error.with_context(server_name=self.server_name)
            raise
        callbacks = Callbacks(
            client_info or _introduction(), logging_callback, message_handler, log_level
        )
        self._keeper = SessionKeeper(
            Opening(carrier, callbacks, mode), carrier.origin, config.connect_timeout
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
        return self._facts().server_info

    @property
    def server_capabilities(self) -> types.ServerCapabilities:
        """What the server can do. Connects if need be."""
        return self._facts().capabilities

    @property
    def instructions(self) -> str | None:
        """How the server wants to be used, in its own words. Connects if need be."""
        return self._facts().instructions

    # -- tools --------------------------------------------------------------------------------

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        read_timeout_seconds: float | None = None,
        progress_callback: ProgressCallback | None = None,
        **options: Unpack[CallOptions],
    ) -> types.CallToolResult:
        """Call a tool, once.

        A tool that fails gives a result whose ``is_error`` is true; that is not an exception.

        Args:
            name: The tool.
            arguments: Its arguments, as JSON has them.
            read_timeout_seconds: Another name for *timeout*, as the official SDK has it.
            progress_callback: Called with progress, total and message, on this thread.
            options: See :class:`CallOptions`.

        Raises:
            MCPError: The server turned the call down, for instance because there is no such tool.
            ConnectionLost, RequestTimeout, RequestCancelled: ``maybe_executed`` says whether the
                server may have run the tool.
            MCPSyncError: See :mod:`mcpsync.errors` for the others.
        """
        from mcp_types import CallToolResult

        if read_timeout_seconds is not None:
            options.setdefault("timeout", read_timeout_seconds)
        params = {"name": name, "arguments": self._object(arguments, "arguments", name)}
        return self._ask(
            "tools/call", params, CallToolResult, options, progress_callback, tool_name=name
        )

    def list_tools(
        self, *, cursor: str | None = None, **options: Unpack[CallOptions]
    ) -> types.ListToolsResult:
        """Return one page of tools; the first, or the one *cursor* stands for."""
        from mcp_types import ListToolsResult

        return self._ask("tools/list", _page(cursor), ListToolsResult, options)

    def tools(self, **options: Unpack[CallOptions]) -> Iterator[types.Tool]:
        """Yield every tool, page by page as they are needed; *timeout* is for each page."""
        return self._every(self.list_tools, lambda page: page.tools, options)

    # -- resources ----------------------------------------------------------------------------

    def list_resources(
        self, *, cursor: str | None = None, **options: Unpack[CallOptions]
    ) -> types.ListResourcesResult:
        """Return one page of resources."""
        from mcp_types import ListResourcesResult

        return self._ask("resources/list", _page(cursor), ListResourcesResult, options)

    def resources(self, **options: Unpack[CallOptions]) -> Iterator[types.Resource]:
        """Yield every resource; *timeout* is for each page."""
        return self._every(self.list_resources, lambda page: page.resources, options)

    def list_resource_templates(
        self, *, cursor: str | None = None, **options: Unpack[CallOptions]
    ) -> types.ListResourceTemplatesResult:
        """Return one page of resource templates."""
        from mcp_types import ListResourceTemplatesResult

        return self._ask(
            "resources/templates/list", _page(cursor), ListResourceTemplatesResult, options
        )

    def resource_templates(
        self, **options: Unpack[CallOptions]
    ) -> Iterator[types.ResourceTemplate]:
        """Yield every resource template; *timeout* is for each page."""
        fetch = self.list_resource_templates
        return self._every(fetch, lambda page: page.resource_templates, options)

    def read_resource(self, uri: str, **options: Unpack[CallOptions]) -> types.ReadResourceResult:
        """Return the contents of the resource *uri*."""
        from mcp_types import ReadResourceResult

        return self._ask("resources/read", {"uri": str(uri)}, ReadResourceResult, options)

    # -- prompts, completion, the rest --------------------------------------------------------

    def list_prompts(
        self, *, cursor: str | None = None, **options: Unpack[CallOptions]
    ) -> types.ListPromptsResult:
        """Return one page of prompts."""
        from mcp_types import ListPromptsResult

        return self._ask("prompts/list", _page(cursor), ListPromptsResult, options)

    def prompts(self, **options: Unpack[CallOptions]) -> Iterator[types.Prompt]:
        """Yield every prompt; *timeout* is for each page."""
        return self._every(self.list_prompts, lambda page: page.prompts, options)

    def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        **options: Unpack[CallOptions],
    ) -> types.GetPromptResult:
        """Return the messages of the prompt *name*."""
        from mcp_types import GetPromptResult

        params: dict[str, Any] = {"name": name}
        if arguments is not None:
            params["arguments"] = self._object(arguments, "arguments")
        return self._ask("prompts/get", params, GetPromptResult, options)

    def complete(
        self,
        ref: types.PromptReference | types.ResourceTemplateReference | Mapping[str, Any],
        argument: Mapping[str, str],
        context_arguments: Mapping[str, str] | None = None,
        **options: Unpack[CallOptions],
    ) -> types.CompleteResult:
        """Return what the server suggests for one argument of a prompt or resource template.

        Args:
            ref: The prompt or the template.
            argument: ``{"name": …, "value": …}``: the argument, and what was typed so far.
            context_arguments: Arguments that are settled already.
            options: See :class:`CallOptions`.
        """
        from mcp_types import CompleteResult

        reference = (
            ref.model_dump(by_alias=True, exclude_none=True) if isinstance(ref, BaseModel) else ref
        )
        params: dict[str, Any] = {"ref": reference, "argument": self._object(argument, "argument")}
        if context_arguments is not None:
            params["context"] = {"arguments": self._object(context_arguments, "context_arguments")}
        return self._ask("completion/complete", params, CompleteResult, options)

    def send_ping(self, **options: Unpack[CallOptions]) -> types.EmptyResult:
        """Ask a legacy server whether it is there; the modern era has no ping."""
        from mcp_types import EmptyResult

        return self._ask("ping", None, EmptyResult, options)

    def set_logging_level(
        self, level: types.LoggingLevel, **options: Unpack[CallOptions]
    ) -> types.EmptyResult:
        """Ask a legacy server for log messages from *level* on; modern: ``Client(log_level=)``."""
        from mcp_types import EmptyResult

        return self._ask("logging/setLevel", {"level": level}, EmptyResult, options)

    # -- how a call is made -------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        model: type[M],
        options: CallOptions,
        progress: ProgressCallback | None = None,
        tool_name: str | None = None,
    ) -> M:
        return self._ask_in(self._call(options, progress), method, params, model, tool_name)

    def _ask_in(
        self,
        call: Call,
        method: str,
        params: Mapping[str, Any] | None,
        model: type[M],
        tool_name: str | None,
    ) -> M:
        try:
            return validated(model, self._keeper.request(method, params, call))
        except MCPSyncError as error:
            error.with_context(
                server_name=self.server_name,
                user_id=self.user_id,
                tool_name=tool_name,
                method=method,
            )
            raise

    def _every(
        self, page_of: Callable[..., P], items: Callable[[P], list[T]], options: CallOptions
    ) -> Iterator[T]:
        check_options(options)  # now, and not when the first item is asked for
        return self._pages(lambda cursor: page_of(cursor=cursor, **options), items)

    def _pages(
        self, fetch: Callable[[str | None], P], items: Callable[[P], list[T]]
    ) -> Iterator[T]:
        try:
            yield from pages(fetch, items, lambda page: page.next_cursor, self._limits.max_pages)
        except MCPSyncError as error:
            error.with_context(server_name=self.server_name, user_id=self.user_id)
            raise

    def _object(self, value: Any, what: str, tool_name: str | None = None) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{what} must be a mapping of names to values, not {type(value).__name__}.",
                server_name=self.server_name,
                user_id=self.user_id,
                tool_name=tool_name,
            )
        return value

    def _call(self, options: CallOptions, progress: ProgressCallback | None = None) -> Call:
        notice_fork()  # here, since every way in comes by
        return Call(scope_of(options, self._timeout), progress, options.get("meta"))

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
    if isinstance(server, HttpServerConfig | StdioServerConfig):
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


def _page(cursor: str | None) -> dict[str, str] | None:
    return None if cursor is None else {"cursor": cursor}
