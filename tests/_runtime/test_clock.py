"""Policy time: the machine's clock, and the one that tests hold."""

import time

import pytest

from mcpsync._runtime.clock import SystemClock
from mcpsync.testing import FakeClock


def test_the_system_clock_shows_the_time_of_day():
    before = time.time()
    assert before <= SystemClock().time() <= time.time()


def test_the_system_clock_measures_with_the_monotonic_clock():
    before = time.monotonic()
    assert before <= SystemClock().monotonic() <= time.monotonic()


def test_a_fake_clock_stands_still():
    clock = FakeClock(time=5.0, monotonic=7.0)
    assert [clock.time(), clock.time()] == [5.0, 5.0]
    assert [clock.monotonic(), clock.monotonic()] == [7.0, 7.0]


def test_a_fake_clock_advances_both_of_its_hands():
    clock = FakeClock(time=5.0, monotonic=7.0)
    clock.advance(2.5)
    assert (clock.time(), clock.monotonic()) == (7.5, 9.5)


def test_the_two_hands_of_a_fake_clock_cannot_be_mistaken_for_each_other():
    clock = FakeClock()
    assert clock.time() - clock.monotonic() > 1e9


def test_a_fake_clock_does_not_go_backwards():
    clock = FakeClock(monotonic=7.0)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    assert clock.monotonic() == 7.0


@pytest.mark.usefixtures("frequent_switches")
def test_a_fake_clock_loses_no_second_between_threads(spawn):
    clock = FakeClock(monotonic=0.0)
    runs = [spawn(lambda: [clock.advance(1) for _ in range(500)]) for _ in range(8)]
    for run in runs:
        run.result(timeout=20)
    assert clock.monotonic() == 4000


def test_a_fake_clock_shows_its_time():
    assert repr(FakeClock(monotonic=7.5)) == "<FakeClock at 7.5 s>"
