"""One call per key, shared by everybody who asked while it was under way."""

import contextlib
import copy
import math
import pickle
import threading

import pytest

from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync._runtime.flight import SingleFlight
from mcpsync._runtime.locks import LockMisuse, assert_none_held, new_lock
from mcpsync.errors import AuthError, ConnectError, ConnectTimeout, RequestCancelled, RequestTimeout

KEY = "ada:crm"
FOR_EVER = Deadline(math.inf)


class Call:
    """A call that begins, waits to be let go, and ends with the next of its outcomes."""

    def __init__(self, *outcomes):
        self.began = threading.Event()
        self.go = threading.Event()
        self.threads = []
        self._outcomes = list(outcomes)

    def __call__(self):
        self.threads.append(threading.get_ident())
        outcome = self._outcomes.pop(0)
        self.began.set()
        assert self.go.wait(20), "nobody let the call go"
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Foreign(Exception):
    """An application's own error, which does not copy: it wants two arguments and keeps one."""

    def __init__(self, text, response):
        super().__init__(text)
        self.response = response


@pytest.fixture
def flight():
    return SingleFlight()


@pytest.fixture
def lead(flight, spawn):
    """Have a thread lead *call*; return its future once the call has begun."""

    def lead(call):
        leader = spawn(flight.do, KEY, call, deadline=FOR_EVER)
        assert call.began.wait(20)
        return leader

    return lead


@pytest.fixture
def join(flight, spawn, wait_until):
    """Have threads join the flight that is under way; return their futures once they have."""

    def join(call, joiners=1, **options):
        options = {"deadline": FOR_EVER, **options}
        expected = flight.joined + joiners
        futures = [spawn(flight.do, KEY, call, **options) for _ in range(joiners)]
        wait_until(lambda: flight.joined == expected)
        return futures

    return join


@pytest.fixture
def take_off(lead, join):
    """Do both; return the leader's future and those of the joiners."""

    def take_off(call, joiners=1, **options):
        return [lead(call), *join(call, joiners, **options)]

    return take_off


def failure(future):
    """What *future* raised."""
    return future.exception(timeout=20)


def value(future):
    """What *future* returned."""
    return future.result(timeout=20)


# -- one call --------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["value", None, False, ValueError("a value, not a failure")])
def test_a_lone_caller_gets_what_the_call_returns(flight, result):
    assert flight.do(KEY, lambda: result, deadline=FOR_EVER) is result
    assert len(flight) == 0


def test_a_lone_caller_gets_the_very_error_the_call_raised(flight):
    error = ConnectError("refused.")

    def fail():
        raise error

    with pytest.raises(ConnectError) as caught:
        flight.do(KEY, fail, deadline=FOR_EVER)
    assert caught.value is error
    assert len(flight) == 0


def test_thirty_two_threads_share_one_call(take_off):
    call = Call("value")
    futures = take_off(call, joiners=31)
    call.go.set()
    assert [value(future) for future in futures] == ["value"] * 32
    assert len(call.threads) == 1


@pytest.mark.parametrize("result", [None, False, 0])
def test_any_value_at_all_is_shared(take_off, result):
    call = Call(result)
    futures = take_off(call, joiners=2)
    call.go.set()
    assert [value(future) for future in futures] == [result] * 3


def test_a_call_that_has_landed_is_not_shared_with_who_comes_later(flight):
    results = iter("ab")
    assert flight.do(KEY, lambda: next(results), deadline=FOR_EVER) == "a"
    assert flight.do(KEY, lambda: next(results), deadline=FOR_EVER) == "b"


def test_calls_of_different_keys_run_at_the_same_time(flight, spawn):
    together = threading.Barrier(3)
    futures = [
        spawn(flight.do, key, lambda: together.wait(20), deadline=FOR_EVER) for key in range(3)
    ]
    assert sorted(value(future) for future in futures) == [0, 1, 2]


def test_the_call_runs_on_its_leaders_thread_with_no_lock_held(flight):
    def call():
        assert_none_held("calling")
        return threading.get_ident()

    assert flight.do(KEY, call, deadline=FOR_EVER) == threading.get_ident()


