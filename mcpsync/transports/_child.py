"""A server that runs as our child process: starting it, its pipes, and its end."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO

from .._runtime.deadline import Deadline
from .._runtime.locks import WriteLock
from .._runtime.threads import hold_still_if_copied
from ..config import StdioServerConfig
from ..errors import ConnectError, ConnectionLost, RequestTimeout

logger = logging.getLogger("mcpsync.stdio")

# What a child may inherit: enough to find and show things, no secrets.
SAFE_VARIABLES = [
    "HOME",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "TEMP",
    "TMP",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "PATHEXT",
]

STDERR_TAIL = 20  # lines kept for the error that says it ended
LAST_WORDS = 0.2  # seconds that standard error is read on after standard output ended
LOOK_UP = 0.02  # seconds between looks at who was called off, while a server does not read
CHUNK = 65536


def safe_environment(
    extra: Mapping[str, str] | None, source: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment for a child: the safe part of ours, and *extra* on top."""
    source = os.environ if source is None else source
    safe = {
        name: source[name]
        for name in SAFE_VARIABLES
        if name in source and not source[name].startswith("()")  # an exported shell function
    }
    return {**safe, **(extra or {})}


class Child:
    """One child process in a process group of its own. Writing is thread-safe.

    Raises:
        ConnectError: It cannot be started.
    """

    def __init__(self, config: StdioServerConfig) -> None:
        try:
            self._process = subprocess.Popen(
                [config.command, *config.args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=_stderr_of(config),
                bufsize=0,
                cwd=config.cwd,
                env=safe_environment(config.env),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ConnectError(_why_not(config, error), retryable=False) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self._stderr = self._process.stderr or _nothing_to_read()
        os.set_blocking(self._stdin.fileno(), False)
        self._wake_reader, self._wake = os.pipe()
        self._writing = WriteLock()
        self._owner = os.getpid()
        self._ended = False
        self.is_garbled = False  # part of a message is out: what follows cannot be understood
        self._stderr_tail: deque[str] = deque(maxlen=STDERR_TAIL)
        self.pid = self._process.pid

    @property
    def stderr_tail(self) -> str:
        """The last lines it wrote to standard error."""
        return "\n".join(self._stderr_tail)

    def write(
        self, data: bytes, deadline: Deadline, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Write one whole message; return false if *stopped* said to stop instead.

        Raises:
            ConnectionLost: It does not read any more. ``maybe_executed`` is false: a message that
                is not whole is not run.
            RequestTimeout: It does not read fast enough.
        """
        if stopped():
            return False
        if self._has_ended():  # its pipe may be held open by who it started
            raise ConnectionLost("the server has ended.")
        self._writing.acquire(deadline)
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                try:
                    written += os.write(self._stdin.fileno(), view[written:])
                except BlockingIOError:
                    self._wait_writable(deadline)
                    if stopped():
                        return False
        except (OSError, ValueError) as error:  # ValueError: we closed the pipe ourselves
            if isinstance(error, RequestTimeout):
                raise
            raise ConnectionLost("the server does not read its input any more.") from error
        finally:
            if 0 < written < len(view):
                self.is_garbled = True
            self._writing.release()
        return True

    def _wait_writable(self, deadline: Deadline) -> None:
        poll = select.poll()
        poll.register(self._stdin, select.POLLOUT)
        poll.poll(LOOK_UP * 1000)
        deadline.check("sending to a server that does not read")

    def read_loop(self, on_line: Callable[[bytes], None], max_line_bytes: int) -> str | None:
        """Read both of its outputs until they end or it was ended; then close them.

        Args:
            on_line: Gets each line of standard output, without its end.
            max_line_bytes: A longer line ends the reading.

        Returns:
            Why it had to stop early, if it did.
        """
        outputs = {
            self._stdout.fileno(): _Lines(on_line),
            self._stderr.fileno(): _Lines(self._on_stderr),
        }
        ended = _watch_for_end(self.pid)
        try:
            _Outputs(outputs, self._wake_reader, ended, max_line_bytes).read()
        except _TooLong:
            return f"it sent a line of more than {max_line_bytes} bytes"
        finally:
            self._stdout.close()
            self._stderr.close()
            os.close(self._wake_reader)
            if ended is not None:
                os.close(ended)
        return None

    def _on_stderr(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        self._stderr_tail.append(text[:1000])
        logger.info("[%d] %s", self.pid, text)

    def _has_ended(self) -> bool:
        """Whether it has ended; unlike ``poll()`` also while another thread waits for it."""
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # somebody has waited for it already
            return True
        return found is not None

    def wait(self, timeout: float) -> int | None:
        """Return its exit status, or None if it still runs after *timeout* seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def end(self, deadline: Deadline) -> None:
        """End it and its whole group: close its input, wait, TERM, wait, KILL. (Requirement L10.)

        A third of the time is for each wait. In a forked child it does nothing: the process is
        the parent's.
        """
        if os.getpid() != self._owner or self._ended:
            return
        self._ended = True
        patience = min(deadline.remaining(), 60.0) / 3
        self._close_stdin()
        if self.wait(patience) is None:
            self._signal(signal.SIGTERM)
            self.wait(patience)
        elif self._signal(signal.SIGTERM):  # it left others behind
            self._wait_for_group(min(patience, 0.5))
        self._signal(signal.SIGKILL)
        self.wait(5.0)
        with contextlib.suppress(OSError):
            os.close(self._wake)  # whoever still reads, because somebody else holds the pipe, stops

    def _wait_for_group(self, timeout: float) -> None:
        deadline = Deadline(timeout)
        poll = select.poll()
        while self._signal(0) and not deadline.expired:
            poll.poll(10)

    def _signal(self, number: int) -> bool:
        """Send a signal to the whole group; say whether anybody was there."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _close_stdin(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()

    def forget(self) -> None:
        """Let go of the pipes without a word: in a forked child they are the parent's."""
        self._writing = WriteLock()
        self._close_stdin()
        with contextlib.suppress(OSError):
            os.close(self._wake)
        if select.poll.__module__ != "select":  # gevent's: its loop watches them for a copy of
            _silence(self._stdout.fileno(), self._stderr.fileno(), self._wake_reader)  # the reader
            return
        for pipe in (self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        with contextlib.suppress(OSError):
            os.close(self._wake_reader)


class _TooLong(Exception):
    """A line of standard output is too long."""


class _Outputs:
    """Reads what a child writes, until both outputs end, or it does, or we are told to stop.

    Args:
        outputs: What takes the chunks of each descriptor, standard output first.
        wake: Readable when we are to stop.
        ended: Readable when the child has ended, if there is such a descriptor.
        max_line_bytes: A longer line on standard output is an error, on the other it is dropped.
    """

    def __init__(
        self, outputs: dict[int, _Lines], wake: int, ended: int | None, max_line_bytes: int
    ) -> None:
        self._outputs = outputs
        self._stdout = next(iter(outputs))
        self._wake = wake
        self._ended = ended
        self._limit = max_line_bytes
        self._last_words = False  # what it said last may come a little later than its end
        self._poll = select.poll()
        for fd in (*outputs, wake, ended):
            if fd is not None:
                self._poll.register(fd, select.POLLIN)

    def read(self) -> None:
        process = os.getpid()
        while self._outputs:
            patience = LAST_WORDS * 1000 if self._last_words else None
            ready = [fd for fd, _ in self._poll.poll(patience)]
            hold_still_if_copied(process)
            if not ready or self._wake in ready:
                return
            for fd in ready:
                if fd == self._ended:
                    self._poll.unregister(fd)
                    self._last_words = True
                else:
                    self._take(fd)

    def _take(self, fd: int) -> None:
        chunk = os.read(fd, CHUNK)
        if not chunk:
            self._poll.unregister(fd)
            self._outputs.pop(fd).finish()
            self._last_words = self._last_words or fd == self._stdout
        elif self._outputs[fd].feed(chunk) > self._limit:
            if fd == self._stdout:
                raise _TooLong
            self._outputs[fd].drop()


class _Lines:
    """Cuts chunks into lines."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> int:
        """Hand on each whole line; return the length of the one under way."""
        if b"\n" not in chunk:
            self._rest += chunk
            return len(self._rest)
        first, *whole, rest = chunk.split(b"\n")
        self._on_line(bytes(self._rest + first))
        for line in whole:
            self._on_line(line)
        self._rest = bytearray(rest)
        return len(rest)

    def drop(self) -> None:
        self._rest.clear()

    def finish(self) -> None:
        if self._rest:
            self._on_line(bytes(self._rest))


def _why_not(config: StdioServerConfig, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        if config.cwd is not None and not os.path.isdir(config.cwd):
            return f"cannot start {config.command!r}: its directory {config.cwd!r} does not exist."
        return f"cannot start {config.command!r}: there is no such command."
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"cannot start {config.command!r}: {reason}."


def _stderr_of(config: StdioServerConfig) -> int | None:
    if isinstance(config.stderr, int):
        return config.stderr
    return {"pipe": subprocess.PIPE, "ignore": subprocess.DEVNULL}.get(config.stderr)


def _nothing_to_read() -> IO[bytes]:
    """Return a pipe at its end, for a standard error that goes elsewhere."""
    reading, writing = os.pipe()
    os.close(writing)
    return os.fdopen(reading, "rb", buffering=0)


def _silence(*fds: int) -> None:
    """Let go of pipes that must stay open: put one in their place that nothing ever comes from."""
    reading, _ = os.pipe()
    for fd in fds:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(reading, fd, inheritable=False)
    os.close(reading)


def _watch_for_end(pid: int) -> int | None:
    """Return a descriptor that is readable once the process has ended, where there is such a thing.

    The end of its output does not tell: whoever it started may hold that open.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
