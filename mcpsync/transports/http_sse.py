"""HTTP+SSE of 2024-11-05: one event stream brings every answer, and messages are POSTed beside it.

One thread reads the stream, see :mod:`._mail`. (Requirements 4.3.)
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator, Mapping

from .._runtime.cancel import Watch
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.threads import Courier, hold_still_if_copied, start_thread
from ..errors import (
    ConnectionClosed,
    ConnectionLost,
    MCPSyncError,
    MessageInvalid,
    RequestCancelled,
    RequestTimeout,
)
from ..http import HttpEndpoint, HttpResponse
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.sse import ServerSentEvent, SSEDecoder
from ._mail import REPLY_TIMEOUT, Mail, Waiter
from ._mail_transport import MailTransport
from .base import CallScope
from .streamable_http import closed_error, refusal_of, send_surely

logger = logging.getLogger(__name__)

STREAM_HEADERS = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
POST_HEADERS = {"Content-Type": "application/json"}

_courier = Courier("replier")
after_fork_in_child(_courier.forget)


class HttpSseTransport(MailTransport):
    """One event stream and everybody who waits for something on it. Thread-safe.

    The stream is opened with the first request. A transport whose stream has ended is not used
    again: the session begins anew, with another one.

    Args:
        endpoint: The URL of the stream. What is POSTed goes where the stream says.
    """

    _mail: _StreamMail

    def __init__(self, endpoint: HttpEndpoint) -> None:
        super().__init__(_StreamMail(endpoint), "stream")
        self._endpoint = endpoint

    def open(self, scope: CallScope) -> None:
        """Open the stream, unless it is, and wait until it says where messages are to be sent.

        Raises:
            HTTPStatusError, AuthError: The server refused.
            MessageInvalid: What it opened is not such a stream.
            RefusedError: It wants the messages elsewhere than on its own origin.
            TransportError, RequestTimeout, RequestCancelled: It did not come to that.
        """
        if self._mail.is_open:
            return
        self._mail.check_open()
        watch = Watch(scope.cancel, self._endpoint.close)
        try:
            stream = self._opened(scope)
        except MCPSyncError as error:
            error.maybe_executed = False
            self._mail.end(copy.copy(error))
            raise
        finally:
            watch.end()
        self._mail.begin(stream, scope.headers)
        self._cut_if_forgotten(stream.response)
        start_thread("sse", self._mail.read)

    def _opened(self, scope: CallScope) -> _Stream:
        response = send_surely(lambda: self._get(scope))
        stream = _Stream(response, self._endpoint)
        try:
            stream.read_endpoint()
        except BaseException:
            response.close()
            raise
        response.outlive_call()
        return stream

    def _get(self, scope: CallScope) -> HttpResponse:
        return self._endpoint.send(
            "GET", None, STREAM_HEADERS, deadline=scope.deadline, extra_headers=scope.headers
        )

    def close(self, deadline: Deadline) -> None:
        """End the stream, and every exchange under way. Nothing has to be said for that."""
        error = self._mail.end_with(closed_error())
        if self._finalizer is not None:
            self._finalizer.detach()
        self._endpoint.close(error)
        self._mail.close(error)


class _Stream:
    """The event stream, as its reading thread has it.

    Attributes:
        response: What is read.
        outbox: Where messages are to be sent, once :meth:`read_endpoint` has found out.
    """

    def __init__(self, response: HttpResponse, endpoint: HttpEndpoint) -> None:
        self.response = response
        self.outbox = endpoint
        self._endpoint = endpoint
        limits = endpoint.limits
        decoder = SSEDecoder(limits.max_line_bytes, limits.max_response_bytes)
        self._events = _events(response, decoder)

    def read_endpoint(self) -> None:
        """Wait for the event that says where messages are to be sent; it has to be the first."""
        if self.response.status >= 400:
            raise refusal_of(self.response, {})
        kind = self.response.content_type
        if self.response.status != 200 or kind != "text/event-stream":
            raise MessageInvalid(
                f"the server answered with {kind or 'nothing'}, not an event stream: "
                "is the URL that of an HTTP+SSE endpoint?"
            )
        for event in self._events:
            if event.event == "endpoint" and event.data:
                self.outbox = self._endpoint.beside(event.data.strip())
                return
            if event.event == "message" and event.data:
                raise MessageInvalid("the event stream did not say where to send messages to.")
        raise ConnectionLost("the server ended the event stream before it had begun.")

    def messages(self) -> Iterator[Message]:
        """Yield what comes, until the stream ends; heartbeats and other events are skipped."""
        for event in self._events:
            if event.event == "message" and event.data:
                yield from codec.decode(event.data)


def _events(response: HttpResponse, decoder: SSEDecoder) -> Iterator[ServerSentEvent]:
    for chunk in response.chunks(endless=True):
        yield from decoder.feed(chunk)


class _StreamMail(Mail):
    """The mail of one stream: events that it reads, and messages that are POSTed."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        super().__init__(repr(endpoint))
        self._stream: _Stream | None = None
        self._headers: Mapping[str, str] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the stream was opened; it may have ended since."""
        return self._stream is not None

    def begin(self, stream: _Stream, headers: Mapping[str, str] | None) -> None:
        """Take *stream*; *headers* are those of whoever opened it, and reply for nobody's call."""
        self._headers = headers
        self._stream = stream

    # -- on the threads that wait -----------------------------------------------------------------

    def send_for(self, waiter: Waiter, message: Message, scope: CallScope) -> None:
        """POST the request that *waiter* waits for.

        Its answer is not waited for any longer when there is something to look at before: the
        reply itself, for instance.
        """
        try:
            self._post(message, scope, lambda: waiter.is_urgent)
            waiter.sent = True
        except (RequestCancelled, ConnectionLost) as error:
            if not waiter.is_urgent:
                raise
            waiter.sent = error.maybe_executed  # what came instead, a reply or an error, says more

    def notify(self, message: Message, scope: CallScope) -> None:
        """POST a message that has no answer; any 2xx will do.

        Should it arrive twice, that does no harm, so a socket that was stale is no reason to fail.
        """
        send_surely(lambda: self._post(message, scope))

    def send(self, message: Message, scope: CallScope) -> None:
        """POST the reply to a request of the server; the call may well succeed without it."""
        try:
            self.notify(message, scope)
        except (RequestTimeout, RequestCancelled, ConnectionClosed):
            raise
        except MCPSyncError as error:
            logger.warning("a reply to the server was not accepted: %s", error)

    def send_unasked(self, reply: Message) -> None:
        """POST a reply on another thread: this one reads, and others wait for that."""
        _courier.run(
            lambda: self.send(reply, CallScope(Deadline(REPLY_TIMEOUT), headers=self._headers))
        )

    def _post(
        self, message: Message, scope: CallScope, gives_up: Callable[[], bool] | None = None
    ) -> None:
        stream = self._stream
        assert stream is not None, "there is no message before the stream is open"
        response = stream.outbox.send(
            "POST",
            codec.encode(message),
            POST_HEADERS,
            deadline=scope.deadline,
            cancel=scope.cancel,
            gives_up=gives_up,
            extra_headers=scope.headers,
        )
        with response:
            if response.status >= 400:
                raise self._refused(response, message)
            if "html" in response.content_type:
                raise MessageInvalid(
                    f"the server took the message with {response.content_type}: "
                    "that is not an MCP endpoint.",
                    maybe_executed=True,
                )
            response.finish_soon()

    def _refused(self, response: HttpResponse, message: Message) -> MCPSyncError:
        refusal = refusal_of(response, message)
        if response.status != 404 or message.get("method") == "initialize":
            return refusal
        # It is not the server any more that has our stream, whoever holds that open.
        lost = ConnectionLost("the server no longer knows the stream (404).")
        self.end(lost)
        if self._stream is not None:
            self._stream.response.cut()
        return copy.copy(lost)

    def end_with(self, error: MCPSyncError) -> MCPSyncError:
        """Be over, and return why: *error*, unless it was over before."""
        self.end(error)
        return copy.copy(self.ended_by or error)

    def close(self, error: MCPSyncError) -> None:
        """End the POSTs under way."""
        if self._stream is not None:
            self._stream.outbox.close(error)

    # -- on the thread that reads -----------------------------------------------------------------

    def read(self) -> None:
        """Read until the stream ends; then tell everybody. Runs on the reading thread."""
        stream, process = self._stream, os.getpid()
        assert stream is not None
        error: MCPSyncError = ConnectionLost("the server ended the event stream.")
        try:
            for message in stream.messages():
                hold_still_if_copied(process)
                self.deliver(message)
        except RequestTimeout:  # the kernel's: there is no deadline
            error = ConnectionLost("nothing is heard of the server any more.")
        except MCPSyncError as failure:
            error = failure
        hold_still_if_copied(process)
        error.maybe_executed = False  # whoever has sent something knows it
        stream.outbox.close(self.end_with(error))  # what is on its way is never answered
        stream.response.close()

    def forget(self, error: MCPSyncError) -> None:
        """Be over without a word: in a forked process the stream is the parent's."""
        super().forget(error)
        if self._stream is not None:
            self._stream.response.forget()