def test_a_call_may_start_a_flight_of_another_key(flight):
    def inner():
        return "inner"

    def outer():
        return flight.do("other", inner, deadline=FOR_EVER)

    assert flight.do(KEY, outer, deadline=FOR_EVER) == "inner"


def test_whoever_holds_a_lock_may_not_wait_for_a_flight(flight):
    with new_lock("state"), pytest.raises(LockMisuse, match="single flight while holding 'state'"):
        flight.do(KEY, lambda: None, deadline=FOR_EVER)


def test_a_flight_is_visible_while_it_lasts(flight, lead):
    call = Call("value")
    leader = lead(call)
    assert KEY in flight
    assert "other" not in flight
    assert len(flight) == 1
    call.go.set()
    value(leader)
    assert KEY not in flight
    assert len(flight) == 0


def test_joined_counts_those_who_joined_and_no_leader(flight, take_off):
    call = Call("value")
    take_off(call, joiners=3)
    assert flight.joined == 3
    call.go.set()


def test_on_join_is_called_for_each_joiner_with_no_lock_held_and_not_for_the_leader(take_off):
    call, joins = Call("value"), []

    def on_join():
        assert_none_held("telling")
        joins.append(threading.get_ident())

    futures = take_off(call, joiners=4, on_join=on_join)
    call.go.set()
    assert [value(future) for future in futures] == ["value"] * 5
    assert len(set(joins)) == 4
    assert call.threads[0] not in joins


def test_a_leader_is_not_told_that_it_joined(flight):
    assert flight.do(KEY, lambda: 1, deadline=FOR_EVER, on_join=pytest.fail) == 1


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ConnectError("refused."), ConnectTimeout("too slow."), OSError(2, "no such file"), KeyError()],
)
def test_every_joiner_gets_its_own_copy_of_the_error(take_off, error):
    call = Call(error)
    futures = take_off(call, joiners=31)
    call.go.set()
    errors = [failure(future) for future in futures]
    assert {type(found) for found in errors} == {type(error)}
    assert {str(found) for found in errors} == {str(error)}
    assert len({id(found) for found in errors}) == 32
    assert errors[0] is error
    assert len(call.threads) == 1


def test_a_joiners_error_names_its_cause_down_to_the_root(take_off):
    call = Call(_caused(ConnectError("refused."), by=ConnectionRefusedError()))
    _, joiner = take_off(call)
    call.go.set()
    shared = failure(joiner).__cause__
    assert isinstance(shared, ConnectError)
    assert isinstance(shared.__cause__, ConnectionRefusedError)


def _caused(error, by):
    error.__cause__ = by
    return error


def test_what_the_leader_writes_onto_its_error_is_not_seen_by_the_joiners(take_off):
    call = Call(ConnectError("refused."))
    leader, joiner = take_off(call)
    call.go.set()
    failure(leader).with_context(user_id="leader", tool_name="add")
    assert failure(joiner).__cause__ is not failure(leader)  # what others copy, he never touches
    assert failure(joiner).user_id is None
    assert failure(joiner).tool_name is None


def test_what_one_joiner_writes_onto_its_error_is_not_seen_by_another(take_off):
    call = Call(ConnectError("refused."))
    _, first, second = take_off(call, joiners=2)
    call.go.set()
    failure(first).with_context(tool_name="add")
    assert failure(second).tool_name is None


def test_an_error_that_does_not_copy_reaches_everybody_all_the_same(take_off, flight):
    error = Foreign("upstream said no", response=object())
    with pytest.raises(TypeError):
        copy.copy(error)
    call = Call(error)
    futures = take_off(call, joiners=3)
    call.go.set()
    assert [failure(future) for future in futures] == [error] * 4
    assert error.__cause__ is None
    assert len(flight) == 0


def test_a_joiners_error_still_pickles(take_off):
    call = Call(ConnectError("refused.", server_name="crm"))
    _, joiner = take_off(call)
    call.go.set()
    assert pickle.loads(pickle.dumps(failure(joiner))).server_name == "crm"  # noqa: S301 - ours


# -- taking over -----------------------------------------------------------------------------------

OWN = [
    RequestTimeout("the leader had less time."),
    RequestCancelled("the leader was cancelled."),
    KeyboardInterrupt(),
    SystemExit(1),
]


