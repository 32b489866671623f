"""gunicorn, its application loaded before it forks."""

import pytest

from programs.running import (
    APPS,
    assert_each_has_its_own,
    assert_nothing_is_left,
    assert_unchanged,
)
from support.processes import free_port

WORKERS = {
    "sync": [],
    "gthread": ["--worker-class=gthread", "--threads=2"],
    "gevent": ["--worker-class=gevent", f"--config={APPS / 'patched_first.py'}"],
}


@pytest.mark.parametrize("options", WORKERS.values(), ids=WORKERS)
def test_each_worker_has_connections_of_its_own_and_the_master_keeps_his(
    server, program_of, options
):
    program, port = program_of("programs"), free_port()
    program.start(
        "gunicorn", "--preload", "--workers=4", f"--bind=127.0.0.1:{port}", *options,
        "web:application",
    )  # fmt: skip
    workers = program.workers_behind(port, 4)
    master = program.reports("start")
    assert_each_has_its_own([*master, *workers])
    assert server.deleted_sessions == []
    program.stop()
    assert_unchanged(master, program.reports("end"))
    assert_nothing_is_left(server, [*master, *workers])
