"""The faults of a server that is a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Protocol

from .faults import Fault, FaultPlan, Injection
from .jsonrpc import JSONObject, encode
from .misbehaviour import GARBAGE, halves

EXIT_CODE = 3
LIFETIME = 300.0
LAST_WORDS = "mcpsync-testing: fatal: told to exit in the middle of a call"
STRAY_LINES = (b"Server is starting ...", b"", b'{"level": "info"}', b"{ not JSON", b"42")
# These concern the whole process, not one request.
PROCESS_FAULTS = frozenset(
    {Fault.STRAY_STDOUT, Fault.STUBBORN, Fault.GRANDCHILD, Fault.NOISY_STDERR}
)
_NOISE = b"noise on stderr \xff\xfe " + b"." * 1000 + b"\n"


class _Writer(Protocol):
    def write_raw(self, data: bytes) -> None:
        """Write *data* in one piece."""


def write_fault(writer: _Writer, plan: FaultPlan, injection: Injection, answer: JSONObject) -> bool:
    """Write what the fault makes of *answer*; say whether that was all.

    An answer that hangs returns False once it is released, and is then to be sent.
    """
    fault = injection.fault
    if fault is Fault.SILENT_PROBE:
        return True
    if fault is Fault.HANG:
        plan.gate.wait(LIFETIME)
        return False
    pieces = _pieces(injection, answer)
    if not pieces:
        return False
    writer.write_raw(b"".join(pieces))
    if fault is Fault.DIE_MID_ANSWER:
        die()
    return True


def _pieces(injection: Injection, answer: JSONObject) -> tuple[bytes, ...]:
    if injection.fault is Fault.GARBAGE:
        return (GARBAGE, b"\n")
    if injection.fault is Fault.HUGE_LINE:
        return (b"x" * injection.size,)
    if injection.fault is Fault.HUGE:
        first, last = halves(answer)
        return (first, b" " * injection.size, last, b"\n")
    if injection.fault is Fault.DIE_MID_ANSWER:
        text = encode(answer)
        return (text[: len(text) // 2],)
    return ()


def die() -> None:
    """Exit at once, with last words on stderr."""
    sys.stderr.write(LAST_WORDS + "\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


def say_noise(method: str) -> None:
    """Write to stderr, not only in UTF-8."""
    sys.stderr.buffer.write(b"handling " + method.encode() + b" \xff\n")
    sys.stderr.buffer.flush()


def flood_stderr() -> None:
    """Write more to stderr than a pipe holds, so that somebody has to read it."""
    sys.stderr.buffer.write(_NOISE * 200)
    sys.stderr.buffer.flush()


def ignore_termination() -> None:
    """Make SIGTERM do nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def outlive_stdin() -> None:
    """Stay, for five minutes, when every sensible server would end."""
    threading.Event().wait(LIFETIME)


def spawn_grandchild() -> int:
    """Start a child that sleeps for five minutes and holds our stdout and stderr open."""
    code = f"import time; time.sleep({LIFETIME})"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL)
    return process.pid
