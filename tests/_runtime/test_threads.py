"""The threads of the library: named, weak, bounded, and gone when nobody needs them."""

import gc
import logging
import threading
import time
import weakref

import pytest

from mcpsync._runtime import threads
from mcpsync._runtime.threads import Courier, PeriodicThread, start_thread

AN_HOUR = 3600.0


def alive(name):
    """The living threads of that name."""
    return [thread for thread in threading.enumerate() if thread.name == name]


# -- start_thread ----------------------------------------------------------------------------------


def test_a_thread_says_whose_it_is_and_does_not_keep_the_process():
    ran = threading.Event()
    thread = start_thread("reader-7", ran.set)
    assert ran.wait(20)
    assert thread.name == "mcpsync-reader-7"
    assert thread.daemon
    thread.join(20)


# -- PeriodicThread --------------------------------------------------------------------------------


class Owner:
    """Has a periodic thread, as a manager has its sweeper."""

    def __init__(self, *delays, work=None):
        self.beats = 0
        self.threads = []
        self._delays = list(delays)
        self._work = work
        self.periodic = PeriodicThread("pulse", self.beat)

    def beat(self):
        self.beats += 1
        self.threads.append(threading.current_thread())
        if self._work is not None:
            self._work()
        return self._delays.pop(0) if self._delays else AN_HOUR


@pytest.fixture
def owner(wait_until):
    """An owner whose thread has begun, and ends with the test."""
    owner = Owner()
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats)
    yield owner
    owner.periodic.stop(20)


def test_a_periodic_thread_starts_on_first_use_only():
    owner = Owner()
    assert alive("mcpsync-pulse") == []
    assert not owner.periodic.running
    assert not owner.periodic.stopped


def test_a_periodic_thread_is_a_daemon_named_after_its_role(owner):
    (thread,) = alive("mcpsync-pulse")
    assert owner.threads == [thread]
    assert owner.periodic.running
    assert thread.daemon


def test_the_work_is_done_at_once_and_then_whenever_it_is_due(wait_until):
    owner = Owner(0.0, 0.0, -1.0, 0.001)
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats == 5)
    owner.periodic.stop(20)
    assert len(set(owner.threads)) == 1


def test_ensuring_that_it_runs_twice_starts_one_thread(owner):
    owner.periodic.ensure_running()
    owner.periodic.ensure_running()
    assert len(alive("mcpsync-pulse")) == 1


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("seed", range(20))
def test_sixteen_first_uses_at_once_start_one_thread(spawn, wait_until, seed):
    owner, together = Owner(), threading.Barrier(16)
    uses = [spawn(lambda: (together.wait(20), owner.periodic.ensure_running())) for _ in range(16)]
    for use in uses:
        use.result(timeout=20)
    wait_until(lambda: owner.beats)
    assert len(alive("mcpsync-pulse")) == 1, f"seed {seed}"
    owner.periodic.stop(20)
    assert owner.beats == 1


@pytest.fixture
def meanwhile(monkeypatch):
    """Have something happen in the moment before a periodic thread is really started."""
    start = threading.Thread.start

    def patch(happening):
        def start_meanwhile(thread):
            if thread.name == "mcpsync-pulse":
                happening()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_meanwhile)

    return patch


def test_a_use_while_the_thread_is_being_started_does_not_start_another(meanwhile, wait_until):
    owner, starts = Owner(), []

    def use_again():
        starts.append(1)
        assert len(starts) == 1
        owner.periodic.ensure_running()

    meanwhile(use_again)
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats)
    owner.periodic.stop(20)


def test_stopping_while_the_thread_is_being_started_ends_it_before_it_works(meanwhile, wait_until):
    owner = Owner()
    meanwhile(lambda: owner.periodic.stop(20))
    owner.periodic.ensure_running()
    wait_until(lambda: not alive("mcpsync-pulse"))
    assert owner.beats == 0


def test_when_no_thread_can_be_had_the_next_use_tries_again(meanwhile, monkeypatch, wait_until):
    owner = Owner()

    def fail():
        raise RuntimeError("can't start new thread")

    with monkeypatch.context():
        meanwhile(fail)
        with pytest.raises(RuntimeError):
            owner.periodic.ensure_running()
    monkeypatch.undo()
    assert not owner.periodic.running
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats)
    owner.periodic.stop(20)


