"""HTTP+SSE of 2024-11-05: one stream of events for all answers, and a URL to POST messages to."""

from __future__ import annotations

import contextlib
import threading
from urllib.parse import parse_qs, urlsplit

from .call import Call, Identity
from .exchange import DRIP_INTERVAL, Exchange
from .faults import Fault, FaultPlan, Injection
from .journal import CancelledRequest, Journal, Reply
from .jsonrpc import (
    INVALID_REQUEST,
    CallCancelled,
    JSONObject,
    RPCError,
    check_message,
    decode,
    kind_of,
    request_message,
    result_message,
)
from .misbehaviour import halves, spoil
from .responder import FRAMINGS, LAST_CHUNK, Message, chunk, plain_event
from .runner import FIRST_REQUESTS, REPLY_TIMEOUT, Runner
from .sessions import Running, Session, Sessions
from .wire import Connection, PeerGone

STREAM_PATH = "/sse"
MESSAGE_PATH = "/message"
_FOREVER = 365 * 86400.0
_LONGEST = 300.0
_BLOCK = b" " * 65536
_CUTS = frozenset({Fault.DIE_BEFORE_ANSWER, Fault.DIE_MID_HEADERS, Fault.DIE_MID_STREAM})
_HANGS = frozenset({Fault.HANG, Fault.HANG_AFTER_HEADERS})
_DRIPS = frozenset({Fault.DRIP, Fault.DRIP_HEADERS})


class _Stream:
    """The stream of one client; any thread may send.

    Lock: _lock guards writing to the connection.
    """

    def __init__(self, connection: Connection, session: Session) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.session = session

    def send(self, message: Message, fault: Fault | None = None) -> None:
        """Send a message as an event; a client that has gone is no matter."""
        frame = FRAMINGS.get(fault, plain_event) if fault is not None else plain_event
        self.send_raw(*frame(message))

    def send_raw(self, *pieces: bytes, interval: float = 0.0) -> None:
        """Send bytes, each piece as a chunk of its own, *interval* seconds apart."""
        with self._lock, contextlib.suppress(PeerGone):
            for piece in pieces:
                if interval and self._connection.wait(interval):
                    return
                self._connection.send(chunk(piece))

    def cut(self) -> None:
        """Close the connection in the midst of the stream."""
        self._connection.cut()

    def end(self) -> None:
        """End the stream as it should be."""
        with self._lock, contextlib.suppress(PeerGone):
            self._connection.send(LAST_CHUNK)


class _StreamChannel:
    """The way back to the client while one request is carried out."""

    def __init__(self, stream: _Stream, cancelled: threading.Event) -> None:
        self._stream = stream
        self._cancelled = cancelled

    def send(self, message: JSONObject) -> None:
        """Send a message before the response."""
        self._stream.send(message)

    def pause(self, seconds: float) -> bool:
        """Wait; True when the request is cancelled."""
        return self._cancelled.wait(seconds)


