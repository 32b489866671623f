"""What both eras of streamable HTTP share: one POST, and its answer as JSON or as events."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from .._runtime.deadline import Deadline
from ..errors import (
    AuthorizationRequired,
    ConnectionClosed,
    ConnectionLost,
    HTTPStatusError,
    InsufficientScope,
    MCPSyncError,
    MessageInvalid,
    ProtocolError,
    RateLimited,
    RequestCancelled,
    RequestTimeout,
)
from ..http import HttpEndpoint, HttpResponse, Limits
from ..http.patience import seconds_asked_for
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.headers import challenged_scopes
from ..protocol.resumption import Cursor
from ..protocol.sse import SSEDecoder
from ._event_stream import EventStream, OnlyThese
from .base import CallScope, Stream

logger = logging.getLogger(__name__)

T = TypeVar("T")


class StreamableHTTP(ABC):
    """POSTs messages to one endpoint and reads the answers. Thread-safe.

    Subclasses give the headers of their era and say what a failure status means in it.
    """

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether it was not closed: there is no connection to lose."""
        return not self._closed

    @abstractmethod
    def _headers(self, message: Message) -> Mapping[str, str]:
        """Return the headers of the era for *message*."""

    def _note_headers(  # noqa: B027 - a hook: only the legacy era has something to note
        self, message: Message, headers: Mapping[str, str]
    ) -> None:
        """Look at the headers of a good answer."""

    def request(self, message: Message, scope: CallScope) -> Message:
        """Send a request and return the reply to it. (Requirements H1 to H3, M8.)"""
        with self._post(message, scope) as response:
            if response.status >= 400:
                raise self._refusal(response, message)
            self._note_headers(message, response.headers)
            if response.content_type == "text/event-stream":
                reply = self._from_events(message, response, scope)
            else:
                reply = self._from_json(message, response, scope)
        if codec.is_error(reply):
            raise codec.error_of(reply)
        return reply

    def notify(self, message: Message, scope: CallScope) -> None:
        """Send a message that has no answer; any 2xx will do. (Requirement H2.)

        Should it arrive twice, that does no harm, so a socket that was stale is no reason to fail.
        """
        send_surely(lambda: self._notify(message, scope))

    def _notify(self, message: Message, scope: CallScope) -> None:
        with self._post(message, scope) as response:
            if response.status >= 400:
                raise self._refusal(response, message)
            response.read()

    def _post(self, message: Message, scope: CallScope) -> HttpResponse:
        return self._endpoint.send(
            "POST",
            codec.encode(message),
            {**self._headers(message), **(scope.mirrored or {})},
            deadline=scope.deadline,
            cancel=scope.cancel,
            extra_headers=scope.headers,
        )

    def _from_json(self, message: Message, response: HttpResponse, scope: CallScope) -> Message:
        body = response.read()
        if not body.strip():
            raise MessageInvalid(
                f"the server took the request (status {response.status}) and did not answer it.",
                maybe_executed=True,
            )
        if response.content_type not in ("application/json", ""):
            raise MessageInvalid(
                f"the server answered with {response.content_type}, not JSON: "
                "is the URL that of an MCP endpoint?",
                maybe_executed=True,
            )
        try:
            found = self._reply_among(codec.decode(body), message, scope)
        except MessageInvalid as error:
            error.maybe_executed = True
            raise
        if found is None:
            raise MessageInvalid(
                "the server's answer does not hold the reply that was asked for.",
                maybe_executed=True,
            )
        return found

    def _from_events(self, message: Message, response: HttpResponse, scope: CallScope) -> Message:
        cursor = Cursor()
        try:
            reply = self._reply_from(message, response, scope, cursor)
        except ConnectionLost as lost:
            lost.maybe_executed = True
            response.close()
            return self._resumed(message, cursor, scope, lost)
        if reply is not None:
            return reply
        response.close()
        return self._resumed(message, cursor, scope, _ended_early())

    def _reply_from(
        self, message: Message, response: HttpResponse, scope: CallScope, cursor: Cursor
    ) -> Message | None:
        """Return the reply that a stream brings; None if it ends without."""
        try:
            for messages in _messages(response, self._endpoint.limits, cursor):
                reply = self._reply_among(messages, message, scope)
                if reply is not None:
                    response.finish_soon()
                    return reply
        except ProtocolError as error:
            error.maybe_executed = True
            raise
        return None

    def _resumed(
        self, message: Message, cursor: Cursor, scope: CallScope, lost: ConnectionLost
    ) -> Message:
        """Return the reply that a stream, which was *lost* or ended early, brings after all."""
        raise lost

    def _reply_among(
        self, messages: list[Message], asked: Message, scope: CallScope
    ) -> Message | None:
        """Return the reply to *asked*, handing on whatever else is there."""
        found: Message | None = None
        for message in messages:
            if not codec.is_reply(message):
                self._hand_on(message, scope)
            elif message.get("id") == asked["id"]:
                found = message
            else:
                raise MessageInvalid(
                    f"the server answered request {message.get('id')!r}, "
                    f"but {asked['id']!r} was asked.",
                    maybe_executed=True,
                )
        return found

    def _hand_on(self, message: Message, scope: CallScope) -> None:
        scope.deadline.check("waiting for the server to answer", maybe_executed=True)
        reply = scope.on_message(message)
        if reply is not None:
            self._reply(reply, scope)

    def _reply(self, reply: Message, scope: CallScope) -> None:
        try:
            self.notify(reply, scope)
        except (RequestTimeout, RequestCancelled, ConnectionClosed):
            raise
        except MCPSyncError as error:  # the call may well succeed without
            logger.warning("a reply to the server was not accepted: %s", error)

    def _refusal(self, response: HttpResponse, message: Message) -> MCPSyncError:
        """Return the error that an answer with a failure status stands for."""
        return refusal_of(response, message)

    @abstractmethod
    def listen(self, message: Message | None, scope: CallScope, cursor: Cursor) -> Stream:
        """Begin to listen, and return what there is to hear."""

    def _stream(self, response: HttpResponse, cursor: Cursor) -> Stream:
        """Return the stream that an answer is; from now on its deadline is for the one who reads.

        Closes the answer if it is none.
        """
        if response.content_type == "text/event-stream":
            return EventStream(response, self._endpoint.limits, cursor)
        if response.content_type == "application/json":
            return OnlyThese(codec.decode(response.read()))
        response.close()
        raise MessageInvalid(
            f"the server answered with {response.content_type or 'nothing'} where it was asked "
            "for an event stream."
        )

    def close(self, deadline: Deadline) -> None:
        """End every exchange under way."""
        self._closed = True
        self._endpoint.close(closed_error())