def test_the_thread_survives_the_errors_of_its_work(caplog, wait_until):
    def fail():
        raise ConnectionError("no luck")

    owner = Owner(work=fail)
    with caplog.at_level(logging.ERROR, "mcpsync._runtime.threads"):
        owner.periodic.ensure_running()
        wait_until(lambda: caplog.records)
    assert "mcpsync-pulse failed; it goes on" in caplog.text
    assert "no luck" in caplog.text
    owner.periodic._bell.put(None)  # the next beat is a minute away
    wait_until(lambda: owner.beats == 2)
    owner.periodic.stop(20)


def test_the_thread_does_not_keep_its_owner_and_ends_with_it_at_once(wait_until):
    owner = Owner()
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats)
    (thread,) = alive("mcpsync-pulse")
    gone = weakref.ref(owner)
    owner.threads.clear()
    owner = None
    gc.collect()
    assert gone() is None
    thread.join(20)
    assert not thread.is_alive()


def test_an_owner_in_a_cycle_ends_its_thread_when_the_cycle_is_collected(wait_until):
    owner = Owner()
    owner.itself = owner
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats)
    (thread,) = alive("mcpsync-pulse")
    owner = None
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()


def test_the_thread_ends_when_the_owner_is_gone_although_somebody_has_the_rest(wait_until):
    owner = Owner()
    periodic = owner.periodic
    periodic.ensure_running()
    wait_until(lambda: owner.beats)
    owner = None
    gc.collect()
    periodic._bell.put(None)  # the next beat is an hour away
    wait_until(lambda: not periodic.running)


def test_a_stopped_thread_is_over_when_stop_returns(owner):
    (thread,) = alive("mcpsync-pulse")
    owner.periodic.stop(20)
    assert not thread.is_alive()
    assert not owner.periodic.running
    assert owner.periodic.stopped


def test_stopping_works_twice_and_before_anything_was_started():
    owner = Owner()
    owner.periodic.stop(1)
    owner.periodic.stop(1)
    assert owner.periodic.stopped


def test_what_was_stopped_does_not_start_again():
    owner = Owner()
    owner.periodic.stop(1)
    owner.periodic.ensure_running()
    assert alive("mcpsync-pulse") == []
    assert owner.beats == 0


def test_stopping_waits_no_longer_than_it_is_told(wait_until):
    go = threading.Event()
    owner = Owner(work=lambda: go.wait(20))
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats)
    began = time.monotonic()
    owner.periodic.stop(0.01)
    assert time.monotonic() - began < 10
    (thread,) = alive("mcpsync-pulse")
    go.set()
    thread.join(20)
    assert owner.beats == 1


def test_the_work_may_stop_its_own_thread(wait_until):
    owner, stopped = Owner(), []
    owner._work = lambda: stopped.append(owner.periodic.stop(20))
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats)
    wait_until(lambda: not alive("mcpsync-pulse"))
    assert owner.beats == 1
    assert stopped == [None]


def test_what_was_forgotten_starts_anew_on_next_use(owner, wait_until):
    (parents,) = alive("mcpsync-pulse")
    parents_bell = owner.periodic._bell
    with owner.periodic._lock:  # as if another thread of the parent had held it when it forked
        owner.periodic.forget()
        assert not owner.periodic._lock.locked()
        assert not owner.periodic.running
    owner.periodic.ensure_running()
    wait_until(lambda: owner.beats == 2)
    assert owner.threads[1] is not parents
    owner.periodic.stop(20)
    parents_bell.put(None)  # there is none in a real child
    parents.join(20)


# -- Courier ---------------------------------------------------------------------------------------


@pytest.fixture
def courier():
    return Courier("courier", capacity=3)


@pytest.fixture
def busy(courier):
    """Keep the courier on an errand until the event is set."""
    began, go = threading.Event(), threading.Event()
    courier.run(lambda: (began.set(), go.wait(20)))
    assert began.wait(20)
    yield go
    go.set()