@pytest.mark.parametrize("own", OWN, ids=lambda own: type(own).__name__)
def test_what_is_the_leaders_own_affair_is_not_shared_and_one_joiner_takes_over(
    flight, lead, join, wait_until, own
):
    first, again = Call(own), Call("value")
    leader, joiners = lead(first), join(again, 8)
    first.go.set()
    assert failure(leader) is own
    wait_until(lambda: flight.joined == 8 + 7)  # all but one have joined once more
    again.go.set()
    assert [value(joiner) for joiner in joiners] == ["value"] * 8
    assert len(again.threads) == 1


def test_an_error_after_a_take_over_is_shared_like_any_other(flight, lead, join, wait_until):
    first, again = Call(RequestCancelled("the leader was.")), Call(ConnectError("refused."))
    leader, joiners = lead(first), join(again, 8)
    first.go.set()
    wait_until(lambda: flight.joined == 8 + 7)
    again.go.set()
    assert isinstance(failure(leader), RequestCancelled)
    assert {type(failure(joiner)) for joiner in joiners} == {ConnectError}
    assert len(again.threads) == 1


def test_whatever_the_leader_raises_when_its_time_is_up_is_its_own(flight, spawn, join):
    first, again = Call(ConnectTimeout("too slow.")), Call("value")
    short = Deadline(0.01)
    leader = spawn(flight.do, KEY, first, deadline=short)
    assert first.began.wait(20)
    (joiner,) = join(again)
    assert not threading.Event().wait(short.remaining())
    again.go.set()
    first.go.set()
    assert isinstance(failure(leader), ConnectTimeout)
    assert value(joiner) == "value"


def test_whatever_the_leader_raises_when_it_was_cancelled_is_its_own(flight, spawn, join):
    first, again = Call(ConnectError("cut.")), Call("value")
    cancel = Cancellation()
    leader = spawn(flight.do, KEY, first, deadline=FOR_EVER, cancel=cancel)
    assert first.began.wait(20)
    (joiner,) = join(again)
    cancel.cancel()
    again.go.set()
    first.go.set()
    assert isinstance(failure(leader), ConnectError)
    assert value(joiner) == "value"


def test_what_a_leader_says_is_its_own_affair_is_not_shared(flight, spawn, join):
    first, again = Call(AuthError("its headers are wrong.")), Call("value")

    def own_affair(error):
        return isinstance(error, AuthError)

    leader = spawn(flight.do, KEY, first, deadline=FOR_EVER, own_affair=own_affair)
    assert first.began.wait(20)
    (joiner,) = join(again)
    again.go.set()
    first.go.set()
    assert isinstance(failure(leader), AuthError)
    assert value(joiner) == "value"


def test_only_the_leader_is_asked_whose_affair_it_is(lead, join):
    call = Call(ConnectError("refused."))
    leader, (joiner,) = lead(call), join(call, own_affair=pytest.fail)
    call.go.set()
    assert isinstance(failure(leader), ConnectError)
    assert isinstance(failure(joiner), ConnectError)


def test_a_joiner_whose_time_is_up_does_not_take_over(lead, join):
    first, again = Call(RequestTimeout("the leader had less time.")), Call("value")
    leader, (joiner,) = lead(first), join(again, deadline=Deadline(0.01))
    assert isinstance(failure(joiner), RequestTimeout)
    first.go.set()
    failure(leader)
    assert again.threads == []


# -- the joiner's own wait -------------------------------------------------------------------------


@pytest.mark.parametrize("make_cancel", [lambda: None, Cancellation], ids=["bare", "cancellable"])
def test_a_joiners_deadline_ends_its_own_wait_only(take_off, flight, make_cancel):
    call = Call("value")
    leader, joiner = take_off(call, deadline=Deadline(0.01), cancel=make_cancel())
    error = failure(joiner)
    assert isinstance(error, RequestTimeout)
    assert str(error) == (
        "timed out after 0.01 s waiting for a connection another caller is making."
    )
    assert not leader.done()
    assert KEY in flight
    call.go.set()
    assert value(leader) == "value"


