"""The test server over stdio: one JSON-RPC message a line."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from io import FileIO

from .call import Call, Options
from .dispatch import Dispatcher
from .faults import HTTP_FAULTS, STDIO_FAULTS, Fault, FaultPlan, Injection
from .journal import CancelledRequest, Journal, Reply
from .jsonrpc import (
    INVALID_REQUEST,
    META_VERSION,
    CallCancelled,
    Era,
    JSONObject,
    RPCError,
    check_envelope,
    check_message,
    check_supported,
    decode,
    encode,
    kind_of,
    meta_of,
    request_message,
    result_message,
)
from .misbehaviour import spoil
from .process_faults import PROCESS_FAULTS, STRAY_LINES, die, say_noise, write_fault
from .runner import FIRST_REQUESTS, REPLY_TIMEOUT
from .sessions import Running, RunningCalls, Session

CONVERSATION = "stdio"
_PATIENCE = 1.0
_MAY_TAKE_TIME = {"tools/call", "prompts/get", "resources/read", "tasks/result"}
_WITHOUT = (HTTP_FAULTS - STDIO_FAULTS) | PROCESS_FAULTS


class StdioChannel:
    """The way back while one request is carried out."""

    def __init__(self, server: StdioServer, cancelled: threading.Event) -> None:
        self._server = server
        self._cancelled = cancelled

    def send(self, message: JSONObject) -> None:
        """Send a message before the response."""
        self._server.write(encode(message))

    def pause(self, seconds: float) -> bool:
        """Wait; True when the request is cancelled."""
        return self._cancelled.wait(seconds)


class StdioServer:
    """Serves one client until its stdin ends.

    Args:
        stdout: Unbuffered: a buffer would be locked by a thread that is writing when the
            interpreter exits, and that is fatal.

    Lock: _lock guards writing to _stdout.
    """

    def __init__(
        self, options: Options, plan: FaultPlan, stdin: Iterable[bytes], stdout: FileIO
    ) -> None:
        self._era = options.era
        self._plan = plan
        self._stdin = stdin
        self._stdout = stdout
        self._lock = threading.Lock()
        self._journal = Journal()
        self._running = RunningCalls()
        self._session = Session(id=CONVERSATION)
        self._threads: list[threading.Thread] = []
        self.dispatcher = Dispatcher(options, self._journal)

    def run(self) -> None:
        """Answer until stdin ends."""
        if self._plan.has(Fault.STRAY_STDOUT):
            self.write(*STRAY_LINES)
        for line in self._stdin:
            if line.strip():
                self._receive(line)
        self._journal.close()
        self._running.cancel_all()
        self._plan.release()
        self._join(time.monotonic() + _PATIENCE)

    def _join(self, deadline: float) -> None:
        """Let answers that are being written come to their end."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def write(self, *lines: bytes) -> None:
        """Write whole lines."""
        self.write_raw(b"".join(line + b"\n" for line in lines))

    def write_raw(self, data: bytes) -> None:
        """Write *data* in one piece; a reader that has gone is no matter."""
        rest = memoryview(data)
        with self._lock, contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[self._stdout.write(rest) :]

    def _receive(self, line: bytes) -> None:
        try:
            message = check_message(decode(line))
        except RPCError as error:
            self.write(encode(error.to_message(None)))
            return
        kind = kind_of(message)
        if kind == "response":
            self._journal.add_reply(Reply(CONVERSATION, message))
        elif kind == "notification":
            self._notice(message)
        else:
            self._start(message)

    def _notice(self, message: JSONObject) -> None:
        if message["method"] == "notifications/initialized":
            self._session.initialized = True
        elif message["method"] == "notifications/cancelled":
            params = message.get("params", {})
            request_id = params.get("requestId")
            method = self._running.cancel(CONVERSATION, request_id)
            self._journal.add_cancelled(
                CancelledRequest(request_id, method, "notification", params.get("reason"))
            )

    def _start(self, message: JSONObject) -> None:
        method = message["method"]
        injection = self._plan.take(method, without=_WITHOUT)
        if self._plan.has(Fault.STRAY_STDOUT):
            self.write(*STRAY_LINES)
        if self._plan.has(Fault.NOISY_STDERR):
            say_noise(method)
        cancelled = threading.Event()
        running = Running(CONVERSATION, message["id"], method, cancelled)
        entered = contextlib.ExitStack()
        # Entered here, so that a cancellation on the next line finds it.
        entered.enter_context(self._running.entered(running))
        if injection is None and method not in _MAY_TAKE_TIME:
            self._answer(message, cancelled, None, entered)
            return
        thread = threading.Thread(
            target=self._answer,
            args=(message, cancelled, injection, entered),
            name="mcpsync-testing-call",
            daemon=True,
        )
        thread.start()
        self._threads = [*(t for t in self._threads if t.is_alive()), thread]

    def _answer(
        self,
        message: JSONObject,
        cancelled: threading.Event,
        injection: Injection | None,
        entered: contextlib.ExitStack,
    ) -> None:
        with entered, contextlib.suppress(CallCancelled):
            fault = injection.fault if injection else None
            if fault is Fault.EXIT_MID_CALL:
                die()
            if fault in FIRST_REQUESTS:
                self.write(encode(request_message(message["id"], FIRST_REQUESTS[fault])))
                self._journal.wait_for_reply(CONVERSATION, message["id"], REPLY_TIMEOUT)
            answer = self._carry_out(message, cancelled)
            if injection is not None and write_fault(self, self._plan, injection, answer):
                return
            if not cancelled.is_set():
                self.write(encode(spoil(injection, answer)))

    def _carry_out(self, message: JSONObject, cancelled: threading.Event) -> JSONObject:
        try:
            era = self._admit(message)
            call = Call(
                era=era,
                method=message["method"],
                params=message.get("params", {}),
                request_id=message["id"],
                channel=StdioChannel(self, cancelled),
                session=self._session if era == "legacy" else Session(),
                cancelled=cancelled,
            )
            return result_message(message["id"], self.dispatcher.run(call))
        except RPCError as error:
            return error.to_message(message["id"])

    def _admit(self, message: JSONObject) -> Era:
        method, params = message["method"], message.get("params", {})
        era = self._era
        if era == "both":
            era = "modern" if META_VERSION in meta_of(params) else "legacy"
        if era == "modern":
            if method == "initialize":
                check_supported(str(params.get("protocolVersion")))
            check_supported(check_envelope(params))
            return "modern"
        free = {"initialize", "ping"}
        known = self.dispatcher.knows("legacy", method)
        if known and method not in free and not self._session.initialized:
            raise RPCError(
                INVALID_REQUEST, f"Invalid Request: {method} before notifications/initialized"
            )
        return "legacy"
