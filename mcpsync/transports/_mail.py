"""Who waits for which answer, where one stream brings the answers to all of them.

One thread reads, since answers come in any order; it only puts each message where its caller
waits. A caller's callbacks run on the caller's own thread. Standard input and output are like
that, the event stream of HTTP+SSE, and WebSocket.
"""

from __future__ import annotations

import copy
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field

from .._runtime.deadline import Deadline
from .._runtime.locks import new_lock
from ..errors import MCPSyncError, MessageInvalid
from ..protocol import codec
from ..protocol.codec import Message
from .base import CallScope

logger = logging.getLogger(__name__)

BACKLOG = 100  # notifications kept while nobody waits, for whoever calls next
REPLY_TIMEOUT = 2.0  # seconds that answering the server may take while nobody waits


@dataclass(slots=True)
class Waiter:
    """Where the answer to one request is put, and what belongs to that request."""

    request_id: codec.RequestId
    token: object
    inbox: queue.SimpleQueue[Message | MCPSyncError] = field(default_factory=queue.SimpleQueue)
    sent: bool = False
    stopped: bool = False
    answering: bool = False  # a callback of his runs: he reads nothing now

    def stop(self, error: MCPSyncError) -> None:
        """Wake whoever waits here with *error*, even if it still writes."""
        self.stopped = True
        self.inbox.put(error)


class Mail(ABC):
    """Who waits for what. Held by the reading thread, so that the transport itself need not be.

    Thread-safe.

    Args:
        label: What the log calls the server.

    Lock: _lock guards _waiters, _abandoned, _backlog, ended_by.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.ended_by: MCPSyncError | None = None
        self._over = threading.Event()
        self._lock = new_lock("mail")
        self._waiters: dict[codec.RequestId, Waiter] = {}
        self._abandoned: deque[codec.RequestId] = deque(maxlen=1000)
        self._backlog: deque[Message] = deque(maxlen=BACKLOG)

    @abstractmethod
    def send(self, message: Message, deadline: Deadline) -> None:
        """Send a message that nobody waits for the answer of."""

    # -- on the threads that wait -----------------------------------------------------------------

    def register(self, message: Message) -> Waiter:
        """Wait for the reply to *message*; take what came while nobody waited along.

        Raises:
            MCPSyncError: The conversation has ended, or was ended.
        """
        meta = codec.params_of(message).get("_meta") or {}
        waiter = Waiter(message["id"], meta.get("progressToken"))
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

    def unregister(self, waiter: Waiter) -> None:
        """Wait no longer; a reply that comes late is nobody's."""
        with self._lock:
            self._waiters.pop(waiter.request_id, None)
            self._abandoned.append(waiter.request_id)

    def await_reply(self, waiter: Waiter, scope: CallScope) -> Message:
        """Return the reply, once it is there, answering what the server asks meanwhile.

        Raises:
            MCPSyncError: What the waiter was stopped with, or the deadline's.
        """
        while True:
            try:
                item = waiter.inbox.get(timeout=scope.deadline.wait_time())
            except queue.Empty:
                raise scope.deadline.error("waiting for the server to answer") from None
            if isinstance(item, MCPSyncError):
                raise item
            if codec.is_reply(item):
                return item
            waiter.answering = True
            try:
                reply = scope.on_message(item)
            finally:
                waiter.answering = False
            if reply is not None:
                self.check_open()
                self.send(reply, scope.deadline)

    def check_open(self) -> None:
        """Raise what ended the conversation, if something did."""
        if self.ended_by is not None:
            raise copy.copy(self.ended_by)

    # -- on the thread that reads -----------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Put a message where somebody waits for it; answer it if it asks and nobody waits."""
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

    def end(self, error: MCPSyncError) -> None:
        """Be over because of *error*, the first of which counts, and tell everybody who waits."""
        with self._lock:
            if self.ended_by is None:
                self.ended_by = error
            self._over.set()
            waiters, self._waiters = list(self._waiters.values()), {}
        for waiter in waiters:
            waiter.stop(copy.copy(error))

    def wait_until_over(self, deadline: Deadline) -> None:
        """Wait until it has ended, or the deadline has come."""
        self._over.wait(deadline.remaining())

    def forget(self, error: MCPSyncError) -> None:
        """Be over without a word: in a forked process the conversation is the parent's."""
        self._lock = new_lock("mail")
        self._waiters = {}
        self.ended_by = error

    def _whose(self, message: Message) -> Waiter | None:
        """Return who waits for *message*; what is nobody's own goes to who has waited longest.

        Of those who read: one whose callback makes a call, or asks a user, does not for a while.
        """
        if codec.is_reply(message):
            return self._waiters.get(message.get("id"))  # type: ignore[arg-type]
        if message.get("method") == "notifications/progress":
            token = codec.params_of(message).get("progressToken")
            for waiter in self._waiters.values():
                if waiter.token is not None and waiter.token == token:
                    return waiter
        reading = (waiter for waiter in self._waiters.values() if not waiter.answering)
        return next(reading, next(iter(self._waiters.values()), None))

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
            self.send(reply, Deadline(REPLY_TIMEOUT))
        except MCPSyncError:
            logger.debug("[%s] did not take a reply", self.label)
