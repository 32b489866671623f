"""Servers on a bare socket, for what no decent server would do; and the bytes they send."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PATIENCE = 10.0  # seconds after which a peer gives up, so that no test hangs


@dataclass(frozen=True)
class Request:
    """A request as it arrived; names of headers in lower case, in the order of their coming."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    names: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        """The body as JSON; None if there is none."""
        return json.loads(self.body) if self.body else None

    @property
    def rpc(self) -> str | None:
        """The JSON-RPC method."""
        return self.json.get("method") if self.body else None


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.number = number
        self._rest = b""

    def read(self) -> Request | None:
        """Read a whole request; None if the client has closed the connection."""
        while b"\r\n\r\n" not in self._rest:
            if not self._receive():
                return None
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = [line.partition(":")[::2] for line in lines]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", "0"))
        while len(self._rest) < length:
            if not self._receive():
                return None
        body, self._rest = self._rest[:length], self._rest[length:]
        return Request(method, target, headers, body, tuple(name.lower() for name, _ in pairs))

    def _receive(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except OSError:
            return False
        self._rest += data
        return bool(data)

    def send(self, data: bytes) -> None:
        """Send bytes; a client that has gone is no matter."""
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def drip(self, data: bytes, interval: float = 0.02) -> None:
        """Send bytes one by one, until the client goes."""
        with contextlib.suppress(OSError):
            for index in range(len(data)):
                self.sock.sendall(data[index : index + 1])
                time.sleep(interval)

    def wait_gone(self) -> bool:
        """Wait until the client closes its end; say whether it did."""
        self._rest = b""
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


Script = Callable[[Peer], None]


class RawServer:
    """Runs a script for each connection, in a thread of its own.

    Attributes:
        accepted: How many connections there have been.
        gone: Set as soon as a script has ended.
    """

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._peers: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.accepted = 0
        self.gone = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/mcp"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="peer", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._closing:
                sock.close()
                return
            self.accepted += 1
            self._peers.append(sock)
            self._start(self._serve, sock, self.accepted)

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._peers.append(sock)
            self._script(Peer(sock, number))
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            self.gone.set()

    def close(self) -> None:
        """Cut every connection and wait for the threads."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._peers):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        for sock in self._peers:
            sock.close()

    def __enter__(self) -> "RawServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def response(
    body: bytes = b"", status: str = "200 OK", kind: str = "application/json", **headers: str
) -> bytes:
    """A whole response; in the names of headers _ stands for -, and "" leaves one out."""
    named = {
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in named.items() if value]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the last one if there is no data."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def always(data: bytes) -> Script:
    """A script that answers every request on a connection with the same bytes."""

    def script(peer: Peer) -> None:
        while peer.read() is not None:
            peer.send(data)

    return script


def silent(peer: Peer) -> None:
    """A script that reads a request and says nothing until the client goes."""
    peer.read()
    peer.wait_gone()


def deaf(peer: Peer) -> None:
    """A script that neither reads nor writes, until the client goes or the server is closed."""
    with contextlib.suppress(OSError):
        while peer.sock.recv(65536):
            pass


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port where connecting neither succeeds nor fails."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


# -- MCP on a script ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """What a scripted MCP server answers.

    Args:
        body: JSON, or bytes as they are.
        headers: On top of the type and the length.
    """

    body: Any = b""
    status: str = "200 OK"
    kind: str = "application/json"
    headers: dict[str, str] | None = None

    def to_bytes(self) -> bytes:
        """The whole response."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return response(body, self.status, self.kind, **(self.headers or {}))


ACCEPTED = Reply(status="202 Accepted", kind="")
Answer = Reply | bytes
Handler = Callable[[Request], Answer]


def result(request: Request, value: Any, **more: Any) -> Reply:
    """A good answer to *request*."""
    return Reply({"jsonrpc": "2.0", "id": request.json["id"], "result": value}, **more)


def error(request: Request, code: int, message: str = "no", data: Any = None, **more: Any) -> Reply:
    """A JSON-RPC error that answers *request*."""
    body: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return Reply({"jsonrpc": "2.0", "id": request.json["id"], "error": body}, **more)


def stream(*events: bytes, headers: str = "") -> bytes:
    """An answer as chunked server-sent events."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{headers}"
    return (
        head.encode()
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(chunk(event) for event in events)
        + chunk(b"")
    )


def event(message: Any) -> bytes:
    """One message as a server-sent event."""
    return b"data: " + json.dumps(message).encode() + b"\n\n"


INITIALIZED = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "scripted", "version": "1"},
}
DISCOVERED = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "resultType": "complete",
    "ttlMs": 0,
    "cacheScope": "private",
}
DONE = {"content": [{"type": "text", "text": "done"}]}


class ScriptedMCP(RawServer):
    """An MCP server whose answers are written down, method by method.

    Args:
        handlers: What answers a method, or an HTTP method; what has none is answered as a decent
            server of both eras would.

    Attributes:
        requests: What came, oldest first.
    """

    def __init__(self, **handlers: Handler | Answer) -> None:
        self.handlers: dict[str, Handler | Answer] = {}
        for name, handler in handlers.items():
            self.on(name.replace("__", "/"), handler)
        self.requests: list[Request] = []
        super().__init__(self._converse)

    def on(self, method: str, handler: Handler | Answer) -> None:
        """Answer *method* so from now on."""
        self.handlers[method] = handler

    def _converse(self, peer: Peer) -> None:
        while (request := peer.read()) is not None:
            self.requests.append(request)
            answer = self._answer(request)
            peer.send(answer if isinstance(answer, bytes) else answer.to_bytes())
            if isinstance(answer, bytes) and b"Connection: close" in answer:
                return

    def _answer(self, request: Request) -> Answer:
        handler = self.handlers.get(request.rpc or request.method)
        if handler is not None:
            return handler if isinstance(handler, Reply | bytes) else handler(request)
        if request.rpc is None or "id" not in request.json:
            return ACCEPTED
        if request.rpc == "server/discover":
            return result(request, DISCOVERED)
        if request.rpc == "initialize":
            return result(request, INITIALIZED, headers={"Mcp_Session_Id": "s1"})
        return result(request, DONE)

    @property
    def methods(self) -> list[str | None]:
        """The JSON-RPC methods that came, HTTP methods where there is none."""
        return [request.rpc or request.method for request in self.requests]
