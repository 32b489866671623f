"""The demo's server: a child process that ends with us, however we end."""

from __future__ import annotations

import queue
import subprocess
import sys
from types import TracebackType
from typing import Self

from .._runtime.threads import start_thread
from ..errors import ConnectError

START_TIMEOUT = 20.0
PATIENCE = 2.0  # seconds each it gets to leave: when its input ends, then on TERM


class DemoServer:
    """``python -m mcpsync.testing --http`` in a process of its own, within a ``with`` block.

    Its standard input is ours: when this process dies the pipe breaks, and the server ends.

    Args:
        era: What it speaks, ``legacy`` or ``both``.

    Raises:
        ConnectError: It does not start.
    """

    def __init__(self, era: str) -> None:
        self._command = [
            *(sys.executable, "-m", "mcpsync.testing", "--http", "--era", era),
            *("--set-cookie", "seat={n}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        process = self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )
        try:
            self.url = _first_line(process)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        process.stdin.close()
        for harder in (process.terminate, process.kill):
            try:
                process.wait(PATIENCE)
                break
            except subprocess.TimeoutExpired:
                harder()
        process.wait(PATIENCE)
        process.stdout.close()


def _first_line(process: subprocess.Popen[bytes]) -> str:
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stdout = process.stdout
    assert stdout is not None
    start_thread("demo-server", lambda: lines.put(stdout.readline()))
    try:
        line = lines.get(timeout=START_TIMEOUT)
    except queue.Empty:
        line = b""
    if not line:
        raise ConnectError(
            "the demo's server does not start; 'python -m mcpsync.testing --http' may say why."
        )
    return line.decode().strip()
