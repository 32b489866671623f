"""Server-sent events, parsed by ``sseclient`` and bounded here. (HTML standard, section 9.2.)

``sseclient`` is good at fields and weak at edges: it loses events that have no data (``retry:`` or
``id:`` alone), loses the first event after a byte order mark, dispatches an unfinished event at
the end of the stream, and buffers without limit. So events are cut out here, and each is handed
over whole, with one more ``data`` line that makes it count and is taken off again.
"""

from __future__ import annotations

from typing import NamedTuple

import sseclient

from ..errors import MessageInvalid, ResponseTooLarge

_BOM = b"\xef\xbb\xbf"
_MARK = "\N{END OF TRANSMISSION}"
_MARK_LINE = b"\ndata:" + _MARK.encode() + b"\n\n"
_RETRY_DIGITS = 9  # more than a week in milliseconds; more digits are not a time


class ServerSentEvent(NamedTuple):
    """One event: its name, its data (None if it had no such line), its id and retry if given."""

    event: str
    data: str | None
    id: str | None
    retry: int | None  # milliseconds, as on the wire


class SSEDecoder:
    """Turns chunks of bytes into events, wherever the chunks are cut. Not thread-safe.

    Args:
        max_line_bytes: A line longer than this is refused.
        max_event_bytes: So is an event longer than this; None where the whole stream is limited.
    """

    def __init__(self, max_line_bytes: int, max_event_bytes: int | None = None) -> None:
        self._limit = max_line_bytes
        self._event_limit = max_event_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._line_length = 0  # of the line under way
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take *chunk* and return the events it completes.

        Raises:
            ResponseTooLarge: A line or an event exceeds the limit.
            MessageInvalid: An event is not UTF-8.
        """
        buffer = self._buffer
        chunk = self._with_line_feeds(chunk)
        self._measure(chunk)
        buffer += chunk
        if self._at_start and not self._past_the_mark():
            return []
        events = []
        begin = 0
        while (end := buffer.find(b"\n\n", max(begin, self._scanned))) >= 0:
            block = bytes(buffer[begin:end]).strip(b"\n")
            begin = self._scanned = end + 1
            if block:
                events.append(_parse(block))
        del buffer[:begin]
        self._scanned = max(0, len(buffer) - 1)
        if self._event_limit is not None and len(buffer) > self._event_limit:
            raise ResponseTooLarge(
                f"the server sent an event of more than {self._event_limit} bytes.",
                limit=self._event_limit,
            )
        return events

    def _measure(self, chunk: bytes) -> None:
        """Refuse a line that is too long, over or not, so that it matters not where chunks end."""
        length = self._line_length + len(chunk)
        if length <= self._limit:  # then so is every line in it
            end = chunk.rfind(b"\n")
            self._line_length = length if end < 0 else len(chunk) - end - 1
            return
        lines = chunk.split(b"\n")
        lengths = [self._line_length + len(lines[0]), *map(len, lines[1:])]
        if max(lengths) > self._limit:
            raise ResponseTooLarge(
                f"the server sent a line of more than {self._limit} bytes.", limit=self._limit
            )
        self._line_length = lengths[-1]

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Make every line end in LF; a CR at the end of a chunk may be half of a CRLF."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _past_the_mark(self) -> bool:
        """Drop a byte order mark; say whether enough has come to know that there is none."""
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        elif _BOM.startswith(self._buffer):
            return False
        self._at_start = False
        return True


def _parse(block: bytes) -> ServerSentEvent:
    try:
        event = next(sseclient.SSEClient(iter([block + _MARK_LINE])).events())
    except UnicodeDecodeError as error:
        raise MessageInvalid("the server sent an event that is not UTF-8.") from error
    data: str = event.data.removesuffix(_MARK)
    retry = event.retry
    return ServerSentEvent(
        event.event,
        data[:-1] if data else None,
        event.id if event.id is not None and "\0" not in event.id else None,
        int(retry) if retry is not None and _is_number(retry) else None,
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _RETRY_DIGITS
