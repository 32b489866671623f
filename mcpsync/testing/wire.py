"""HTTP/1.1 on one accepted socket: just enough to serve, and to misbehave byte by byte."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD = 64 * 2**10
MAX_BODY = 64 * 2**20
_TICK = 0.02
# poll() where there is one: select() cannot look at descriptors above 1023.
_Selector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)


class PeerGone(Exception):
    """Raised when the client has closed its end, or the server is closing."""


class BadRequest(Exception):
    """Raised for a request that is not HTTP as we understand it."""

    def __init__(self, status: int) -> None:
        super().__init__(HTTPStatus(status).phrase)
        self.status = status


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to go on with the connection."""
        return self.headers.get("connection", "").lower() != "close"


def build_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """Build the status line and the headers, up to and with the empty line."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def build_response(
    status: int, body: bytes, content_type: str | None, headers: list[tuple[str, str]]
) -> bytes:
    """Build a whole response with a Content-Length."""
    typed = [("Content-Type", content_type)] if content_type else []
    return build_head(status, [*typed, ("Content-Length", str(len(body))), *headers]) + body


class Connection:
    """One TCP connection; used by one thread, cut by any.

    Attributes:
        number: Counted from 1.
        open: Whether to read another request from it.
        idle: Whether it waits for the first byte of a request.
    """

    def __init__(self, sock: socket.socket, number: int, stopping: threading.Event) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._stopping = stopping
        self._buffer = bytearray()
        self.number = number
        self.open = True
        self.idle = True

    def read_request(self) -> HTTPRequest | None:
        """Read a whole request; None when the client has closed the connection.

        Raises:
            BadRequest: It is not HTTP as we understand it.
        """
        self.idle = not self._buffer
        head = self._read_head()
        if head is None:
            return None
        method, path, headers = _parse_head(head)
        body = self._read_body(headers)
        return None if body is None else HTTPRequest(method, path, headers, body)

    def _read_head(self) -> bytes | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequest(431)
            if not self._receive():
                return None
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return head

    def _read_body(self, headers: dict[str, str]) -> bytes | None:
        if "transfer-encoding" in headers:
            raise BadRequest(411)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequest(400)
        if int(length) > MAX_BODY:
            raise BadRequest(413)
        while len(self._buffer) < int(length):
            if not self._receive():
                return None
        body = bytes(self._buffer[: int(length)])
        del self._buffer[: int(length)]
        return body

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except OSError:
            return False
        self._buffer += data
        self.idle = False
        return bool(data)

    def send(self, data: bytes) -> None:
        """Send all of *data*.

        Raises:
            PeerGone: The connection has been closed.
        """
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise PeerGone from error

    @property
    def stopping(self) -> bool:
        """Whether it is the server that ends."""
        return self._stopping.is_set()

    def cut(self) -> None:
        """Close the connection, from any thread."""
        self.open = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back; for the thread that serves it."""
        self.cut()
        self._socket.close()

    def wait(self, seconds: float, *events: threading.Event) -> bool:
        """Wait until the time is over or one of *events* is set.

        Returns:
            True as soon as the client has closed the connection or the server is closing.
        """
        end = time.monotonic() + seconds
        with _Selector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while True:
                remaining = end - time.monotonic()
                readable = selector.select(max(0.0, min(_TICK, remaining)))
                if self._stopping.is_set() or (readable and self._is_closed()):
                    return True
                if remaining <= 0 or any(event.is_set() for event in events):
                    return False
                if readable:  # a pipelined request: it will stay readable
                    self._stopping.wait(min(_TICK, remaining))

    def _is_closed(self) -> bool:
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0))
        except BlockingIOError:
            return False
        except OSError:
            return True


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1":
        raise BadRequest(400)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400)
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "host" not in headers:
        raise BadRequest(400)
    return parts[0], parts[1], headers
