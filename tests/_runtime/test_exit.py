"""At the end of a process: every goodbye is said, in two seconds, and nobody hears of trouble."""

import ctypes
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from pathlib import Path

import pytest

import mcpsync
from mcpsync._runtime import exit as leaving
from mcpsync._runtime.deadline import Deadline
from mcpsync._runtime.fork import after_fork_in_child
from mcpsync.testing import Fault, LocalServer
from support.processes import alive, wait_until

SOON = 3.0  # what a busy machine may need on top
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture
def _own_register(monkeypatch):
    """Goodbyes of this test alone, said one after the other."""
    monkeypatch.setattr(leaving, "_goodbyes", weakref.WeakValueDictionary())
    monkeypatch.setattr(leaving, "_left_behind", type(leaving._left_behind)())
    monkeypatch.setattr(leaving, "_arranged_in", os.getpid())
    monkeypatch.setattr(leaving, "_can_start_threads", lambda: False)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


class Owner:
    """Has a goodbye to say, which takes as long as it may if the peer is silent."""

    def __init__(self, name, said, peer=None, *, silent=False, error=None):
        self._name, self._said, self._silent, self._error = name, said, silent, error
        self.handle = leaving.at_exit(self.leave, peer)

    def leave(self, deadline):
        self._said.append(self._name)
        if self._silent:
            threading.Event().wait(deadline.remaining())
        if self._error is not None:
            raise self._error


# -- the register ----------------------------------------------------------------------------


@pytest.mark.usefixtures("_own_register")
def test_goodbyes_are_said_newest_first():
    said = []
    owners = [Owner(n, said) for n in range(5)]
    leaving.say_goodbyes()
    assert said == [4, 3, 2, 1, 0]
    del owners


@pytest.mark.usefixtures("_own_register")
def test_who_was_collected_says_nothing_and_is_not_kept():
    said = []
    owner = Owner("gone", said)
    kept = weakref.ref(owner)
    del owner
    gc.collect()
    assert kept() is None
    assert len(leaving._goodbyes) == 0
    leaving.say_goodbyes()
    assert said == []


@pytest.mark.usefixtures("_own_register")
def test_a_handle_that_is_dropped_ends_the_registration():
    said = []
    owner = Owner("one", said)
    owner.handle = None
    leaving.say_goodbyes()
    assert said == []


@pytest.mark.usefixtures("_own_register")
def test_an_error_of_one_is_nobody_elses(caplog, capfd):
    said = []
    owners = [Owner(n, said, error=error) for n, error in enumerate([None, OSError(), None])]
    with caplog.at_level(logging.DEBUG):
        leaving.say_goodbyes()
    assert said == [2, 1, 0]
    assert [(record.levelname, record.msg) for record in caplog.records] == [
        ("DEBUG", "a goodbye failed")
    ]
    assert capfd.readouterr().err == ""
    del owners


@pytest.mark.usefixtures("_own_register")
@pytest.mark.parametrize("hurry", [KeyboardInterrupt, SystemExit])
def test_who_interrupts_once_more_does_not_wait_for_the_rest(hurry):
    said = []
    owners = [Owner("older", said), Owner("newer", said, error=hurry())]
    leaving.say_goodbyes()
    assert said == ["newer"]
    del owners


@pytest.mark.usefixtures("_own_register")
def test_a_registration_is_small():
    class Small:
        __slots__ = ("__weakref__", "handle")

        def leave(self, deadline):
            raise NotImplementedError

    owners = [Small() for _ in range(1000)]
    tracemalloc.start()
    for owner in owners:
        owner.handle = leaving.at_exit(owner.leave)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / len(owners) < 500


# -- the time --------------------------------------------------------------------------------


def farewell(owners, timeout, at_a_time):
    """Say the goodbyes of *owners*, and return how long that took."""
    begun = time.monotonic()
    goodbyes = [owner.handle for owner in owners]
    leaving._Farewell(goodbyes, Deadline(timeout), at_a_time).say_all()
    return time.monotonic() - begun


@pytest.mark.usefixtures("_own_register")
@pytest.mark.parametrize("at_a_time", [1, 16])
def test_silent_peers_cost_the_others_only_a_share_of_the_time(at_a_time):
    said = []
    silent = [Owner("silent", said, f"s{n}", silent=True) for n in range(20)]
    others = [Owner("other", said, "peer") for _ in range(20)]
    assert farewell([*silent, *others], 0.4, at_a_time) < 0.4 + SOON
    assert (said.count("silent"), said.count("other")) == (20, 20)


