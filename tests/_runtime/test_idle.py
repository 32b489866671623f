"""Who is in use, who is not, and since when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpsync._runtime.idle import IdleTracker
from mcpsync.testing import FakeClock

TIMEOUT = 900.0


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def tracker(clock):
    return IdleTracker(TIMEOUT, clock.monotonic)


def test_an_empty_tracker_has_nothing(tracker):
    assert len(tracker) == 0
    assert "a" not in tracker
    assert not tracker.held("a")
    assert not tracker.has_expired("a")
    assert tracker.expired() == []
    assert tracker.until_next() is None


def test_a_held_key_never_expires(tracker, clock):
    tracker.hold("a")
    clock.advance(TIMEOUT * 1000)
    assert tracker.expired() == []
    assert not tracker.has_expired("a")
    assert tracker.until_next() is None


def test_idleness_begins_with_the_last_release(tracker, clock):
    tracker.hold("a")
    clock.advance(TIMEOUT)
    tracker.release("a")
    assert tracker.expired() == []
    assert tracker.until_next() == TIMEOUT
    clock.advance(TIMEOUT)
    assert tracker.expired() == ["a"]


def test_holds_are_counted(tracker, clock):
    for _ in range(3):
        tracker.hold("a")
    for _ in range(2):
        tracker.release("a")
    clock.advance(TIMEOUT)
    assert tracker.held("a")
    assert tracker.expired() == []
    tracker.release("a")
    assert not tracker.held("a")


def test_holding_again_ends_the_idleness(tracker, clock):
    tracker.touch("a")
    clock.advance(TIMEOUT - 1)
    assert tracker.hold("a")
    clock.advance(TIMEOUT)
    assert tracker.expired() == []
    assert len(tracker) == 1


def test_what_has_expired_cannot_be_held_any_more(tracker, clock):
    tracker.touch("a")
    clock.advance(TIMEOUT)
    assert not tracker.hold("a")
    assert not tracker.held("a")
    assert tracker.expired() == ["a"]


def test_looking_for_the_expired_may_stop_early_and_leave_some_out(tracker, clock):
    for key in "abcd":
        tracker.touch(key)
    clock.advance(TIMEOUT)
    assert tracker.expired(2) == ["a", "b"]
    assert tracker.expired(2, skip=lambda key: key in "ab") == ["c", "d"]


@pytest.mark.parametrize(("passed", "expired"), [(TIMEOUT - 1, False), (TIMEOUT, True)])
def test_a_key_expires_when_the_timeout_is_over_and_not_before(tracker, clock, passed, expired):
    tracker.touch("a")
    clock.advance(passed)
    assert tracker.has_expired("a") is expired
    assert tracker.expired() == (["a"] if expired else [])
    assert tracker.until_next() == TIMEOUT - passed


def test_the_expired_come_oldest_first(tracker, clock):
    for key in "cab":
        tracker.touch(key)
        clock.advance(1)
    clock.advance(TIMEOUT)
    assert tracker.expired() == ["c", "a", "b"]


def test_the_order_is_that_of_idleness_not_of_first_appearance(tracker, clock):
    for key in "abc":
        tracker.hold(key)
    for key in "bca":
        tracker.release(key)
        clock.advance(1)
    tracker.touch("b")
    clock.advance(TIMEOUT)
    assert tracker.expired() == ["c", "a", "b"]


def test_looking_for_the_expired_forgets_none_of_them(tracker, clock):
    tracker.touch("a")
    clock.advance(TIMEOUT * 5)
    assert tracker.expired() == tracker.expired() == ["a"]
    assert "a" in tracker
    assert len(tracker) == 1


def test_looking_for_the_expired_does_not_look_past_the_first_that_is_fresh(tracker, clock):
    class Counting(dict):
        steps = 0

        def items(self):
            for item in super().items():
                Counting.steps += 1
                yield item

    tracker._idle_since = Counting()
    for key in range(3):
        tracker.touch(key)
    clock.advance(TIMEOUT)
    for key in range(3, 1000):
        tracker.touch(key)
    assert tracker.expired() == [0, 1, 2]
    assert Counting.steps == 4


def test_touching_begins_the_idleness_anew(tracker, clock):
    tracker.touch("a")
    clock.advance(TIMEOUT - 1)
    tracker.touch("a")
    clock.advance(TIMEOUT - 1)
    assert not tracker.has_expired("a")


def test_touching_a_held_key_leaves_it_held(tracker, clock):
    tracker.hold("a")
    tracker.touch("a")
    clock.advance(TIMEOUT)
    assert tracker.held("a")
    assert tracker.expired() == []
    assert len(tracker) == 1


@pytest.mark.parametrize("begin", ["hold", "touch"])
def test_a_discarded_key_is_gone_held_or_not(tracker, clock, begin):
    getattr(tracker, begin)("a")
    tracker.discard("a")
    tracker.discard("a")
    clock.advance(TIMEOUT)
    assert "a" not in tracker
    assert tracker.expired() == []


def test_releasing_what_was_discarded_does_not_bring_it_back(tracker):
    tracker.hold("a")
    tracker.discard("a")
    tracker.release("a")
    assert len(tracker) == 0


def test_releasing_an_idle_key_does_not_renew_it(tracker, clock):
    tracker.touch("a")
    clock.advance(TIMEOUT)
    tracker.release("a")
    assert tracker.expired() == ["a"]


def test_until_next_is_that_of_the_oldest_and_never_negative(tracker, clock):
    tracker.touch("a")
    clock.advance(100)
    tracker.touch("b")
    assert tracker.until_next() == TIMEOUT - 100
    clock.advance(TIMEOUT * 2)
    assert tracker.until_next() == 0.0


def test_held_and_idle_keys_both_count(tracker):
    tracker.hold("a")
    tracker.hold("a")
    tracker.touch("b")
    assert len(tracker) == 2
    assert "a" in tracker
    assert "b" in tracker


class Model:
    """The same rules, said as plainly as possible."""

    def __init__(self):
        self.holds, self.since = {}, {}

    def apply(self, name, key, now):
        if name == "hold" and key in self.since and now - self.since[key] >= 10:
            return  # it has expired
        if name == "hold":
            self.holds[key] = self.holds.get(key, 0) + 1
            self.since.pop(key, None)
        elif name == "release" and self.holds.get(key):
            self.holds[key] -= 1
            if not self.holds[key]:
                self.since[key] = now
        elif name == "touch" and not self.holds.get(key):
            self.since[key] = now
        elif name == "discard":
            self.holds.pop(key, None)
            self.since.pop(key, None)

    def expired(self, now):
        return {key for key, since in self.since.items() if now - since >= 10}


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "release", "touch", "discard", "advance"]),
            st.sampled_from("abc"),
        )
    )
)
def test_whatever_happens_the_tracker_agrees_with_its_rules(steps):
    clock, model = FakeClock(), Model()
    tracker = IdleTracker(10.0, clock.monotonic)
    for name, key in steps:
        if name == "advance":
            clock.advance(ord(key) - ord("a") + 3)
        else:
            getattr(tracker, name)(key)
            model.apply(name, key, clock.monotonic())
        now = clock.monotonic()
        assert set(tracker.expired()) == model.expired(now)
        assert {key for key in "abc" if tracker.has_expired(key)} == model.expired(now)
        assert {key for key in "abc" if tracker.held(key)} == {
            k for k, n in model.holds.items() if n
        }
        assert len(tracker) == len({k for k, n in model.holds.items() if n} | set(model.since))
        oldest = min(model.since.values(), default=None)
        assert tracker.until_next() == (None if oldest is None else max(0, oldest + 10 - now))
