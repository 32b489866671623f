"""What the commands ask of a server, within one budget of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from mcp_types import CallToolResult, PaginatedResult, Prompt, Resource, ResourceTemplate, Tool

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..client import Client
from ..client.options import CallOptions
from ..client.paging import pages
from ..errors import MCPError, MCPSyncError, RequestTimeout
from ..http import Limits
from ..session.callbacks import ProgressCallback
from ..session.wire import dumped
from .arguments import typed

P = TypeVar("P", bound=PaginatedResult)
T = TypeVar("T")


class Conversation:
    """A client, and how much time the whole command has left for it.

    Args:
        client: The client; whoever made it closes it.
        timeout: Seconds for everything together.
        cancel: Ends whatever is waited for.
    """

    def __init__(self, client: Client, timeout: float, cancel: Cancellation) -> None:
        self._client = client
        self._timeout = timeout
        self._deadline = Deadline(timeout)
        self._cancel = cancel

    def _options(self) -> CallOptions:
        self._deadline.check("asking the server")
        return {"timeout": self._deadline.remaining() or 1e-6, "cancel": self._cancel}

    def explain(self, error: MCPSyncError) -> None:
        """Have *error* name the server, and the time of the whole command if that ran out."""
        error.with_context(server_name=self._client.server_name)
        if isinstance(error, RequestTimeout) and self._deadline.expired and error.timeout:
            error.message = error.message.replace(f"{error.timeout:g} s", f"{self._timeout:g} s")
            error.timeout = self._timeout

    def tools(self) -> Iterator[Tool]:
        """Yield every tool."""
        ask = self._client.list_tools
        return _all(lambda at: ask(cursor=at, **self._options()), lambda page: page.tools)

    def resources(self) -> Iterator[Resource]:
        """Yield every resource."""
        ask = self._client.list_resources
        return _all(lambda at: ask(cursor=at, **self._options()), lambda page: page.resources)

    def resource_templates(self) -> Iterator[ResourceTemplate]:
        """Yield every resource template."""
        ask = self._client.list_resource_templates
        return _all(
            lambda at: ask(cursor=at, **self._options()), lambda page: page.resource_templates
        )

    def prompts(self) -> Iterator[Prompt]:
        """Yield every prompt."""
        ask = self._client.list_prompts
        return _all(lambda at: ask(cursor=at, **self._options()), lambda page: page.prompts)

    def call(
        self,
        tool: str,
        settled: Mapping[str, Any],
        texts: Mapping[str, str],
        progress: ProgressCallback | None,
    ) -> CallToolResult:
        """Call a tool.

        Args:
            tool: Its name.
            settled: Arguments as they are sent.
            texts: Arguments whose type the tool's schema says; it is looked up if there are any.
            progress: Called with each progress notification.

        Raises:
            click.UsageError: A text is not of the type the schema wants.
        """
        arguments = {**settled, **(typed(texts, self._schema(tool)) if texts else {})}
        return self._client.call_tool(
            tool, arguments, progress_callback=progress, **self._options()
        )

    def _schema(self, tool: str) -> Mapping[str, Any]:
        """Return the tool's input schema; an empty one if the server lists no such tool."""
        try:
            for found in self.tools():
                if found.name == tool:
                    return found.input_schema
        except MCPError:  # it does not list its tools; the call itself will tell
            pass
        return {}

    def facts(self) -> dict[str, Any]:
        """Return what the server says of itself, as JSON has it."""
        client = self._client.connect(**self._options())
        info = client.server_info
        return {
            "server": client.server_name,
            "protocolVersion": client.protocol_version,
            "serverInfo": None if info is None else dumped(info),
            "capabilities": dumped(client.server_capabilities),
            "instructions": client.instructions,
        }


def _all(fetch: Callable[[str | None], P], items: Callable[[P], list[T]]) -> Iterator[T]:
    """Yield the items of all pages. (The client's own iterators give each page all the time.)"""
    return pages(fetch, items, lambda page: page.next_cursor, Limits().max_pages)
