"""Child processes in tests: servers on a port, and who is still alive."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mcpsync._runtime import fork

START_TIMEOUT = 60.0


def wait_until(true: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Wait for something that another process makes visible; fail when it never does."""
    give_up = time.monotonic() + timeout
    while not true():
        if time.monotonic() > give_up:
            pytest.fail(f"waited {timeout:g} s for this, in vain: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A port on the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children() -> frozenset[int]:
    """The process ids of this process's children; zombies count, for nobody waited for them."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return frozenset()
    found: set[int] = set()
    for task in tasks.iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found.update(map(int, (task / "children").read_text().split()))
    return frozenset(found)


def alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not: some containers have no init to bury it.

    A process of several threads looks like one while the others still end; until then its files
    are open.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return not Path("/proc/self").is_dir()
    return state != "Z" or threads > 1


class ServerProcess:
    """A server in a child process with a process group of its own, on one port.

    Its output goes to a file, which a failure to start shows. It ends when its standard input
    does, so that it outlives no test run, however that ends.
    """

    def __init__(
        self,
        command: list[str],
        *,
        port: int,
        log: Path,
        env: Mapping[str, str],
        path: str = "/mcp",
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}{path}"
        self._command = command
        self._env = dict(env)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "ServerProcess":
        """Start the process and wait until it accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_it_accepts()
        return self

    def stop(self) -> None:
        """Kill the process and whatever it started; wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group: nobody else's processes
        process.communicate(timeout=10)

    def restart(self) -> None:
        """Kill it and start it again on the same port: sessions are forgotten."""
        self.stop()
        self.start()

    @property
    def output(self) -> str:
        """What the process has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for_output(self, text: str, timeout: float = 10.0) -> None:
        """Wait until the process has written *text*."""
        wait_until(lambda: text in self.output, f"the server writes {text!r}", timeout)

    def _wait_until_it_accepts(self) -> None:
        assert self._process is not None
        give_up = time.monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None:
                self._fail(f"ended with exit code {self._process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > give_up:
                    self._fail(f"accepts no connection after {START_TIMEOUT:g} s")
                time.sleep(0.02)
            else:
                return

    def _fail(self, how: str) -> None:
        self.stop()
        pytest.fail(f"the server {' '.join(self._command)} {how}. It wrote:\n{self.output[-3000:]}")


def forget_as_forked(owner: object) -> None:
    """Have *owner*, and nobody else, forget what it would in a forked child."""
    theirs = [each for each in list(fork._forgetters) if each() is owner]
    assert theirs, f"{owner!r} forgets nothing"
    for each in theirs:
        each.forget()
