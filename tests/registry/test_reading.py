"""What was read is good for a few seconds, and is read once for all who want it now."""

import threading
from typing import Any

import pytest

from mcpsync.errors import StoreError
from mcpsync.registry import reading
from mcpsync.registry.reading import TTL, ReadThrough
from mcpsync.testing import FakeClock
from support.processes import forget_as_forked
from support.threads import Gate, outcome, start, wait_until


class Source:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.value: Any = "first"

    def __call__(self) -> Any:
        self.reads += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def source() -> Source:
    return Source()


def test_what_was_read_is_kept_for_five_seconds(clock: FakeClock, source: Source) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)
    assert kept.get("a", source) == "first"
    source.value = "second"
    clock.advance(TTL - 0.1)
    assert (kept.get("a", source), source.reads) == ("first", 1)
    clock.advance(0.1)
    assert (kept.get("a", source), source.reads) == ("second", 2)
    assert TTL == 5.0


def test_that_there_is_nothing_is_kept_too(clock: FakeClock, source: Source) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)
    source.value = None
    assert kept.get("a", source) is None
    assert kept.get("a", source) is None
    assert source.reads == 1


def test_an_error_is_not_kept(clock: FakeClock, source: Source) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)
    source.value = StoreError("away.")
    for _ in range(2):
        with pytest.raises(StoreError):
            kept.get("a", source)
    source.value = "there"
    assert kept.get("a", source) == "there"


def test_an_answer_may_be_good_for_longer_or_shorter(clock: FakeClock, source: Source) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock, float("inf"))
    kept.get("a", source, ttl=lambda value: 300.0)
    clock.advance(299)
    kept.get("a", source)
    assert source.reads == 1
    clock.advance(1)
    kept.get("a", source)
    assert source.reads == 2
    clock.advance(1e9)
    kept.get("a", source)
    assert source.reads == 2


def test_whoever_asks_meanwhile_shares_one_reading(clock: FakeClock, source: Source) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)
    gate = Gate()

    def slowly() -> Any:
        gate()
        return source()

    asking = [start(kept.get, "a", slowly) for _ in range(8)]
    wait_until(lambda: kept._flight.joined == 7, "seven wait for the eighth")
    gate.open()
    assert [outcome(each) for each in asking] == ["first"] * 8
    assert source.reads == 1


def test_what_is_read_while_all_is_cleared_is_not_kept_nor_for_who_asks_later(
    clock: FakeClock, source: Source
) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)
    gate = Gate()

    def slowly() -> Any:
        value = source()
        gate()
        return value

    early = start(kept.get, "a", slowly)
    gate.wait_reached()
    kept.clear()
    source.value = "second"
    assert kept.get("a", source) == "second"
    gate.open()
    assert outcome(early) == "first"
    assert kept.get("a", source) == "second"


def test_clearing_tells_what_was_kept(clock: FakeClock, source: Source) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)
    kept.get("a", source)
    kept.get("b", source)
    assert kept.clear() == ["a", "b"]
    assert kept.clear() == []


def test_there_is_no_end_to_what_is_asked_but_to_what_is_kept(
    clock: FakeClock, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST", 3)
    kept: ReadThrough[int, Any] = ReadThrough(clock)
    for number in range(10):
        kept.get(number, source)
    assert kept.clear() == [7, 8, 9]


def test_a_forked_child_waits_for_nobody_in_its_parent(clock: FakeClock, source: Source) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)
    gate = Gate()
    reading_in_the_parent = start(kept.get, "a", gate)
    gate.wait_reached()
    with kept._lock:
        forget_as_forked(kept)
    assert kept.get("a", source) == "first"
    gate.open()
    outcome(reading_in_the_parent)


def test_it_is_read_with_no_lock_held(clock: FakeClock) -> None:
    kept: ReadThrough[str, Any] = ReadThrough(clock)

    def read() -> str:
        done = threading.Event()
        start(lambda: (kept.clear(), done.set()))
        assert done.wait(5)
        return "read"

    assert kept.get("a", read) == "read"
