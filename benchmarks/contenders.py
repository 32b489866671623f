"""The clients that are compared, each behind the same four methods."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

import wire
from timing import Block, Storm, run_block, run_storm
from wire import Target

TIMEOUT = 30.0
WARM_UP = 20


class Contender(Protocol):
    """What the measures ask of a client, wherever it lives."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def open(self, target: Target) -> None:
        """Connect to *target* and make a few calls, so that what follows is warm."""

    def block(self, calls: int) -> Block:
        """Make *calls* calls, one after the other."""

    def storm(self, threads: int, each: int) -> Storm:
        """Make *each* calls from each of *threads* threads, on this one client."""

    def close(self) -> None:
        """Give everything back."""


class HandClient(Protocol):
    """One client for one server, as :class:`InProcess` drives it."""

    def connect(self, *, probe: bool = False) -> None:
        """Say hello as the era wants; with *probe* ask for the era first."""

    def call(self) -> None:
        """Make one tool call and check the answer."""

    def close(self) -> None:
        """Give everything back."""


class ByHand:
    """A client written by hand; subclasses say how a message travels."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._session_id: str | None = None
        self._ids = itertools.count(1)

    def send(self, message: dict[str, Any], headers: dict[str, str]) -> tuple[Any, Any]:
        """POST one message; return the response's headers and the parsed answer or None."""
        raise NotImplementedError

    def connect(self, *, probe: bool = False) -> None:
        """Make the exchanges that go before the first call."""
        if probe:
            headers = wire.headers("modern", "server/discover", None, None)
            self.send(wire.message("modern", "server/discover", None, next(self._ids)), headers)
        if self.target.era == "modern":
            return
        hello = wire.message("legacy", "initialize", wire.INITIALIZE, next(self._ids))
        answered, _ = self.send(hello, {})
        self._session_id = answered["Mcp-Session-Id"]
        done = wire.message("legacy", "notifications/initialized", None, None)
        self.send(done, self._headers("notifications/initialized", None))

    def call(self) -> None:
        """Make one tool call and check the answer."""
        identifier = next(self._ids)
        message = wire.message(self.target.era, "tools/call", wire.CALL, identifier)
        _, reply = self.send(message, self._headers("tools/call", wire.TOOL))
        wire.check(reply, identifier)

    def close(self) -> None:
        """Give everything back."""

    def _headers(self, method: str, name: str | None) -> dict[str, str]:
        return wire.headers(self.target.era, method, name, self._session_id)


class RequestsByHand(ByHand):
    """``requests.Session().post(json=…)`` and ``.json()``, with the session's own defaults."""

    def __init__(
        self, target: Target, *, pool: int | None = None, session: requests.Session | None = None
    ) -> None:
        super().__init__(target)
        self._owned = session is None
        self.session = session or requests.Session()
        if self._owned:
            self.session.headers.update(wire.FIXED_HEADERS)
        if pool is not None:
            self.session.mount("http://", HTTPAdapter(pool_maxsize=pool))

    def send(self, message: dict[str, Any], headers: dict[str, str]) -> tuple[Any, Any]:
        """POST through the session."""
        response = self.session.post(
            self.target.url, json=message, headers=headers, timeout=TIMEOUT
        )
        if "id" not in message or response.status_code != 200:
            return response.headers, None
        if self.target.answer == "sse":
            return response.headers, wire.parse(response.content, "sse")
        return response.headers, response.json()

    def close(self) -> None:
        """Close the session if it is ours."""
        if self._owned:
            self.session.close()


class Urllib3ByHand(ByHand):
    """``urllib3.PoolManager().request(…)`` and ``json.loads``."""

    def __init__(
        self, target: Target, *, pool: int = 1, manager: urllib3.PoolManager | None = None
    ) -> None:
        super().__init__(target)
        self._owned = manager is None
        self.manager = manager or urllib3.PoolManager(maxsize=pool)

    def send(self, message: dict[str, Any], headers: dict[str, str]) -> tuple[Any, Any]:
        """POST through the pool manager."""
        response = self.manager.request(
            "POST",
            self.target.url,
            body=json.dumps(message).encode(),
            headers={**wire.FIXED_HEADERS, **headers},
            timeout=TIMEOUT,
        )
        if "id" not in message or response.status != 200:
            return response.headers, None
        return response.headers, wire.parse(response.data, self.target.answer)

    def close(self) -> None:
        """Close the pools if they are ours."""
        if self._owned:
            self.manager.clear()


