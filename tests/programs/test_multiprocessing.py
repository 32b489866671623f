"""Processes of multiprocessing, which leave by ``os._exit``, and its pools."""

import pytest

from programs.running import assert_each_has_its_own, assert_nothing_is_left, assert_unchanged


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_each_process_has_connections_of_its_own_and_the_parent_keeps_his(
    server, program_of, method
):
    program = program_of("programs")
    program.start("python", "-m", "multi", method)
    program.wait()
    parent, children = program.reports("start"), program.reports("worker")
    assert len(children) == 4
    assert_each_has_its_own([*parent, *children])
    assert_unchanged(parent, program.reports("end"))
    assert_nothing_is_left(server, [*parent, *children])
