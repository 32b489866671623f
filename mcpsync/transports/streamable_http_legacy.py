"""Streamable HTTP of 2025-03-26 to 2025-11-25: a session id, and DELETE at its end."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from typing import NamedTuple

from .._runtime.deadline import Deadline
from .._runtime.locks import new_lock
from ..errors import (
    AuthError,
    ConnectError,
    ConnectionLost,
    HTTPStatusError,
    ListenNotSupported,
    MCPError,
    MCPSyncError,
    MessageInvalid,
    RateLimited,
    SessionExpired,
)
from ..http import HttpEndpoint, HttpResponse
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.headers import SESSION_ID, is_session_id, legacy_headers, stream_headers
from ..protocol.resumption import Cursor
from ..protocol.versions import LATEST_LEGACY
from ._resuming import Pauses
from .base import CallScope, Stream
from .streamable_http import StreamableHTTP, body_of, closed_error, send_surely

logger = logging.getLogger(__name__)

DELETE_TIMEOUT = 2.0  # seconds that saying goodbye may take
MAX_LEFT = 8  # sessions of handshakes that failed, to be ended with the last


class _Session(NamedTuple):
    id: str | None
    version: str | None


class StreamableHTTPLegacy(StreamableHTTP):
    """Carries messages of the legacy eras. Thread-safe: the session is swapped whole.

    Lock: _lock guards changes of _session, _next and _left, beside closing, and of
    _listened_to.
    """

    def __init__(self, endpoint: HttpEndpoint) -> None:
        super().__init__(endpoint)
        self._lock = new_lock("session of a transport")
        self._session: _Session | None = None
        self._next: _Session | None = None  # between ``initialize`` and ``initialized``
        self._left: tuple[_Session, ...] = ()
        self._pauses = Pauses()
        self._listened_to: weakref.WeakSet[Stream] | None = None  # from the first on

    @property
    def session(self) -> object:
        """What changes with each new session; None before the first."""
        return self._session

    def adopt(self, version: str) -> None:
        """Send *version* along in the new session. (H7)"""
        with self._lock:
            if self._next is not None:
                self._next = self._next._replace(version=version)

    def enter_session(self) -> None:
        """Use the new session for everything from now on; nothing comes in the old one."""
        with self._lock:
            self._session, self._next = self._next, None
        for stream in self._streams():
            stream.abort(ConnectionLost("the session in which the server was heard is over."))

    def _session_of(self, message: Message) -> _Session | None:
        """Return the session a message belongs to: the last of a handshake is of the new one."""
        is_last = message.get("method") == "notifications/initialized"
        return self._next if is_last else self._session

    def _headers(self, message: Message) -> Mapping[str, str]:
        session = self._session_of(message)
        if session is None or message.get("method") == "initialize":
            return legacy_headers(None, None)
        return legacy_headers(session.version, session.id)

    def _note_headers(self, message: Message, headers: Mapping[str, str]) -> None:
        if message.get("method") != "initialize":
            return
        session_id = headers.get(SESSION_ID) or None
        if session_id is not None and not is_session_id(session_id):
            raise MessageInvalid("the server gave a session id that is not visible ASCII.")
        began = _Session(session_id, None)
        with self._lock:
            late = self._closed
            if not late:
                if self._next is not None:  # its handshake failed
                    self._left = (*self._left, self._next)[-MAX_LEFT:]
                self._next = began
        if late:  # whoever closed has not seen it
            self._delete(began, Deadline(DELETE_TIMEOUT))

    def _refusal(self, response: HttpResponse, message: Message) -> MCPSyncError:
        session = self._session_of(message)
        if (
            response.status == 404
            and session is not None
            and session.id is not None
            and message.get("method") != "initialize"
        ):
            body_of(response)
            return SessionExpired("the server no longer knows the session (404).")
        refusal = super()._refusal(response, message)
        if session is not None and session.id is not None and _means_unknown(refusal):
            return SessionExpired("the server no longer knows the session (400).")
        return refusal

    def listen(self, message: Message | None, scope: CallScope, cursor: Cursor) -> Stream:
        """GET what the server says by itself, after what *cursor* has seen. (H8)"""
        try:
            response = self._get(self._session, cursor.last_event_id, scope)
        except (HTTPStatusError, MCPError) as error:
            if error.status == 409 and any(stream.open for stream in self._streams()):
                raise ListenNotSupported(
                    "the server gives a client one stream, and another subscription has it."
                ) from error
            raise
        stream = self._stream(response, cursor)
        with self._lock:
            if self._listened_to is None:
                self._listened_to = weakref.WeakSet()
            self._listened_to.add(stream)
        return stream

    def _streams(self) -> list[Stream]:
        streams = self._listened_to
        return [] if streams is None else list(streams)

    # -- going on with a stream -------------------------------------------------------------------

    def _resumed(
        self, message: Message, cursor: Cursor, scope: CallScope, lost: ConnectionLost
    ) -> Message:
        """Ask for the rest of the stream, again and again as long as that brings something. (H11)

        What was asked for may have been run, so whatever comes of this says so.
        """
        begins = message.get("method") == "initialize"
        session = self._next if begins else self._session_of(message)
        while (seconds := cursor.pause()) is not None:
            logger.debug("an answer was cut; asking for the rest of it in %g s", seconds)
            self._pauses.wait(seconds, scope)
            try:
                with self._get(session, cursor.last_event_id, scope) as response:
                    if response.content_type != "text/event-stream":
                        raise MessageInvalid("the rest of an answer is no event stream.")
                    reply = self._reply_from(message, response, scope, cursor)
            except MCPSyncError as error:
                lost = _cannot_go_on(error)
                continue
            if reply is not None:
                return reply
        raise lost

    def _get(
        self, session: _Session | None, last_event_id: str | None, scope: CallScope
    ) -> HttpResponse:
        """GET an event stream; once more if the socket had been closed while it lay idle.

        Raises:
            SessionExpired: The server has forgotten the session.
            HTTPStatusError, AuthError, MCPError: It has no such stream, or not for us.
        """
        session_id, version = session if session is not None else (None, None)
        headers = stream_headers(version, session_id, last_event_id)
        response = send_surely(lambda: self._send_get(headers, scope))
        if response.status >= 400:
            with response:
                if response.status == 404 and session_id is not None:
                    raise SessionExpired("the server no longer knows the session (404).")
                raise self._refusal(response, {})
        return response

    def _send_get(self, headers: Mapping[str, str], scope: CallScope) -> HttpResponse:
        return self._endpoint.send(
            "GET",
            None,
            headers,
            deadline=scope.deadline,
            cancel=scope.cancel,
            extra_headers=scope.headers,
        )

    def close(self, deadline: Deadline) -> None:
        """End every exchange under way, then the session, in two seconds at most. (H6)"""
        self._pauses.close(closed_error())
        super().close(deadline)
        with self._lock:
            sessions = (self._session, self._next, *self._left)
            self._session, self._next, self._left = None, None, ()
        goodbye = deadline.within(DELETE_TIMEOUT)
        for session in sessions:
            if session is not None:
                self._delete(session, goodbye)

    def _delete(self, session: _Session, deadline: Deadline) -> None:
        if session.id is None:
            return
        version = session.version or LATEST_LEGACY  # what was asked for, if no more is known
        headers = legacy_headers(version, session.id)
        try:
            send_surely(lambda: self._part(headers, deadline))
        except MCPSyncError as error:  # it will forget the session by itself
            logger.debug("the session was not deleted: %s", error)
        except Exception:  # auth= is the application's code, and closing goes on
            logger.exception("the session was not deleted")

    def _part(self, headers: Mapping[str, str], deadline: Deadline) -> None:
        with self._endpoint.send(
            "DELETE", None, headers, deadline=deadline, parting=True
        ) as response:
            response.read()


def _cannot_go_on(error: MCPSyncError) -> ConnectionLost:
    """Return what it comes to if a cut answer could not be gone on with, if that may pass.

    Raises:
        ConnectionLost: The server will not let us go on.
        MCPSyncError: The session is gone, the call is over, or the server breaks the rules.
    """
    error.maybe_executed = True
    if isinstance(error, ConnectionLost):
        error.stale = False
        return error
    if not isinstance(error, ConnectError | HTTPStatusError | AuthError | MCPError):
        raise error
    lost = ConnectionLost(
        f"the answer was cut, and the rest of it could not be had: {error.message}",
        maybe_executed=True,
    )
    lost.__cause__ = error
    passes = error.retryable and not isinstance(error, RateLimited)
    if not passes:
        raise lost
    return lost


def _means_unknown(refusal: MCPSyncError) -> bool:
    """Whether a 400 says what a 404 should: servers of the TypeScript SDK do. Neither was run."""
    return (
        isinstance(refusal, MCPError)
        and refusal.status == 400
        and refusal.code in (-32000, codec.INVALID_REQUEST)
        and "session" in refusal.message.lower()
    )
