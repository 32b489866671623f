"""Asking a server for all its tools, within limits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..client.options import CallOptions
from ..client.paging import pages
from ..errors import LimitExceeded, MCPError, RequestTimeout
from ..protocol.codec import METHOD_NOT_FOUND
from ..protocol.versions import LEGACY_VERSIONS
from ..transports.base import CallScope
from .connection import Connection

if TYPE_CHECKING:
    from mcp_types import ListToolsResult, Tool

LISTING_TIMEOUT = 30.0  # seconds for all the pages [seed 2.1, as the next three]
MAX_PAGES = 50
MAX_TOOLS = 1000
MAX_BYTES = 5 * 1024 * 1024


class Catalogue:
    """The tools of a server as it listed them, whole. Immutable; shared by all who got the same.

    Args:
        tools: All of them.
        written: The same as JSON, one by one.
    """

    __slots__ = ("__weakref__", "digest", "tools")

    def __init__(self, tools: Iterable[Tool], written: Iterable[bytes]) -> None:
        self.tools = tuple(tools)
        digest = hashlib.sha256(usedforsecurity=False)
        for text in sorted(written):  # in another order they are the same tools
            digest.update(text + b"\n")
        self.digest = digest.digest()


def read_catalogue(connection: Connection, scope: CallScope) -> Catalogue:
    """Ask a connection's server for all its tools. One that does not say it has any has none.

    Raises:
        LimitExceeded: They are too many, too large, or too long in coming.
        MCPSyncError: They could not be listed, all of them.
    """
    deadline = scope.deadline.within(LISTING_TIMEOUT)
    try:
        return _read_all(connection, replace(scope, deadline=deadline))
    except RequestTimeout as error:
        if scope.deadline.expired:  # the caller's own; whoever joined him tries himself
            raise
        text = f"the server did not list its tools within {LISTING_TIMEOUT:g} s."
        raise LimitExceeded(text, **_whose(connection)) from error
    except LimitExceeded as error:
        error.with_context(**_whose(connection))
        raise


def _read_all(connection: Connection, scope: CallScope) -> Catalogue:
    tools: list[Tool] = []
    written: list[bytes] = []
    size = 0
    for tool in _every_tool(connection, scope):
        tools.append(tool)
        written.append(_as_json(tool))
        size += len(written[-1])
        if len(tools) > MAX_TOOLS:
            raise LimitExceeded(f"the server has more than {MAX_TOOLS} tools.")
        if size > MAX_BYTES:
            raise LimitExceeded(f"the server's tools have more than {MAX_BYTES} bytes.")
    return Catalogue(tools, written)


def _every_tool(connection: Connection, scope: CallScope) -> Iterator[Tool]:
    options: CallOptions = {
        "timeout": scope.deadline,
        "cancel": scope.cancel,
        "headers": scope.headers,
    }
    connection.connect(**options)
    legacy = connection.protocol_version in LEGACY_VERSIONS
    if legacy and connection.facts(**options).capabilities.tools is None:
        return
    try:
        first = connection.list_tools(cache_mode="bypass", **options)  # a catalogue is kept itself
    except MCPError as error:
        if error.code == METHOD_NOT_FOUND:  # that, too, says that it has none
            return
        raise

    def fetch(cursor: str | None) -> ListToolsResult:
        if cursor is None:
            return first
        return connection.list_tools(cursor=cursor, cache_mode="bypass", **options)

    yield from pages(fetch, lambda page: page.tools, lambda page: page.next_cursor, MAX_PAGES)


def _as_json(tool: Tool) -> bytes:
    try:
        return tool.model_dump_json(by_alias=True, exclude_unset=True).encode()
    except (ValueError, RecursionError) as error:
        raise LimitExceeded("one of the server's tools is nested too deeply.") from error


def _whose(connection: Connection) -> dict[str, str | None]:
    return {"server_name": connection.server_name, "user_id": connection.user_id}
