"""Server-sent events, parsed by ``sseclient`` and bounded here. (HTML standard, section 9.2.)

``sseclient`` is good at fields and weak at edges: it loses events that have no data (``retry:`` or
``id:`` alone), loses the first event after a byte order mark, dispatches an unfinished event at
the end of the stream, buffers without limit, and takes time that grows with the square of an
event's lines. So events are cut out here, and each is handed over whole, or a long one in pieces,
with one more ``data`` line that makes it count and is taken off again.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

import sseclient

from ..errors import MessageInvalid, ResponseTooLarge

_BOM = b"\xef\xbb\xbf"
_MARK = "\N{END OF TRANSMISSION}"
_MARK_LINE = b"\ndata:" + _MARK.encode() + b"\n\n"
_RETRY_DIGITS = 9  # more than a week in milliseconds; more digits are not a time
_PIECE = 64  # lines of an event that sseclient is handed at a time

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
MAX_EVENT_LINES: Final = 100_000  # they take a tenth of a second


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
        max_event_bytes: An event longer than this is refused, over or not.
    """

    def __init__(self, max_line_bytes: int, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
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
            ResponseTooLarge: A line or an event exceeds its limit.
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
                self._measure_event(len(block), block.count(b"\n"))
                events.append(_parse(block))
        del buffer[:begin]
        self._scanned = max(0, len(buffer) - 1)
        self._measure_event(len(buffer) - buffer.startswith(b"\n") - buffer.endswith(b"\n"), 0)
        return events

    def _measure_event(self, length: int, lines: int) -> None:
        """Refuse an event that is too long; how often its last line has ended is no matter."""
        if length > self._event_limit:
            raise ResponseTooLarge(
                f"the server sent an event of more than {self._event_limit} bytes.",
                limit=self._event_limit,
            )
        if lines >= MAX_EVENT_LINES:
            raise ResponseTooLarge(
                f"the server sent an event of more than {MAX_EVENT_LINES} lines.",
                limit=self._event_limit,
            )

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
    if block.count(b"\n") <= _PIECE:
        return _interpreted(block)
    whole, data = ServerSentEvent("message", None, None, None), []
    lines = iter(block.split(b"\n"))
    while piece := list(itertools.islice(lines, _PIECE)):
        part = _interpreted(b"\n".join([b"event: " + whole.event.encode(), *piece]))
        if part.data is not None:
            data.append(part.data)
        whole = ServerSentEvent(
            part.event,
            None,
            whole.id if part.id is None else part.id,
            whole.retry if part.retry is None else part.retry,
        )
    return whole._replace(data="\n".join(data) if data else None)


def _interpreted(block: bytes) -> ServerSentEvent:
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
