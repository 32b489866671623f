"""Carrying out one request that came over HTTP, in either era."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .call import Call, Identity
from .dispatch import Dispatcher
from .exchange import Exchange
from .faults import Fault
from .journal import Journal
from .jsonrpc import (
    METHOD_NOT_FOUND,
    CallCancelled,
    Era,
    JSONObject,
    RPCError,
    request_message,
    result_message,
)
from .misbehaviour import spoil
from .sessions import Running, RunningCalls, Session

REPLY_TIMEOUT = 5.0
FIRST_REQUESTS = {Fault.PING_FIRST: "ping", Fault.UNKNOWN_REQUEST_FIRST: "testing/unknown"}


class HTTPChannel:
    """The stream of one answer."""

    def __init__(self, exchange: Exchange, era: Era, cancelled: threading.Event) -> None:
        self._exchange = exchange
        self._era = era
        self._cancelled = cancelled

    def send(self, message: JSONObject) -> None:
        """Send a message before the response."""
        self._exchange.responder.send(message)

    def pause(self, seconds: float) -> bool:
        """Wait; True when the request is cancelled, the modern way or the legacy way."""
        if self._era == "legacy":  # there a closed stream is no cancellation
            return self._cancelled.wait(seconds)
        return self._exchange.connection.wait(seconds)


class Runner:
    """Runs requests and sends their answers; safe to call from many threads."""

    def __init__(self, dispatcher: Dispatcher, journal: Journal) -> None:
        self.dispatcher = dispatcher
        self._journal = journal
        self.running = RunningCalls()

    def run(
        self,
        exchange: Exchange,
        era: Era,
        session: Session,
        message: JSONObject,
        on_success: Callable[[], None] = lambda: None,
    ) -> None:
        """Carry out the request *message* and answer it.

        Args:
            on_success: Called between a good result and its answer.
        """
        cancelled = threading.Event()
        running = Running(session.id, message["id"], message["method"], cancelled)
        call = _build_call(exchange, era, session, message, cancelled)
        with self.running.entered(running):
            try:
                self._ask_first(exchange, call)
                status, answer = self._carry_out(call)
                if "result" in answer:
                    on_success()
                exchange.finish(status, spoil(exchange.injection, answer))
            except CallCancelled:
                exchange.note_departure()
                exchange.responder.abandon()

    def _ask_first(self, exchange: Exchange, call: Call) -> None:
        method = FIRST_REQUESTS.get(exchange.injection.fault) if exchange.injection else None
        if method is not None:
            # The same id as the client's own request: the two sides count separately.
            exchange.responder.send(request_message(call.request_id, method))
            self._journal.wait_for_reply(call.session.id, call.request_id, REPLY_TIMEOUT)

    def _carry_out(self, call: Call) -> tuple[int, JSONObject]:
        try:
            return 200, result_message(call.request_id, self.dispatcher.run(call))
        except RPCError as error:
            return _status_of(call.era, error.code), error.to_message(call.request_id)


def _build_call(
    exchange: Exchange,
    era: Era,
    session: Session,
    message: JSONObject,
    cancelled: threading.Event,
) -> Call:
    headers = exchange.request.headers
    return Call(
        era=era,
        method=message["method"],
        params=message.get("params", {}),
        request_id=message["id"],
        channel=HTTPChannel(exchange, era, cancelled),
        session=session,
        identity=Identity(
            authorization=headers.get("authorization"),
            user=headers.get("x-user"),
            cookie=headers.get("cookie"),
            session=headers.get("mcp-session-id"),
        ),
        cancelled=cancelled,
    )


def _status_of(era: Era, code: int) -> int:
    if era == "legacy":
        return 200
    return 404 if code == METHOD_NOT_FOUND else 400
