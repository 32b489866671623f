"""A bare MCP server: canned answers of both eras, a process of its own, nothing but asyncio.

    python benchmarks/server.py [--ports 4] [--tls-ports 4 --certificate cert.pem --key key.pem]

The first line on standard output is JSON, ``{"ports": [...], "tls_ports": [...]}``. The process
ends when its standard input closes. The path chooses the answer: ``/legacy/json``, ``/legacy/sse``,
``/modern/json``, ``/modern/sse``. ``GET /counts`` tells how often each method was asked since the
last time somebody looked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import sys
from collections import Counter
from typing import Any, ClassVar, cast

LEGACY, MODERN = "2025-11-25", "2026-07-28"
MAX_HEAD = 64 * 1024
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

SERVER_INFO = {"name": "bare", "version": "1"}
TOOL = {
    "name": "echo",
    "description": "Say it again.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
}
CALLED = {"content": [{"type": "text", "text": "hello world"}], "isError": False}
CACHED = {"ttlMs": 0, "cacheScope": "public"}
COMPLETE = {"resultType": "complete"}

RESULTS: dict[str, dict[str, Any]] = {
    "legacy": {
        "initialize": {
            "protocolVersion": LEGACY,
            "capabilities": {"tools": {}},
            "serverInfo": SERVER_INFO,
        },
        "ping": {},
        "tools/list": {"tools": [TOOL]},
        "tools/call": CALLED,
    },
    "modern": {
        "server/discover": {
            "supportedVersions": [MODERN],
            "capabilities": {"tools": {}},
            "_meta": {"io.modelcontextprotocol/serverInfo": SERVER_INFO},
            **CACHED,
            **COMPLETE,
        },
        "tools/list": {"tools": [TOOL], **CACHED, **COMPLETE},
        "tools/call": {**CALLED, **COMPLETE},
    },
}
# What real servers of the other era say: with sessions to a probe, without to a handshake.
REFUSALS: dict[tuple[str, str], tuple[int, bytes]] = {
    ("legacy", "server/discover"): (
        400,
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,'
        b'"message":"Bad Request: Server not initialized"}}',
    ),
    ("modern", "initialize"): (
        404,
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"Method not found"}}',
    ),
}
REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found", 405: "Not Allowed"}
RENDERED: dict[tuple[str, str], bytes] = {
    (era, method): json.dumps(result, separators=(",", ":")).encode()
    for era, results in RESULTS.items()
    for method, result in results.items()
}


def plain(status: int, body: bytes = b"", extra: bytes = b"") -> bytes:
    """Return a whole HTTP response with a length."""
    kind = b"Content-Type: application/json\r\n" if body else b""
    return b"HTTP/1.1 %d %s\r\n%s%sContent-Length: %d\r\n\r\n%s" % (
        status,
        REASONS[status].encode(),
        kind,
        extra,
        len(body),
        body,
    )


def event(body: bytes, extra: bytes = b"") -> bytes:
    """Return a whole HTTP response with one SSE event, chunked as servers of streams send it."""
    data = b"event: message\ndata: %s\n\n" % body
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
        b"%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (extra, len(data), data)
    )


class BareProtocol(asyncio.Protocol):
    """One connection: cuts requests out of the bytes, writes each answer with one call."""

    sessions = 0
    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio has already switched Nagle's algorithm off)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in what has arrived so far."""
        assert self._transport is not None
        buffer = self._buffer + data if self._buffer else data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            found = CONTENT_LENGTH.search(buffer, 0, end + 2)
            stop = end + 4 + (int(found[1]) if found else 0)
            if len(buffer) < stop:
                break
            self._transport.write(self._answer(buffer[:end], buffer[end + 4 : stop]))
            buffer = buffer[stop:]
        self._buffer = buffer
        if len(buffer) > MAX_HEAD * 16:
            self._transport.abort()

    def _answer(self, head: bytes, body: bytes) -> bytes:
        verb, target, _ = head[: head.find(b"\r\n")].decode("latin-1").split(" ", 2)
        if verb == "POST":
            _, era, style = target.split("/")
            return self._answer_message(era, style, json.loads(body))
        if target == "/counts":
            counts, BareProtocol.counts = BareProtocol.counts, Counter()
            return plain(200, json.dumps(counts).encode())
        self.counts[verb] += 1
        return plain(200 if verb == "DELETE" and "legacy" in target else 405)

    def _answer_message(self, era: str, style: str, message: dict[str, Any]) -> bytes:
        method = message["method"]
        self.counts[method] += 1
        if "id" not in message:
            return plain(202)
        identifier = json.dumps(message["id"]).encode()
        result = RENDERED.get((era, method))
        if result is None:
            status, text = REFUSALS.get((era, method), (404, REFUSALS["modern", "initialize"][1]))
            return plain(status, text.replace(b'"id":null', b'"id":' + identifier))
        extra = b""
        if method == "initialize":
            BareProtocol.sessions += 1
            extra = b"Mcp-Session-Id: bare-%d\r\n" % BareProtocol.sessions
        answer = b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (identifier, result)
        return event(answer, extra) if style == "sse" else plain(200, answer, extra)


async def listen(count: int, context: ssl.SSLContext | None) -> list[asyncio.Server]:
    """Open *count* listening sockets on free ports of the loopback address."""
    loop = asyncio.get_running_loop()
    return [
        await loop.create_server(BareProtocol, "127.0.0.1", 0, ssl=context) for _ in range(count)
    ]


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return a TLS context for the server side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def serve(options: argparse.Namespace) -> None:
    """Listen, say where, and serve until standard input closes."""
    context = server_context(options.certificate, options.key) if options.tls_ports else None
    listeners = await listen(options.ports, None)
    tls_listeners = await listen(options.tls_ports, context)
    ports, tls_ports = (
        [server.sockets[0].getsockname()[1] for server in group]
        for group in (listeners, tls_listeners)
    )
    print(json.dumps({"ports": ports, "tls_ports": tls_ports}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ports", type=int, default=4)
    parser.add_argument("--tls-ports", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
