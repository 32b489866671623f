"""What observers may see: frozen records, and where they are sent.

Events are emitted with no lock held, on the thread that did the thing. A sink that raises is
logged and otherwise ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the connection of one user to one server.

    Attributes:
        server_name: The server, as configured.
        user_id: The user, or None for a connection that belongs to the application.
    """

    server_name: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class ConnectionCreated(Event):
    """A connection was made, in *seconds*."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionJoined(Event):
    """A caller waits for a connection that another caller is making."""


@dataclass(frozen=True, slots=True)
class ConnectionReused(Event):
    """A caller was given a connection that was there."""


@dataclass(frozen=True, slots=True)
class ConnectionFailed(Event):
    """A connection could not be made; *error* is the name of the exception's class."""

    error: str


@dataclass(frozen=True, slots=True)
class ConnectionRetried(Event):
    """Attempt number *attempt* at a connection failed; the next one begins in *delay* seconds.

    Attributes:
        attempt: 1 for the first.
        delay: In seconds.
        error: The name of the exception's class.
    """

    attempt: int
    delay: float
    error: str


@dataclass(frozen=True, slots=True)
class ConnectionClosed(Event):
    """A connection was closed.

    Attributes:
        reason: idle, stale, replaced, disconnected, dead, request (it lived as long as one
            request of the application) or closed.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class BreakerOpened(Event):
    """Connecting failed too often, or the server asked for patience: nobody tries for a while.

    Attributes:
        seconds: How long.
        cause: The name of the last exception's class, or a few words.
    """

    seconds: float
    cause: str


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """Connecting is allowed again, after a success or because the breaker was reset."""


@dataclass(frozen=True, slots=True)
class ToolsChanged(Event):
    """The server's tools are others than before; *tools* is how many there are now."""

    tools: int


@dataclass(frozen=True, slots=True)
class CallFinished(Event):
    """A tool call ended, after *seconds*; *error* is the exception's class name, if it raised."""

    tool_name: str
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class SweepFinished:
    """The sweeper looked for idle connections and closed *closed* of them."""

    closed: int


class EventSink(Protocol):
    """Anything that can be called with an event. It must not block."""

    def __call__(self, event: Event | SweepFinished, /) -> None:
        """Take note of *event*."""


Emit: TypeAlias = Callable[["Event | SweepFinished"], None]
"""How the connection layer tells: a sink that never raises."""
