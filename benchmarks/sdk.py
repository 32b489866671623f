"""The parent's side of the official SDK: its virtual environment, and a proxy to its worker."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import venv
from pathlib import Path
from typing import Any

from contenders import WARM_UP
from timing import Block, Storm
from wire import Target

REQUIREMENT = "mcp==2.3.*"
INSTALL_TIMEOUT = 600.0
ANSWER_TIMEOUT = 300.0
WORKER = Path(__file__).with_name("sdk_worker.py")


def cache_folder() -> Path:
    """Return where virtual environments are kept: ``MCPSYNC_CACHE``, or the temporary folder."""
    named = os.environ.get("MCPSYNC_CACHE")
    return Path(named) if named else Path(tempfile.gettempdir()) / "mcpsync-cache"


def ensure_environment() -> Path:
    """Return the interpreter of a virtual environment with the SDK, made at first use.

    Raises:
        RuntimeError: it could not be made.
    """
    major, minor = sys.version_info[:2]
    folder = cache_folder() / f"benchmark-sdk-2.3-py{major}{minor}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if complete.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making a virtual environment with {REQUIREMENT} …", file=sys.stderr, flush=True)
    try:
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", REQUIREMENT]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"no virtual environment for the SDK: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise RuntimeError(f"pip could not install {REQUIREMENT}: {lines[-1]}")
    complete.touch()
    return python


class Worker:
    """A worker process with the SDK in it; commands and answers are JSON lines."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [str(ensure_environment()), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have one command carried out.

        Raises:
            RuntimeError: the worker failed, ended, or gave no answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=ANSWER_TIMEOUT)
        except (OSError, queue.Empty) as error:
            raise RuntimeError(f"the SDK worker gave no answer to {do!r}") from error
        if not line:
            raise RuntimeError(f"the SDK worker ended during {do!r}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")


class SdkContender:
    """The SDK as a contender: the same blocks of calls, made in the worker."""

    name = "mcp 2.3 + loop thread"

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def open(self, target: Target) -> None:
        """Start a worker and connect in it."""
        self._worker = Worker()
        self._worker.ask("open", url=target.url, mode=target.mode, warm_up=WARM_UP)

    def block(self, calls: int) -> Block:
        """Make *calls* calls, one after the other."""
        answer = self._open_worker().ask("block", calls=calls)
        return Block(answer["seconds"], answer["cpu"])

    def storm(self, threads: int, each: int) -> Storm:
        """Make *each* calls from each of *threads* threads."""
        return Storm(**self._open_worker().ask("storm", threads=threads, each=each))

    def close(self) -> None:
        """Close the client and end the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            try:
                worker.ask("close")
            finally:
                worker.stop()

    def _open_worker(self) -> Worker:
        if self._worker is None:
            raise RuntimeError("not open")
        return self._worker
