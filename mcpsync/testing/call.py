"""One request while it is carried out, whatever brought it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .jsonrpc import (
    LOG_LEVELS,
    META_LOG_LEVEL,
    CallCancelled,
    Era,
    JSONObject,
    RequestId,
    meta_of,
    notification_message,
)
from .sessions import Session


class Channel(Protocol):
    """The way back to the client while its request is carried out."""

    def send(self, message: JSONObject) -> None:
        """Send a message that comes before the response."""

    def pause(self, seconds: float) -> bool:
        """Wait; return True as soon as nobody waits for the response any more."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the server shall be; see :class:`mcpsync.testing.LocalServer`."""

    era: Literal["both", "legacy", "modern"] = "both"
    answer: Literal["json", "sse"] = "json"
    page_size: int | None = None
    sessions: bool = True
    omit_result_type: bool = False
    extra_tools: tuple[JSONObject, ...] = ()
    tasks: bool = False
    skills: bool = False
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """What a request says about its sender."""

    authorization: str | None = None
    user: str | None = None
    cookie: str | None = None
    session: str | None = None

    @property
    def key(self) -> str:
        """The sender as one text: the user if there is one, for a session may be replaced."""
        return self.user or self.authorization or self.session or ""


@dataclass(slots=True)
class Call:
    """A request and all that is needed to carry it out."""

    era: Era
    method: str
    params: JSONObject
    request_id: RequestId
    channel: Channel
    session: Session
    identity: Identity = field(default_factory=Identity)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            CallCancelled: The caller has cancelled or gone away.
        """
        if self.channel.pause(seconds):
            raise CallCancelled

    def progress(self, progress: float, total: float, message: str) -> None:
        """Report progress if the caller asked for it."""
        token = meta_of(self.params).get("progressToken")
        if token is not None:
            params = {
                "progressToken": token,
                "progress": progress,
                "total": total,
                "message": message,
            }
            self.channel.send(notification_message("notifications/progress", params))

    def log(self, level: str, data: object) -> None:
        """Send a log message if the caller wants to hear this level."""
        threshold = self._log_threshold()
        if threshold is not None and LOG_LEVELS.index(level) >= LOG_LEVELS.index(threshold):
            params = {"level": level, "logger": "mcpsync.testing", "data": data}
            self.channel.send(notification_message("notifications/message", params))

    def _log_threshold(self) -> str | None:
        if self.era == "legacy":
            return self.session.log_level
        level: str | None = meta_of(self.params).get(META_LOG_LEVEL)
        return level
