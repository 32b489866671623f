"""The command line in this process, in a process of its own, and on a terminal."""

import contextlib
import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mcpsync
from mcpsync.cli.main import main
from mcpsync.testing import LocalServer, stdio_command
from support.processes import alive, wait_until

TIMEOUT = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error object that --json puts on standard error."""
        return json.loads(self.err)["error"]

    def assert_failed(self, code: int, *fragments: str) -> None:
        """One line, the right code, no traceback, nothing on standard output."""
        assert self.code == code, self
        assert self.err.startswith("mcpsync: "), self
        assert self.err.count("\n") == 1, self
        assert "Traceback" not in self.err
        assert self.out == ""
        for fragment in fragments:
            assert fragment in self.err


Cli = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory, from which other processes find the same package as we do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(mcpsync.__file__).parents[1]))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("MCPSYNC_CONFIG", "MCPSYNC_STORE", "MCPSYNC_STORE_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process, where the guards see what it leaves behind."""

    def run(*words: object) -> Outcome:
        capfd.readouterr()
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def command(*words: object) -> list[str]:
    """The command line that runs ours in a process of its own."""
    return [sys.executable, "-m", "mcpsync", *map(str, words)]


@pytest.fixture
def process() -> Cli:
    """Run a command line in a process of its own, on pipes."""

    def run(*words: object, typed: str = "", env: Mapping[str, str] | None = None) -> Outcome:
        done = subprocess.run(
            command(*words),
            input=typed,
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            env={**os.environ, **(env or {})},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command line and go on; it is gone at the end."""
    with contextlib.ExitStack() as stack:

        def begin(*words: object, **options: Any) -> subprocess.Popen[str]:
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
            child = subprocess.Popen(command(*words), text=True, **pipes)
            stack.callback(_bury, child)
            return child

        yield begin


def _bury(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.kill()
    child.wait(TIMEOUT)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


@pytest.fixture
def terminal() -> Callable[..., tuple[int, str]]:
    """Run a command line with everything on a terminal of 100 columns; what it showed comes back.

    Args:
        out: A file to have standard output in instead.
    """

    def run(*words: object, out: Any = None) -> tuple[int, str]:
        master, slave = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "50"}
        child = subprocess.Popen(
            command(*words), stdin=slave, stdout=out or slave, stderr=slave, env=env
        )
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody has the other end
            while chunk := os.read(master, 65536):
                shown += chunk
        os.close(master)
        return child.wait(TIMEOUT), shown.decode()

    return run


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server of both eras."""
    with LocalServer() as running:
        yield running


@dataclass(frozen=True)
class StdioServer:
    """A command that starts a server over stdio and leaves its process id in a file."""

    command: Sequence[str]
    pid_file: Path

    def assert_gone(self) -> None:
        """It was started, and is not there any more."""
        pid = int(self.pid_file.read_text())
        wait_until(lambda: not alive(pid), f"the server {pid} ends")


@pytest.fixture
def stdio(tmp_path: Path) -> Callable[..., StdioServer]:
    """Make the command for a server over stdio; takes what stdio_command takes."""

    def make(*arguments: Any, **options: Any) -> StdioServer:
        pid_file = tmp_path / "pid"
        script = f"echo $$ > {pid_file}; exec {shlex.join(stdio_command(*arguments, **options))}"
        path = f"PYTHONPATH={os.environ['PYTHONPATH']}"  # which a server does not inherit
        return StdioServer(["env", path, "sh", "-c", script], pid_file)

    return make
