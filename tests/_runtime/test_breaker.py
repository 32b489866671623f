"""A connection that fails or is lost over and over is left in peace for a while."""

import dataclasses
import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpsync._runtime.breaker import BreakerPolicy, BreakerState, CircuitBreaker
from mcpsync._runtime.locks import assert_none_held
from mcpsync.errors import ConfigurationError
from mcpsync.testing import FakeClock

POLICY = BreakerPolicy()
ADA = ("crm", "ada", "fingerprint")
BOB = ("crm", "bob", "fingerprint")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker(POLICY, clock)


def lose(breaker, times, key=ADA):
    """Lose *key*'s connection so often; return what each call said."""
    return [breaker.cycle(key) for _ in range(times)]


def fail(breaker, times, key=ADA):
    """Have *key*'s attempts fail so often; return what each call said."""
    return [breaker.failed(key) for _ in range(times)]


# -- the policy ------------------------------------------------------------------------------------


def test_the_policy_is_the_seeds_unless_told_otherwise():
    assert dataclasses.astuple(POLICY) == (7, 45.0, 15.0, 3, 120.0, 30.0, 300.0)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BreakerPolicy)])
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_what_is_not_positive_is_no_policy(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} has to be positive"):
        BreakerPolicy(**{name: value})


# -- nothing wrong ---------------------------------------------------------------------------------


def test_a_key_that_nobody_complained_about_is_closed_and_costs_no_memory(breaker):
    assert breaker.open_for(ADA) == 0.0
    assert breaker.succeeded(ADA) is False
    breaker.forgive_cycle(ADA)
    assert breaker.states() == {}
    assert len(breaker) == 0


def test_asking_takes_no_lock(breaker):
    fail(breaker, 3)
    with breaker._lock:  # a second lock would be refused, and this one waited for
        assert breaker.open_for(ADA) == 30.0
        assert breaker.open_for(BOB) == 0.0


# -- lost connections ------------------------------------------------------------------------------


def test_it_trips_after_max_cycles(breaker):
    assert lose(breaker, 6) == [False] * 6
    assert breaker.open_for(ADA) == 0.0
    assert lose(breaker, 1) == [True]
    assert breaker.open_for(ADA) == 15.0


def test_it_cools_down(breaker, clock):
    lose(breaker, 7)
    clock.advance(14.5)
    assert breaker.open_for(ADA) == 0.5
    clock.advance(0.5)
    assert breaker.open_for(ADA) == 0.0


def test_tripping_begins_the_count_of_cycles_anew(breaker, clock):
    lose(breaker, 7)
    clock.advance(15)
    assert lose(breaker, 6) == [False] * 6
    clock.advance(45)
    assert lose(breaker, 1) == [True]


def test_cycles_count_up_to_the_end_of_their_window_and_no_longer(breaker, clock):
    lose(breaker, 6)
    clock.advance(45)
    assert lose(breaker, 1) == [True]
    lose(breaker, 6, key=BOB)
    clock.advance(45.001)
    assert lose(breaker, 7, key=BOB) == [False] * 6 + [True]


def test_the_window_begins_with_the_first_cycle_and_does_not_slide(breaker, clock):
    lose(breaker, 1)
    clock.advance(30)
    lose(breaker, 5)
    clock.advance(30)
    assert lose(breaker, 1) == [False]
    assert breaker.states()[ADA].cycles == 1


def test_a_cycle_that_is_forgiven_does_not_count(breaker):
    lose(breaker, 6)
    breaker.forgive_cycle(ADA)
    assert lose(breaker, 1) == [False]
    assert lose(breaker, 1) == [True]


def test_sign_ins_that_are_forgiven_never_trip_it(breaker):
    for _ in range(100):
        assert lose(breaker, 1) == [False]
        breaker.forgive_cycle(ADA)


def test_nothing_is_forgiven_in_advance(breaker):
    lose(breaker, 1)
    for _ in range(5):
        breaker.forgive_cycle(ADA)
    assert lose(breaker, 7) == [False] * 6 + [True]


def test_a_window_that_was_forgiven_empty_begins_with_the_next_cycle(breaker, clock):
    lose(breaker, 1)
    breaker.forgive_cycle(ADA)
    clock.advance(40)
    lose(breaker, 6)
    clock.advance(40)
    assert lose(breaker, 1) == [True]


# -- failed attempts -------------------------------------------------------------------------------


def test_a_dead_server_gets_exactly_max_failed_rounds_attempts(breaker):
    attempts = 0
    while not breaker.open_for(ADA):
        attempts += 1
        opened = breaker.failed(ADA)
        assert opened is (attempts == 3)
    assert attempts == 3
    assert breaker.open_for(ADA) == 30.0


