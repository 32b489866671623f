"""A Redis of the tests' own, on a free port, with nothing on the disk."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import counterparts
from .processes import free_port, wait_until


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Start ``redis-server``, and yield its URL."""
    port = free_port()
    command = [*counterparts.obtain("redis"), "--port", str(port), "--bind", "127.0.0.1"]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--save", ""], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: _answers(port), "redis-server answers", 20)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
