"""Talking to a child process over its standard input and output, in both eras.

One thread reads, since answers come in any order; it only puts each message where its caller
waits. A caller's callbacks run on the caller's own thread. (Requirements 4.2, M15.)
"""

from __future__ import annotations

import copy
import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .._runtime.cancel import Watch
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
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
from .base import CallScope

logger = logging.getLogger(__name__)

BACKLOG = 100  # notifications kept while nobody waits, for whoever calls next
LAST_WORD = 1.0  # seconds that a child which does not read has, to say why
EXIT_TIMEOUT = 2.0  # seconds a child may take to end when we do


@dataclass(slots=True)
class _Waiter:
    """Where the answer to one request is put, and what belongs to that request."""

    request_id: codec.RequestId
    token: object
    inbox: queue.SimpleQueue[Message | MCPSyncError] = field(default_factory=queue.SimpleQueue)
    sent: bool = False
    stopped: bool = False

    def stop(self, error: MCPSyncError) -> None:
        """Wake whoever waits here with *error*, even if it still writes."""
        self.stopped = True
        self.inbox.put(error)


class StdioTransport:
    """One child process and everybody who waits for it. Thread-safe.

    Args:
        config: What to start.
        limits: How long a message may be.

    Raises:
        ConnectError: It cannot be started.
    """

    cancels_by_closing = False  # M10: a notification has to say so

    def __init__(self, config: StdioServerConfig, limits: Limits) -> None:
        child = Child(config)
        self._mail = _Mail(child, limits)
        self._finalizer = weakref.finalize(self, _end_forgotten, child)
        self._at_fork = after_fork_in_child(self._forget)
        start_thread(f"stdio-{child.pid}", self._mail.read)

    @property
    def alive(self) -> bool:
        """Whether the child is there to answer."""
        return self._mail.ended_by is None

    @property
    def pid(self) -> int:
        """The child's process id, which is also its group's."""
        return self._mail.child.pid

    @property
    def session(self) -> object:
        """What changes with each new session: the child itself is the session."""
        return self._mail

    def adopt(self, version: str) -> None:
        """Nothing to send along: there are no headers."""

    def enter_session(self) -> None:
        """Nothing to change: the child is the session."""

    def request(self, message: Message, scope: CallScope) -> Message:
        """Send a request and wait for the reply, running callbacks in between."""
        waiter = self._mail.register(message)
        watch = Watch(scope.cancel, waiter.stop)
        try:
            line = codec.encode(message) + b"\n"
            waiter.sent = self._mail.write(line, scope.deadline, lambda: waiter.stopped)
            reply = self._await(waiter, scope)
        except MCPSyncError as error:
            if waiter.sent:
                error.maybe_executed = True
            raise
        finally:
            watch.end()
            self._mail.unregister(waiter)
            if self._mail.child.is_garbled:
                self._mail.end(ConnectionLost("a message to the server was cut in its middle."))
        if codec.is_error(reply):
            raise codec.error_of(reply)
        return reply

    def notify(self, message: Message, scope: CallScope) -> None:
        """Send a message that has no answer."""
        self._mail.check_open()
        self._mail.write(codec.encode(message) + b"\n", scope.deadline)

    def close(self, deadline: Deadline) -> None:
        """End the child: close its input, then TERM, then KILL, within the deadline."""
        self._mail.end(ConnectionClosed("the client was closed while the call waited."))
        self._finalizer.detach()
        self._mail.child.end(deadline)

    def _await(self, waiter: _Waiter, scope: CallScope) -> Message:
        while True:
            try:
                item = waiter.inbox.get(timeout=scope.deadline.wait_time())
            except queue.Empty:
                raise scope.deadline.error("waiting for the server to answer") from None
            if isinstance(item, MCPSyncError):
                raise item
            if codec.is_reply(item):
                return item
            reply = scope.on_message(item)
            if reply is not None:
                self.notify(reply, scope)

    def _forget(self) -> None:
        """Have no child any more: in a forked process it is the parent's."""
        self._finalizer.detach()
        self._mail.forget()


