"""The ways in which the test server can be told to misbehave, and the plan of when it does."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_SIZE = 20 * 2**20


class Fault(StrEnum):
    """One misbehaviour; the value is its name on the command line.

    Unless the comment says "not run", the request is carried out before the answer goes wrong.
    """

    DIE_BEFORE_ANSWER = "die-before-answer"  # the whole request is read, not one byte answered
    DIE_MID_HEADERS = "die-mid-headers"
    DIE_MID_ANSWER = "die-mid-answer"  # half of the JSON under the Content-Length of all of it
    DIE_MID_STREAM = "die-mid-stream"  # an SSE stream that ends before the response
    HANG = "hang"  # not one byte until release() or close()
    HANG_AFTER_HEADERS = "hang-after-headers"
    DRIP = "drip"  # the body, one byte every 0.05 s
    DRIP_HEADERS = "drip-headers"
    SESSION_404 = "session-404"  # not run; the session is forgotten
    GARBAGE = "garbage"  # not run; 200 and application/json, but no JSON
    HTML = "html"  # not run; 200 and a page
    HTML_404 = "html-404"  # not run
    HTTP_500 = "http-500"  # not run
    HTTP_503 = "http-503"  # not run
    RATE_LIMITED = "rate-limited"  # not run; 429 with Retry-After: 7
    WRONG_ID = "wrong-id"
    HUGE = "huge"  # correct, but padded to more than `size` bytes
    HUGE_LINE = "huge-line"  # an SSE line of `size` bytes that never ends
    REPEAT_CURSOR = "repeat-cursor"  # a list whose next page is itself
    EMPTY_202 = "empty-202"  # not run; the answer for a notification
    REDIRECT_307_SAME_ORIGIN = "redirect-307-same-origin"  # not run; /mcp2 works like /mcp
    REDIRECT_302 = "redirect-302"  # not run
    REDIRECT_307_OTHER_ORIGIN = "redirect-307-other-origin"  # not run; localhost, not 127.0.0.1
    CLOSE_AFTER_ANSWER = "close-after-answer"  # a good answer, then the socket is closed unsaid
    BATCH = "batch"  # an array: a notification, then the response
    SSE_CRLF_SPLIT = "sse-crlf-split"  # CRLF lines, several data lines, cut at awkward places
    SSE_BOM = "sse-bom"
    SSE_COMMENTS = "sse-comments"  # comments, retry and id alone, other events, unknown fields
    PING_FIRST = "ping-first"  # legacy only: a ping request goes before the answer
    UNKNOWN_REQUEST_FIRST = "unknown-request-first"  # legacy only
    STRAY_STDOUT = "stray-stdout"  # stdio: lines that are no messages
    EXIT_MID_CALL = "exit-mid-call"  # stdio: exit code 3, last words on stderr
    STUBBORN = "stubborn"  # stdio: deaf to the end of stdin and to SIGTERM
    GRANDCHILD = "grandchild"  # stdio: has a child; the tool `grandchild` tells its pid
    NOISY_STDERR = "noisy-stderr"  # stdio
    SILENT_PROBE = "silent-probe"  # stdio: no answer to server/discover


STDIO_ONLY = frozenset(
    {
        Fault.STRAY_STDOUT,
        Fault.EXIT_MID_CALL,
        Fault.STUBBORN,
        Fault.GRANDCHILD,
        Fault.NOISY_STDERR,
        Fault.SILENT_PROBE,
    }
)
STDIO_FAULTS = STDIO_ONLY | {
    Fault.DIE_MID_ANSWER,
    Fault.HANG,
    Fault.GARBAGE,
    Fault.WRONG_ID,
    Fault.HUGE,
    Fault.HUGE_LINE,
    Fault.REPEAT_CURSOR,
    Fault.BATCH,
    Fault.PING_FIRST,
    Fault.UNKNOWN_REQUEST_FIRST,
}
HTTP_FAULTS = frozenset(Fault) - STDIO_ONLY
LEGACY_ONLY = frozenset({Fault.SESSION_404, Fault.PING_FIRST, Fault.UNKNOWN_REQUEST_FIRST})


@dataclass(slots=True)
class Injection:
    """A fault that waits for its request.

    Attributes:
        method: The JSON-RPC method it waits for, or ``"GET"`` or ``"DELETE"``; None for the next
            request of any method (but not for a notification).
        times: How often it strikes; None for always.
        size: Bytes, for the faults about size.
    """

    fault: Fault
    method: str | None = None
    times: int | None = 1
    size: int = DEFAULT_SIZE

    def matches(self, method: str, *, is_request: bool) -> bool:
        """Say whether a message of *method* is the one it waits for."""
        return self.method == method if self.method is not None else is_request


class FaultPlan:
    """The faults to come, and the gate at which hanging answers wait.

    Lock: _lock guards _injections, _gate.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._injections: list[Injection] = []
        self._gate = threading.Event()

    def add(self, injection: Injection) -> None:
        """Add a fault behind those already planned."""
        with self._lock:
            self._injections.append(injection)

    def clear(self) -> None:
        """Forget all faults, and let go what hangs."""
        with self._lock:
            self._injections.clear()
        self.release()

    def take(
        self, method: str, *, is_request: bool = True, without: frozenset[Fault] = frozenset()
    ) -> Injection | None:
        """Return the first fault that a message of *method* meets, using it up once."""
        with self._lock:
            for injection in self._injections:
                if injection.fault in without:
                    continue
                if injection.matches(method, is_request=is_request):
                    self._use_up_locked(injection)
                    return injection
        return None

    def has(self, fault: Fault) -> bool:
        """Say whether *fault* is planned."""
        with self._lock:
            return any(injection.fault is fault for injection in self._injections)

    def _use_up_locked(self, injection: Injection) -> None:
        assert self._lock.locked()
        if injection.times is None:
            return
        injection.times -= 1
        if injection.times <= 0:
            self._injections.remove(injection)

    @property
    def gate(self) -> threading.Event:
        """The event for which an answer that hangs now will wait."""
        with self._lock:
            return self._gate

    def release(self) -> None:
        """Let every answer that hangs now go on."""
        with self._lock:
            gate, self._gate = self._gate, threading.Event()
        gate.set()