def test_the_back_off_doubles_up_to_the_cap(breaker, clock):
    fail(breaker, 2)
    waits = []
    for _ in range(7):
        assert fail(breaker, 1) == [True]
        waits.append(breaker.open_for(ADA))
        clock.advance(waits[-1])
        assert breaker.open_for(ADA) == 0.0
    assert waits == [30, 60, 120, 240, 300, 300, 300]


def test_a_server_that_is_dead_for_months_is_still_counted(breaker, clock):
    for _ in range(2000):
        breaker.failed(ADA)
        clock.advance(breaker.open_for(ADA))
    breaker.failed(ADA)
    assert breaker.open_for(ADA) == 300.0


def test_failures_count_up_to_the_end_of_their_window_and_no_longer(breaker, clock):
    fail(breaker, 2)
    clock.advance(120)
    assert fail(breaker, 1) == [True]
    fail(breaker, 2, key=BOB)
    clock.advance(120.001)
    assert fail(breaker, 3, key=BOB) == [False, False, True]


def test_the_window_begins_with_the_first_failure_and_does_not_slide(breaker, clock):
    fail(breaker, 1)
    clock.advance(100)
    fail(breaker, 1)
    clock.advance(100)
    assert fail(breaker, 1) == [False]
    assert breaker.states()[ADA].failed_rounds == 1


def test_after_a_back_off_the_window_begins_anew(breaker, clock):
    fail(breaker, 3)
    clock.advance(30 + 120)
    assert fail(breaker, 1) == [True]
    assert breaker.open_for(ADA) == 60.0
    clock.advance(60 + 120.001)
    assert fail(breaker, 1) == [False]
    assert breaker.open_for(ADA) == 0.0


def test_a_success_begins_the_count_of_failures_anew(breaker):
    fail(breaker, 2)
    assert breaker.succeeded(ADA) is False
    assert fail(breaker, 3) == [False, False, True]


def test_a_success_ends_the_back_off(breaker):
    fail(breaker, 5)
    assert breaker.succeeded(ADA) is True
    assert breaker.open_for(ADA) == 0.0
    assert fail(breaker, 3) == [False, False, True]
    assert breaker.open_for(ADA) == 30.0


def test_a_success_does_not_make_up_for_lost_connections(breaker):
    for _ in range(6):
        assert breaker.cycle(ADA) is False
        breaker.succeeded(ADA)
    assert breaker.cycle(ADA) is True


# -- what is told ----------------------------------------------------------------------------------


def test_opening_is_told_once_until_it_was_closed(breaker, clock):
    assert fail(breaker, 5) == [False, False, True, False, False]
    assert lose(breaker, 7) == [False] * 7
    assert breaker.hold(ADA, 150) is False
    clock.advance(150)
    assert breaker.failed(ADA) is True


def test_closing_is_told_once(breaker, clock):
    fail(breaker, 3)
    clock.advance(30)
    assert [breaker.succeeded(ADA) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    "open_it",
    [
        lambda breaker: lose(breaker, 7),
        lambda breaker: fail(breaker, 3),
        lambda breaker: breaker.hold(ADA, 15),
    ],
    ids=["cycles", "failures", "hold"],
)
@pytest.mark.parametrize("others", [0, 5])
def test_closing_is_told_whatever_opened_it_and_however_late(breaker, clock, open_it, others):
    open_it(breaker)
    clock.advance(breaker.open_for(ADA) + POLICY.failed_window)
    for number in range(others):
        breaker.failed(f"other {number}")
    assert breaker.states().get(ADA, BreakerState(0, 0, 0.0)).open_for == 0.0
    assert breaker.succeeded(ADA) is True


def test_it_is_not_told_closed_while_it_is_open_for_another_reason(breaker, clock):
    fail(breaker, 3)
    lose(breaker, 7)
    assert breaker.succeeded(ADA) is False
    assert breaker.open_for(ADA) == 15.0
    clock.advance(15)
    assert breaker.succeeded(ADA) is True


# -- the server asks for patience ------------------------------------------------------------------


def test_a_server_that_asks_for_patience_is_left_in_peace_so_long(breaker, clock):
    assert breaker.hold(ADA, 7.5) is True
    assert breaker.open_for(ADA) == 7.5
    clock.advance(7.5)
    assert breaker.open_for(ADA) == 0.0


def test_patience_is_never_shortened(breaker):
    breaker.hold(ADA, 60)
    assert breaker.hold(ADA, 5) is False
    assert breaker.open_for(ADA) == 60.0
    fail(breaker, 3)
    lose(breaker, 7)
    breaker.succeeded(ADA)
    assert breaker.open_for(ADA) == 60.0


def test_patience_does_not_shorten_a_back_off(breaker):
    fail(breaker, 3)
    assert breaker.hold(ADA, 5) is False
    assert breaker.open_for(ADA) == 30.0


