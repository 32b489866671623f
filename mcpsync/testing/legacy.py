"""The legacy era over HTTP: a handshake, then a session."""

from __future__ import annotations

from .exchange import Exchange
from .journal import CancelledRequest, Journal, Reply
from .jsonrpc import (
    INVALID_REQUEST,
    LEGACY_VERSIONS,
    SERVER_ERROR,
    SESSION_NOT_FOUND,
    JSONObject,
    kind_of,
)
from .listening import Listening
from .rejection import check_legacy_version, reject
from .runner import Runner
from .sessions import Session, Sessions

_HEADER_SINCE = "2025-06-18"
_WITHOUT_HEADER = "2025-03-26"


class LegacyHTTP:
    """Answers what legacy clients POST and DELETE; safe to call from many threads.

    Args:
        has_sessions: Whether the handshake opens a session; otherwise every request stands alone.
    """

    def __init__(
        self, journal: Journal, runner: Runner, listening: Listening, *, has_sessions: bool
    ) -> None:
        self._journal = journal
        self._runner = runner
        self._listening = listening
        self._has_sessions = has_sessions
        self.sessions = Sessions()

    def post(self, exchange: Exchange, message: JSONObject) -> None:
        """Answer *message*.

        Raises:
            Rejection: It breaks a rule of this era.
        """
        if message.get("method") == "initialize":
            self._initialize(exchange, message)
            return
        session = self._session_of(exchange.request.headers)
        kind = kind_of(message)
        if kind == "request":
            self._request(exchange, session, message)
            return
        if kind == "response":
            self._journal.add_reply(Reply(session.id, message))
        else:
            self._notice(session, message)
        exchange.finish(202, None)

    def get(self, exchange: Exchange) -> None:
        """Serve a stream of what the server says by itself, or the rest of an answer.

        Raises:
            Rejection: There is no such session, or it has a stream already.
        """
        self._listening.get(exchange, self._session_of(exchange.request.headers))

    def delete(self, exchange: Exchange) -> None:
        """End the session that the request names.

        Raises:
            Rejection: There is no such session.
        """
        if not self._has_sessions:
            exchange.responder.headers.append(("Allow", "POST"))
            exchange.finish(405, None)
            return
        session_id = self._session_of(exchange.request.headers).id
        assert session_id is not None
        self.sessions.forget(session_id)
        self._listening.forget(session_id)
        self._journal.add_deleted(session_id)
        exchange.finish(200, None)

    def _initialize(self, exchange: Exchange, message: JSONObject) -> None:
        headers = exchange.request.headers
        check_legacy_version(headers)
        if "mcp-session-id" in headers:
            text = "Invalid Request: initialize must not carry a session id"
            raise reject(400, INVALID_REQUEST, text)
        if kind_of(message) != "request":
            raise reject(400, INVALID_REQUEST, "Invalid Request: initialize needs an id")
        session = Session(seen_ids={message["id"]})

        def open_session() -> None:
            if self._has_sessions:
                exchange.responder.headers.append(("Mcp-Session-Id", self.sessions.open(session)))

        self._runner.run(exchange, "legacy", session, message, open_session)

    def _session_of(self, headers: dict[str, str]) -> Session:
        if not self._has_sessions:
            version = check_legacy_version(headers)
            return Session(version=version or _WITHOUT_HEADER, initialized=True)
        session_id = headers.get("mcp-session-id")
        if session_id is None:
            raise reject(400, SERVER_ERROR, "Bad Request: Server not initialized")
        session = self.sessions.get(session_id)
        if session is None:
            raise reject(404, SESSION_NOT_FOUND, "Session not found")
        self._check_version(headers, session.version)
        return session

    def _check_version(self, headers: dict[str, str], negotiated: str) -> None:
        version = check_legacy_version(headers)
        if version is not None and version != negotiated:
            text = f"Bad Request: protocol version {version}, but {negotiated} was negotiated"
            raise reject(400, SERVER_ERROR, text)
        since = LEGACY_VERSIONS.index(_HEADER_SINCE)
        if version is None and LEGACY_VERSIONS.index(negotiated) >= since:
            self._journal.add_violation("MCP-Protocol-Version is missing in a session")

    def _request(self, exchange: Exchange, session: Session, message: JSONObject) -> None:
        method, request_id = message["method"], message["id"]
        if self._has_sessions and not session.is_new_id(request_id):
            self._journal.add_violation(f"{method} uses the id {request_id!r} again")
        if not session.initialized and method != "ping":
            text = f"Invalid Request: {method} before notifications/initialized"
            self._journal.add_violation(text)
            raise reject(400, INVALID_REQUEST, text)
        self._listening.store_answer(exchange, session)
        self._runner.run(exchange, "legacy", session, message)

    def _notice(self, session: Session, message: JSONObject) -> None:
        if message["method"] == "notifications/initialized":
            session.initialized = True
        elif message["method"] == "notifications/cancelled":
            params = message.get("params", {})
            request_id = params.get("requestId")
            running = self._runner.running
            method = running.cancel(session.id, request_id) if session.id else None
            self._journal.add_cancelled(
                CancelledRequest(
                    request_id, method, "notification", params.get("reason"), session.id
                )
            )
