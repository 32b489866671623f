"""Work that is seen through, whoever has stopped waiting for it."""

import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from mcpsync._runtime.aside import _UnderWay, do_aside, wait_for_asides
from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.errors import RequestCancelled, RequestTimeout
from support.threads import Gate, outcome, start, wait_until

LONG = 20


def aside(work, timeout=LONG, cancel=None):
    return do_aside("work", work, deadline=Deadline(timeout), cancel=cancel, doing="working")


def test_it_is_done_on_a_thread_of_its_own_and_its_result_is_returned():
    done_by = aside(threading.current_thread)
    assert done_by.name == "mcpsync-work"
    wait_until(lambda: not done_by.is_alive(), "the thread is gone")


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_what_it_raises_is_raised(error):
    def work():
        raise error

    with pytest.raises(type(error)) as caught:
        aside(work)
    assert caught.value is error


def test_a_caller_without_time_leaves_and_it_goes_on():
    gate, done = Gate(), threading.Event()
    with pytest.raises(RequestTimeout, match="working"):
        aside(lambda: (gate(), done.set()), timeout=0.01)
    gate.wait_reached()
    assert not done.is_set()
    gate.open()
    assert done.wait(LONG)


def test_a_caller_who_is_cancelled_leaves_and_it_goes_on():
    gate, done, cancel = Gate(), threading.Event(), Cancellation()
    task = start(lambda: aside(lambda: (gate(), done.set()), cancel=cancel))
    gate.wait_reached()
    cancel.cancel()
    assert isinstance(outcome(task), RequestCancelled)
    gate.open()
    assert done.wait(LONG)


def test_whoever_closes_what_it_needs_can_wait_for_it():
    gate, done = Gate(), threading.Event()
    with pytest.raises(RequestTimeout):
        aside(lambda: (gate(), done.set()), timeout=0.01)
    gate.wait_reached()
    wait_for_asides(0.01)
    assert not done.is_set()
    waiting = start(lambda: wait_for_asides(LONG))
    gate.open()
    assert outcome(waiting) is None
    assert done.is_set()


EXITS = """
import sys, threading
from mcpsync._runtime.aside import do_aside
from mcpsync._runtime.deadline import Deadline
from mcpsync.errors import RequestTimeout

def work():
    left.wait(10)
    threading.Event().wait(0.1)  # long enough to be cut if nobody waited
    print("done", flush=True)

left = threading.Event()
try:
    do_aside("work", work, deadline=Deadline(0.01), doing="working")
except RequestTimeout:
    left.set()
"""


@pytest.mark.once
def test_the_exit_of_the_interpreter_waits_for_it():
    ended = subprocess.run(
        [sys.executable, "-c", EXITS], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("done\n", "")


def test_a_forked_child_waits_for_nothing_of_its_parents():
    under_way = _UnderWay()
    under_way.add(Future())
    under_way.forget()
    assert outcome(start(lambda: under_way.wait(Deadline(LONG)))) is None