def test_a_joiners_cancellation_ends_its_own_wait_only(take_off, join):
    call, cancel = Call("value"), Cancellation()
    leader, other = take_off(call)
    (joiner,) = join(call, cancel=cancel)
    cancel.cancel("user left")
    assert isinstance(failure(joiner), RequestCancelled)
    assert not leader.done()
    assert not other.done()
    call.go.set()
    assert (value(leader), value(other)) == ("value", "value")


def test_a_joiner_that_is_cancelled_already_does_not_wait(take_off):
    call, cancel = Call("value"), Cancellation()
    cancel.cancel()
    leader, joiner = take_off(call, cancel=cancel)
    assert isinstance(failure(joiner), RequestCancelled)
    assert not leader.done()
    call.go.set()


@pytest.mark.parametrize("outcome", ["value", ConnectError("refused.")], ids=["value", "error"])
def test_a_joiner_with_a_cancellation_gets_the_outcome_and_leaves_no_waker(take_off, outcome):
    call, cancel = Call(outcome), Cancellation()
    _, joiner = take_off(call, cancel=cancel)
    call.go.set()
    if isinstance(outcome, Exception):
        assert isinstance(failure(joiner), ConnectError)
    else:
        assert value(joiner) == "value"
    assert cancel._wakers == []


def test_a_wait_that_times_out_leaves_no_waker(take_off):
    call, cancel = Call("value"), Cancellation()
    _, joiner = take_off(call, deadline=Deadline(0.01), cancel=cancel)
    failure(joiner)
    assert cancel._wakers == []
    call.go.set()


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("seed", range(50))
def test_landing_and_cancelling_at_once_end_in_one_of_the_two(take_off, spawn, seed):
    call, cancel = Call("value"), Cancellation()
    leader, *joiners = take_off(call, joiners=4, cancel=cancel)
    at_once = threading.Barrier(2)
    firing = spawn(lambda: (at_once.wait(20), cancel.cancel(f"seed {seed}")))
    at_once.wait(20)
    call.go.set()
    assert failure(firing) is None
    assert value(leader) == "value"
    for joiner in joiners:
        with contextlib.suppress(RequestCancelled):
            assert value(joiner) == "value"


# -- forgetting ------------------------------------------------------------------------------------


def test_forgetting_says_whether_a_flight_was_under_way(flight, lead):
    assert flight.forget(KEY) is False
    call = Call("value")
    lead(call)
    assert flight.forget(KEY) is True
    assert flight.forget(KEY) is False
    call.go.set()


def test_after_forgetting_the_next_caller_starts_afresh(flight, take_off):
    old, new = Call("old"), Call("new")
    old_leader, old_joiner = take_off(old)
    flight.forget(KEY)
    new_leader, new_joiner = take_off(new)
    new.go.set()
    assert (value(new_leader), value(new_joiner)) == ("new", "new")
    old.go.set()
    assert (value(old_leader), value(old_joiner)) == ("old", "old")


@pytest.mark.parametrize("outcome", ["old", ConnectError("refused.")], ids=["value", "error"])
def test_a_forgotten_flight_that_lands_does_not_end_the_new_one(flight, lead, join, outcome):
    old, new = Call(outcome), Call("new")
    old_leader = lead(old)
    flight.forget(KEY)
    lead(new)
    old.go.set()
    failure(old_leader)
    assert KEY in flight
    (joiner,) = join(new)
    new.go.set()
    assert value(joiner) == "new"


def test_one_flight_may_be_forgotten_and_a_newer_one_of_its_key_goes_on(flight, lead):
    old, new = Call("old"), Call("new")
    assert flight.current(KEY) is None
    old_leader = lead(old)
    under_way = flight.current(KEY)
    assert flight.forget(KEY, under_way) is True
    new_leader = lead(new)
    assert flight.forget(KEY, under_way) is False
    assert KEY in flight
    assert flight.current(KEY) not in (None, under_way)
    new.go.set()
    old.go.set()
    assert (value(old_leader), value(new_leader)) == ("old", "new")
    assert flight.current(KEY) is None


