"""Celery's prefork pool: its processes leave by ``os._exit``, and tell their end by a signal."""

from programs.running import assert_each_has_its_own, assert_nothing_is_left, assert_unchanged


def test_each_pool_process_has_connections_of_its_own_and_the_main_process_keeps_his(
    server, program_of
):
    program = program_of("programs")
    program.start(
        "celery", "--app=tasks", "worker", "--pool=prefork", "--concurrency=2",
        "--without-gossip", "--without-mingle", ROLE="worker",
    )  # fmt: skip
    program.run("python", "-m", "tasks", "2")
    workers, parent = program.reports("worker"), program.reports("start")
    assert len(workers) == 2
    assert_unchanged(workers, program.reports("again"))
    assert_each_has_its_own([*parent, *workers])
    assert server.deleted_sessions == []
    program.stop()
    assert_unchanged(parent, program.reports("end"))
    assert_nothing_is_left(server, [*parent, *workers])
