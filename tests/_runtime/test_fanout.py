"""One piece of work for each of several things, a few at a time."""

import gc
import threading
import weakref

import pytest

from mcpsync._runtime import fanout
from mcpsync._runtime.fanout import fan_out
from mcpsync._runtime.locks import LockMisuse, assert_none_held, new_lock

ROLE = "fan"


def ours():
    """The threads that are there for a fan-out."""
    return [thread for thread in threading.enumerate() if thread.name == f"mcpsync-{ROLE}"]


class Crowd:
    """Work that waits until so many are at it at the same time, or somebody lets them go."""

    def __init__(self, size):
        self.size = size
        self.threads = set()
        self.most = 0
        self._lock = threading.Lock()
        self._inside = 0
        self._full = threading.Event()

    def __call__(self, item):
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self.threads.add(threading.current_thread())
            if self._inside == self.size:
                self._full.set()
        assert self._full.wait(20), f"there are never {self.size} at a time"
        with self._lock:
            self._inside -= 1
        return item * 10


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_each_item_is_worked_on_once_and_the_order_is_kept(count, limit):
    worked_on = []

    def work(item):
        worked_on.append(item)
        return item * 10

    assert fan_out(ROLE, work, range(count), limit=limit) == [item * 10 for item in range(count)]
    assert sorted(worked_on) == list(range(count))


def test_so_many_are_worked_on_at_a_time_the_caller_being_one_of_them():
    crowd = Crowd(3)
    assert fan_out(ROLE, crowd, range(9), limit=3) == [item * 10 for item in range(9)]
    assert crowd.most == 3
    assert threading.current_thread() in crowd.threads
    assert len(crowd.threads) == 3


def test_the_other_threads_are_daemons_named_by_their_role_and_gone_at_the_end():
    crowd = Crowd(3)
    fan_out(ROLE, crowd, range(3), limit=3)
    others = crowd.threads - {threading.current_thread()}
    assert [(thread.name, thread.daemon) for thread in others] == [(f"mcpsync-{ROLE}", True)] * 2
    assert not any(thread.is_alive() for thread in others)


@pytest.mark.parametrize(
    ("items", "limit"), [([], 5), (["a"], 5), ("abc", 1), ("abc", 0), ("abc", -1)]
)
def test_no_thread_is_started_when_there_is_nothing_to_do_at_the_same_time(
    monkeypatch, items, limit
):
    monkeypatch.setattr(fanout, "start_thread", lambda *_: pytest.fail("a thread is started"))
    assert fan_out(ROLE, str.upper, items, limit=limit) == [item.upper() for item in items]


def test_no_more_threads_are_started_than_there_is_work_for(monkeypatch):
    started = []
    start = fanout.start_thread
    monkeypatch.setattr(fanout, "start_thread", lambda *how: started.append(1) or start(*how))
    crowd = Crowd(2)
    fan_out(ROLE, crowd, range(2), limit=100)
    assert len(started) == 1


def test_no_thread_is_started_for_work_that_others_have_done_already(monkeypatch):
    started = []
    start = fanout.start_thread

    def slow(role, target):
        started.append(start(role, target))
        started[-1].join(20)
        return started[-1]

    monkeypatch.setattr(fanout, "start_thread", slow)
    assert fan_out(ROLE, str, range(20), limit=5) == [str(item) for item in range(20)]
    assert len(started) == 1


@pytest.mark.parametrize("limit", [1, 3])
def test_an_error_stands_in_its_place_and_stops_nobody(limit):
    errors = {1: KeyError("one"), 3: ValueError("three")}

    def work(item):
        if item in errors:
            raise errors[item]
        return item

    assert fan_out(ROLE, work, range(5), limit=limit) == [0, errors[1], 2, errors[3], 4]


@pytest.mark.parametrize("none_after", [0, 1])
def test_where_no_thread_is_to_be_had_the_caller_does_all(monkeypatch, none_after):
    started = []
    start = fanout.start_thread

    def scarce(role, target):
        if len(started) == none_after:
            raise RuntimeError("can't start new thread")
        started.append(start(role, target))
        return started[-1]

    monkeypatch.setattr(fanout, "start_thread", scarce)
    assert fan_out(ROLE, str, range(20), limit=5) == [str(item) for item in range(20)]
    assert len(started) == none_after


def test_a_runtime_error_of_the_work_is_an_outcome_like_any_other():
    error = RuntimeError("can't start new thread")

    def work(_):
        raise error

    assert fan_out(ROLE, work, "ab", limit=1) == [error, error]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interruption_of_the_caller_propagates_and_nothing_more_is_begun(
    interruption, wait_until
):
    caller, go, begun = threading.current_thread(), threading.Event(), []

    def work(item):
        begun.append(item)
        if threading.current_thread() is caller:
            wait_until(lambda: len(begun) == 3)
            raise interruption
        assert go.wait(20)

    with pytest.raises(type(interruption)) as caught:
        fan_out(ROLE, work, range(100), limit=3)
    assert caught.value is interruption
    go.set()
    wait_until(lambda: not ours())
    assert sorted(begun) == [0, 1, 2]


def test_an_interruption_on_another_thread_is_an_outcome():
    caller, both = threading.current_thread(), threading.Barrier(2)
    leaving = SystemExit(1)

    def work(_):
        both.wait(20)
        if threading.current_thread() is caller:
            return "here"
        raise leaving

    outcomes = fan_out(ROLE, work, "ab", limit=2)
    assert sorted(outcomes, key=repr) == ["here", leaving]


def test_the_work_is_done_with_no_lock_held():
    assert fan_out(ROLE, lambda _: assert_none_held("working"), "abc", limit=2) == [None] * 3


def test_whoever_holds_a_lock_may_not_fan_out():
    with new_lock("state"), pytest.raises(LockMisuse, match="fanning out while holding 'state'"):
        fan_out(ROLE, str, [], limit=1)


@pytest.mark.parametrize("limit", [1, 2])
def test_an_error_is_collected_as_soon_as_nobody_has_it(limit):
    class Failure(Exception):
        pass

    def work(_):
        raise Failure

    gc.collect()
    gc.disable()
    try:
        (error, *_) = outcomes = fan_out(ROLE, work, "ab", limit=limit)
        gone = weakref.ref(error)
        del error, outcomes, _
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.usefixtures("frequent_switches")
def test_many_may_fan_out_at_the_same_time(spawn):
    def one(number):
        return fan_out(ROLE, lambda item: (number, item), range(20), limit=4)

    futures = [spawn(one, number) for number in range(8)]
    for number, future in enumerate(futures):
        assert future.result(20) == [(number, item) for item in range(20)]