class _Mail:
    """Who waits for what. Held by the reading thread, so that the transport itself need not be.

    Lock: _lock guards _waiters, _abandoned, _backlog, ended_by.
    """

    def __init__(self, child: Child, limits: Limits) -> None:
        self.child = child
        self.ended_by: MCPSyncError | None = None
        self._over = threading.Event()
        self._limits = limits
        self._lock = new_lock("stdio mail")
        self._waiters: dict[codec.RequestId, _Waiter] = {}
        self._abandoned: deque[codec.RequestId] = deque(maxlen=1000)
        self._backlog: deque[Message] = deque(maxlen=BACKLOG)

    def register(self, message: Message) -> _Waiter:
        """Wait for the reply to *message*; take what came while nobody waited along.

        Raises:
            MCPSyncError: The child has ended, or was ended.
        """
        meta = codec.params_of(message).get("_meta") or {}
        waiter = _Waiter(message["id"], meta.get("progressToken"))
        with self._lock:
            ended = self.ended_by
            if ended is None:
                self._waiters[waiter.request_id] = waiter
                backlog, self._backlog = self._backlog, deque(maxlen=BACKLOG)
        if ended is not None:
            raise copy.copy(ended)
        for early in backlog:
            waiter.inbox.put(early)
        return waiter

    def unregister(self, waiter: _Waiter) -> None:
        """Wait no longer; a reply that comes late is nobody's."""
        with self._lock:
            self._waiters.pop(waiter.request_id, None)
            self._abandoned.append(waiter.request_id)

    def write(
        self, line: bytes, deadline: Deadline, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Write to the child. If it is not there to read, say what became of it."""
        try:
            return self.child.write(line, deadline, stopped)
        except ConnectionLost:
            self._over.wait(deadline.within(LAST_WORD).remaining())
            self.check_open()
            raise

    def check_open(self) -> None:
        """Raise what ended the child, if something did."""
        if self.ended_by is not None:
            raise copy.copy(self.ended_by)

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
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        with self._lock:
            waiter = self._whose(message)
            if waiter is None and codec.is_reply(message):
                item: Message | MCPSyncError | None = self._unexpected(message)
                waiter = None if item is None else next(iter(self._waiters.values()), None)
            else:
                item = message
                if codec.is_reply(message) and waiter is not None:
                    del self._waiters[waiter.request_id]  # what comes now is not for him
                elif waiter is None and not codec.is_request(message):
                    self._backlog.append(message)
        if waiter is not None and item is not None:
            waiter.inbox.put(item)
        elif codec.is_request(message):
            self._answer_alone(message)

    def _whose(self, message: Message) -> _Waiter | None:
        """Return who waits for *message*; what is nobody's own goes to who has waited longest."""
        if codec.is_reply(message):
            return self._waiters.get(message.get("id"))  # type: ignore[arg-type]
        if message.get("method") == "notifications/progress":
            token = codec.params_of(message).get("progressToken")
            for waiter in self._waiters.values():
                if waiter.token is not None and waiter.token == token:
                    return waiter
        return next(iter(self._waiters.values()), None)

    def _unexpected(self, message: Message) -> MCPSyncError | None:
        """Return the error for a reply nobody asked for; None if somebody did, and gave up."""
        if message.get("id") in self._abandoned:
            return None
        asked = ", ".join(repr(request_id) for request_id in self._waiters)
        return MessageInvalid(
            f"the server answered request {message.get('id')!r}, but {asked or 'nothing'} was "
            "asked."
        )

    def _answer_alone(self, message: Message) -> None:
        """Answer a request that comes while nobody waits: a ping; nothing else can be done."""
        if message["method"] == "ping":
            reply = codec.result_reply(message["id"], {})
        else:
            reply = codec.error_reply(message["id"], codec.METHOD_NOT_FOUND, "Method not found")
        try:
            self.child.write(codec.encode(reply) + b"\n", Deadline(EXIT_TIMEOUT))
        except MCPSyncError:
            logger.debug("[%d] did not take a reply", self.child.pid)

    def end(self, error: MCPSyncError) -> None:
        """Be over because of *error*, the first of which counts, and tell everybody who waits."""
        with self._lock:
            if self.ended_by is None:
                self.ended_by = error
            self._over.set()
            waiters, self._waiters = list(self._waiters.values()), {}
        for waiter in waiters:
            waiter.stop(copy.copy(error))

    def forget(self) -> None:
        """Be over without a word: in a forked process the child is the parent's."""
        self._lock = new_lock("stdio mail")
        self._waiters = {}
        self.ended_by = ConnectionClosed("the process forked; its parent has this server.")
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
