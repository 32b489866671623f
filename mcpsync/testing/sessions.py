"""Legacy sessions, and the calls that are running."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .jsonrpc import LATEST_LEGACY, RequestId


@dataclass(slots=True)
class Session:
    """What the server remembers of one conversation.

    Attributes:
        id: None where the conversation has no session id.
        log_level: The least severe level that the client wants to hear.
        capabilities: What the client has said that it can do; None if it is not remembered.
    """

    id: str | None = None
    version: str = LATEST_LEGACY
    initialized: bool = False
    log_level: str = "debug"
    capabilities: dict[str, Any] | None = None
    seen_ids: set[RequestId] = field(default_factory=set)

    def is_new_id(self, request_id: RequestId) -> bool:
        """Note *request_id*; say whether it is the first time."""
        before = len(self.seen_ids)
        self.seen_ids.add(request_id)
        return len(self.seen_ids) > before


class Sessions:
    """The open sessions.

    Lock: _lock guards _sessions.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self, session: Session) -> str:
        """Give *session* an id, under which it is known from now on."""
        session.id = uuid.uuid4().hex
        with self._lock:
            self._sessions[session.id] = session
        return session.id

    def get(self, session_id: str) -> Session | None:
        """Return the session, or None if there is none of that id."""
        with self._lock:
            return self._sessions.get(session_id)

    def forget(self, session_id: str) -> bool:
        """End a session; say whether there was one."""
        with self._lock:
            return self._sessions.pop(session_id, None) is not None

    def forget_all(self) -> None:
        """End every session."""
        with self._lock:
            self._sessions.clear()

    @property
    def ids(self) -> list[str]:
        """The ids of the open sessions, oldest first."""
        with self._lock:
            return list(self._sessions)


@dataclass(frozen=True, slots=True)
class Running:
    """A call that is running.

    Attributes:
        session_id: None where nobody but the server itself can cancel it.
    """

    session_id: str | None
    request_id: RequestId
    method: str
    cancelled: threading.Event


class RunningCalls:
    """The calls that are running, so that they can be cancelled.

    Lock: _lock guards _calls.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[int, Running] = {}

    @contextmanager
    def entered(self, running: Running) -> Iterator[None]:
        """Enter a call for as long as the block runs."""
        with self._lock:
            self._calls[id(running)] = running
        try:
            yield
        finally:
            with self._lock:
                del self._calls[id(running)]

    def cancel(self, session_id: str, request_id: RequestId) -> str | None:
        """Tell a call to stop; return its method, or None if it is not running."""
        for running in self._snapshot():
            if running.session_id == session_id and running.request_id == request_id:
                running.cancelled.set()
                return running.method
        return None

    def cancel_all(self) -> None:
        """Tell every call to stop."""
        for running in self._snapshot():
            running.cancelled.set()

    def _snapshot(self) -> list[Running]:
        with self._lock:
            return list(self._calls.values())
