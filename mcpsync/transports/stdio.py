"""Talking to a child process over its standard input and output, in both eras.

One thread reads, see :mod:`._mail`. (Requirements 4.2, M15.)
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

from .._runtime.deadline import Deadline
from .._runtime.threads import start_thread
from ..config import StdioServerConfig
from ..errors import (
    ConnectionClosed,
    ConnectionLost,
    LimitExceeded,
    MCPSyncError,
    MessageInvalid,
    ServerExited,
)
from ..http.limits import Limits
from ..protocol import codec
from ..protocol.codec import Message
from ._child import Child
from ._mail import Mail, Waiter
from ._mail_transport import MailTransport
from .base import CallScope

logger = logging.getLogger(__name__)

LAST_WORD = 1.0  # seconds that a child which does not read has, to say why
EXIT_TIMEOUT = 2.0  # seconds a child may take to end when we do


class StdioTransport(MailTransport):
    """One child process and everybody who waits for it. Thread-safe.

    Args:
        config: What to start.
        limits: How long a message may be.

    Raises:
        ConnectError: It cannot be started.
    """

    _mail: _ChildMail

    def __init__(self, config: StdioServerConfig, limits: Limits) -> None:
        child = Child(config)
        super().__init__(_ChildMail(child, limits), "server")
        self._finalizer = weakref.finalize(self, _end_forgotten, child)
        start_thread(f"stdio-{child.pid}", self._mail.read)

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's."""
        return self._mail.child.pid

    def request(self, message: Message, scope: CallScope) -> Message:
        """Send a request and wait for the reply, running callbacks in between."""
        try:
            return super().request(message, scope)
        finally:
            if self._mail.child.is_garbled:
                self._mail.end(ConnectionLost("a message to the server was cut in its middle."))

    def close(self, deadline: Deadline) -> None:
        """End the child: close its input, then TERM, then KILL, within the deadline."""
        self._mail.end(ConnectionClosed("the client was closed while the call waited."))
        if self._finalizer is not None:
            self._finalizer.detach()
        self._mail.child.end(deadline)


class _ChildMail(Mail):
    """The mail of one child: lines that it reads and writes."""

    def __init__(self, child: Child, limits: Limits) -> None:
        super().__init__(str(child.pid))
        self.child = child
        self._limits = limits

    def send_for(self, waiter: Waiter, message: Message, scope: CallScope) -> None:
        """Write the request that *waiter* waits for, unless he has stopped waiting."""
        line = codec.encode(message) + b"\n"
        waiter.sent = self.write(line, scope.deadline, lambda: waiter.stopped)

    def send(self, message: Message, scope: CallScope) -> None:
        """Write a message that nobody waits for the answer of."""
        self.write(codec.encode(message) + b"\n", scope.deadline)

    def write(
        self, line: bytes, deadline: Deadline, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Write to the child. If it is not there to read, say what became of it."""
        try:
            return self.child.write(line, deadline, stopped)
        except ConnectionLost:
            self.wait_until_over(deadline.within(LAST_WORD))
            self.check_open()
            raise

    def read(self) -> None:
        """Read until the child's output ends; then tell everybody. Runs on the reading thread."""
        try:
            stopped = self.child.read_loop(self._on_line, self._limits.max_line_bytes)
        except (OSError, ValueError):  # the pipes were closed under us
            stopped = None
        if stopped is not None:
            self.end(LimitExceeded(f"the server was ended: {stopped}."))
            self.child.end(Deadline(EXIT_TIMEOUT))
            return
        if self.ended_by is None:
            code = self.child.wait(EXIT_TIMEOUT)
            self.end(_exited(code, self.child.stderr_tail))

    def _on_line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            messages = codec.decode(line)
        except MessageInvalid:
            logger.warning(
                "[%d] wrote %d bytes to its output that are not a message; ignored",
                self.child.pid,
                len(line),
            )
            return
        for message in messages:
            self.deliver(message)

    def forget(self, error: MCPSyncError) -> None:
        """Be over without a word: in a forked process the child is the parent's."""
        super().forget(error)
        self.child.forget()


def _exited(code: int | None, tail: str) -> ServerExited:
    how = "closed its output" if code is None else f"ended with status {code}"
    if code is not None and code < 0:
        how = f"was ended by signal {-code}"
    last = tail.rpartition("\n")[2]
    said = f"; its last words: {last}" if last else ""
    return ServerExited(f"the server {how}{said}.", returncode=code, stderr_tail=tail)


def _end_forgotten(child: Child) -> None:
    """End the child of a transport that nobody closed: collected, or the interpreter exits."""
    child.end(Deadline(EXIT_TIMEOUT))
