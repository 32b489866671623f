"""What a session asks of a transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import AuthError, CircuitOpen, ConfigurationError, MCPSyncError, RefusedError
from ..protocol.codec import Message
from ..protocol.resumption import Cursor


def _ignore(_: Message) -> Message | None:
    return None


@dataclass(frozen=True, slots=True)
class CallScope:
    """What belongs to one call, from the caller down to the socket.

    Args:
        deadline: Bounds the whole call.
        cancel: Ends it from another thread.
        headers: For the requests of this call only.
        on_message: Gets, on the caller's thread, each notification and each request that comes
            before the answer; what it returns is sent back as the reply to a request.
        mirrored: Headers that mirror arguments of the request; the protocol's, not the caller's.
    """

    deadline: Deadline
    cancel: Cancellation | None = None
    headers: Mapping[str, str] | None = None
    on_message: Callable[[Message], Message | None] = _ignore
    mirrored: Mapping[str, str] | None = None

    def is_to_blame_for(self, error: BaseException) -> bool:
        """Whether *error* comes of this call's own headers, and would not happen to others."""
        whose = AuthError | ConfigurationError | RefusedError
        return (
            bool(self.headers)
            and isinstance(error, whose)
            and not isinstance(error, CircuitOpen)  # that is between the server and the user
        )


class Overheard(Message):
    """A message that somebody else takes care of, too."""


class Missed:
    """Comes from a stream in the place of messages of which there were too many to keep."""


MISSED: Final = Missed()


class Stream(Protocol):
    """Messages that come when the server has something to say.

    One thread receives and closes; any thread may abort.
    """

    @property
    def cursor(self) -> Cursor | None:
        """How far it was read, if its events have names to go on from."""

    @property
    def open(self) -> bool:
        """Whether it was not closed."""

    def receive(self, deadline: Deadline) -> Message | Missed | None:
        """Return the next message; None if none came in time.

        Raises:
            ConnectionLost: It has ended, or was cut.
            MCPSyncError: What it was aborted with, or what ended the conversation.
        """

    def abort(self, error: MCPSyncError) -> None:
        """Have whoever receives get *error*."""

    def close(self) -> None:
        """Receive no more. Works twice."""


class Transport(Protocol):
    """Carries messages to one server and back. Thread-safe."""

    @property
    def alive(self) -> bool:
        """Whether a request has a chance. False once a child ended or it was closed."""

    def request(self, message: Message, scope: CallScope) -> Message:
        """Send a request and return the reply to it, whatever else comes first.

        Raises:
            TransportError: It did not get there, or the answer not back.
            ProtocolError: What came back is not an answer.
            RequestTimeout, RequestCancelled: As the scope says.
        """

    def notify(self, message: Message, scope: CallScope) -> None:
        """Send a notification, or the reply to a request of the server."""

    def listen(self, message: Message | None, scope: CallScope, cursor: Cursor) -> Stream:
        """Begin to listen, and return what there is to hear.

        Args:
            message: The request that asks for it; None in an era, or over a transport, where
                nothing has to be asked.
            scope: Its deadline is for the beginning, its cancellation for all of it.
            cursor: How far a stream was read that is to be gone on with; empty to begin one.

        Raises:
            HTTPStatusError: 405, or 404 without a session: the server has no such stream.
            SessionExpired: It has forgotten the session.
            MCPSyncError: As :meth:`request`.
        """

    def close(self, deadline: Deadline) -> None:
        """End the conversation. Works twice, and wakes whoever waits for an answer."""


class LegacyTransport(Transport, Protocol):
    """A transport of the era of handshakes."""

    @property
    def session(self) -> object:
        """What changes with each new session; None before the first."""

    def adopt(self, version: str) -> None:
        """Take the version that ``initialize`` negotiated, for ``notifications/initialized``."""

    def enter_session(self) -> None:
        """Use the new session for everything from now on; until then others have the old one."""


class StreamTransport(LegacyTransport, Protocol):
    """A legacy transport that needs a stream from the server before it can carry anything."""

    def open(self, scope: CallScope) -> None:
        """Open the stream, unless it is.

        Raises:
            MCPSyncError: There is none.
        """


class ModernTransport(Transport, Protocol):
    """A transport of the stateless era."""

    @property
    def cancels_by_closing(self) -> bool:
        """Whether ending the exchange tells the server; if not, a notification has to."""
