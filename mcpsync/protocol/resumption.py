"""Where one event stream stands, and what it takes to go on with it. (Requirements H11 to H13.)"""

from __future__ import annotations

from typing import Final

from .sse import ServerSentEvent

DEFAULT_RETRY: Final = 1.0  # seconds before a stream is asked for again if the server names none
SHORTEST_RETRY: Final = 0.1  # seconds; a server that says 0 would have us ask without a pause
ATTEMPTS: Final = 2  # that may bring nothing, one after the other
MAX_ID_BYTES: Final = 4096  # a longer id would not fit into a header


class Cursor:
    """How far one stream was read. Each stream has its own: ids mean nothing beside it.

    Not thread-safe.

    Attributes:
        last_event_id: What ``Last-Event-ID`` says, in the characters of a header; None if the
            server has named no event, or has taken the name back.
        retry: Seconds to wait before the stream is asked for again, as the server wishes.
        wished: Whether the server has said so, and it is not what holds if none is named.
    """

    __slots__ = ("_fruitless", "last_event_id", "retry", "wished")

    def __init__(self) -> None:
        self.last_event_id: str | None = None
        self.retry = DEFAULT_RETRY
        self.wished = False
        self._fruitless = 0

    def note(self, event: ServerSentEvent) -> None:
        """Take note of an event: even one without data moves the stream on."""
        if event.id is not None:
            self.last_event_id = _as_header(event.id)
        if event.retry is not None:
            self.retry = max(SHORTEST_RETRY, event.retry / 1000)
            self.wished = True
        if event.id is not None or event.data:
            self._fruitless = 0

    def pause(self) -> float | None:
        """Return the seconds until the stream is asked for again; None: it is not to be had.

        To be called once for each end of the stream.
        """
        if self.last_event_id is None or self._fruitless >= ATTEMPTS:
            return None
        self._fruitless += 1
        return self.retry


def _as_header(event_id: str) -> str | None:
    """Return an id as a header has it, byte for byte; None for what cannot be sent."""
    data = event_id.encode()
    if not data or len(data) > MAX_ID_BYTES or any(byte < 0x20 or byte == 0x7F for byte in data):
        return None
    return data.decode("latin-1")