class Answer(Protocol):
    """An answer over HTTP, as far as an error is made of it."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are case-insensitive."""

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case."""

    def read(self) -> bytes:
        """Return the whole body."""


def refusal_of(response: Answer, message: Message) -> MCPSyncError:
    """Return the error that *response*, which has a failure status, stands for."""
    status, headers = response.status, response.headers
    if status == 401:
        return AuthorizationRequired(
            "the server wants (other) credentials (401).",
            challenge=headers.get("www-authenticate"),
        )
    challenge = headers.get("www-authenticate", "")
    if status == 403 and "insufficient_scope" in challenge:
        return InsufficientScope(
            "the credentials do not reach that far (403).",
            challenge=challenge,
            required_scopes=challenged_scopes(challenge),
        )
    if status == 429:
        return RateLimited(
            "the server asks us to slow down (429).",
            status=status,
            retry_after=seconds_asked_for(headers.get("retry-after")),
        )
    error = codec.find_error(body_of(response))
    if error is not None:
        error.status = status
        return error
    return HTTPStatusError(
        f"the server answered with status {status}{_kind(response)}",
        status=status,
        maybe_executed=status >= 500 and message.get("method") not in codec.SAFE_METHODS,
        retryable=status in (502, 503, 504),
    )


def closed_error() -> ConnectionClosed:
    """Make the error for calls that our own closing ends."""
    return ConnectionClosed("the client was closed while the call waited.")


def send_surely(send: Callable[[], T]) -> T:
    """Send what may arrive twice without harm; once more if it did not leave, or its socket died.

    That is, if the socket had been used before and ended without a byte of answer: most likely
    it was closed while it lay idle.
    """
    try:
        return send()
    except ConnectionLost as lost:
        if lost.maybe_executed and not lost.stale:
            raise
        return send()


def body_of(response: Answer) -> bytes:
    """Return the body of a refusal, or nothing if it does not come whole: the status has told."""
    try:
        return response.read()
    except (ConnectionLost, ProtocolError):
        return b""


def _ended_early() -> ConnectionLost:
    return ConnectionLost(
        "the server ended the stream before it had answered.", maybe_executed=True
    )


def _messages(response: HttpResponse, limits: Limits, cursor: Cursor) -> Iterator[list[Message]]:
    """Yield the messages of each event; events without data only prime a stream. (H12)"""
    decoder = SSEDecoder(limits.max_line_bytes, limits.max_event_bytes)
    for chunk in response.chunks():
        for event in decoder.feed(chunk):
            cursor.note(event)
            if event.data and event.event == "message":
                yield codec.decode(event.data)


def _kind(response: Answer) -> str:
    kind = response.content_type
    if "html" not in kind:
        return "."
    return f" and {kind}, not JSON-RPC: is the URL that of an MCP endpoint?"