@pytest.mark.usefixtures("_own_register")
def test_further_goodbyes_to_a_silent_peer_come_last():
    said = []
    silent = [Owner("silent", said, "s", silent=True) for _ in range(3)]
    other = Owner("other", said, "peer")
    farewell([*silent, other], 0.2, 1)
    assert said == ["silent", "other", "silent", "silent"]


@pytest.mark.usefixtures("_own_register")
@pytest.mark.parametrize("at_a_time", [1, 16])
def test_fifty_goodbyes_to_one_silent_peer_are_all_begun_in_the_time_of_one(at_a_time):
    said = []
    owners = [Owner(n, said, "s", silent=True) for n in range(50)]
    assert farewell(owners, 0.5, at_a_time) < 0.5 + SOON
    assert sorted(said) == [*range(50)]


@pytest.mark.usefixtures("_own_register")
def test_a_single_goodbye_has_all_the_time():
    class Patient:
        def leave(self, deadline):
            self.had = deadline.remaining()

    patient = Patient()
    patient.handle = leaving.at_exit(patient.leave)
    farewell([patient], 5.0, 1)
    assert patient.had > 4.0


@pytest.mark.usefixtures("_own_register")
def test_where_there_are_threads_goodbyes_are_said_at_the_same_time(monkeypatch):
    monkeypatch.setattr(leaving, "_can_start_threads", lambda: True)
    meeting = threading.Barrier(5)

    class Sociable:
        met = False

        def leave(self, deadline):
            meeting.wait(deadline.remaining())
            self.met = True

    owners = [Sociable() for _ in range(5)]
    handles = [leaving.at_exit(owner.leave, "peer") for owner in owners]
    leaving.say_goodbyes()
    assert all(owner.met for owner in owners)
    del handles


# -- what nobody owns any more ---------------------------------------------------------------


class Heir:
    """Says goodbye for somebody who was collected."""

    def __init__(self):
        self.asked = threading.Event()

    def leave(self, deadline):
        self.asked.set()


@pytest.mark.usefixtures("_own_register")
def test_what_was_left_behind_is_said_when_somebody_registers():
    heir = Heir()
    leaving.leave_behind(heir.leave)
    assert not heir.asked.is_set()
    handle = leaving.at_exit(Heir().leave)
    assert heir.asked.wait(10)
    del handle


@pytest.mark.usefixtures("_own_register")
def test_what_was_left_behind_is_said_at_exit():
    heir = Heir()
    leaving.leave_behind(heir.leave)
    leaving.say_goodbyes()
    assert heir.asked.is_set()


@needs_fork
@pytest.mark.usefixtures("_own_register")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_was_left_behind_is_not_a_forked_childs_to_say(in_child):
    heir = Heir()
    leaving.leave_behind(heir.leave)

    def in_the_child():
        leaving.say_goodbyes()
        return heir.asked.is_set()

    assert in_child(in_the_child) is False
    leaving.say_goodbyes()
    assert heir.asked.is_set()


@needs_fork
@pytest.mark.usefixtures("_own_register")
def test_a_child_of_which_python_was_not_told_forgets_before_it_says_goodbye(in_child, monkeypatch):
    class Session:
        is_mine = True

        def forget(self):
            self.is_mine = False

        def leave(self, deadline):
            said.append(self.is_mine)

    session, said = Session(), []
    after_fork_in_child(session.forget)
    handle = leaving.at_exit(session.leave)

    def in_the_child():
        leaving.say_goodbyes()
        return said

    monkeypatch.setattr(os, "fork", ctypes.PyDLL(None).fork)
    assert in_child(in_the_child) == [False]
    leaving.say_goodbyes()
    assert said == [True]
    del handle


# -- whole programs --------------------------------------------------------------------------


PRELUDE = """
import atexit, os, signal, sys, threading, time
import mcpsync
url = sys.argv[1]
def say(what):
    sys.stdout.write(f"{what}\\n")
    sys.stdout.flush()
def connected():
    return mcpsync.Client(url, mode="legacy", timeout=20).connect()
def leave():
    say("leaving")
    sys.stdin.read()
    left.append(time.monotonic())
left = []
atexit.register(lambda: left and say(f"took {time.monotonic() - left[0]}"))
"""


