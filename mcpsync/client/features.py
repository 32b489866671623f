"""The requests a client makes, a method for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import BaseModel

from ..errors import MCPError
from ..session.base import Call
from ..session.callbacks import ProgressCallback
from .caching import CacheMode
from .calling import Calling
from .options import CallOptions

if TYPE_CHECKING:
    import mcp_types as types


class Features(Calling):
    """Tools, resources, prompts and the rest of what a server may be asked."""

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
        if read_timeout_seconds is not None:
            options.setdefault("timeout", read_timeout_seconds)
        return self._call_tool(self._call(options, progress_callback), name, arguments)

    def _call_tool(
        self, call: Call, name: str, arguments: Mapping[str, Any] | None
    ) -> types.CallToolResult:
        from mcp_types import CallToolResult

        arguments = self._object(arguments, "arguments", name)
        params = {"name": name, "arguments": arguments}
        mirroring = self._mirroring(call, name, arguments)
        try:
            result = self._ask_in(mirroring, "tools/call", params, CallToolResult, name)
        except MCPError as error:
            mirroring = self._mirroring_anew(mirroring, name, arguments, error)
            result = self._ask_in(mirroring, "tools/call", params, CallToolResult, name)
        return self._checked(call, name, result)

    def list_tools(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListToolsResult:
        """Return one page of tools; the first, or the one *cursor* stands for.

        In the modern era tools that break the rules of ``x-mcp-header`` are left out, over HTTP.

        Args:
            cursor: The page's, as the page before it named it.
            cache_mode: ``"use"`` takes a page that the server said is still good; ``"refresh"``
                asks and keeps the answer; ``"bypass"`` asks and leaves what is kept alone.
            options: See :class:`CallOptions`.
        """
        from mcp_types import ListToolsResult

        page = self._ask_cached(
            "tools/list", cursor, _page(cursor), ListToolsResult, options, cache_mode
        )
        return self._learn(page, cursor)

    def tools(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.Tool]:
        """Yield every tool, page by page as they are needed; *timeout* is for each page."""
        return self._every(self.list_tools, lambda page: page.tools, options, cache_mode)

    # -- resources ----------------------------------------------------------------------------

    def list_resources(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListResourcesResult:
        """Return one page of resources."""
        from mcp_types import ListResourcesResult

        return self._ask_cached(
            "resources/list", cursor, _page(cursor), ListResourcesResult, options, cache_mode
        )

    def resources(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.Resource]:
        """Yield every resource; *timeout* is for each page."""
        return self._every(self.list_resources, lambda page: page.resources, options, cache_mode)

    def list_resource_templates(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListResourceTemplatesResult:
        """Return one page of resource templates."""
        from mcp_types import ListResourceTemplatesResult

        method, model = "resources/templates/list", ListResourceTemplatesResult
        return self._ask_cached(method, cursor, _page(cursor), model, options, cache_mode)

    def resource_templates(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.ResourceTemplate]:
        """Yield every resource template; *timeout* is for each page."""
        fetch = self.list_resource_templates
        return self._every(fetch, lambda page: page.resource_templates, options, cache_mode)

    def read_resource(
        self, uri: str, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> types.ReadResourceResult:
        """Return the contents of the resource *uri*."""
        from mcp_types import ReadResourceResult

        params, model = {"uri": str(uri)}, ReadResourceResult
        return self._ask_cached("resources/read", str(uri), params, model, options, cache_mode)

    # -- prompts, completion, the rest --------------------------------------------------------

    def list_prompts(
        self,
        *,
        cursor: str | None = None,
        cache_mode: CacheMode = "use",
        **options: Unpack[CallOptions],
    ) -> types.ListPromptsResult:
        """Return one page of prompts."""
        from mcp_types import ListPromptsResult

        return self._ask_cached(
            "prompts/list", cursor, _page(cursor), ListPromptsResult, options, cache_mode
        )

    def prompts(
        self, *, cache_mode: CacheMode = "use", **options: Unpack[CallOptions]
    ) -> Iterator[types.Prompt]:
        """Yield every prompt; *timeout* is for each page."""
        return self._every(self.list_prompts, lambda page: page.prompts, options, cache_mode)

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


def _page(cursor: str | None) -> dict[str, str] | None:
    return None if cursor is None else {"cursor": cursor}
