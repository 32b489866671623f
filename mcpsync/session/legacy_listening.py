"""Hearing what a legacy server says by itself, and subscribing to resources. (H8, H11)"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from .._runtime.deadline import Deadline
from ..errors import HTTPStatusError, MCPError, SessionExpired
from ..protocol.listening import Wanted
from ..protocol.resumption import Cursor
from ..transports.base import CallScope, LegacyTransport
from .base import COURTESY_TIMEOUT, Call, ClientSession
from .callbacks import Callbacks, dispatcher
from .listening import LegacyListener, Listener, begin, told_by


class LegacyHearing(ClientSession):
    """The part of a legacy conversation in which the server speaks by itself."""

    _transport: LegacyTransport

    def __init__(
        self, transport: Any, callbacks: Callbacks, ids: Iterator[int] | None = None
    ) -> None:
        super().__init__(transport, callbacks, ids)
        self._subscribers: dict[str, set[object]] = {}  # to resources; each step on it is one

    @abstractmethod
    def _begin_again(self, forgotten: object, call: Call) -> None:
        """Begin the conversation anew."""

    def listen(self, wanted: Wanted, call: Call, after: Listener | None = None) -> LegacyListener:
        """Hear what the server says by itself, and subscribe to resources.

        A server that has forgotten the session is begun with anew, and once so is one that will
        not have a second stream in a session (409).
        """
        cut = after if isinstance(after, LegacyListener) else None
        same = cut is not None and cut.conversation is self.conversation
        cursor = (cut.stream.cursor if cut is not None and same else None) or Cursor()
        rebuilt = cut is not None and cut.rebuilt
        session = self._transport.session
        try:
            stream = begin(self._transport, None, call.scope, cursor)
        except (SessionExpired, HTTPStatusError, MCPError) as error:
            taken = getattr(error, "status", None) == 409
            if not isinstance(error, SessionExpired) and (not taken or rebuilt):
                raise
            self._begin_again(session, call)
            same, rebuilt, cursor = False, rebuilt or taken, Cursor()
            stream = begin(self._transport, None, call.scope, cursor)
        listener = LegacyListener(
            stream,
            dispatcher(self._callbacks, None, None),
            self._transport,
            self.conversation,
            object() if cut is None else cut.token,
            lambda me: self._unsubscribe(me, wanted),
        )
        listener.rebuilt = rebuilt
        listener.went_on = same and cursor.last_event_id is not None
        try:
            listener.honored = told_by(self.facts(call).capabilities, wanted)
            self._subscribe(listener, call, anew=not same)
        except BaseException:
            listener.close()
            raise
        return listener

    def _subscribe(self, listener: LegacyListener, call: Call, *, anew: bool) -> None:
        for uri in listener.honored.resource_subscriptions or ():
            self._subscribers.setdefault(uri, set()).add(listener.token)
            if anew:
                self.request("resources/subscribe", {"uri": uri}, call)

    def _unsubscribe(self, listener: LegacyListener, wanted: Wanted) -> None:
        """Unsubscribe, on another thread, from what no other listener wants to hear of."""
        uris = [str(uri) for uri in wanted.uris]
        for uri in uris:
            self._subscribers.get(uri, set()).discard(listener.token)

        def tell() -> None:
            call = Call(CallScope(Deadline(COURTESY_TIMEOUT)))
            for uri in uris:
                if not self._subscribers.get(uri) and self.alive:
                    self._exchange("resources/unsubscribe", {"uri": uri}, call)

        if uris and listener.conversation is self.conversation and self.alive:
            self._soon(tell)
