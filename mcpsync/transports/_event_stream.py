"""An event stream that is listened to: no end in sight, and nobody's answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .._runtime.deadline import Deadline
from ..errors import ConnectionLost, MCPSyncError
from ..http import HttpResponse, Limits
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.resumption import Cursor
from ..protocol.sse import SSEDecoder


class EventStream:
    """Messages out of the events of one answer. A :class:`~.base.Stream`.

    It keeps no more than what one read brings; the rest waits at the server.

    Args:
        response: The answer.
        limits: How long a line, and how large an event may be.
        cursor: Takes note of how far it was read.
    """

    def __init__(self, response: HttpResponse, limits: Limits, cursor: Cursor) -> None:
        self._body = response.lasting()
        self._decoder = SSEDecoder(limits.max_line_bytes, limits.max_response_bytes)
        self._pending: deque[Message] = deque()
        self.cursor: Cursor | None = cursor
        self.open = True

    def receive(self, deadline: Deadline) -> Message | None:
        """Return the next message; None if none came in time."""
        cursor = self.cursor
        assert cursor is not None
        while not self._pending:
            chunk = self._body.read(deadline)
            if chunk is None:
                return None
            if not chunk:
                raise ConnectionLost("the server ended the stream.")
            for event in self._decoder.feed(chunk):
                cursor.note(event)
                if event.data and event.event == "message":
                    self._pending += codec.decode(event.data)
        return self._pending.popleft()

    def abort(self, error: MCPSyncError) -> None:
        """Have whoever receives get *error*."""
        self._body.abort(error)

    def close(self) -> None:
        """Give the socket back."""
        self.open = False
        self._body.close()


class OnlyThese:
    """A stream of messages that are all there, and then its end. A :class:`~.base.Stream`."""

    cursor: Cursor | None = None

    def __init__(self, messages: Iterable[Message]) -> None:
        self._pending = deque(messages)
        self._error: MCPSyncError = ConnectionLost("the server said no more.")
        self.open = True

    def receive(self, deadline: Deadline) -> Message:
        """Return the next message."""
        if not self._pending:
            raise self._error
        return self._pending.popleft()

    def abort(self, error: MCPSyncError) -> None:
        """Have whoever receives get *error*, once there are no more messages."""
        self._error = error

    def close(self) -> None:
        """Nothing to give back."""
        self.open = False
