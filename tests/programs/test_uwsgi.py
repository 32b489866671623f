"""uWSGI, which forks in C and need not tell Python; its master runs nothing when it exits."""

import json
import socket

import pytest

from programs.running import (
    assert_each_ended_its_own,
    assert_each_has_its_own,
)
from support.processes import free_port, wait_until

OPTIONS = {
    "as it comes": [],
    "as we advise": ["--enable-threads", "--py-call-uwsgi-fork-hooks"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_worker_has_connections_of_its_own_and_ends_them(server, program_of, options):
    program, port = program_of("uwsgi"), free_port()
    stats = free_port()
    program.start(
        "uwsgi", "--master", "--processes=4", f"--http-socket=127.0.0.1:{port}", "--die-on-term",
        f"--stats=127.0.0.1:{stats}", "--module=web:application", *options,
    )  # fmt: skip
    workers = program.workers_behind(port, 4)
    master = program.reports("start")
    assert_each_has_its_own([*master, *workers])
    assert server.deleted_sessions == []
    # The answer is there before the worker is idle, and one that is busy is cut, not ended.
    wait_until(lambda: idle_workers(stats) == 4, "uWSGI says that its workers are idle")
    program.stop()
    theirs = {session for worker in workers for session in worker["sessions"]}
    assert set(server.deleted_sessions) == theirs
    assert set(server.open_sessions) == set(master[0]["sessions"])
    assert_each_ended_its_own(server, [*master, *workers])
    assert server.violations == []


def idle_workers(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        text = b"".join(iter(lambda: connection.recv(65536), b""))
    return sum(worker["status"] == "idle" for worker in json.loads(text)["workers"])