class Outcome:
    """How a program ended.

    Args:
        script: What it does. After ``leave()`` the time is taken that the library needs at exit.
        server: What it calls.
        terminate_when: When it is sent SIGTERM, if it is.
        before_exit: Called when it has said that it is about to leave.
    """

    def __init__(self, script, server, *, terminate_when=None, before_exit=lambda: None):
        with subprocess.Popen(
            [sys.executable, "-Wignore::DeprecationWarning", "-c", PRELUDE + script, server.url],
            env=os.environ | {"PYTHONPATH": str(Path(mcpsync.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                if terminate_when is not None:
                    assert server.wait_for(terminate_when, 20)
                    process.send_signal(signal.SIGTERM)
                self.said = []
                for line in process.stdout:
                    if line == "leaving\n":
                        before_exit()
                        process.stdin.close()
                    self.said.append(line.strip())
                process.wait(20)
            finally:
                process.kill()
            self.code = process.returncode
            self.stderr = process.stderr.read()

    @property
    def seconds(self):
        """How long the library has taken at exit."""
        return float(self.said[-1].removeprefix("took "))


@pytest.fixture
def server():
    with LocalServer("legacy") as running:
        yield running
        assert running.violations == []


def assert_good(outcome, server, sessions):
    """It ended without a word, and so many sessions were ended by it."""
    assert outcome.stderr == ""
    assert outcome.code == 0
    assert len(server.deleted_sessions) == sessions
    assert server.open_sessions == []


OPEN = {
    "a client": "client = connected()",
    "a client that a function had": "def work(): connected()\nwork()",
    "a manager": """
manager = mcpsync.MCPManager({"a": {"url": url}})
manager.call_tool("a", "echo", {"text": "x"})
""",
    "a manager that a function had": """
def work():
    manager = mcpsync.MCPManager({"a": {"url": url}})
    manager.call_tool("a", "echo", {"text": "x"}, user="ada")
work()
""",
}


@pytest.mark.parametrize("script", OPEN.values(), ids=OPEN)
def test_a_session_that_was_never_closed_is_ended_at_exit(server, script):
    assert_good(Outcome(script, server), server, 1)


def test_what_was_closed_is_not_ended_twice(server):
    script = "with connected(): pass\nclient = connected()\nclient.close()"
    assert_good(Outcome(script, server), server, 2)
    assert [r.http_method for r in server.requests].count("DELETE") == 2


def test_an_exit_with_a_status_keeps_it(server):
    outcome = Outcome("client = connected()\nsys.exit(7)", server)
    assert (outcome.code, outcome.stderr) == (7, "")
    assert server.open_sessions == []


def test_a_signal_that_becomes_an_exit_ends_the_call_and_the_session(server):
    script = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
client = connected()
client.call_tool("slow", {"seconds": 60}, timeout=60)
"""
    outcome = Outcome(script, server, terminate_when=lambda s: s.executions.get("slow"))
    assert_good(outcome, server, 1)


def test_fifty_sessions_are_ended(server):
    outcome = Outcome("clients = [connected() for _ in range(50)]\nleave()", server)
    assert_good(outcome, server, 50)
    assert outcome.seconds < 2.0 + SOON


def test_a_server_that_does_not_answer_keeps_nobody_longer_than_two_seconds(server):
    server.inject(Fault.HANG, "DELETE", times=None)
    outcome = Outcome("clients = [connected() for _ in range(50)]\nleave()", server)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.seconds < 2.0 + SOON
    assert [r.http_method for r in server.requests].count("DELETE") == 50


def test_one_answer_that_does_not_come_costs_the_other_sessions_nothing(server):
    server.inject(Fault.HANG, "DELETE")
    outcome = Outcome("clients = [connected() for _ in range(50)]\nleave()", server)
    assert outcome.seconds < 2.0 + SOON
    assert_good(outcome, server, 50)


def test_a_server_that_is_gone_costs_nothing():
    with LocalServer("legacy") as server:
        outcome = Outcome("client = connected()\nleave()", server, before_exit=server.close)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.seconds < SOON


def test_calls_of_daemon_threads_end_without_a_word(server):
    script = """
command = [sys.executable, "-m", "mcpsync.testing", "--stdio"]
env = {"PYTHONPATH": os.environ["PYTHONPATH"]}
local = mcpsync.StdioServerParameters(command=command[0], args=command[1:], env=env)
clients = [connected(), mcpsync.Client(local)]
begun = threading.Semaphore(0)
def wait(client):
    client.call_tool("slow", {"seconds": 60, "steps": 600}, timeout=60,
        progress_callback=lambda *_: begun.release())
for client in clients:
    threading.Thread(target=wait, args=[client], daemon=True).start()
while not all(begun.acquire(timeout=20) for _ in range(8)): pass
leave()
"""
    outcome = Outcome(script, server)
    assert_good(outcome, server, 1)
    assert outcome.seconds < 2.0 + SOON


def test_an_error_in_a_daemon_thread_that_is_not_ours_is_still_told(server):
    script = """
class Told(Exception): pass
def last_words():
    failing = threading.Event()
    def fail():
        failing.wait(20)
        raise Told("all the same")
    thread = threading.Thread(target=fail, daemon=True)
    thread.start()
    def go():
        failing.set()
        thread.join(20)
    return go
atexit.register(last_words())
client = connected()
"""
    assert "all the same" in Outcome(script, server).stderr


def test_stdio_servers_end_in_the_same_two_seconds(server):
    script = """
command = [sys.executable, "-m", "mcpsync.testing", "--stdio", "--fault", "stubborn"]
env = {"PYTHONPATH": os.environ["PYTHONPATH"]}
local = mcpsync.StdioServerParameters(command=command[0], args=command[1:], env=env)
clients = [mcpsync.Client(local, mode="legacy") for _ in range(4)]
pids = [c.call_tool("environment").structured_content["pid"] for c in clients]
say(" ".join(map(str, pids)))
client = connected()
leave()
"""
    outcome = Outcome(script, server)
    assert_good(outcome, server, 1)
    assert outcome.seconds < 2.0 + SOON
    pids = [int(pid) for pid in outcome.said[0].split()]
    assert len(pids) == 4
    wait_until(lambda: not any(map(alive, pids)), "all four end")


@needs_fork
def test_a_forked_child_ends_its_own_session_and_not_its_parents(server):
    script = """
client = connected()
def session():
    return client.call_tool("whoami").structured_content["session"]
mine = session()
if os.fork() == 0:
    client.connect()
    sys.exit(0)
os.wait()
assert session() == mine
leave()
"""
    outcome = Outcome(script, server)
    assert_good(outcome, server, 2)


@needs_fork
def test_a_child_of_multiprocessing_does_the_same_though_it_leaves_by_another_door(server):
    script = """
import multiprocessing
client = connected()
child = multiprocessing.get_context("fork").Process(target=client.connect)
child.start()
child.join(20)
assert child.exitcode == 0
"""
    assert_good(Outcome(script, server), server, 2)


@needs_fork
def test_a_child_that_calls_nothing_ends_nothing(server):
    script = """
clients = [connected() for _ in range(3)]
manager = mcpsync.MCPManager({"a": {"url": url}})
manager.call_tool("a", "echo", {"text": "x"}, user="ada")
if os.fork() == 0:
    sys.exit(0)
os.wait()
os._exit(0)
"""
    Outcome(script, server)
    assert len(server.open_sessions) == 4
    assert server.deleted_sessions == []


@needs_fork
def test_a_child_of_which_python_was_not_told_ends_its_own_session_alone(server):
    script = """
import ctypes
clients = [connected() for _ in range(2)]
if ctypes.PyDLL(None).fork() == 0:
    clients[0].connect()
    sys.exit(0)
os.wait()
os._exit(0)
"""
    assert Outcome(script, server).stderr == ""
    assert len(server.open_sessions) == 2
    assert len(server.deleted_sessions) == 1


def test_nothing_is_registered_before_the_first_session(server):
    script = """
from mcpsync._runtime import exit as leaving
client = mcpsync.Client(url)
manager = mcpsync.MCPManager({"a": {"url": url}})
assert leaving._arranged_in is None and not leaving._goodbyes
client.connect()
assert leaving._arranged_in == os.getpid() and len(leaving._goodbyes) == 1
"""
    assert_good(Outcome(script, server), server, 1)
