"""How an answer goes out: as JSON, or as a stream of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Literal

from .faults import Fault
from .jsonrpc import JSONObject, encode
from .stored_streams import StoredStream
from .wire import Connection, build_head, build_response

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream"
Message = JSONObject | list[JSONObject]


def plain_event(message: Message) -> list[bytes]:
    """Frame *message* the way most servers do."""
    return [b"event: message\ndata: " + encode(message) + b"\n\n"]


def split_event(message: Message) -> list[bytes]:
    """Frame *message* with CRLF, several data lines, cut inside CRLF and inside characters."""
    text = json.dumps(message, ensure_ascii=False, indent=1)
    lines = ["event: message", *(f"data: {line}" for line in text.splitlines()), "", ""]
    pieces: list[bytes] = [b""]
    for byte in "\r\n".join(lines).encode():
        if byte == 0x0A or 0x80 <= byte < 0xC0:  # LF after CR, or the inside of a character
            pieces.append(b"")
        pieces[-1] += bytes((byte,))
    return pieces


def commented_event(message: Message) -> list[bytes]:
    """Frame *message* among everything else that a stream of events may hold."""
    return [
        b": a comment\n\n",
        b"retry: 1000\n\n",
        b"id: 1\n\n",
        b"id: 2\ndata:\n\n",
        b"event: heartbeat\ndata: not JSON\n\n",
        b"colour: red\nevent: message\n: inside\nid: 3\ndata:" + encode(message) + b"\n\n",
        b":\n",
    ]


FRAMINGS: dict[Fault, Callable[[Message], list[bytes]]] = {
    Fault.SSE_CRLF_SPLIT: split_event,
    Fault.SSE_BOM: plain_event,
    Fault.SSE_COMMENTS: commented_event,
}


def chunk(data: bytes) -> bytes:
    """Frame *data* as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


class Responder:
    """One answer on one connection: JSON, unless something has to be sent before it.

    Attributes:
        headers: More headers for the answer.
        muted: Whether to drop what is sent before the answer.
    """

    def __init__(
        self, connection: Connection, answer: Literal["json", "sse"], fault: Fault | None = None
    ) -> None:
        self.connection = connection
        self.answer = answer if fault not in FRAMINGS else "sse"
        self.headers: list[tuple[str, str]] = []
        self.muted = False
        self.started = False
        self._frame = FRAMINGS.get(fault, plain_event) if fault else plain_event
        self._pending = b"\xef\xbb\xbf" if fault is Fault.SSE_BOM else b""
        self._stored: StoredStream | None = None
        self._detached = False  # what comes is only kept

    def store(self, stream: StoredStream, retry: float, *, cut: bool) -> None:
        """Answer with a stream that is kept, too, so that the client may have the rest by GET.

        Args:
            stream: Where it is kept.
            retry: Seconds after which the client is to ask for the rest.
            cut: End what is sent after the first event.
        """
        self.answer = "sse"
        self._stored = stream
        if cut:
            self.connection.open = False
            self.headers.append(("Connection", "close"))
        self.connection.send(self.start_stream() + chunk(stream.priming(0, retry)))
        if cut:
            self.connection.send(LAST_CHUNK)
            self.connection.cut()
            self._detached = True

    def send(self, message: Message) -> None:
        """Send a message before the answer, which turns the answer into a stream.

        Raises:
            PeerGone: The connection has been closed.
        """
        if not self.muted:
            self._send_event(message)

    def finish(self, status: int, message: Message | None) -> None:
        """Send the answer.

        Raises:
            PeerGone: The connection has been closed.
        """
        if message is None:
            self.send_body(status, b"", None)
        elif self.started or (self.answer == "sse" and status == 200):
            self._send_event(message, end=LAST_CHUNK)
        else:
            self.send_body(status, encode(message), JSON_TYPE)

    def abandon(self) -> None:
        """End an answer that nobody waits for any more."""
        if self.started:
            self.connection.send(LAST_CHUNK)
        else:
            self.connection.cut()

    def send_body(self, status: int, body: bytes, content_type: str | None) -> None:
        """Send a whole response."""
        self.started = True
        self.connection.send(build_response(status, body, content_type, self.headers))

    def start_stream(self) -> bytes:
        """Return the bytes with which a stream starts; nothing if it has."""
        if self.started:
            return b""
        self.started = True
        return self.head(SSE_TYPE, ("Cache-Control", "no-cache"), ("Transfer-Encoding", "chunked"))

    def head(self, content_type: str, *more: tuple[str, str]) -> bytes:
        """Build the head of a good response."""
        return build_head(200, [("Content-Type", content_type), *more, *self.headers])

    def _send_event(self, message: Message, end: bytes = b"") -> None:
        if self._stored is not None and isinstance(message, dict):
            event = self._stored.add(message)
            if end:
                self._stored.end()
            if not self._detached:
                self.connection.send(chunk(event) + end)
            return
        start = self.start_stream()
        pieces = self._frame(message)
        pieces[0], self._pending = self._pending + pieces[0], b""
        if len(pieces) == 1:
            self.connection.send(start + chunk(pieces[0]) + end)
            return
        self.connection.send(start)
        for piece in pieces:
            self.connection.send(chunk(piece))
        self.connection.send(end)
