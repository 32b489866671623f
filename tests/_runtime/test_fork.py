"""A forked child begins again: nothing of its parent's is used, closed or waited for."""

import ctypes
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync._runtime import fork
from mcpsync._runtime.fork import after_fork_in_child, has_begun, notice_fork
from mcpsync._runtime.threads import Courier, PeriodicThread

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


class Owner:
    """Something that does not survive a fork, and knows it."""

    def __init__(self, log):
        self._log = log
        after_fork_in_child(self.forget)

    def forget(self):
        self._log.append(os.getpid())


def test_a_registered_method_is_called_once_in_the_child_and_never_in_the_parent(in_child):
    log = []
    owner = Owner(log)
    assert in_child(lambda: log == [os.getpid()]) is True
    assert log == []
    del owner


def test_it_is_called_in_every_child_and_in_the_childrens_children(in_child):
    log = []
    owner = Owner(log)
    assert in_child(lambda: len(log)) == 1
    assert in_child(lambda: in_child(lambda: len(log))) == 2
    del owner


def test_many_owners_are_all_called(in_child):
    log = []
    owners = [Owner(log) for _ in range(100)]
    assert in_child(lambda: len(log)) == len(owners)


def test_an_owner_that_was_collected_is_not_called_and_leaves_nothing(in_child):
    log = []
    gc.collect()
    before = len(fork._forgetters)
    owner = Owner(log)
    assert len(fork._forgetters) == before + 1
    del owner
    gc.collect()
    assert len(fork._forgetters) == before
    assert in_child(lambda: log) == []


def test_two_methods_of_one_object_are_both_called(in_child):
    class Two(Owner):
        def __init__(self, log):
            super().__init__(log)
            after_fork_in_child(self.forget_more)

        def forget_more(self):
            self._log.append("more")

    log = []
    owner = Two(log)
    assert len(in_child(lambda: log)) == 2
    del owner


def test_an_error_of_one_owner_does_not_keep_the_others_from_forgetting(in_child, caplog):
    class Failing(Owner):
        def forget(self):
            raise ValueError("as asked")

    log = []
    owners = [kind(log) for kind in (Owner, Failing, Owner, Failing, Owner)]
    assert in_child(lambda: (len(log), len(caplog.records))) == [3, 2]
    del owners


@pytest.fixture
def in_quiet_child(in_child, monkeypatch):
    """The same in a child that was forked in C, without a word to Python."""
    monkeypatch.setattr(os, "fork", ctypes.PyDLL(None).fork)
    return in_child


def test_a_fork_that_python_was_not_told_of_is_noticed_once(in_quiet_child):
    log = []
    owner = Owner(log)

    def in_the_child():
        before = len(log), has_begun()
        notice_fork()
        notice_fork()
        return *before, log == [os.getpid()], has_begun()

    assert in_quiet_child(in_the_child) == [0, False, True, True]
    notice_fork()
    assert (log, has_begun()) == ([], True)
    del owner


def test_of_many_threads_that_notice_a_fork_one_begins_again_and_the_others_wait(in_quiet_child):
    class Slow(Owner):
        def forget(self):
            threading.Event().wait(0.05)
            super().forget()

    log = []
    owner = Slow(log)

    def in_the_child():
        def see(_):
            notice_fork()
            return len(log)

        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(see, range(8)))

    assert in_quiet_child(in_the_child) == [1] * 8
    del owner


def test_a_child_of_such_a_child_notices_too(in_quiet_child):
    log = []
    owner = Owner(log)

    def in_the_child():
        notice_fork()
        return in_quiet_child(lambda: (notice_fork(), len(log))[1])

    assert in_quiet_child(in_the_child) == 2
    del owner


class Pulse:
    """Has a periodic thread that it forgets in a child, as a manager does."""

    def __init__(self):
        self.beats = threading.Semaphore(0)
        self.periodic = PeriodicThread("pulse", self.beat)
        after_fork_in_child(self.periodic.forget)

    def beat(self):
        self.beats.release()
        return 3600.0


def test_a_child_has_no_periodic_thread_until_it_uses_one(in_child):
    pulse = Pulse()
    pulse.periodic.ensure_running()
    assert pulse.beats.acquire(timeout=20)

    def in_the_child():
        before = pulse.periodic.running, pulse.beats.acquire(timeout=0)
        pulse.periodic.ensure_running()
        return [*before, pulse.beats.acquire(timeout=20), pulse.periodic.running]

    assert in_child(in_the_child) == [False, False, True, True]
    assert pulse.periodic.running
    pulse.periodic.stop(20)


def test_a_child_does_not_run_its_parents_errands_and_can_run_its_own(in_child):
    courier, ran = Courier("courier"), []
    after_fork_in_child(courier.forget)
    began, go, done = threading.Event(), threading.Event(), threading.Event()
    courier.run(lambda: (began.set(), go.wait(20)))
    assert began.wait(20)
    courier.run(lambda: ran.append("parent's"))

    def in_the_child():
        courier.run(lambda: (ran.append("child's"), done.set()))
        return done.wait(20), ran

    assert in_child(in_the_child) == [True, ["child's"]]
    go.set()
