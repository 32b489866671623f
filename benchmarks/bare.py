"""The bare server as a child process of the benchmark."""

from __future__ import annotations

import http.client
import json
import selectors
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from certificate import Certificate
from wire import Target

SERVER = Path(__file__).with_name("server.py")
START_TIMEOUT = 20.0


class BareServer:
    """The running server; a context manager.

    Port 0 of the list serves the legacy era and port 1 the modern one, because a client may
    remember the era of an origin. Every later port is handed out once by :meth:`fresh`: an
    origin that no client has seen.
    """

    def __init__(self, fresh: int = 0, certificate: Certificate | None = None) -> None:
        command = [sys.executable, str(SERVER), "--ports", str(fresh + 2)]
        if certificate is not None:
            command += ["--tls-ports", str(fresh + 2)]
            command += ["--certificate", str(certificate.certificate)]
            command += ["--key", str(certificate.key)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            found = json.loads(self._first_line())
        except BaseException:
            self.close()
            raise
        self._ports: dict[str, list[int]] = {"http": found["ports"], "https": found["tls_ports"]}

    def target(self, era: str, answer: str, scheme: str = "http") -> Target:
        """Return the origin of *era*, the same one every time."""
        port = self._ports[scheme][0 if era == "legacy" else 1]
        return Target(f"{scheme}://127.0.0.1:{port}/{era}/{answer}", era, answer)

    def fresh(self, era: str, answer: str, scheme: str = "http") -> Target:
        """Return an origin that was never handed out before."""
        if len(self._ports[scheme]) <= 2:
            raise RuntimeError("the benchmark asked the bare server for too few ports")
        port = self._ports[scheme].pop()
        return Target(f"{scheme}://127.0.0.1:{port}/{era}/{answer}", era, answer)

    def take_counts(self) -> dict[str, int]:
        """Return how often each method was asked since the last time."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports["http"][0], timeout=10)
        try:
            connection.request("GET", "/counts")
            counts: dict[str, int] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return counts

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)

    def __enter__(self) -> BareServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(START_TIMEOUT):
                raise RuntimeError("the bare server did not start")
        return self._process.stdout.readline()