def test_a_courier_without_errands_has_no_thread(courier):
    assert alive("mcpsync-courier") == []
    assert courier._thread_alive is False


def test_an_errand_runs_on_the_couriers_thread(courier, wait_until):
    ran = []
    courier.run(lambda: ran.append(threading.current_thread()))
    wait_until(lambda: ran)
    assert ran[0].name == "mcpsync-courier"
    assert ran[0].daemon


def test_all_errands_are_run_by_one_thread_in_their_order(courier, busy, wait_until):
    ran = []
    for number in range(3):
        courier.run(lambda number=number: ran.append((number, threading.get_ident())))
    assert len(alive("mcpsync-courier")) == 1
    busy.set()
    wait_until(lambda: len(ran) == 3)
    assert [number for number, _ in ran] == [0, 1, 2]
    assert len({ident for _, ident in ran}) == 1


def test_what_exceeds_the_capacity_is_dropped(courier, busy, wait_until):
    ran = []
    for number in range(5):
        courier.run(lambda number=number: ran.append(number))
    busy.set()
    wait_until(lambda: not alive("mcpsync-courier"))
    assert ran == [0, 1, 2]


def test_after_an_errand_there_is_capacity_again(courier, busy, wait_until):
    ran = []
    for _ in range(3):
        courier.run(lambda: ran.append(1))
    busy.set()
    wait_until(lambda: len(ran) == 3)
    courier.run(lambda: ran.append(1))
    wait_until(lambda: len(ran) == 4)


def test_an_idle_courier_ends_and_begins_again_when_needed(courier, wait_until):
    ran = []
    for _ in range(2):
        courier.run(lambda: ran.append(threading.current_thread()))
        wait_until(lambda: not alive("mcpsync-courier"))
    assert len(set(ran)) == 2


def test_an_errand_that_fails_does_not_end_the_others(courier, busy, wait_until, caplog):
    ran = []
    courier.run(lambda: 1 / 0)
    courier.run(lambda: ran.append(1))
    with caplog.at_level(logging.DEBUG, "mcpsync._runtime.threads"):
        busy.set()
        wait_until(lambda: ran)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "an errand failed" in caplog.text


@pytest.mark.parametrize("errand", [lambda: None, lambda: 1 / 0], ids=["good", "failing"])
def test_who_brings_an_errand_can_wait_for_its_end(courier, busy, errand):
    done = courier.run(errand)
    assert not done.is_set()
    busy.set()
    assert done.wait(20)


def test_what_was_dropped_is_never_done(courier, busy, wait_until):
    dones = [courier.run(lambda: None) for _ in range(5)]
    busy.set()
    wait_until(lambda: not alive("mcpsync-courier"))
    assert [done.is_set() for done in dones] == [True, True, True, False, False]


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("seed", range(5))
def test_no_errand_is_left_lying_whoever_brings_it(spawn, wait_until, seed):
    courier, ran, together = Courier("courier", capacity=1000), [], threading.Barrier(16)
    for use in [
        spawn(lambda: (together.wait(20), courier.run(lambda: ran.append(1)))) for _ in range(16)
    ]:
        use.result(timeout=20)
    wait_until(lambda: len(ran) == 16)
    assert len(alive("mcpsync-courier")) <= 1, f"seed {seed}"


def test_when_no_thread_can_be_had_the_errand_is_dropped_and_nobody_is_told(
    courier, monkeypatch, wait_until
):
    def fail(role, target):
        raise RuntimeError("can't start new thread")

    ran = []
    with monkeypatch.context() as patch:
        patch.setattr(threads, "start_thread", fail)
        courier.run(lambda: ran.append("lost"))
    courier.run(lambda: ran.append("run"))
    wait_until(lambda: ran)
    assert ran == ["run"]


def test_forgetting_drops_the_errands_of_the_parent(courier, busy, wait_until):
    ran = []
    courier.run(lambda: ran.append("parent's"))
    with courier._lock:  # as if another thread of the parent had held it when it forked
        courier.forget()
        assert not courier._lock.locked()
    courier.run(lambda: ran.append("child's"))
    wait_until(lambda: ran)
    busy.set()
    wait_until(lambda: not alive("mcpsync-courier"))
    assert ran == ["child's"]
