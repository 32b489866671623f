"""A server of HTTP+SSE whose answers are written down."""

import json
import ssl
import threading
from collections.abc import Callable
from typing import Any

from transports.peer import (
    DISCOVERED,
    DONE,
    INITIALIZED,
    Peer,
    RawServer,
    Reply,
    Request,
    chunk,
    event,
    result,
)

TAKEN = Reply(b"Accepted", "202 Accepted", "text/plain")
NOT_HERE = Reply(b"Method Not Allowed", "405 Method Not Allowed", "text/plain")
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Set-Cookie: node=7; Path=/\r\nTransfer-Encoding: chunked\r\n\r\n"
)
Handler = Callable[["ScriptedSSE", Request], Reply | bytes | None]


def reply_to(request: Request, value: Any) -> Any:
    """The message that answers *request*."""
    return {"jsonrpc": "2.0", "id": request.json["id"], "result": value}


class ScriptedSSE(RawServer):
    """Opens a stream for each GET of /sse, and takes messages on /message.

    What is POSTed to /mcp is answered as streamable HTTP of the modern era; what is POSTed to /sse
    is refused.

    Args:
        endpoint: What the event ``endpoint`` says; None if it never comes.
        refusal: What is answered to messages POSTed to the stream's own URL.
        opening: The whole answer to the GET, in place of a stream.
        context: Makes it speak TLS.
        handlers: What a method meets with, in place of a good answer on the stream: a function
            that may speak on the stream and returns the answer to the POST (None for none), or
            that answer alone.

    Attributes:
        requests: What came, oldest first.
    """

    def __init__(
        self,
        endpoint: str | None = "/message?s=1",
        opening: bytes | Reply | None = None,
        context: ssl.SSLContext | None = None,
        refusal: Reply | Callable[[Request], Reply] = NOT_HERE,
        **handlers: Handler | Reply,
    ) -> None:
        self.endpoint = endpoint
        self.opening = opening
        self.refusal = refusal
        self.handlers = {name.replace("__", "/"): each for name, each in handlers.items()}
        self.requests: list[Request] = []
        self.streams: list[Peer] = []
        self._writing = threading.Lock()
        super().__init__(self._converse, context)
        self.origin = self.url.removesuffix("/mcp")
        self.modern_url = self.url
        self.url = f"{self.origin}/sse"

    def say(self, *messages: Any) -> None:
        """Send messages over the newest stream; bytes as they are."""
        with self._writing:
            for message in messages:
                data = message if isinstance(message, bytes) else event(message)
                self.streams[-1].send(chunk(data))

    def cut(self) -> None:
        """Cut the newest stream."""
        self.streams[-1].sock.shutdown(2)

    @property
    def methods(self) -> list[str | None]:
        """The JSON-RPC methods that came, HTTP methods where there is none."""
        return [request.rpc or request.method for request in self.requests]

    def _converse(self, peer: Peer) -> None:
        while (request := peer.read()) is not None:
            self.requests.append(request)
            if isinstance(self.opening, Reply) and request.method == "GET":
                peer.send(self.opening.to_bytes())
                continue
            if request.method == "GET" and request.target == "/sse":
                self._stream(peer)
                return
            answer = self._answer(request)
            if answer is None:
                peer.wait_gone()
                return
            peer.send(answer if isinstance(answer, bytes) else answer.to_bytes())

    def _stream(self, peer: Peer) -> None:
        if self.opening is not None:
            peer.send(self.opening)
        else:
            peer.send(HEAD)
            self.streams.append(peer)
            if self.endpoint is not None:
                data = f"event: endpoint\r\ndata: {self.endpoint}\r\n\r\n".encode()
                peer.send(chunk(data))
        peer.wait_gone()

    def _answer(self, request: Request) -> Reply | bytes | None:
        if request.target == "/mcp":
            return result(request, DISCOVERED if request.rpc == "server/discover" else DONE)
        if request.target == "/sse":
            return self.refusal if isinstance(self.refusal, Reply) else self.refusal(request)
        handler = self.handlers.get(request.rpc or "")
        if handler is not None:
            return handler if isinstance(handler, Reply) else handler(self, request)
        if request.rpc is not None and "id" in request.json:
            value = INITIALIZED if request.rpc == "initialize" else DONE
            self.say(reply_to(request, value))
        return TAKEN


def notification(method: str, **params: Any) -> dict[str, Any]:
    """A notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def many_lines(message: Any, size: int) -> bytes:
    """An event of at least *size* bytes, in short lines."""
    text = json.dumps(message)
    return b"data: " + text.encode() + b"\n" + b"data:     \n" * (size // 10) + b"\n"
