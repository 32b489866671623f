"""Hearing what a server says by itself, in both eras. (Requirements 5.5, H8 and section 12.1.)"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from .._runtime.deadline import Deadline
from ..errors import (
    ConnectionLost,
    HTTPStatusError,
    ListenNotSupported,
    MCPError,
    MCPSyncError,
)
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.listening import ACKNOWLEDGED, CANCELLED, Wanted, subscription_of
from ..protocol.resumption import Cursor
from ..transports.base import CallScope, Missed, Overheard, Stream, Transport
from .wire import validated

if TYPE_CHECKING:
    from mcp_types import ServerCapabilities, SubscriptionFilter

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = 5.0  # seconds that answering a request of the server may take
MOST_EARLY = 1024  # messages that may come before the acknowledgement

Dispatch: TypeAlias = Callable[[Message], Message | None]


class Ended:
    """The server has said that there will be no more."""


ENDED: Final = Ended()


class Listener(ABC):
    """One stream that is listened to, by one thread.

    Args:
        stream: What brings the messages.
        dispatch: Hands a message to the client's callbacks; returns what answers a request.

    Attributes:
        honored: What the server agreed to tell.
        went_on: Whether this goes on where another one was cut, so that nothing was missed.
        cut: Whether it brings nothing any more; the one who listens takes note of that.
    """

    honored: SubscriptionFilter
    went_on = False
    cut = False

    def __init__(self, stream: Stream, dispatch: Dispatch) -> None:
        self.stream = stream
        self._dispatch = dispatch

    def receive(self, deadline: Deadline) -> Message | Missed | Ended | None:
        """Return the next message, after the callbacks had it; None if none came in time.

        Raises:
            ConnectionLost, ServerExited: The stream was cut.
            MCPSyncError: What ended it otherwise, or what the server did wrong.
        """
        while True:
            message = self._next(deadline)
            if message is None or isinstance(message, Missed | Overheard):
                return message
            if self._is_end(message):
                return ENDED
            if self._is_ours(message):
                self._take_care_of(message)
                return message
            logger.debug("a stream brought something that does not belong there")

    def _next(self, deadline: Deadline) -> Message | Missed | None:
        return self.stream.receive(deadline)

    def _take_care_of(self, message: Message) -> None:
        self._dispatch(message)

    @abstractmethod
    def _is_end(self, message: Message) -> bool:
        """Whether nothing comes after *message*."""

    @abstractmethod
    def _is_ours(self, message: Message) -> bool:
        """Whether *message* belongs to this stream."""

    def close(self) -> None:
        """Listen no longer. Works twice."""
        self.stream.close()


class ModernListener(Listener):
    """The answer to one ``subscriptions/listen``.

    Args:
        stream: See :class:`Listener`.
        dispatch: See :class:`Listener`.
        request_id: Of the request; what comes bears it.
        leave: Tells the server that nobody listens any more, where closing does not.
    """

    def __init__(
        self,
        stream: Stream,
        dispatch: Dispatch,
        request_id: codec.RequestId,
        leave: Callable[[], None],
    ) -> None:
        super().__init__(stream, dispatch)
        self._request_id = request_id
        self._leave = leave
        self._over = False
        self._early: deque[Message] = deque(maxlen=MOST_EARLY)

    def begin(self, deadline: Deadline) -> None:
        """Wait for the acknowledgement, which says what the server will tell.

        Raises:
            RequestTimeout: It did not come in time.
            MCPSyncError: The server will not have it, or the stream was cut.
        """
        from mcp_types import SubscriptionFilter

        self.honored = SubscriptionFilter()
        while True:
            message = self.stream.receive(deadline)
            if message is None:
                raise deadline.error("waiting for the server to acknowledge a subscription")
            if isinstance(message, Missed):
                continue
            if message.get("method") == ACKNOWLEDGED and self._is_ours(message):
                told = codec.params_of(message).get("notifications") or {}
                self.honored = validated(SubscriptionFilter, told)
                return
            if codec.is_error(message) and codec.is_reply(message):
                self._over = True
                raise codec.error_of(message)
            self._early.append(message)
            if self._is_end(message):  # it ends before it has begun
                return

    def _next(self, deadline: Deadline) -> Message | Missed | None:
        return self._early.popleft() if self._early else self.stream.receive(deadline)

    def _is_end(self, message: Message) -> bool:
        """A result ends it, and so does a ``cancelled`` of the server; some send both. (12.1)"""
        if codec.is_reply(message) and message.get("id") == self._request_id:
            self._over = True
            codec.result_of(message)
            return True
        is_end = message.get("method") == CANCELLED and self._is_named_in(message)
        self._over = self._over or is_end
        return is_end

    def _is_named_in(self, message: Message) -> bool:
        return codec.params_of(message).get("requestId") == self._request_id

    def _is_ours(self, message: Message) -> bool:
        if codec.is_reply(message) or codec.is_request(message):
            return False
        return subscription_of(message) in (None, self._request_id)

    def _take_care_of(self, message: Message) -> None:
        if message["method"] != ACKNOWLEDGED:
            self._dispatch(message)

    def close(self) -> None:
        """Listen no longer, and let the server know."""
        super().close()
        if not self._over:
            self._over = True
            self._leave()


class LegacyListener(Listener):
    """What a legacy server says by itself.

    Args:
        stream: See :class:`Listener`.
        dispatch: See :class:`Listener`.
        transport: Sends answers to what the server asks.
        conversation: Which it is part of: what was subscribed to is forgotten with that.
        token: Who subscribes; the same for a stream that goes on where another was cut.
        leave: Unsubscribes from what was subscribed to.
    """

    def __init__(
        self,
        stream: Stream,
        dispatch: Dispatch,
        transport: Transport,
        conversation: object,
        token: object,
        leave: Callable[[LegacyListener], None],
    ) -> None:
        super().__init__(stream, dispatch)
        self._transport = transport
        self.conversation = conversation
        self.token = token
        self._leave = leave
        self._over = False
        self.rebuilt = False  # a session was begun for it, since the old one had a stream already

    def _is_end(self, message: Message) -> bool:
        return False

    def _is_ours(self, message: Message) -> bool:
        return not codec.is_reply(message)

    def _take_care_of(self, message: Message) -> None:
        reply = self._dispatch(message)
        if reply is None:
            return
        try:
            self._transport.notify(reply, CallScope(Deadline(ANSWER_TIMEOUT)))
        except MCPSyncError as error:
            logger.warning("a reply to the server was not accepted: %s", error)

    def close(self) -> None:
        """Listen no longer, and subscribe to nothing any more."""
        super().close()
        if not self._over:
            self._over = True
            self._leave(self)


def begin(
    transport: Transport, message: Message | None, scope: CallScope, cursor: Cursor
) -> Stream:
    """Begin to listen; once more if the socket had been closed while it lay idle.

    Raises:
        ListenNotSupported: The server tells nothing by itself.
    """
    try:
        try:
            return transport.listen(message, scope, cursor)
        except ConnectionLost as lost:
            if not lost.stale:
                raise
            return transport.listen(message, scope, cursor)
    except (HTTPStatusError, MCPError) as error:
        if not _means_never(error, message):
            raise
        raise never(error) from error


def never(error: MCPSyncError) -> ListenNotSupported:
    """Make the error for a server that tells nothing by itself."""
    return ListenNotSupported(
        f"the server does not tell by itself what changes there: {error.message}"
    )


def _means_never(error: HTTPStatusError | MCPError, message: Message | None) -> bool:
    if message is not None:
        return isinstance(error, MCPError) and error.code == codec.METHOD_NOT_FOUND
    return error.status in (404, 405, 406, 501)


def told_by(capabilities: ServerCapabilities, wanted: Wanted) -> SubscriptionFilter:
    """Return which part of what is *wanted* a legacy server says it tells."""
    from mcp_types import SubscriptionFilter

    tools, prompts, resources = capabilities.tools, capabilities.prompts, capabilities.resources
    subscribes = resources is not None and resources.subscribe
    return SubscriptionFilter(
        tools_list_changed=bool(wanted.tools and tools and tools.list_changed) or None,
        prompts_list_changed=bool(wanted.prompts and prompts and prompts.list_changed) or None,
        resources_list_changed=bool(wanted.resources and resources and resources.list_changed)
        or None,
        resource_subscriptions=[str(uri) for uri in wanted.uris] if subscribes else None,
    )