def test_a_reset_forgets_every_flight_and_its_lock(flight, lead):
    old = Call("old")
    leader = lead(old)
    with flight._lock:  # as if another thread of the parent had held it when it forked
        flight.reset()
        assert not flight._lock.locked()
        assert len(flight) == 0
    assert flight.do(KEY, lambda: "new", deadline=FOR_EVER) == "new"
    old.go.set()
    assert value(leader) == "old"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_flight(flight, lead, in_child):
    call = Call("parent's")
    lead(call)

    def in_the_child():
        flight.reset()
        return flight.do(KEY, lambda: "child's", deadline=Deadline(5))

    assert in_child(in_the_child) == "child's"
    call.go.set()


# -- alone -----------------------------------------------------------------------------------------


@pytest.fixture
def come(flight, spawn, wait_until):
    """Have threads come that have to wait for a flight; return their futures once they do."""

    def come(call, callers=1, **options):
        options = {"deadline": FOR_EVER, **options}
        expected = flight.waited + callers
        futures = [spawn(flight.do, KEY, call, **options) for _ in range(callers)]
        wait_until(lambda: flight.waited == expected)
        return futures

    return come


@pytest.fixture
def lead_alone(flight, spawn):
    """Have a thread fly *call* alone; return its future once the call has begun."""

    def lead_alone(call):
        leader = spawn(flight.do, KEY, call, deadline=FOR_EVER, alone=True)
        assert call.began.wait(20)
        return leader

    return lead_alone


def test_whoever_flies_alone_with_nobody_there_waits_for_nobody(flight):
    assert flight.do(KEY, lambda: "mine", deadline=Deadline(0), alone=True) == "mine"
    assert (flight.joined, flight.waited, len(flight)) == (0, 0, 0)


def test_whoever_flies_alone_joins_nobody_and_leads_when_the_other_has_landed(flight, lead, come):
    theirs, mine = Call("theirs"), Call("mine")
    mine.go.set()
    leader, (alone,) = lead(theirs), come(mine, alone=True)
    assert mine.threads == []
    theirs.go.set()
    assert (value(leader), value(alone)) == ("theirs", "mine")
    assert flight.joined == 0
    assert len(flight) == 0


@pytest.mark.parametrize("outcome", [ConnectError("refused."), KeyboardInterrupt()])
def test_whoever_flies_alone_ignores_how_the_other_ended(lead, come, outcome):
    theirs, mine = Call(outcome), Call("mine")
    mine.go.set()
    leader, (alone,) = lead(theirs), come(mine, alone=True)
    theirs.go.set()
    assert failure(leader) is outcome
    assert value(alone) == "mine"


def test_nobody_joins_whoever_flies_alone(flight, lead_alone, come):
    mine, theirs = Call("mine"), Call("theirs")
    theirs.go.set()
    alone, others = lead_alone(mine), come(theirs, 8)
    assert theirs.threads == []
    theirs._outcomes *= 8
    mine.go.set()
    assert value(alone) == "mine"
    assert [value(other) for other in others] == ["theirs"] * 8
    assert flight.waited >= 8
    assert len(flight) == 0


def test_those_who_waited_for_whoever_flies_alone_share_a_flight(
    flight, lead_alone, come, wait_until
):
    mine, theirs = Call("mine"), Call("theirs")
    alone, others = lead_alone(mine), come(theirs, 8)
    mine.go.set()
    value(alone)
    wait_until(lambda: flight.joined == 7)
    theirs.go.set()
    assert [value(other) for other in others] == ["theirs"] * 8
    assert len(theirs.threads) == 1


def test_an_error_of_whoever_flies_alone_is_his_alone(lead_alone, come):
    error = ConnectError("refused.")
    mine, theirs = Call(error), Call("theirs")
    theirs.go.set()
    alone, (other,) = lead_alone(mine), come(theirs)
    mine.go.set()
    assert failure(alone) is error
    assert value(other) == "theirs"


def test_those_who_fly_alone_do_so_one_after_the_other(lead_alone, come, wait_until):
    first, inside, most = Call("first"), [], []

    def call():
        inside.append(threading.get_ident())
        most.append(len(inside))
        threading.Event().wait(0.001)
        inside.remove(threading.get_ident())
        return threading.get_ident()

    leader, others = lead_alone(first), come(call, 8, alone=True)
    first.go.set()
    assert value(leader) == "first"
    assert len({value(other) for other in others}) == 8
    assert most == [1] * 8


