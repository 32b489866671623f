"""MCP over WebSocket, in the legacy era. No revision of the protocol describes it; servers have it.

One thread reads, see :mod:`._mail`.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable

from .._runtime.deadline import Deadline
from .._runtime.threads import hold_still_if_copied, start_thread
from ..errors import ConfigurationError, ConnectionLost, MCPSyncError
from ..http import HttpSettings, Limits
from ..http.websocket import HandshakeRefused, WebSocketConnection
from ..protocol import codec
from ..protocol.codec import Message
from ._mail import Mail, Waiter
from ._mail_transport import MailTransport
from .base import CallScope
from .streamable_http import closed_error, refusal_of

logger = logging.getLogger(__name__)

SUBPROTOCOL = "mcp"
LAST_WORD = 1.0  # seconds that the reading thread may take to see the end as well


class WebSocketTransport(MailTransport):
    """One WebSocket and everybody who waits for something on it. Thread-safe.

    It is opened with the first request. A transport whose connection has ended is not used again:
    the session begins anew, with another one.

    Args:
        settings: Where it leads, as an ``http`` or ``https`` URL. Headers and credentials of it
            are not sent.
        limits: How long a message may be.
    """

    _mail: _SocketMail

    def __init__(self, settings: HttpSettings, limits: Limits) -> None:
        super().__init__(_SocketMail(f"{settings.origin[1]}:{settings.origin[2]}"), "connection")
        self._settings = settings
        self._limits = limits

    def open(self, scope: CallScope) -> None:
        """Connect, unless it is.

        Raises:
            HTTPStatusError, AuthError: The server does not want to.
            MCPSyncError: It did not work out.
        """
        if self._mail.connection is not None:
            return
        self._mail.check_open()
        try:
            connection = WebSocketConnection(
                self._settings, SUBPROTOCOL, self._limits, scope.deadline, scope.cancel
            )
        except HandshakeRefused as refused:
            error = refusal_of(refused.answer, {})
            error.maybe_executed = False
            self._mail.end(copy.copy(error))
            raise error from None
        except MCPSyncError as error:
            error.maybe_executed = False
            self._mail.end(copy.copy(error))
            raise
        if self._mail.begin(connection):
            self._cut_if_forgotten(connection)
            start_thread("websocket", self._mail.read)
        else:  # closed meanwhile
            connection.close()
        self._mail.check_open()

    def request(self, message: Message, scope: CallScope) -> Message:
        """Send a request and wait for the reply, running callbacks in between."""
        if scope.headers:
            raise ConfigurationError("headers cannot be sent over WebSocket.")
        return super().request(message, scope)

    def close(self, deadline: Deadline) -> None:
        """Say goodbye, in half a second at most, and end the connection."""
        error = closed_error()
        self._mail.end(error)
        if self._finalizer is not None:
            self._finalizer.detach()
        connection = self._mail.connection
        if connection is not None:
            connection.say_goodbye(deadline)
            connection.abort(error)


class _SocketMail(Mail):
    """The mail of one WebSocket."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.connection: WebSocketConnection | None = None

    def begin(self, connection: WebSocketConnection) -> bool:
        """Take *connection*, unless all is over by now; say whether it was taken."""
        self.connection = connection
        return self.ended_by is None

    def send_for(self, waiter: Waiter, message: Message, scope: CallScope) -> None:
        """Send the request that *waiter* waits for, unless he has stopped waiting."""
        waiter.sent = self.write(message, scope.deadline, lambda: waiter.stopped)

    def send(self, message: Message, scope: CallScope) -> None:
        """Send a message that nobody waits for the answer of."""
        self.write(message, scope.deadline)

    def write(
        self, message: Message, deadline: Deadline, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Send a message; one that was cut in its middle ends the connection."""
        connection = self.connection
        assert connection is not None, "there is no message before the connection is open"
        try:
            return connection.send(codec.encode(message), deadline, stopped)
        except ConnectionLost as ended:
            connection.abort(copy.copy(ended))
            self.wait_until_over(deadline.within(LAST_WORD))  # so that nobody takes it for alive
            self.check_open()
            raise
        finally:
            if connection.is_garbled:
                lost = ConnectionLost("a message to the server was cut in its middle.")
                self.end(lost)
                connection.abort(lost)

    def read(self) -> None:
        """Read until the connection ends; then tell everybody. Runs on the reading thread."""
        connection, process = self.connection, os.getpid()
        assert connection is not None
        error: MCPSyncError = ConnectionLost("the server ended the connection.")
        try:
            for text in connection.messages():
                hold_still_if_copied(process)
                for message in codec.decode(text):
                    self.deliver(message)
        except MCPSyncError as failure:
            error = failure
        hold_still_if_copied(process)
        error.maybe_executed = False  # whoever has sent something knows it
        self.end(error)
        connection.close()

    def forget(self, error: MCPSyncError) -> None:
        """Be over without a word: in a forked process the connection is the parent's."""
        super().forget(error)
        if self.connection is not None:
            self.connection.forget()
