"""How long to wait before the next attempt, and waiting that long."""

import math
import threading
import time

import pytest

from mcpsync._runtime.backoff import JITTER, doubled, exponential, linear, pause
from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync._runtime.locks import LockMisuse, new_lock
from mcpsync.errors import RequestCancelled, RequestTimeout

FOR_EVER = Deadline(math.inf)


def never():
    """Chance that adds nothing."""
    return 0.0


# -- how long --------------------------------------------------------------------------------------


def test_a_linear_back_off_grows_by_a_step_with_each_attempt():
    assert [linear(attempt, 2.0, never) for attempt in (1, 2, 3)] == [2.0, 4.0, 6.0]


def test_an_exponential_back_off_doubles_with_each_attempt_up_to_the_cap():
    delays = [exponential(attempt, 0.25, 30.0, never) for attempt in range(1, 10)]
    assert delays == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("attempt", [100, 1025, 10**9])
def test_no_number_of_attempts_is_too_many(attempt):
    assert exponential(attempt, 1.0, 30.0, never) == 30.0
    assert doubled(1.0, attempt, 30.0) == 30.0


@pytest.mark.parametrize(("chance", "share"), [(0.0, 1.0), (0.5, 1.125), (1.0, 1.25)])
def test_chance_adds_up_to_a_quarter_and_takes_nothing_away(chance, share):
    assert JITTER == 0.25
    assert linear(3, 2.0, lambda: chance) == 6.0 * share
    assert exponential(3, 1.0, 30.0, lambda: chance) == 4.0 * share


def test_chance_spreads_those_too_who_have_reached_the_cap():
    assert exponential(10, 1.0, 30.0, lambda: 0.5) == 33.75


def test_doubling_is_a_matter_of_no_chance():
    assert [doubled(30.0, times, 300.0) for times in range(5)] == [30, 60, 120, 240, 300]


# -- waiting ---------------------------------------------------------------------------------------


def test_a_pause_lasts_as_long_as_it_is_to():
    began = time.monotonic()
    pause(0.05, FOR_EVER)
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("deadline", [FOR_EVER, Deadline(20), Deadline(0)])
@pytest.mark.parametrize("seconds", [0, -1])
def test_no_wait_is_no_wait_whatever_the_deadline(seconds, deadline):
    pause(seconds, deadline, Cancellation())


def test_a_pause_that_fits_into_the_deadline_is_no_timeout():
    pause(0.01, Deadline(20), Cancellation())


@pytest.mark.parametrize("make_cancel", [lambda: None, Cancellation], ids=["bare", "cancellable"])
def test_the_deadline_ends_a_pause_that_is_longer(make_cancel):
    deadline = Deadline(0.05)
    with pytest.raises(RequestTimeout) as caught:
        pause(math.inf, deadline, make_cancel())
    assert str(caught.value) == "timed out after 0.05 s waiting to try again."
    assert caught.value.timeout == 0.05
    assert deadline.expired


def test_the_error_says_what_the_time_ran_out_with():
    with pytest.raises(RequestTimeout, match=r"after 0 s waiting for the server to rest\."):
        pause(1, Deadline(0), doing="waiting for the server to rest")


def test_a_cancellation_ends_a_pause_at_once(spawn, wait_until):
    cancel = Cancellation()
    waiting = spawn(pause, math.inf, FOR_EVER, cancel)
    wait_until(lambda: cancel._wakers)
    cancel.cancel("user left")
    error = waiting.exception(20)
    assert isinstance(error, RequestCancelled)
    assert str(error) == "cancelled: user left."
    assert error.reason == "user left"


@pytest.mark.parametrize("seconds", [0, math.inf])
def test_whoever_is_cancelled_already_does_not_wait(seconds):
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(RequestCancelled, match="cancelled"):
        pause(seconds, FOR_EVER, cancel)


def test_a_cancellation_goes_before_a_deadline():
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(RequestCancelled):
        pause(1, Deadline(0), cancel)


@pytest.mark.parametrize("timeout", [0.01, 20])
def test_a_pause_leaves_no_waker(timeout):
    cancel = Cancellation()
    try:
        pause(0.02, Deadline(timeout), cancel)
    except RequestTimeout:
        assert timeout == 0.01
    assert cancel._wakers == []


def test_whoever_holds_a_lock_may_not_pause():
    with new_lock("state"), pytest.raises(LockMisuse, match="pausing while holding 'state'"):
        pause(0, FOR_EVER)


def test_an_endless_pause_is_no_longer_than_the_platform_can_wait(monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda _, timeout: waits.append(timeout))
    pause(math.inf, FOR_EVER)
    assert waits == [threading.TIMEOUT_MAX]
