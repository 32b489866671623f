"""What both eras share: ids, what comes before an answer, and telling a server we gave up."""

from __future__ import annotations

import itertools
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.threads import Courier
from ..errors import ConnectionLost, RequestCancelled, RequestTimeout
from ..protocol import codec
from ..protocol.codec import Message
from ..protocol.listening import Wanted
from ..protocol.versions import Era
from ..transports.base import CallScope, Transport
from .answers import MOST_QUESTIONS
from .callbacks import Callbacks, ProgressCallback, dispatcher
from .facts import ServerFacts
from .listening import Listener

logger = logging.getLogger(__name__)

NOTICE_TIMEOUT = 0.5  # seconds that closing waits for it
COURTESY_TIMEOUT = 2.0  # seconds that telling the server we gave up may take

_courier = Courier("courier")
after_fork_in_child(_courier.forget)


@dataclass(frozen=True, slots=True)
class Call:
    """What the caller of one request gave along.

    Args:
        scope: Its deadline, its cancellation, its headers.
        progress: Called with each progress notification of this call.
        meta: Put into ``params._meta``.
        token: The progress token of an earlier request that this one is about.
    """

    scope: CallScope
    progress: ProgressCallback | None = None
    meta: Mapping[str, Any] | None = None
    token: str | None = None


class ClientSession(ABC):
    """Makes requests over one transport. Thread-safe.

    Args:
        transport: Carries the messages.
        callbacks: The client's.
        ids: Where request ids come from; shared by the sessions that one transport may see, so
            that a late answer to one is never taken for an answer to the other.

    Attributes:
        era: Whether it began with a handshake.
        protocol_version: What was negotiated.
    """

    era: Era
    protocol_version: str

    def __init__(
        self, transport: Transport, callbacks: Callbacks, ids: Iterator[int] | None = None
    ) -> None:
        self._transport = transport
        self._callbacks = callbacks
        self._ids = itertools.count(1) if ids is None else ids
        self._notice: threading.Event | None = None

    @property
    def alive(self) -> bool:
        """Whether its transport can still carry something."""
        return self._transport.alive

    @property
    def has_goodbye(self) -> bool:
        """Whether the server is told when it is over; if not, the transport ends by itself."""
        return not getattr(self._transport, "ends_by_itself", False)

    @property
    def conversation(self) -> object:
        """What is another object once the server was begun with anew."""
        return self

    @abstractmethod
    def request(self, method: str, params: Mapping[str, Any] | None, call: Call) -> dict[str, Any]:
        """Make a request and return its result as it came.

        Raises:
            MCPError: The server answered with an error.
            MCPSyncError: Anything else that went wrong, see :mod:`mcpsync.errors`.
        """

    def notify(self, method: str, params: Mapping[str, Any] | None, call: Call) -> None:
        """Tell the server something that has no answer.

        Raises:
            MCPSyncError: It did not get there.
        """
        self._transport.notify(codec.notification(method, params), call.scope)

    @abstractmethod
    def facts(self, call: Call) -> ServerFacts:
        """Return what the server says of itself, asking if it was not asked yet."""

    def ask_behind(
        self, method: str, params: Mapping[str, Any], headers: Mapping[str, str] | None
    ) -> None:
        """Make a request that nobody waits for, on a thread of its own; its answer is nobody's."""
        quiet = Call(CallScope(Deadline(COURTESY_TIMEOUT), headers=headers))

        def ask() -> None:
            self.request(method, params, quiet)

        self._notice = _courier.run(ask)

    @abstractmethod
    def listen(self, wanted: Wanted, call: Call, after: Listener | None = None) -> Listener:
        """Begin to hear what the server says by itself.

        Args:
            wanted: What of it.
            call: Its deadline is for the beginning, its cancellation for all of it.
            after: What was cut, to be gone on with if the server allows.

        Raises:
            ListenNotSupported: It says nothing by itself.
            MCPSyncError: It could not be begun.
        """

    def close(self, deadline: Deadline) -> None:
        """End the conversation. Works twice, from any thread.

        What the server is being told, that a call was given up, has a moment to get there.
        """
        notice, self._notice = self._notice, None
        if notice is not None:
            notice.wait(deadline.within(NOTICE_TIMEOUT).remaining())
        self._transport.close(deadline)

    def _exchange(
        self, method: str, params: Mapping[str, Any] | None, call: Call
    ) -> dict[str, Any]:
        """Make a request; once more, as a new one, if the first was not run or did no harm. (M9)

        Not run is what did not leave. A kept-alive socket that turns out to be closed, without a
        byte of answer, most likely was before; but only a request that may run twice is repeated.
        """
        try:
            return self._exchange_once(method, params, call)
        except ConnectionLost as lost:
            harmless = lost.stale and method in codec.SAFE_METHODS
            if not self._transport.alive or (lost.maybe_executed and not harmless):
                raise
            logger.debug("the connection was gone; asking %s once more", method)
        return self._exchange_once(method, params, call)

    def _exchange_once(
        self, method: str, params: Mapping[str, Any] | None, call: Call
    ) -> dict[str, Any]:
        """Send one request, with progress and callbacks, and return its result."""
        request_id = next(self._ids)
        params = self._with_meta(params, call, request_id)
        given = call.scope
        scope = CallScope(
            given.deadline,
            given.cancel,
            given.headers,
            dispatcher(
                self._callbacks, call.token or _token(params), call.progress, MOST_QUESTIONS
            ),
            given.mirrored,
        )
        try:
            reply = self._transport.request(codec.request(request_id, method, params), scope)
        except (RequestTimeout, RequestCancelled) as error:
            if error.maybe_executed and not _is_about_a_task(method, params):
                self._gave_up(method, request_id, error, scope)
            raise
        return codec.result_of(reply)

    def _with_meta(
        self, params: Mapping[str, Any] | None, call: Call, request_id: int
    ) -> Mapping[str, Any] | None:
        meta: dict[str, Any] = dict(call.meta or {})
        if call.progress is not None and call.token is None:
            meta.setdefault("progressToken", request_id)
        return {**(params or {}), "_meta": meta} if meta else params

    def _gave_up(self, method: str, request_id: int, error: Exception, scope: CallScope) -> None:
        """Tell the server, on a thread of its own: the caller has waited long enough. (L6, L7)"""
        if method in ("initialize", "server/discover"):
            return
        reason = getattr(error, "reason", None) or (
            "timed out" if isinstance(error, RequestTimeout) else "cancelled"
        )
        message: Message = codec.notification(
            "notifications/cancelled", {"requestId": request_id, "reason": reason}
        )
        quiet = CallScope(Deadline(COURTESY_TIMEOUT), headers=scope.headers)
        self._soon(lambda: self._transport.notify(message, quiet))

    def _soon(self, errand: Callable[[], object]) -> None:
        """Tell the server something on a thread of its own; closing waits for it a little."""
        self._notice = _courier.run(errand)


def _is_about_a_task(method: str, params: Mapping[str, Any] | None) -> bool:
    """Whether ``notifications/cancelled`` must not be used: a task has its own ``tasks/cancel``."""
    return method.startswith("tasks/") or (params is not None and "task" in params)


def _token(params: Mapping[str, Any] | None) -> object:
    """Return the progress token a request was given: ours, or the caller's own."""
    meta = params.get("_meta") if params is not None else None
    return meta.get("progressToken") if isinstance(meta, Mapping) else None