@pytest.mark.parametrize("seconds", [0, -5, math.nan])
def test_patience_of_no_length_is_none(breaker, seconds):
    assert breaker.hold(ADA, seconds) is False
    assert len(breaker) == 0


# -- whose it is -----------------------------------------------------------------------------------


def test_one_principals_failures_never_block_another(breaker):
    fail(breaker, 10)
    lose(breaker, 10)
    breaker.hold(ADA, 1000)
    assert breaker.open_for(ADA) == 1000.0
    assert breaker.open_for(BOB) == 0.0
    assert fail(breaker, 3, key=BOB) == [False, False, True]


def test_clearing_re_enables_and_begins_all_counts_anew(breaker):
    fail(breaker, 4)
    lose(breaker, 8)
    breaker.hold(ADA, 1000)
    assert breaker.reset(lambda key: key == ADA) == [ADA]
    assert breaker.open_for(ADA) == 0.0
    assert breaker.succeeded(ADA) is False
    assert fail(breaker, 3) == [False, False, True]
    assert breaker.open_for(ADA) == 30.0


def test_clearing_forgets_what_matches_and_returns_what_nobody_was_told_is_closed(breaker, clock):
    fail(breaker, 3, key="was open")
    clock.advance(30)
    fail(breaker, 2, key="counted")
    fail(breaker, 3)
    fail(breaker, 3, key=BOB)
    assert breaker.reset(lambda key: key != BOB) == ["was open", ADA]
    assert list(breaker.states()) == [BOB]
    assert len(breaker) == 1


def test_no_lock_is_held_while_a_caller_says_what_matches(breaker):
    def matches(key):
        assert_none_held("matching")
        return breaker.failed(key)  # it may even use the breaker

    fail(breaker, 2)
    assert breaker.reset(matches) == [ADA]


def test_what_is_cleared_meanwhile_is_not_returned(breaker):
    def matches(_):
        breaker.reset(lambda _: True)
        return True

    fail(breaker, 3)
    assert breaker.reset(lambda key: matches(key)) == []


# -- what can be seen ------------------------------------------------------------------------------


def test_states_are_as_of_now(breaker, clock):
    lose(breaker, 2)
    fail(breaker, 3)
    clock.advance(20)
    breaker.hold(BOB, 5)
    assert breaker.states() == {
        ADA: BreakerState(cycles=2, failed_rounds=3, open_for=10.0),
        BOB: BreakerState(cycles=0, failed_rounds=0, open_for=5.0),
    }
    clock.advance(30)
    assert breaker.states() == {ADA: BreakerState(cycles=0, failed_rounds=3, open_for=0.0)}
    clock.advance(100.001)
    assert breaker.states() == {}


def test_a_state_is_a_snapshot(breaker):
    fail(breaker, 1)
    states = breaker.states()
    fail(breaker, 1)
    assert states[ADA].failed_rounds == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        states[ADA].cycles = 0


# -- memory ----------------------------------------------------------------------------------------


def test_what_is_over_is_dropped_as_others_are_recorded(breaker, clock):
    for number in range(1000):
        breaker.failed(f"early {number}")
    clock.advance(121)
    for number in range(500):
        breaker.failed(f"late {number}")
    assert set(breaker.states()) == {f"late {number}" for number in range(500)}
    assert len(breaker) == 500


def test_what_is_over_is_dropped_as_others_succeed(breaker, clock):
    for number in range(1000):
        breaker.failed(number)
    clock.advance(121)
    for _ in range(500):
        breaker.succeeded(ADA)
    assert len(breaker) == 0


def test_the_table_never_holds_much_more_than_what_matters(breaker, clock):
    most = 0
    for number in range(20_000):
        breaker.failed(number)  # 1200 a window
        clock.advance(0.1)
        most = max(most, len(breaker))
    assert most <= 2 * 1201


def test_what_was_open_is_not_kept_for_ever(breaker, clock):
    for number in range(1000):
        breaker.hold(number, 5)
    clock.advance(5 + 120.001)
    for _ in range(500):
        breaker.succeeded(ADA)
    assert len(breaker) == 0


def test_what_matters_for_long_is_not_in_the_way_of_what_is_over(breaker, clock):
    for number in range(100):
        breaker.hold(f"long {number}", 1_000_000)
    for number in range(100):
        breaker.failed(f"short {number}")
    clock.advance(121)
    for _ in range(100):
        breaker.succeeded(ADA)
    assert len(breaker) == 100


def test_what_still_matters_is_not_dropped(breaker):
    fail(breaker, 2)
    for number in range(100):
        breaker.failed(number)
    assert breaker.failed(ADA) is True
    for number in range(100):
        breaker.failed(number)
    assert breaker.open_for(ADA) == 30.0


