"""What the test server saw: requests, executions, cancellations, replies, broken rules."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .jsonrpc import JSONObject, RequestId

KEPT_REQUESTS = 10_000


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One HTTP request, as it arrived.

    Attributes:
        headers: Names in lower case; repeated ones joined with a comma.
        body: The parsed JSON, or None where there is none.
        rpc_method: The JSON-RPC method, or None for a response and for GET and DELETE.
        received_at: Seconds on the monotonic clock.
        connection: The number of the TCP connection, counted from 1.
    """

    http_method: str
    path: str
    headers: dict[str, str]
    body: JSONObject | list[JSONObject] | None
    rpc_method: str | None
    received_at: float
    connection: int = 0
    raw_body: bytes = field(default=b"", repr=False)

    @property
    def session_id(self) -> str | None:
        """The session id that the client sent."""
        return self.headers.get("mcp-session-id")

    @property
    def request_id(self) -> RequestId | None:
        """The JSON-RPC id, or None for a notification."""
        found: RequestId | None = self.body.get("id") if isinstance(self.body, dict) else None
        return found


@dataclass(frozen=True, slots=True)
class CancelledRequest:
    """One cancellation.

    Attributes:
        method: The method of the request that was cancelled; None if none such was running.
        how: By a ``notifications/cancelled``, or by closing the stream of the answer (modern).
    """

    request_id: RequestId
    method: str | None
    how: Literal["notification", "closed stream"]
    reason: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The client's answer to a request of the server."""

    session_id: str | None
    message: JSONObject


class Journal:
    """Everything recorded, safe to read from any thread.

    Lock: _changed guards all attributes; it is notified of each change.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: deque[RecordedRequest] = deque(maxlen=KEPT_REQUESTS)
        self._executions: Counter[str] = Counter()
        self._cancelled: list[CancelledRequest] = []
        self._replies: list[Reply] = []
        self._violations: list[str] = []
        self._deleted: list[str] = []
        self._hanging = 0
        self._closed = False

    def add_request(self, request: RecordedRequest) -> None:
        """Record a request."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def add_execution(self, tool: str) -> int:
        """Count one run of *tool* and return how many there were."""
        with self._changed:
            self._executions[tool] += 1
            self._changed.notify_all()
            return self._executions[tool]

    def add_cancelled(self, cancelled: CancelledRequest) -> None:
        """Record a cancellation."""
        with self._changed:
            self._cancelled.append(cancelled)
            self._changed.notify_all()

    def add_reply(self, reply: Reply) -> None:
        """Record what the client answered to a request of the server."""
        with self._changed:
            self._replies.append(reply)
            self._changed.notify_all()

    def add_violation(self, text: str) -> None:
        """Record that the client broke a rule which servers usually let pass."""
        with self._changed:
            self._violations.append(text)
            self._changed.notify_all()

    def add_deleted(self, session_id: str) -> None:
        """Record that the client ended a session."""
        with self._changed:
            self._deleted.append(session_id)
            self._changed.notify_all()

    def add_hanging(self, change: int) -> None:
        """Count an answer that begins (1) or ends (-1) to hang."""
        with self._changed:
            self._hanging += change
            self._changed.notify_all()

    def note_change(self) -> None:
        """Wake those who wait for something that is recorded elsewhere."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Wake all who wait, for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[], object], timeout: float) -> bool:
        """Wait until *predicate* holds; give up after *timeout* seconds or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(predicate()), timeout)
            return bool(predicate())

    def wait_for_reply(
        self,
        session_id: str | None,
        request_id: RequestId,
        timeout: float,
        gone: Callable[[], bool] = lambda: False,
    ) -> JSONObject | None:
        """Wait for the reply to *request_id* in a session.

        Returns:
            None after *timeout* seconds, or when the caller is *gone*.
        """

        def find() -> JSONObject | None:
            for reply in self._replies:
                if reply.session_id == session_id and reply.message.get("id") == request_id:
                    return reply.message
            return None

        self.wait_for(lambda: gone() or find() is not None, timeout)
        with self._changed:
            return find()

    @property
    def requests(self) -> list[RecordedRequest]:
        """The last requests, oldest first."""
        with self._changed:
            return list(self._requests)

    @property
    def executions(self) -> dict[str, int]:
        """How often each tool ran."""
        with self._changed:
            return dict(self._executions)

    @property
    def cancelled(self) -> list[CancelledRequest]:
        """The cancellations."""
        with self._changed:
            return list(self._cancelled)

    @property
    def replies(self) -> list[JSONObject]:
        """The client's replies to requests of the server."""
        with self._changed:
            return [reply.message for reply in self._replies]

    @property
    def violations(self) -> list[str]:
        """The rules that the client broke, a sentence each."""
        with self._changed:
            return list(self._violations)

    @property
    def deleted(self) -> list[str]:
        """The sessions that the client ended."""
        with self._changed:
            return list(self._deleted)

    @property
    def hanging(self) -> int:
        """How many answers hang now."""
        with self._changed:
            return self._hanging
