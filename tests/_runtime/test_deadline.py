"""One budget of time over several waits."""

import math
import threading

import pytest

from mcpsync._runtime.deadline import Deadline
from mcpsync.errors import RequestTimeout


def test_what_remains_is_at_most_the_timeout_and_shrinks():
    deadline = Deadline(100)
    first = deadline.remaining()
    assert 99 < deadline.remaining() <= first <= 100


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
def test_a_deadline_without_time_has_passed_and_never_goes_below_zero(timeout):
    deadline = Deadline(timeout)
    assert deadline.expired
    assert deadline.remaining() == 0.0
    assert deadline.wait_time() == 0.0


def test_a_deadline_passes_in_real_time():
    deadline = Deadline(0.01)
    threading.Event().wait(0.02)
    assert deadline.expired
    with pytest.raises(RequestTimeout):
        deadline.check("waiting")


@pytest.mark.parametrize("timeout", [math.inf, 1e300, threading.TIMEOUT_MAX])
def test_an_endless_deadline_never_passes_and_waits_as_long_as_it_takes(timeout):
    deadline = Deadline(timeout)
    assert not deadline.expired
    assert deadline.remaining() == math.inf
    assert deadline.wait_time() is None


@pytest.mark.parametrize("timeout", [1e-9, 5, 1e6, 1e9, 1e10, threading.TIMEOUT_MAX - 1, math.inf])
def test_the_standard_library_can_wait_for_every_deadline(timeout):
    event = threading.Event()
    event.set()
    assert event.wait(Deadline(timeout).wait_time())


def test_within_more_than_remains_is_the_deadline_itself():
    deadline = Deadline(5)
    assert deadline.within(6) is deadline
    assert deadline.within(math.inf) is deadline


def test_within_less_is_an_earlier_deadline_and_leaves_the_first_alone():
    deadline = Deadline(100)
    earlier = deadline.within(5)
    assert earlier.timeout == 5
    assert 4 < earlier.remaining() <= 5
    assert deadline.remaining() > 99


def test_within_an_endless_deadline_any_limit_holds():
    assert Deadline(math.inf).within(5).remaining() <= 5


def test_within_a_deadline_that_has_passed_nothing_remains():
    assert Deadline(0).within(5).expired


def test_check_says_nothing_while_time_remains():
    assert Deadline(60).check("waiting") is None
    assert Deadline(math.inf).check("waiting") is None


@pytest.mark.parametrize("maybe_executed", [False, True])
def test_check_raises_once_the_moment_has_passed(maybe_executed):
    with pytest.raises(RequestTimeout, match="before asking") as caught:
        Deadline(0).check("before asking", maybe_executed=maybe_executed)
    assert caught.value.maybe_executed is maybe_executed


@pytest.mark.parametrize(
    ("timeout", "text"),
    [
        (5, "timed out after 5 s waiting for the server."),
        (60.0, "timed out after 60 s waiting for the server."),
        (0.25, "timed out after 0.25 s waiting for the server."),
    ],
)
def test_the_error_says_how_long_and_what_for(timeout, text):
    error = Deadline(timeout).error("waiting for the server")
    assert str(error) == text
    assert error.timeout == timeout


def test_the_error_is_a_timeout_error_that_was_not_executed_unless_told_otherwise():
    deadline = Deadline(1)
    assert isinstance(deadline.error("x"), TimeoutError)
    assert deadline.error("x").maybe_executed is False
    assert deadline.error("x", maybe_executed=True).maybe_executed is True


def test_a_deadline_shows_what_remains_of_what():
    assert repr(Deadline(0)) == "<Deadline 0.000 of 0 s remain>"
    assert repr(Deadline(math.inf)) == "<Deadline inf of inf s remain>"
