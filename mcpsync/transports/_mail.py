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
from ..protocol.listening import subscription_of
from ._mailbox import Mailbox
from .base import CallScope, Overheard

logger = logging.getLogger(__name__)

BACKLOG = 100  # notifications kept while nobody waits, for whoever calls next
CROWD = 1000  # messages that wait for a caller whose callbacks are slower than the server
REPLY_TIMEOUT = 2.0  # seconds that answering the server may take while nobody waits


@dataclass(slots=True)
class Waiter:
    """Where the answer to one request is put, and what belongs to that request.

    Attributes:
        sent: Whether the server may have got the request.
        stopped: Whether whoever waits is to do so no longer.
        is_urgent: Whether there is something to be looked at before anything else. Some servers
            take a request by POST and answer that when the request is done. What they ask
            meanwhile would wait for them, and they for it.
    """

    request_id: codec.RequestId
    token: object
    inbox: queue.SimpleQueue[Message | MCPSyncError] = field(default_factory=queue.SimpleQueue)
    sent: bool = False
    stopped: bool = False
    answering: bool = False  # a callback of his runs: he reads nothing now
    is_urgent: bool = False
    dropped: int = 0

    def put(self, item: Message | MCPSyncError) -> None:
        """Put *item* where it is waited for."""
        self.inbox.put(item)
        self.is_urgent = self.is_urgent or _is_urgent(item, self.token)

    def stop(self, error: MCPSyncError) -> None:
        """Wake whoever waits here with *error*, even if it still writes."""
        self.stopped = True
        self.put(error)


class Mail(ABC):
    """Who waits for what. Held by the reading thread, so that the transport itself need not be.

    Thread-safe.

    Args:
        label: What the log calls the server.

    Lock: _lock guards _waiters, _listeners, _abandoned, _backlog, ended_by.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.ended_by: MCPSyncError | None = None
        self._over = threading.Event()
        self._lock = new_lock("mail")
        self._waiters: dict[codec.RequestId, Waiter] = {}
        self._listeners: tuple[Mailbox, ...] = ()  # swapped whole
        self._abandoned: deque[codec.RequestId] = deque(maxlen=1000)
        self._backlog: deque[Message] = deque(maxlen=BACKLOG)

    @abstractmethod
    def send_for(self, waiter: Waiter, message: Message, scope: CallScope) -> None:
        """Send the request that *waiter* waits for, and note whether the server may have got it."""

    @abstractmethod
    def send(self, message: Message, scope: CallScope) -> None:
        """Send a message that nobody waits for the answer of."""

    def notify(self, message: Message, scope: CallScope) -> None:
        """Send a notification; otherwise than a reply it has to get there."""
        self.send(message, scope)

    def send_unasked(self, reply: Message) -> None:
        """Send a reply although no call is under way. Runs on the thread that reads."""
        self.send(reply, CallScope(Deadline(REPLY_TIMEOUT)))

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
            scope.deadline.check("waiting for the server to answer")  # a flood is no answer
            waiter.answering = True
            try:
                reply = scope.on_message(item)
            finally:
                waiter.answering = False
            if reply is not None:
                scope.deadline.check("answering the server")  # its reply may be there at once
                self.check_open()
                self.send(reply, scope)

    def add_listener(self, box: Mailbox) -> None:
        """Put what a listener wants into his box from now on.

        Raises:
            MCPSyncError: The conversation has ended, or was ended.
        """
        with self._lock:
            ended = self.ended_by
            if ended is None:
                self._listeners = (*self._listeners, box)
        if ended is not None:
            raise copy.copy(ended)

    def remove_listener(self, box: Mailbox) -> None:
        """Put nothing more into a box; what is for it alone is nobody's then. Works twice."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not box)
            if box.subscription is not None:
                self._abandoned.append(box.subscription)

    def check_open(self) -> None:
        """Raise what ended the conversation, if something did."""
        if self.ended_by is not None:
            raise copy.copy(self.ended_by)

    # -- on the thread that reads -----------------------------------------------------------------

    def deliver(self, message: Message) -> None:
        """Put a message where somebody waits for it; answer it if it asks and nobody waits."""
        if self._listeners and self._was_heard(message):
            return
        if subscription_of(message) is not None:  # of a listener who has left
            return
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
        if waiter is not None and item is not None and not self._is_flooded(waiter, message):
            waiter.put(item)
        elif codec.is_request(message):
            self._answer_alone(message)

    def _is_flooded(self, waiter: Waiter, message: Message) -> bool:
        """Whether so much waits there already that *message* is dropped; a reply never is."""
        if codec.is_reply(message) or waiter.inbox.qsize() < CROWD:
            return False
        if not waiter.dropped:
            logger.warning(
                "[%s] sends faster than our callbacks take it; messages are dropped", self.label
            )
        waiter.dropped += 1
        return True

    def end(self, error: MCPSyncError) -> None:
        """Be over because of *error*, the first of which counts, and tell everybody who waits."""
        with self._lock:
            if self.ended_by is None:
                self.ended_by = error
            self._over.set()
            waiters, self._waiters = list(self._waiters.values()), {}
            listeners, self._listeners = self._listeners, ()
        for waiter in waiters:
            waiter.stop(copy.copy(error))
        for box in listeners:
            box.fail(copy.copy(error))

    def wait_until_over(self, deadline: Deadline) -> None:
        """Wait until it has ended, or the deadline has come."""
        self._over.wait(deadline.remaining())

    def forget(self, error: MCPSyncError) -> None:
        """Be over without a word: in a forked process the conversation is the parent's."""
        self._lock = new_lock("mail")
        self._waiters = {}
        self._listeners = ()
        self.ended_by = error

    def _was_heard(self, message: Message) -> bool:
        """Put a message into the boxes of those who want it; say whether nobody else need see it.

        What is said to all is heard by a call that waits, too. It takes care of it then; else the
        first listener does, and to the others it is :class:`Overheard`.
        """
        boxes = [box for box in self._listeners if box.wants(message)]
        if not boxes:
            return False
        with self._lock:
            called_for = bool(self._waiters)
        for number, box in enumerate(boxes):
            of_his_own = box.subscription is not None
            minds = of_his_own or (number == 0 and not called_for)
            box.put(message if minds else Overheard(message))
        return any(box.subscription is not None for box in boxes) or not called_for

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
            self.send_unasked(reply)
        except MCPSyncError:
            logger.debug("[%s] did not take a reply", self.label)


def _is_urgent(item: Message | MCPSyncError, token: object) -> bool:
    """Whether *item* ends the wait, asks what only the caller can answer, or tells of progress."""
    if isinstance(item, MCPSyncError) or codec.is_reply(item):
        return True
    if item["method"] == "notifications/progress":
        return token is not None and codec.params_of(item).get("progressToken") == token
    return codec.is_request(item) and item["method"] != "ping"
