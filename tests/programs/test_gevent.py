"""A program whose threads are gevent's greenlets."""

import json

import pytest


@pytest.fixture
def seen(server, program_of, request):
    """What the program saw that exits in the way that is asked for."""
    program = program_of("programs")
    program.start("python", "-m", "green", request.param)
    if request.param == "signal":
        calls = 50 + 3 + 1
        assert server.wait_for(lambda s: s.executions.get("slow", 0) == calls, 40), program.output
        program.stop()
    program.wait()
    (line,) = program.output.splitlines()
    return json.loads(line)


@pytest.mark.parametrize("seen", ["end", "signal", "daemon"], indirect=True)
def test_many_greenlets_share_a_manager_and_their_sessions_are_ended(server, seen):
    assert seen["fifty"] < 50 * 0.3 / 3  # they waited for the server at the same time
    (ada,), (bob,) = seen["sessions"]
    assert ada != bob  # and a hundred callers of one user made one connection
    assert seen["local"] == [n + 1 for n in range(50)]
    assert seen["patience"]["ended"] == ["RequestTimeout", "RequestCancelled", "done"]
    assert seen["patience"]["sums"] == [n + 1 for n in range(20)]
    assert seen["patience"]["seconds"] < 10
    assert seen["swept"]
    assert server.open_sessions == []
    assert {ada, bob} < set(server.deleted_sessions)
    assert server.violations == []