class SseHTTP:
    """Answers what clients of HTTP+SSE ask; safe to call from many threads.

    Lock: _lock guards _streams.
    """

    def __init__(
        self, journal: Journal, plan: FaultPlan, runner: Runner, sessions: Sessions
    ) -> None:
        self._journal = journal
        self._plan = plan
        self._runner = runner
        self._sessions = sessions
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}

    def handle(self, exchange: Exchange) -> None:
        """Answer one HTTP request."""
        wanted = {STREAM_PATH: "GET", MESSAGE_PATH: "POST"}
        path = exchange.request.path.partition("?")[0]
        if path not in wanted:
            exchange.responder.send_body(404, b"Not Found", "text/plain")
        elif exchange.request.method != wanted[path]:
            exchange.responder.headers.append(("Allow", wanted[path]))
            exchange.responder.send_body(405, b"Method Not Allowed", "text/plain")
        elif path == STREAM_PATH:
            self._open(exchange)
        else:
            self._take(exchange)

    def end_streams(self) -> None:
        """End every stream the way a server does that shuts down in good order."""
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.end()
            stream.cut()

    def _open(self, exchange: Exchange) -> None:
        fault = exchange.injection.fault if exchange.injection else None
        if "text/event-stream" not in exchange.request.headers.get("accept", ""):
            self._journal.add_violation("the GET of a stream does not accept text/event-stream")
        if fault is Fault.HANG:
            exchange.hang()
        connection = exchange.connection
        connection.send(exchange.responder.start_stream())
        if fault in _CUTS:
            connection.cut()
            return
        if fault is Fault.HANG_AFTER_HEADERS:
            exchange.hang()
        session = Session()
        session_id = self._sessions.open(session)
        stream = _Stream(connection, session)
        with self._lock:
            self._streams[session_id] = stream
        try:
            where = f"{MESSAGE_PATH}?sessionId={session_id}".encode()
            event = b"event: endpoint\ndata: " + where + b"\n\n"
            dripping = [event[at : at + 1] for at in range(len(event))]
            if fault in _DRIPS:
                stream.send_raw(*dripping, interval=DRIP_INTERVAL)
            else:
                stream.send_raw(event)
            connection.wait(_FOREVER)
        finally:
            connection.open = False
            with self._lock:
                del self._streams[session_id]
            self._sessions.forget(session_id)

    def _take(self, exchange: Exchange) -> None:
        request = exchange.request
        session_id = parse_qs(urlsplit(request.path).query).get("sessionId", [""])[0]
        with self._lock:
            stream = self._streams.get(session_id)
        if stream is None or self._sessions.get(session_id) is None:
            exchange.responder.send_body(404, b"Could not find session", "text/plain")
            return
        if "mcp-session-id" in request.headers:
            self._journal.add_violation("HTTP+SSE has no Mcp-Session-Id")
        try:
            message = check_message(decode(request.body))
        except RPCError as error:
            exchange.responder.finish(400, error.to_message(None))
            return
        kind = kind_of(message)
        if kind == "response":
            self._journal.add_reply(Reply(session_id, message))
        elif kind == "notification":
            self._notice(stream.session, message)
        exchange.responder.send_body(202, b"Accepted", "text/plain")
        if kind == "request":
            threading.Thread(
                target=self._answer,
                args=(stream, message, exchange),
                name="mcpsync-testing-call",
                daemon=True,
            ).start()

    def _notice(self, session: Session, message: JSONObject) -> None:
        if message["method"] == "notifications/initialized":
            session.initialized = True
        elif message["method"] == "notifications/cancelled":
            params = message.get("params", {})
            request_id = params.get("requestId")
            assert session.id is not None
            method = self._runner.running.cancel(session.id, request_id)
            self._journal.add_cancelled(
                CancelledRequest(
                    request_id, method, "notification", params.get("reason"), session.id
                )
            )

    def _answer(self, stream: _Stream, message: JSONObject, exchange: Exchange) -> None:
        injection, cancelled = exchange.injection, threading.Event()
        running = Running(stream.session.id, message["id"], message["method"], cancelled)
        with self._runner.running.entered(running), contextlib.suppress(CallCancelled):
            first = FIRST_REQUESTS.get(injection.fault) if injection else None
            if first is not None:
                stream.send(request_message(message["id"], first))
                self._journal.wait_for_reply(stream.session.id, message["id"], REPLY_TIMEOUT)
            answer = self._carry_out(stream, message, exchange, cancelled)
            if not cancelled.is_set():
                self._send(stream, injection, answer)
        self._journal.note_change()

    def _carry_out(
        self, stream: _Stream, message: JSONObject, exchange: Exchange, cancelled: threading.Event
    ) -> JSONObject:
        session, method = stream.session, message["method"]
        headers = exchange.request.headers
        try:
            if not session.is_new_id(message["id"]):
                self._journal.add_violation(f"request id {message['id']!r} was used twice")
            known = self._runner.dispatcher.knows("legacy", method)
            if known and method not in ("initialize", "ping") and not session.initialized:
                text = f"Invalid Request: {method} before notifications/initialized"
                raise RPCError(INVALID_REQUEST, text)
            call = Call(
                era="legacy",
                method=method,
                params=message.get("params", {}),
                request_id=message["id"],
                channel=_StreamChannel(stream, cancelled),
                session=session,
                identity=Identity(
                    authorization=headers.get("authorization"),
                    user=headers.get("x-user"),
                    cookie=headers.get("cookie"),
                    session=session.id,
                ),
                cancelled=cancelled,
            )
            return result_message(message["id"], self._runner.dispatcher.run(call))
        except RPCError as error:
            return error.to_message(message["id"])

    def _send(self, stream: _Stream, injection: Injection | None, answer: JSONObject) -> None:
        fault = injection.fault if injection else None
        if fault in _HANGS:
            self._hang()
        if fault in _CUTS:
            stream.cut()
        elif fault in _DRIPS:
            (event,) = plain_event(answer)
            pieces = [event[at : at + 1] for at in range(len(event))]
            stream.send_raw(*pieces, interval=DRIP_INTERVAL)
        elif injection is None or not _send_spoilt(stream, injection, answer):
            stream.send(spoil(injection, answer), fault)
            if fault is Fault.CLOSE_AFTER_ANSWER:
                stream.cut()

    def _hang(self) -> None:
        gate = self._plan.gate
        self._journal.add_hanging(1)
        try:
            gate.wait(_LONGEST)
        finally:
            self._journal.add_hanging(-1)


def _send_spoilt(stream: _Stream, injection: Injection, answer: JSONObject) -> bool:
    """Send what a fault makes of *answer*, if it is one of these; say whether it was."""
    if injection.fault is Fault.DIE_MID_ANSWER:
        (event,) = plain_event(answer)
        stream.send_raw(event[: len(event) // 2])
        stream.cut()
    elif injection.fault is Fault.HUGE:
        first, last = halves(answer)
        blocks = [_BLOCK] * (injection.size // len(_BLOCK) + 1)
        stream.send_raw(b"data: " + first, *blocks, last + b"\n\n")
    elif injection.fault is Fault.HUGE_LINE:
        stream.send_raw(b"data: ", *[_BLOCK] * (injection.size // len(_BLOCK) + 1))
        stream.cut()
    else:
        return False
    return True
