"""One HTTP exchange: the request, its answer, and the fault that befalls it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from .faults import Fault, FaultPlan, Injection
from .journal import CancelledRequest, Journal
from .jsonrpc import RequestId, encode
from .misbehaviour import GARBAGE, halves
from .responder import JSON_TYPE, LAST_CHUNK, SSE_TYPE, Message, Responder, chunk
from .wire import Connection, HTTPRequest, PeerGone, build_response

DRIP_INTERVAL = 0.05
_FOREVER = 365 * 86400.0
_BLOCK = b" " * 65536
_PAGE = b"<!doctype html><title>Not MCP</title><h1>This is not the server you are looking for</h1>"


@dataclass(slots=True)
class Exchange:
    """A request that is being answered.

    Attributes:
        cancellable: The modern request whose stream this is; closing it cancels the request.
    """

    connection: Connection
    request: HTTPRequest
    responder: Responder
    journal: Journal
    plan: FaultPlan
    injection: Injection | None = None
    cancellable: tuple[RequestId, str] | None = None

    def __post_init__(self) -> None:
        self.responder.muted = self._fault in _ENDINGS and self._fault not in _TALKATIVE

    @property
    def _fault(self) -> Fault | None:
        return self.injection.fault if self.injection else None

    def refuse(self) -> bool:
        """Answer with the fault alone if it leaves the request unprocessed; say whether."""
        refusal = _REFUSALS.get(self._fault) if self._fault else None
        if refusal is not None:
            refusal(self)
        return refusal is not None

    def finish(self, status: int, message: Message | None) -> None:
        """Send the answer, or what the fault makes of it."""
        ending = _ENDINGS.get(self._fault) if self._fault else None
        if ending is None:
            self.responder.finish(status, message)
        else:
            ending(self, status, message)

    def note_departure(self) -> None:
        """Record that the client left before the answer was complete, where that cancels."""
        if self.cancellable is not None and not self.connection.stopping:
            request_id, method = self.cancellable
            self.journal.add_cancelled(CancelledRequest(request_id, method, "closed stream"))

    def hang(self) -> None:
        """Do nothing until released.

        Raises:
            PeerGone: The client or the server has closed the connection meanwhile.
        """
        gate: threading.Event = self.plan.gate
        self.journal.add_hanging(1)
        try:
            if self.connection.wait(_FOREVER, gate):
                raise PeerGone
        finally:
            self.journal.add_hanging(-1)

    def drip(self, data: bytes) -> None:
        """Send *data* byte by byte."""
        for index in range(len(data)):
            if self.connection.wait(DRIP_INTERVAL):
                raise PeerGone
            self.connection.send(data[index : index + 1])

    def parts(self, status: int, message: Message | None) -> tuple[bytes, bytes]:
        """Return the head and the body of the whole answer."""
        body = b"" if message is None else encode(message)
        content_type = None if message is None else JSON_TYPE
        if message is not None and self.responder.answer == "sse" and status == 200:
            body, content_type = b"event: message\ndata: " + body + b"\n\n", SSE_TYPE
        whole = build_response(status, body, content_type, self.responder.headers)
        return whole[: len(whole) - len(body)], body


Refusal = Callable[[Exchange], None]
Ending = Callable[[Exchange, int, "Message | None"], None]


def _refuse_with(status: int, body: bytes, kind: str | None, *headers: tuple[str, str]) -> Refusal:
    def refuse(exchange: Exchange) -> None:
        exchange.responder.headers += headers
        exchange.responder.send_body(status, body, kind)

    return refuse


def _redirect_elsewhere(exchange: Exchange) -> None:
    port = exchange.request.headers["host"].rpartition(":")[2]
    exchange.responder.headers.append(("Location", f"http://localhost:{port}/mcp"))
    exchange.responder.send_body(307, b"", None)


_TEXT = "text/plain; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_REFUSALS: dict[Fault, Refusal] = {
    Fault.SESSION_404: _refuse_with(
        404,
        encode(
            {
                "jsonrpc": "2.0",
                "id": None,
                "error": {"code": -32001, "message": "Session not found"},
            }
        ),
        JSON_TYPE,
    ),
    Fault.GARBAGE: _refuse_with(200, GARBAGE, JSON_TYPE),
    Fault.HTML: _refuse_with(200, _PAGE, _HTML),
    Fault.HTML_404: _refuse_with(404, _PAGE, _HTML),
    Fault.HTTP_500: _refuse_with(500, b"Internal Server Error", _TEXT),
    Fault.HTTP_503: _refuse_with(503, b"Service Unavailable", _TEXT),
    Fault.RATE_LIMITED: _refuse_with(429, b"Too Many Requests", _TEXT, ("Retry-After", "7")),
    Fault.EMPTY_202: _refuse_with(202, b"", None),
    Fault.REDIRECT_307_SAME_ORIGIN: _refuse_with(307, b"", None, ("Location", "/mcp2")),
    Fault.REDIRECT_302: _refuse_with(302, b"", None, ("Location", "/mcp2")),
    Fault.REDIRECT_307_OTHER_ORIGIN: _redirect_elsewhere,
}


def _die_before_answer(exchange: Exchange, _: int, __: Message | None) -> None:
    exchange.connection.cut()


def _die_mid_headers(exchange: Exchange, status: int, message: Message | None) -> None:
    head, _ = exchange.parts(status, message)
    exchange.connection.send(head[: len(head) // 2])
    exchange.connection.cut()


def _die_mid_answer(exchange: Exchange, status: int, message: Message | None) -> None:
    head, body = exchange.parts(status, message)
    exchange.connection.send(head + body[: len(body) // 2])
    exchange.connection.cut()


def _die_mid_stream(exchange: Exchange, _: int, __: Message | None) -> None:
    start = exchange.responder.start_stream()
    exchange.connection.send(start + chunk(b": working on it\n\n"))
    exchange.connection.cut()


def _hang(exchange: Exchange, status: int, message: Message | None) -> None:
    exchange.hang()
    exchange.responder.finish(status, message)


def _hang_after_headers(exchange: Exchange, status: int, message: Message | None) -> None:
    head, body = exchange.parts(status, message)
    exchange.connection.send(head)
    exchange.hang()
    exchange.connection.send(body)


def _drip(exchange: Exchange, status: int, message: Message | None) -> None:
    head, body = exchange.parts(status, message)
    exchange.connection.send(head)
    exchange.drip(body)


def _drip_headers(exchange: Exchange, status: int, message: Message | None) -> None:
    head, body = exchange.parts(status, message)
    exchange.drip(head)
    exchange.connection.send(body)


def _huge(exchange: Exchange, _: int, message: Message | None) -> None:
    assert exchange.injection is not None
    first, last = halves(message or {})
    stream = exchange.responder.answer == "sse"
    kind = SSE_TYPE if stream else JSON_TYPE
    head = exchange.responder.head(kind, ("Transfer-Encoding", "chunked"))
    exchange.connection.send(head + chunk(b"data: " * stream + first))
    _send_blocks(exchange, exchange.injection.size)
    exchange.connection.send(chunk(last + b"\n\n" * stream) + LAST_CHUNK)


def _huge_line(exchange: Exchange, _: int, __: Message | None) -> None:
    assert exchange.injection is not None
    exchange.connection.send(exchange.responder.start_stream() + chunk(b"data: "))
    _send_blocks(exchange, exchange.injection.size)
    exchange.connection.cut()


def _send_blocks(exchange: Exchange, size: int) -> None:
    for _ in range(size // len(_BLOCK) + 1):
        exchange.connection.send(chunk(_BLOCK))


def _close_after_answer(exchange: Exchange, status: int, message: Message | None) -> None:
    exchange.responder.finish(status, message)
    exchange.connection.cut()


_ENDINGS: dict[Fault | None, Ending] = {
    Fault.DIE_BEFORE_ANSWER: _die_before_answer,
    Fault.DIE_MID_HEADERS: _die_mid_headers,
    Fault.DIE_MID_ANSWER: _die_mid_answer,
    Fault.DIE_MID_STREAM: _die_mid_stream,
    Fault.HANG: _hang,
    Fault.HANG_AFTER_HEADERS: _hang_after_headers,
    Fault.DRIP: _drip,
    Fault.DRIP_HEADERS: _drip_headers,
    Fault.HUGE: _huge,
    Fault.HUGE_LINE: _huge_line,
    Fault.CLOSE_AFTER_ANSWER: _close_after_answer,
}
_TALKATIVE = frozenset({Fault.DIE_MID_STREAM, Fault.CLOSE_AFTER_ANSWER})
