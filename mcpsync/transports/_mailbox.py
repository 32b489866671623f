"""What is kept for those who listen, where one stream brings everything to everybody."""

from __future__ import annotations

import queue
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from .._runtime.cancel import Watch
from .._runtime.deadline import Deadline
from .._runtime.locks import assert_none_held
from ..errors import MCPSyncError
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.listening import SAID_TO_ALL, subscription_of
from ..protocol.resumption import Cursor
from .base import MISSED, CallScope, Missed

if TYPE_CHECKING:
    from ._mail import Mail

MOST_KEPT: Final = 1024  # messages that one listener has not taken yet


class Mailbox:
    """What one listener has not taken yet: each thing once, and not more than so many.

    One thread puts, another takes, any may fail it.

    Args:
        subscription: The id of the request that asked for it; None if nothing was asked.
    """

    def __init__(self, subscription: codec.RequestId | None) -> None:
        self.subscription = subscription
        self._inbox: queue.SimpleQueue[Message | Missed | MCPSyncError] = queue.SimpleQueue()
        self._kept: set[Hashable] = set()
        self._missed = False

    def wants(self, message: Message) -> bool:
        """Whether *message* is for whoever listens here."""
        params = codec.params_of(message)
        if self.subscription is None:
            return message.get("method") in SAID_TO_ALL
        if codec.is_reply(message):
            return message.get("id") == self.subscription
        if message["method"] == "notifications/cancelled":
            return params.get("requestId") == self.subscription
        return subscription_of(message) == self.subscription

    def put(self, message: Message) -> None:
        """Keep *message*, unless the same is there already. With too many, only that there were."""
        thing = _thing(message)
        if thing in self._kept:
            return
        if len(self._kept) >= MOST_KEPT and not _is_end(message):
            if not self._missed:
                self._missed = True
                self._inbox.put(MISSED)
            return
        self._kept.add(thing)
        self._inbox.put(message)

    def take(self, deadline: Deadline) -> Message | Missed | None:
        """Return what came first; None if nothing came in time.

        Raises:
            MCPSyncError: What it was failed with.
        """
        assert_none_held("waiting for what a server says")
        try:
            item = self._inbox.get(timeout=deadline.wait_time())
        except queue.Empty:
            return None
        if isinstance(item, MCPSyncError):
            self._inbox.put(item)  # for good
            raise item
        if isinstance(item, Missed):
            self._missed = False
        else:
            self._kept.discard(_thing(item))
        return item

    def fail(self, error: MCPSyncError) -> None:
        """Have whoever takes get *error*."""
        self._inbox.put(error)


class MailStream:
    """What one listener hears. A :class:`~.base.Stream`.

    Args:
        mail: Brings everything.
        message: The request that asks for it, or None.
        scope: Its deadline is for sending the request, its cancellation ends the listening.

    Raises:
        MCPSyncError: The conversation has ended, or the request could not be sent.
    """

    cursor: Cursor | None = None

    def __init__(self, mail: Mail, message: Message | None, scope: CallScope) -> None:
        self._mail = mail
        self.open = True
        self._box = Mailbox(None if message is None else message["id"])
        mail.add_listener(self._box)
        self._watch = Watch(scope.cancel, self._box.fail)
        if message is not None:
            try:
                mail.send(message, scope)
            except BaseException:
                self.close()
                raise

    def receive(self, deadline: Deadline) -> Message | Missed | None:
        """Return the next message; None if none came in time."""
        return self._box.take(deadline)

    def abort(self, error: MCPSyncError) -> None:
        """Have whoever receives get *error*."""
        self._box.fail(error)

    def close(self) -> None:
        """Listen no longer; what comes late is nobody's."""
        self.open = False
        self._watch.end()
        self._mail.remove_listener(self._box)


def _thing(message: Message) -> Hashable:
    """Return what a message tells; what tells the same need not be told twice."""
    uri = codec.params_of(message).get("uri")
    return message.get("method"), uri if isinstance(uri, str) else None


def _is_end(message: Message) -> bool:
    """Whether nothing comes after *message*."""
    return codec.is_reply(message) or message["method"] == "notifications/cancelled"
