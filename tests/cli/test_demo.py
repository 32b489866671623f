"""The demo, small: as JSON, on a pipe, on a terminal, interrupted, and when something is wrong."""

import signal
from pathlib import Path

import pytest

from mcpsync import events
from mcpsync.cli.demo_report import Report
from mcpsync.cli.demo_server import DemoServer
from mcpsync.cli.demo_tally import Count, Tally
from support.processes import alive, wait_until

pytestmark = pytest.mark.once  # what is shown is the same with every Python

SMALL = ("--seconds", "0.5", "--users", "3", "--threads", "9")


@pytest.mark.parametrize("era", ["legacy", "both"])
def test_everything_holds(cli, era):
    outcome = cli("demo", "--json", "--era", era, *SMALL)
    assert (outcome.code, outcome.err) == (0, "")
    found = outcome.json
    assert found["failures"] == []
    assert found["made"] == 3 + found["swept_early"]
    assert found["swept"] == found["made"]
    assert found["calls"] >= 9
    assert (found["errors"], found["strangers"], found["run_twice"]) == (0, 0, 0)
    assert found["threads_of_connections"] == 0


def test_on_a_pipe_it_is_a_few_plain_lines(process):
    outcome = process("demo", *SMALL)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) < 25
    assert lines[-1] == "Everything held."
    assert lines[1].startswith("3 users in 9 threads call tools through one MCPManager.")
    assert any(line.startswith("  0 of 3 users connected") for line in lines)
    assert any(line.startswith("  swept when idle") for line in lines)
    assert "\x1b" not in outcome.out


def test_on_a_terminal_it_moves(terminal):
    code, shown = terminal("demo", *SMALL)
    assert code == 0
    assert "● ● ●" in shown
    assert "○ ○ ○" in shown
    assert "Everything held." in shown


def children_of(pid: int) -> list[int]:
    """The child processes of another process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_an_interrupt_ends_it_and_its_server(start, number, code, word):
    child = start("demo", "--seconds", "60", bufsize=1)
    for line in child.stdout:
        if "users connected" in line:
            break
    (server,) = children_of(child.pid)
    child.send_signal(number)
    assert child.wait(20) == code
    assert child.stderr.read() == f"mcpsync: {word}.\n"
    wait_until(lambda: not alive(server), "the demo's server ends")


def test_a_server_that_does_not_start_is_an_error(cli, monkeypatch):
    begin = DemoServer.__init__

    def wrong(self, era):
        begin(self, era)
        self._command = [self._command[0], "-c", "raise SystemExit(1)"]

    monkeypatch.setattr(DemoServer, "__init__", wrong)
    outcome = cli("demo", "--json")
    assert (outcome.code, outcome.error["type"]) == (3, "ConnectError")


def tally_of(*happened: object) -> Tally:
    tally = Tally()
    for event in happened:
        tally(event)
    return tally


def test_the_tally_counts_events():
    count = tally_of(
        events.ConnectionCreated("demo", "a", 0.1),
        events.ConnectionCreated("demo", "b", 0.1),
        events.ConnectionJoined("demo", "a"),
        events.CallFinished("demo", "a", "add", 0.9, None),
        events.ConnectionReused("demo", "a"),
        events.CallFinished("demo", "a", "add", 0.2, None),
        events.CallFinished("demo", "a", "add", 0.4, "ConnectionLost"),
        events.ConnectionClosed("demo", "a", "idle"),
        events.ConnectionClosed("demo", "c", "dead"),
        events.SweepFinished(1),
    ).count()
    assert count == Count(
        calls=3,
        errors=1,
        made=2,
        joined=1,
        reused=1,
        swept=1,
        connected=frozenset({"b"}),
        p50=0.2,
        p99=0.2,
        first=0.9,
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"user": "bob", "session": "2", "cookie": None},
        {"user": "ada", "session": "1", "cookie": None},
        {"user": "ada", "session": "2", "cookie": "seat=1"},
    ],
)
def test_the_tally_notices_what_is_another_users(answer):
    tally = Tally()
    tally.note_whoami("bob", {"user": "bob", "session": "1", "cookie": "seat=1"})
    tally.note_whoami("bob", {"user": "bob", "session": "1", "cookie": "seat=1"})
    assert tally.strangers == 0
    tally.note_whoami("ada", answer)
    assert tally.strangers == 1


def test_the_tally_notices_anothers_sum_and_calls_that_ran_twice():
    tally = Tally()
    tally.note_sum(3, {"sum": 3})
    tally.note_sum(3, {"sum": 4})
    assert tally.strangers == 1
    tally.note_counter({"total": 2})
    tally.note_counter({"total": 1})
    assert tally.run_twice == 0
    tally.note_counter({"total": 4})
    assert tally.run_twice == 1


GOOD = {
    "users": 2,
    "threads": 4,
    "seconds": 1.0,
    "count": Count(calls=10, made=2, swept=2),
    "swept_early": 0,
    "strangers": 0,
    "run_twice": 0,
    "idle_threads": ("mcpsync-sweeper",),
    "sockets": 4,
    "connections_left": 0,
    "trouble": None,
}


def test_a_good_report_has_no_failures():
    assert Report(**GOOD).failures() == []
    assert (
        Report(**{**GOOD, "count": Count(calls=9, made=3, swept=3), "swept_early": 1}).failures()
        == []
    )


@pytest.mark.parametrize(
    ("wrong", "failure"),
    [
        ({"count": Count(made=2, swept=2)}, "there was not one call"),
        (
            {"count": Count(calls=9, errors=1, made=2, swept=2), "trouble": "X: y"},
            "1 calls failed; the first: X: y",
        ),
        ({"strangers": 1}, "1 answers were somebody else's"),
        ({"run_twice": 1}, "the server ran 1 calls more than were made"),
        ({"count": Count(calls=9, made=3, swept=3)}, "3 connections were made for 2 users"),
        ({"count": Count(calls=9, made=2, swept=1)}, "1 of 2 connections were swept"),
        ({"connections_left": 1}, "1 connections are left"),
        ({"idle_threads": ("mcpsync-reader",)}, "the idle connections own threads: mcpsync-reader"),
    ],
)
def test_whatever_does_not_hold_is_said(wrong, failure):
    assert Report(**{**GOOD, **wrong}).failures() == [failure]


def test_the_exit_code_says_that_something_did_not_hold(cli, monkeypatch):
    monkeypatch.setattr(Tally, "run_twice", property(lambda self: 7))
    outcome = cli("demo", *SMALL)
    assert outcome.code == 1
    assert outcome.out.endswith("FAILED: the server ran 7 calls more than were made\n")
