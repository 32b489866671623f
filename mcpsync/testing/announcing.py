"""What the test server says by itself, and who listens to it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .jsonrpc import JSONObject, RequestId, notification_message

LISTEN = "subscriptions/listen"
META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_FLAGS = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
METHODS = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "resource": "notifications/resources/updated",
}


@dataclass(slots=True)
class Audience:
    """Somebody who listens.

    Attributes:
        subscription: The id of the request that asked for it; None in the legacy era.
        wanted: What it asked for; None in the legacy era, where everybody hears of lists.
        uris: The resources it wants to hear of.
        send: Takes each message; without it they are put into *pending*.
        news: Set when there is something pending, or nothing to wait for any more.
        ended: Whether it will be told no more.
    """

    subscription: RequestId | None = None
    wanted: JSONObject | None = None
    uris: set[str] = field(default_factory=set)
    send: Callable[[JSONObject], None] | None = None
    pending: deque[JSONObject] = field(default_factory=deque)
    news: threading.Event = field(default_factory=threading.Event)
    ended: bool = False

    def wants(self, method: str, uri: str | None) -> bool:
        """Whether it wants to hear of this."""
        if uri is not None:
            return uri in self.uris
        return self.wanted is None or bool(self.wanted.get(_FLAGS[method]))

    def tell(self, method: str, params: JSONObject) -> None:
        """Send a notification, under the name of the subscription if it has one."""
        if self.subscription is not None:
            params = {**params, "_meta": {META_SUBSCRIPTION: self.subscription}}
        message = notification_message(method, params)
        if self.send is not None:
            self.send(message)
            return
        self.pending.append(message)
        self.news.set()

    def acknowledge(self) -> None:
        """Say what it will be told: all that it asked for."""
        asked = self.wanted or {}
        self.tell("notifications/subscriptions/acknowledged", {"notifications": asked})


class Announcer:
    """Tells those who listen what changed; safe to call from many threads.

    Args:
        on_change: Called when somebody begins or ends to listen.

    Lock: _lock guards _listening.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._listening: list[Audience] = []

    @property
    def listening(self) -> list[Audience]:
        """Those who listen now."""
        with self._lock:
            return list(self._listening)

    def add(self, audience: Audience) -> None:
        """Let somebody listen."""
        with self._lock:
            self._listening.append(audience)
        self._on_change()

    def remove(self, audience: Audience) -> None:
        """Let somebody listen no more; unknown ones are ignored."""
        with self._lock:
            self._listening = [other for other in self._listening if other is not audience]
        self._on_change()

    def find(self, subscription: object) -> Audience | None:
        """Return who listens under this id."""
        for audience in self.listening:
            if audience.subscription is not None and audience.subscription == subscription:
                return audience
        return None

    def announce(self, what: str, uri: str | None = None) -> None:
        """Tell everybody who wants to know.

        Args:
            what: One of :data:`METHODS`.
            uri: The resource, for ``resource``.
        """
        method = METHODS[what]
        for audience in self.listening:
            if audience.wants(method, uri):
                audience.tell(method, {} if uri is None else {"uri": uri})

    def end_all(self) -> None:
        """Let everybody know that there will be no more."""
        for audience in self.listening:
            audience.ended = True
            audience.news.set()


def audience_of(request_id: RequestId, params: JSONObject) -> Audience:
    """Return who asks with a ``subscriptions/listen``."""
    wanted = params.get("notifications")
    wanted = wanted if isinstance(wanted, dict) else {}
    uris = wanted.get("resourceSubscriptions")
    return Audience(request_id, wanted, set(uris) if isinstance(uris, list) else set())