class RawSocket:
    """The same bytes over a bare socket for each thread: what the server can do, and no client."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._local = threading.local()
        self._sockets: list[socket.socket] = []
        message = wire.message(target.era, "tools/call", wire.CALL, 1)
        body = json.dumps(message).encode()
        parts = urlsplit(target.url)
        headers = wire.FIXED_HEADERS | wire.headers(target.era, "tools/call", wire.TOOL, "bare-0")
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        self._request = "\r\n".join(lines).encode() + body
        self._end = b"0\r\n\r\n" if target.answer == "sse" else b"}"
        self._address = (parts.hostname or "", parts.port or 80)
        self._length = 0

    def connect(self, *, probe: bool = False) -> None:
        """Learn how long the one answer is."""
        connection = self._socket()
        connection.sendall(self._request)
        answer = b""
        while not answer.endswith(self._end) or b'"text":"hello world"' not in answer:
            answer += connection.recv(65536)
            if not answer:
                raise ConnectionError("the bare server closed the connection")
        if self.target.answer == "json":
            head, _, body = answer.partition(b"\r\n\r\n")
            while len(body) < int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]):
                more = connection.recv(65536)
                body, answer = body + more, answer + more
        self._length = len(answer)

    def call(self) -> None:
        """Send the request and read as many bytes as the answer has."""
        connection = self._socket()
        connection.sendall(self._request)
        left = self._length
        while left > 0:
            received = len(connection.recv(65536))
            if not received:
                raise ConnectionError("the bare server closed the connection")
            left -= received
        if left:
            raise AssertionError("more bytes than one answer has")

    def close(self) -> None:
        """Close every thread's socket."""
        for connection in self._sockets:
            connection.close()

    def _socket(self) -> socket.socket:
        connection: socket.socket | None = getattr(self._local, "socket", None)
        if connection is None:
            connection = socket.create_connection(self._address, timeout=TIMEOUT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.socket = connection
            self._sockets.append(connection)
        return connection


class McpsyncClient:
    """:class:`mcpsync.Client`, opened as a user opens it."""

    def __init__(self, target: Target, *, mode: str = "auto") -> None:
        import mcpsync  # a benchmark of the others must run without it

        self._client = mcpsync.Client(target.url, mode=mode, timeout=TIMEOUT)

    def connect(self, *, probe: bool = False) -> None:
        """Connect; whether a probe is made is the client's own affair."""
        self._client.connect()

    def call(self) -> None:
        """Make one tool call and check the answer."""
        result = self._client.call_tool(wire.TOOL, wire.ARGUMENTS)
        if result.content[0].type != "text":
            raise AssertionError(f"not the canned answer: {result!r}")

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class InProcess:
    """A contender that runs on the threads of this process."""

    def __init__(self, name: str, make: Callable[[Target], HandClient]) -> None:
        self._name = name
        self._make = make
        self._client: HandClient | None = None

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self._name

    @property
    def client(self) -> HandClient:
        """The client between :meth:`open` and :meth:`close`."""
        if self._client is None:
            raise RuntimeError(f"{self._name} is not open")
        return self._client

    def open(self, target: Target) -> None:
        """Make a client, connect it, warm it up."""
        self._client = self._make(target)
        self._client.connect()
        for _ in range(WARM_UP):
            self._client.call()

    def block(self, calls: int) -> Block:
        """Time *calls* calls on this thread."""
        return run_block(self.client.call, calls)

    def storm(self, threads: int, each: int) -> Storm:
        """Time *threads* times *each* calls on the one client."""
        return run_storm(self.client.call, threads, each)

    def close(self) -> None:
        """Close the client, if there is one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def in_process(threads: int) -> list[InProcess]:
    """Return the contenders that live in this process, slowest to write first.

    ``urllib3.PoolManager()`` keeps one connection and ``requests`` ten: with more threads than
    that they open and throw away connections all the time. urllib3 therefore gets a pool that
    fits (its sequential numbers do not change), and requests comes twice: as people have it,
    and with a pool that fits.
    """
    return [
        InProcess("raw socket", RawSocket),
        InProcess("urllib3", lambda target: Urllib3ByHand(target, pool=threads)),
        InProcess("requests", RequestsByHand),
        InProcess("requests, pool fits", lambda target: RequestsByHand(target, pool=threads)),
        InProcess("mcpsync", McpsyncClient),
    ]
