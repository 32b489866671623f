"""The HTTP endpoint: what befalls a request, whether it may pass, and which era it belongs to."""

from __future__ import annotations

import itertools
import time

from .call import Options
from .dispatch import Dispatcher
from .exchange import Exchange
from .faults import LEGACY_ONLY, Fault, FaultPlan, Injection
from .front import Front
from .journal import Journal, RecordedRequest
from .jsonrpc import (
    META_VERSION,
    MODERN_VERSION,
    Era,
    JSONObject,
    RPCError,
    check_message,
    decode,
    meta_of,
)
from .legacy import LegacyHTTP
from .listening import Listening
from .modern import ModernHTTP
from .rejection import Rejection, check_headers
from .responder import SSE_TYPE, Responder
from .runner import Runner
from .sse import SseHTTP
from .wire import Connection, HTTPRequest, PeerGone

PATHS = ("/mcp", "/mcp2")


class Endpoint:
    """Answers HTTP requests; safe to call from many threads.

    Attributes:
        auth_token: The bearer token that every request must carry; None for none.
        set_cookie: ``name=value`` for clients that send no such cookie; ``{n}`` counts them.
        front: Answers requests before anything else looks at them, or lets them pass.
    """

    def __init__(self, options: Options, journal: Journal, plan: FaultPlan) -> None:
        self._options = options
        self._journal = journal
        self._plan = plan
        self._cookies = itertools.count(1)
        self.runner = Runner(Dispatcher(options, journal), journal)
        self.listening = Listening(self.runner.dispatcher.announcer, options.retry)
        self.legacy = LegacyHTTP(
            journal, self.runner, self.listening, has_sessions=options.sessions
        )
        self.modern = ModernHTTP(journal, self.runner, self.listening if options.streams else None)
        self.sse = SseHTTP(journal, plan, self.runner, self.legacy.sessions)
        self.auth_token: str | None = None
        self.set_cookie: str | None = None
        self.front: Front | None = None

    def handle(self, connection: Connection, request: HTTPRequest) -> None:
        """Answer one request.

        Raises:
            PeerGone: The client or the server has closed the connection meanwhile.
        """
        body = _parse(request.body)
        self._journal.add_request(_record(connection, request, body))
        exchange = self._start(connection, request, body)
        try:
            self._answer(exchange)
        except Rejection as rejection:
            known = rejection.knows_id and isinstance(body, dict)
            request_id = body.get("id") if known and isinstance(body, dict) else None
            exchange.finish(rejection.status, rejection.error.to_message(request_id))
        except PeerGone:
            exchange.note_departure()
            raise
        finally:
            self._journal.note_change()

    def _start(self, connection: Connection, request: HTTPRequest, body: object) -> Exchange:
        injection = self._take_fault(request, body)
        fault = injection.fault if injection else None
        responder = Responder(connection, self._options.answer, fault)
        if not request.keep_alive:
            connection.open = False
            responder.headers.append(("Connection", "close"))
        if self.set_cookie is not None:
            responder.headers += self._cookie_for(request, self.set_cookie)
        return Exchange(connection, request, responder, self._journal, self._plan, injection)

    def _cookie_for(self, request: HTTPRequest, cookie: str) -> list[tuple[str, str]]:
        name, _, value = cookie.partition("=")
        sent = {
            pair.partition("=")[0].strip() for pair in request.headers.get("cookie", "").split(";")
        }
        if name in sent:
            return []
        value = value.replace("{n}", str(next(self._cookies)))
        return [("Set-Cookie", f"{name}={value}; Path=/")]

    def _take_fault(self, request: HTTPRequest, body: object) -> Injection | None:
        without: frozenset[Fault] = frozenset()
        if "mcp-session-id" not in request.headers:
            without |= {Fault.SESSION_404}
        method, is_request = request.method, False
        if isinstance(body, dict) and "method" in body:
            method, is_request = str(body["method"]), "id" in body
            if self._era_of(request.headers, body) == "modern":
                without |= LEGACY_ONLY
        injection = self._plan.take(method, is_request=is_request, without=without)
        if injection is not None and injection.fault is Fault.SESSION_404:
            self.legacy.sessions.forget(request.headers["mcp-session-id"])
        return injection

    def _era_of(self, headers: dict[str, str], message: JSONObject) -> Era:
        if self._options.era != "both":
            return self._options.era
        if message.get("method") == "initialize" or "mcp-session-id" in headers:
            return "legacy"
        params = message.get("params")
        named = isinstance(params, dict) and META_VERSION in meta_of(params)
        # Versions are dates: what is later than we know is at least not older than modern.
        modern = headers.get("mcp-protocol-version", "") >= MODERN_VERSION
        return "modern" if modern or named else "legacy"

    def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        streams = self._options.transport == "sse"
        page = self.front(request) if self.front is not None else None
        if page is not None:
            exchange.responder.headers += page.headers
            exchange.responder.send_body(page.status, page.body, page.content_type)
        elif not streams and request.path.partition("?")[0] not in PATHS:
            exchange.responder.send_body(404, b"Not Found", "text/plain")
        elif not self._is_authorised(request):
            _ask_for_token(exchange)
        elif exchange.refuse():
            return
        elif streams:
            self.sse.handle(exchange)
        else:
            self._process(exchange)

    def _process(self, exchange: Exchange) -> None:
        method = exchange.request.method
        if method == "POST":
            self._post(exchange)
        elif method == "GET" and self._offers_stream(exchange.request):
            self.legacy.get(exchange)
        elif method == "DELETE" and self._options.era != "modern":
            self.legacy.delete(exchange)
        else:
            exchange.responder.headers.append(("Allow", "POST"))
            exchange.finish(405, None)

    def _offers_stream(self, request: HTTPRequest) -> bool:
        takes = SSE_TYPE in request.headers.get("accept", "")
        return takes and self._options.streams and self._options.era != "modern"

    def _is_authorised(self, request: HTTPRequest) -> bool:
        expected = self.auth_token
        return expected is None or request.headers.get("authorization") == f"Bearer {expected}"

    def _post(self, exchange: Exchange) -> None:
        check_headers(exchange.request)
        try:
            message = check_message(decode(exchange.request.body))
        except RPCError as error:
            raise Rejection(400, error) from error
        if self._era_of(exchange.request.headers, message) == "modern":
            self.modern.post(exchange, message)
        else:
            self.legacy.post(exchange, message)


def _parse(body: bytes) -> object:
    try:
        return decode(body) if body else None
    except RPCError:
        return None


def _record(connection: Connection, request: HTTPRequest, body: object) -> RecordedRequest:
    method = body.get("method") if isinstance(body, dict) else None
    return RecordedRequest(
        http_method=request.method,
        path=request.path,
        headers=request.headers,
        body=body if isinstance(body, dict | list) else None,
        rpc_method=method if isinstance(method, str) else None,
        received_at=time.monotonic(),
        connection=connection.number,
        raw_body=request.body,
    )


def _ask_for_token(exchange: Exchange) -> None:
    host = exchange.request.headers["host"]
    where = f"http://{host}/.well-known/oauth-protected-resource/mcp"
    challenge = f'Bearer resource_metadata="{where}"'
    if "authorization" in exchange.request.headers:
        challenge += ', error="invalid_token"'
    exchange.responder.headers.append(("WWW-Authenticate", challenge))
    exchange.responder.send_body(401, b"", None)
