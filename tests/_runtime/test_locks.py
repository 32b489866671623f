"""How locks may be used, and that tests are told when they are not."""

import math
import threading

import pytest

from mcpsync._runtime import locks
from mcpsync._runtime.deadline import Deadline
from mcpsync._runtime.locks import LockMisuse, WriteLock, assert_none_held, new_lock
from mcpsync.errors import RequestTimeout


@pytest.fixture
def unchecked():
    """What production runs with: no checks."""
    locks.check_discipline(False)
    yield
    locks.check_discipline(True)


# -- the discipline --------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_without_the_discipline_a_lock_is_a_bare_one():
    assert type(new_lock("state")) is type(threading.Lock())


@pytest.mark.usefixtures("unchecked")
def test_without_the_discipline_nothing_is_refused():
    with new_lock("first"), new_lock("second"):
        assert_none_held("sending")


def test_a_second_lock_is_refused_by_both_their_names():
    with (
        new_lock("first"),
        pytest.raises(LockMisuse, match="taking 'second' while holding 'first'"),
        new_lock("second"),
    ):
        pytest.fail("it was taken")


def test_taking_a_lock_again_is_refused_instead_of_waiting_for_ever():
    lock = new_lock("state")
    with lock, pytest.raises(LockMisuse), lock:
        pytest.fail("it was taken")


def test_a_refusal_leaves_both_locks_as_they_were():
    first, second = new_lock("first"), new_lock("second")
    with first:
        with pytest.raises(LockMisuse), second:
            pytest.fail("it was taken")
        assert first.locked()
        assert not second.locked()
    with second:
        assert second.locked()


def test_one_lock_after_another_is_allowed():
    first, second = new_lock("first"), new_lock("second")
    for lock in (first, second, first):
        with lock:
            assert lock.locked()
        assert not lock.locked()


def test_an_error_gives_the_lock_back():
    lock = new_lock("state")
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert not lock.locked()
    assert_none_held("sending")


def test_a_seam_is_refused_with_a_lock_in_hand():
    with new_lock("state"), pytest.raises(LockMisuse, match="sending while holding 'state'"):
        assert_none_held("sending")


def test_a_seam_is_free_with_no_lock_in_hand():
    assert_none_held("sending")
    with new_lock("state"):
        pass
    assert_none_held("sending")


def test_a_lock_another_thread_holds_is_no_concern_of_this_one(spawn):
    holding, done = threading.Event(), threading.Event()

    def hold():
        with new_lock("theirs"):
            holding.set()
            assert done.wait(20)

    other = spawn(hold)
    assert holding.wait(20)
    with new_lock("mine"):
        pass
    assert_none_held("sending")
    done.set()
    other.result(timeout=20)


@pytest.mark.usefixtures("frequent_switches")
def test_a_checked_lock_lets_in_one_thread_at_a_time(spawn):
    lock, count = new_lock("state"), [0]

    def add():
        for _ in range(500):
            with lock:
                count[0] = count[0] + 1

    for run in [spawn(add) for _ in range(8)]:
        run.result(timeout=20)
    assert count == [4000]


def test_misuse_is_an_assertion_that_failed():
    assert issubclass(LockMisuse, AssertionError)


# -- the write lock --------------------------------------------------------------------------------


def test_a_write_lock_makes_the_next_writer_wait_no_longer_than_its_deadline():
    lock = WriteLock()
    lock.acquire(Deadline(5))
    with pytest.raises(RequestTimeout, match=r"timed out after 0.01 s waiting to send\.") as caught:
        lock.acquire(Deadline(0.01))
    assert caught.value.maybe_executed is False
    lock.release()


def test_a_write_lock_that_was_given_back_can_be_taken_without_any_time():
    lock = WriteLock()
    lock.acquire(Deadline(5))
    lock.release()
    lock.acquire(Deadline(0))
    lock.release()


def test_a_writer_that_gave_up_does_not_hold_the_lock():
    lock = WriteLock()
    lock.acquire(Deadline(5))
    with pytest.raises(RequestTimeout):
        lock.acquire(Deadline(0))
    lock.release()
    lock.acquire(Deadline(0))


@pytest.mark.parametrize("timeout", [math.inf, 20])
def test_a_writer_gets_its_turn_when_the_one_before_is_done(spawn, timeout):
    lock, order = WriteLock(), []
    lock.acquire(Deadline(5))

    def write():
        lock.acquire(Deadline(timeout))
        order.append("second")
        lock.release()

    other = spawn(write)
    order.append("first")
    lock.release()
    other.result(timeout=20)
    assert order == ["first", "second"]


def test_a_write_lock_is_not_a_state_lock_and_may_be_held_while_sending():
    lock = WriteLock()
    lock.acquire(Deadline(5))
    assert_none_held("sending")
    lock.release()
