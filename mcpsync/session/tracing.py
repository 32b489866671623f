"""What traces requests: a protocol, so that no floor knows who does it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """A request that a client is about to make, as far as a trace may tell of it.

    There are no arguments and no results in it.

    Attributes:
        method: The MCP method.
        name: The tool or prompt that is asked for, if one is.
        uri: The resource, if one is asked for.
        server_name: The server, as the application calls it.
        user_id: The user whose connection it is, if a manager made it.
        transport: ``"tcp"`` or ``"pipe"``.
        address: The server's host, if it has one.
        port: Its port.
    """

    method: str
    name: str | None
    uri: str | None
    server_name: str
    user_id: str | None
    transport: str
    address: str | None
    port: int | None


class Span(Protocol):
    """One request, while it is made."""

    meta: Mapping[str, str]
    """What goes into the request's ``_meta``, so that the server can go on with the trace."""

    def answered(self, *, is_error: bool, protocol_version: str | None) -> None:
        """Take note of an answer; *is_error* is that of a tool's result."""


class Tracing(Protocol):
    """Traces requests. It is called from many threads."""

    def request(self, request: TracedRequest, /) -> AbstractContextManager[Span]:
        """Return what is entered on the caller's thread, and left with the error if there is one.

        A request that is carried out as a task, or takes several rounds, is one.
        """


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a server is: one of a :class:`TracedRequest`'s attributes, worked out once."""

    transport: str = "pipe"
    address: str | None = None
    port: int | None = None
