"""Programs that are started, asked and stopped, and whose sessions are whose."""

import contextlib
import json
import os
import signal
import subprocess
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from mcpsync.testing import LocalServer
from support.processes import alive, wait_until

APPS = Path(__file__).parent / "apps"
PATIENCE = 40.0
TROUBLE = (
    "Traceback",
    "Exception ignored",
    "Segmentation",
    "SIGABRT",
    "SIGSEGV",
    "ResourceWarning",
)

Report = dict[str, Any]


class Program:
    """A program with a process group of its own; its output goes to a file.

    Args:
        python: The interpreter of the environment that has the program.
        folder: An empty directory: for the reports, the output and whatever the program writes.
        library: The directory in which ``mcpsync`` is found.
        server: What the program calls.
    """

    def __init__(self, python: Path, folder: Path, library: Path, server: LocalServer) -> None:
        self._python = python
        self._folder = folder
        self._log = folder / "output"
        self._reports = folder / "reports"
        self._reports.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        self.env = {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": f"{library}:{APPS}",
            "PYTHONUNBUFFERED": "1",
            "MCP_URL": server.url,
            "REPORTS": str(self._reports),
            "BROKER": str(folder),
        }

    def start(self, *command: str, **env: str) -> None:
        """Start a command of the environment; ``python`` is its interpreter."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._python.parent / command[0], *command[1:]],
                cwd=self._folder,
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: str, **env: str) -> None:
        """Run a second command to its end, while the program runs."""
        done = subprocess.run(
            [self._python.parent / command[0], *command[1:]],
            cwd=self._folder,
            env=self.env | env,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.output

    def stop(self) -> None:
        """Ask it to stop, as whoever supervises it would, and wait for its end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        """Wait for its end, which is a good one: nobody is left, and nobody complained."""
        assert self._process is not None
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end. It wrote:\n{self.output[-3000:]}")
        assert code == 0, self.output[-3000:]
        wait_until(lambda: not self._group_is_there(), "every process of the program ends")
        assert [word for word in TROUBLE if word in self.output] == [], self.output[-6000:]

    def kill(self) -> None:
        """Kill whatever is left of it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its own group
            self._process.wait(10)

    def _group_is_there(self) -> bool:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def output(self) -> str:
        """What it has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def reports(self, name: str) -> list[Report]:
        """What its processes have written to files of this name."""
        return [json.loads(path.read_text("utf-8")) for path in self._reports.glob(f"{name}.*")]

    def wait_for_reports(self, name: str, number: int) -> list[Report]:
        """Wait until so many processes have written such a file."""
        wait_until(
            lambda: len(self.reports(name)) >= number or self._has_ended(),
            f"{number} processes write {name}",
            PATIENCE,
        )
        assert len(self.reports(name)) >= number, self.output[-3000:]
        return self.reports(name)

    def workers_behind(self, port: int, number: int) -> list[Report]:
        """Ask a web server, at once for each of its workers, until so many have answered."""
        found: dict[int, Report] = {}

        def ask(_: int) -> None:
            with contextlib.suppress(ConnectionError, OSError):
                with urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                    report = json.load(answer)
                found[report["pid"]] = report

        def all_have_answered() -> bool:
            for _ in asking.map(ask, range(number)):
                pass
            return len(found) == number or self._has_ended()

        with ThreadPoolExecutor(number) as asking:
            wait_until(all_have_answered, f"{number} workers answer", PATIENCE)
        assert len(found) == number, self.output[-3000:]
        return list(found.values())

    def _has_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None


def assert_each_has_its_own(reports: list[Report]) -> None:
    """No two processes share a session or a stdio server."""
    for kind in ("sessions", "stdio"):
        theirs = [set(_listed(report[kind])) for report in reports]
        assert len(set[Any]().union(*theirs)) == sum(map(len, theirs)), (kind, reports)


def assert_unchanged(before: list[Report], after: list[Report]) -> None:
    """The same processes still have the same sessions and stdio servers."""
    assert sorted(before, key=_pid) == sorted(after, key=_pid)


def assert_nothing_is_left(server: LocalServer, reports: list[Report]) -> None:
    """Every session was ended by the process that had it, and every stdio server has ended."""
    ours = {session for report in reports for session in report["sessions"]}
    assert set(server.deleted_sessions) == ours
    assert server.open_sessions == []
    assert_each_ended_its_own(server, reports)
    for report in reports:
        wait_until(lambda pid=report["stdio"]: not alive(pid), "the stdio server ends")
    assert server.violations == []


def assert_each_ended_its_own(server: LocalServer, reports: list[Report]) -> None:
    """On no connection two processes are heard, and none ends the session of another."""
    heard = defaultdict(set)
    owner = {session: report["pid"] for report in reports for session in report["sessions"]}
    for request in server.requests:
        if "x-user" in request.headers:
            heard[request.connection].add(int(request.headers["x-user"]))
        elif request.http_method == "DELETE":
            heard[request.connection].add(owner[str(request.session_id)])
    assert [pids for pids in heard.values() if len(pids) > 1] == []


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pid(report: Report) -> int:
    return int(report["pid"])