@pytest.mark.parametrize("harm", [lose, fail], ids=["cycles", "failures"])
def test_a_key_that_recovered_leaves_nothing(breaker, clock, harm):
    harm(breaker, 1)
    clock.advance(46)
    breaker.succeeded(ADA)
    assert len(breaker) == 0


# -- threads and forks -----------------------------------------------------------------------------


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("harm", ["cycle", "failed"])
def test_of_many_threads_exactly_one_is_told_that_it_opened(breaker, spawn, harm):
    at_once = threading.Barrier(16)

    def complain():
        at_once.wait(20)
        return [getattr(breaker, harm)(ADA) for _ in range(20)]

    told = [future.result(20) for future in [spawn(complain) for _ in range(16)]]
    assert sum(map(sum, told)) == 1


@pytest.mark.usefixtures("frequent_switches")
def test_of_many_threads_exactly_one_is_told_that_it_closed(breaker, spawn):
    fail(breaker, 3)
    at_once = threading.Barrier(16)

    def succeed():
        at_once.wait(20)
        return breaker.succeeded(ADA)

    told = [future.result(20) for future in [spawn(succeed) for _ in range(16)]]
    assert sum(told) == 1
    assert len(breaker) == 0


@pytest.mark.usefixtures("frequent_switches")
def test_one_can_ask_while_others_complain_and_clear(breaker, clock, spawn):
    done = threading.Event()

    def churn(mine):
        for number in range(300):
            breaker.failed((mine, number % 7))
            breaker.cycle((mine, number % 5))
            breaker.succeeded((mine, number % 3))
            clock.advance(1)
            breaker.reset(lambda key: key[0] == mine and key[1] == 6)

    def ask():
        asked = 0
        while not done.is_set() or not asked:
            asked += 1
            assert all(breaker.open_for((mine, asked % 7)) >= 0 for mine in range(4))
            breaker.states()
        return asked

    asking = spawn(ask)
    for future in [spawn(churn, mine) for mine in range(4)]:
        future.result(20)
    done.set()
    assert asking.result(20)


def test_a_reset_lock_is_a_new_one_and_what_was_known_stays(breaker):
    fail(breaker, 3)
    with breaker._lock:  # as if another thread of the parent had held it when it forked
        breaker.forget()
        assert not breaker._lock.locked()
    assert breaker.open_for(ADA) == 30.0
    assert breaker.succeeded(ADA) is True


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_in_peace_what_its_parent_did(breaker, in_child):
    fail(breaker, 3)

    def in_the_child():
        breaker.forget()
        return [breaker.open_for(ADA), breaker.succeeded(ADA)]

    assert in_child(in_the_child) == [30.0, True]
    assert breaker.open_for(ADA) == 30.0


# -- a model of all that ---------------------------------------------------------------------------


class Model:
    """The rules, as they are said rather than as they are fast: of one key."""

    def __init__(self):
        self.cycles, self.failures, self.until = [], [], {}
        self.fresh_until = -math.inf

    def open_for(self, now):
        return max([0.0, *(until - now for until in self.until.values())])

    def apply(self, name, now):
        before = self.open_for(now)
        getattr(self, name)(now)
        return not before and self.open_for(now) > 0

    def cycle(self, now):
        if not self.cycles or now - self.cycles[0] > 45:
            self.cycles = []
        self.cycles.append(now)
        if len(self.cycles) == 7:
            self.cycles, self.until["cycles"] = [], now + 15

    def failed(self, now):
        if now > self.fresh_until:
            self.failures, self.fresh_until = [], now + 120
        self.failures.append(now)
        if len(self.failures) >= 3:
            wait = min(30 * 2 ** (len(self.failures) - 3), 300)
            self.until["failures"] = now + wait
            self.fresh_until = now + wait + 120

    def hold(self, now):
        self.until["hold"] = max(now + 20, self.until.get("hold", now))

    def succeeded(self, now):
        self.failures, self.fresh_until = [], -math.inf
        self.until.pop("failures", None)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cycle", "failed", "failed", "hold", "succeeded", "advance"]),
            st.sampled_from("abc"),
        ),
        max_size=80,
    )
)
def test_whatever_happens_the_breaker_agrees_with_its_rules(steps):
    clock = FakeClock()
    breaker, models = CircuitBreaker(POLICY, clock), {key: Model() for key in "abc"}
    for name, key in steps:
        now = clock.monotonic()
        if name == "advance":
            clock.advance({"a": 5, "b": 31, "c": 125}[key])
        elif name == "succeeded":
            breaker.succeeded(key)
            models[key].succeeded(now)
        else:
            arguments = (key, 20) if name == "hold" else (key,)
            assert getattr(breaker, name)(*arguments) is models[key].apply(name, now)
        now = clock.monotonic()
        for each, model in models.items():
            assert breaker.open_for(each) == model.open_for(now)