def test_whoever_waits_is_not_told_that_he_joined(lead_alone, come):
    mine = Call("mine")
    alone, (other,) = lead_alone(mine), come(lambda: "theirs", on_join=pytest.fail)
    mine.go.set()
    assert (value(alone), value(other)) == ("mine", "theirs")


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("make_cancel", [lambda: None, Cancellation], ids=["bare", "cancellable"])
def test_a_deadline_ends_the_wait_for_a_flight_that_one_has_no_part_in(
    flight, lead_alone, come, alone, make_cancel
):
    theirs, mine = Call("theirs"), Call("mine")
    leader = lead_alone(theirs)
    (waiting,) = come(mine, alone=alone, deadline=Deadline(0.01), cancel=make_cancel())
    assert str(failure(waiting)) == (
        "timed out after 0.01 s waiting for a connection another caller is making."
    )
    assert not leader.done()
    theirs.go.set()
    assert value(leader) == "theirs"
    assert mine.threads == []
    assert len(flight) == 0


@pytest.mark.parametrize("alone", [True, False])
def test_a_cancellation_ends_the_wait_for_a_flight_that_one_has_no_part_in(lead_alone, come, alone):
    theirs, mine, cancel = Call("theirs"), Call("mine"), Cancellation()
    leader, (waiting,) = lead_alone(theirs), come(mine, alone=alone, cancel=cancel)
    cancel.cancel("user left")
    assert isinstance(failure(waiting), RequestCancelled)
    assert cancel._wakers == []
    assert not leader.done()
    theirs.go.set()
    assert value(leader) == "theirs"
    assert mine.threads == []


@pytest.mark.parametrize("alone", [True, False])
def test_after_forgetting_a_lone_flight_the_next_caller_starts_afresh(flight, lead_alone, alone):
    old = Call("old")
    old_leader = lead_alone(old)
    assert flight.forget(KEY) is True
    assert flight.do(KEY, lambda: "new", deadline=FOR_EVER, alone=alone) == "new"
    assert flight.waited == 0
    old.go.set()
    assert value(old_leader) == "old"


@pytest.mark.parametrize("alone", [True, False])
def test_whoever_waited_for_a_flight_that_is_forgotten_waits_no_longer(
    flight, lead_alone, come, alone
):
    old = Call("old")
    old_leader, (waiting,) = lead_alone(old), come(lambda: "new", alone=alone)
    flight.forget(KEY)
    assert value(waiting) == "new"
    assert not old_leader.done()
    old.go.set()
    assert value(old_leader) == "old"


def test_whoever_joined_a_flight_that_is_forgotten_gets_its_outcome_while_others_go_on(
    flight, take_off, come
):
    old = Call("old")
    old_leader, joiner = take_off(old)
    (alone,) = come(lambda: "new", alone=True)
    flight.forget(KEY)
    assert value(alone) == "new"
    assert not joiner.done()
    old.go.set()
    assert (value(old_leader), value(joiner)) == ("old", "old")


def test_a_lone_flight_is_visible_while_it_lasts(flight, lead_alone):
    call = Call("mine")
    leader = lead_alone(call)
    assert KEY in flight
    call.go.set()
    value(leader)
    assert KEY not in flight


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("seed", range(20))
def test_however_they_come_one_flies_at_a_time_and_everybody_is_answered(flight, spawn, seed):
    inside, most, at_once = [], [], threading.Barrier(12)

    def call():
        me = object()
        inside.append(me)
        most.append(len(inside))
        inside.remove(me)
        return me

    def one(number):
        at_once.wait(20)
        return [
            flight.do(KEY, call, deadline=Deadline(20), alone=(number + seed + turn) % 3 == 0)
            for turn in range(10)
        ]

    futures = [spawn(one, number) for number in range(12)]
    answers = [value(future) for future in futures]
    assert max(most) == 1
    for number, answer in enumerate(answers):
        for turn, me in enumerate(answer):
            if (number + seed + turn) % 3 == 0:  # his own, and nobody else's
                assert sum(other.count(me) for other in answers) == 1
    assert len(flight) == 0
