"""What transports have in common where one stream brings the answers to everybody, see `._mail`."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from .._runtime.cancel import Watch
from .._runtime.fork import after_fork_in_child
from ..errors import ConnectionClosed, MCPSyncError
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.resumption import Cursor
from ._mail import Mail
from ._mailbox import MailStream
from .base import CallScope, Stream


class Cuttable(Protocol):
    """What a reading thread waits for, and a finalizer may end."""

    def cut(self) -> None:
        """Wake whoever reads; no lock is taken."""


class MailTransport:
    """Requests, notifications and listening over a :class:`~._mail.Mail`. Thread-safe.

    The stream itself is the session: there is none to delete, and no header to send along.

    Args:
        mail: Brings everything.
        stream: What a forked process is told that its parent has.
    """

    cancels_by_closing = False  # H9, M10: a notification has to say so
    ends_by_itself = True

    _mail: Mail

    def __init__(self, mail: Mail, stream: str) -> None:
        self._mail = mail
        self._stream = stream
        self._finalizer: weakref.finalize[..., MailTransport] | None = None
        after_fork_in_child(self._forget)

    @property
    def alive(self) -> bool:
        """Whether the stream is there to bring an answer, or was not opened yet."""
        return self._mail.ended_by is None

    @property
    def session(self) -> object:
        """What changes with each new session: the stream is the session."""
        return self._mail

    def adopt(self, version: str) -> None:
        """Nothing to send along: there is no header for it."""

    def enter_session(self) -> None:
        """Nothing to change: the stream is the session."""

    def open(self, scope: CallScope) -> None:
        """Begin the conversation, unless it has begun."""

    def request(self, message: Message, scope: CallScope) -> Message:
        """Send a request and wait for the reply, running callbacks in between."""
        self.open(scope)
        waiter = self._mail.register(message)
        watch = Watch(scope.cancel, waiter.stop)
        try:
            self._mail.send_for(waiter, message, scope)
            reply = self._mail.await_reply(waiter, scope)
        except MCPSyncError as error:
            if waiter.sent:
                error.maybe_executed = True
            raise
        finally:
            watch.end()
            self._mail.unregister(waiter)
        if codec.is_error(reply):
            raise codec.error_of(reply)
        return reply

    def notify(self, message: Message, scope: CallScope) -> None:
        """Send a message that has no answer."""
        self._mail.check_open()
        self._mail.notify(message, scope)

    def listen(self, message: Message | None, scope: CallScope, cursor: Cursor) -> Stream:
        """Begin to listen; whatever is said by itself comes on the one stream there is."""
        self.open(scope)
        return MailStream(self._mail, message, scope)

    def _cut_if_forgotten(self, read: Cuttable) -> None:
        """Have *read* cut, and with it the reading thread ended, if nobody closes this."""
        self._finalizer = weakref.finalize(self, _cut, read, os.getpid())
        self._finalizer.atexit = False

    def _forget(self) -> None:
        """Have no stream any more: in a forked process it is the parent's."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self._mail.forget(
            ConnectionClosed(f"the process forked; its parent has this {self._stream}.")
        )


def _cut(read: Cuttable, process: int) -> None:
    """End what was forgotten, but not in a forked child that collects it before it could forget."""
    if os.getpid() == process:
        read.cut()
