"""Sign-ins under way; seed 3.4 and 3.8."""

import dataclasses
import threading

import pytest

from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import flows as module
from mcpsync.auth.flows import Flow, FlowStateManager, FlowStatus
from mcpsync.errors import OAuthError, RequestCancelled, RequestTimeout
from mcpsync.stores import MemoryStore
from mcpsync.testing import FakeClock
from support.threads import outcome, start

OWNER = "ada:crm"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock)


@pytest.fixture
def flows(store, clock):
    return FlowStateManager(store, clock)


@pytest.fixture
def make(clock):
    made = []

    def one():
        number = len(made) + 1
        made.append(
            Flow(
                flow_id=OWNER,
                url=f"https://as.example/authorize?state=state{number}",
                state=f"state{number}",
                verifier="s3cret",
                created_at=clock.time(),
            )
        )
        return made[-1]

    one.made = made
    return one


def test_a_late_joiner_gets_the_same_url(flows, make):
    first = flows.begin(OWNER, make)
    assert flows.begin(OWNER, make) == first
    assert len(make.made) == 1


def test_it_is_in_the_store_before_anybody_sees_the_url(flows, make, store, clock):
    flow = flows.begin(OWNER, make)
    other = FlowStateManager(store, clock)
    assert other.find_by_state(flow.state) == other.find(OWNER) == flow


def test_of_many_who_begin_at_once_all_get_one_url(flows, make):
    ready = threading.Barrier(8)

    def begin():
        ready.wait(20)
        return flows.begin(OWNER, make).url

    assert len({outcome(task) for task in [start(begin) for _ in range(8)]}) == 1
    assert flows.find_by_state(flows.find(OWNER).state) is not None


def test_states_that_came_to_nothing_lead_nowhere(flows, make):
    first = flows.begin(OWNER, make)
    second = flows.begin(OWNER, make, instead_of=flows.find(OWNER))
    assert flows.find_by_state(first.state) is None
    assert flows.find_by_state(second.state) == second
    assert flows.find_by_state("forged") is None
    assert flows.find_by_state("") is None


def test_one_that_somebody_else_has_begun_meanwhile_is_not_replaced(flows, make):
    first = flows.begin(OWNER, make)
    second = flows.begin(OWNER, make, instead_of=first)
    assert second != first
    assert flows.begin(OWNER, make, instead_of=first) == second


def test_a_stale_one_is_replaced_and_a_fresh_one_is_not(flows, make, clock):
    first = flows.begin(OWNER, make)
    clock.advance(module.PENDING_STALE - 1)
    assert flows.begin(OWNER, make) == first
    clock.advance(2)
    assert flows.begin(OWNER, make).url != first.url


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_one_that_is_over_is_replaced(flows, make, end):
    flow = flows.redeem(flows.begin(OWNER, make), "code")
    flows.complete(flow) if end == "complete" else flows.fail(flow, "access_denied")
    assert flows.begin(OWNER, make).state != flow.state


def test_users_do_not_meet(flows, make):
    mine = flows.begin(OWNER, make)
    theirs = flows.begin("bob:crm", lambda: dataclasses.replace(make(), flow_id="bob:crm"))
    assert flows.find(OWNER) == mine
    assert flows.find("bob:crm") == theirs


def test_a_code_is_redeemed_once(flows, make):
    flow = flows.begin(OWNER, make)
    taken = flows.redeem(flow, "code")
    assert taken.status is FlowStatus.REDEEMING
    with pytest.raises(OAuthError, match="being completed") as caught:
        flows.redeem(flow, "code")
    assert caught.value.retryable
    flows.complete(taken)
    assert flows.redeem(flow, "code") is None, "a double click is harmless"


def test_another_code_for_a_state_that_was_used_is_refused(flows, make):
    flow = flows.begin(OWNER, make)
    flows.complete(flows.redeem(flow, "code"))
    with pytest.raises(OAuthError, match="over"):
        flows.redeem(flow, "forged")


def test_of_many_who_come_with_a_code_one_redeems_it(flows, make):
    flow = flows.begin(OWNER, make)
    ready = threading.Barrier(8)

    def redeem():
        ready.wait(20)
        return flows.redeem(flow, "code")

    found = [outcome(task) for task in [start(redeem) for _ in range(8)]]
    assert sum(isinstance(each, Flow) for each in found) == 1
    assert sum(isinstance(each, OAuthError) for each in found) == 7


def test_who_died_while_he_redeemed_leaves_it_to_be_begun_anew(flows, make, clock):
    flow = flows.begin(OWNER, make)
    flows.redeem(flow, "code")
    assert flows.begin(OWNER, make).state == flow.state, "he may still be at it"
    clock.advance(module.REDEEMING + 1)
    with pytest.raises(OAuthError, match="over"):
        flows.redeem(flow, "code")
    assert flows.begin(OWNER, make).state != flow.state


def test_one_that_took_too_long_is_over(flows, make, clock):
    flow = flows.begin(OWNER, make)
    clock.advance(module.PENDING_STALE + 1)
    with pytest.raises(OAuthError, match="over"):
        flows.redeem(flow, "code")
    clock.advance(module.FLOW_TTL)
    assert flows.find_by_state(flow.state) is None


def test_one_that_is_done_does_not_fail_any_more(flows, make):
    flow = flows.redeem(flows.begin(OWNER, make), "code")
    flows.complete(flow)
    flows.fail(flow, "too late")
    assert flows.find(OWNER).status is FlowStatus.COMPLETED


def test_the_verifier_does_not_outlive_it(flows, make):
    flow = flows.redeem(flows.begin(OWNER, make), "code")
    assert flow.verifier
    flows.complete(flow)
    assert flows.find(OWNER).verifier == ""


def test_forgetting_takes_the_state_along(flows, make):
    flow = flows.begin(OWNER, make)
    assert flows.forget(OWNER)
    assert not flows.forget(OWNER)
    assert flows.find(OWNER) is flows.find_by_state(flow.state) is None


def test_only_the_browser_that_began_it_has_its_binding(flows, make):
    flow = flows.begin(OWNER, make)
    assert len(flow.browser_binding) == 32
    assert flow.is_of_browser(flow.browser_binding)
    other = flows.begin(OWNER, make, instead_of=flows.find(OWNER))
    assert not flow.is_of_browser(other.browser_binding)
    assert not flow.is_of_browser("")


def test_nothing_secret_is_in_a_repr(flows, make):
    text = repr(flows.begin(OWNER, make))
    assert "s3cret" not in text
    assert "state1" not in text
    assert "authorize" not in text


def test_whoever_waits_hears_that_it_is_done(flows, make, store):
    flow = flows.begin(OWNER, make)
    waiting = start(lambda: flows.wait(flow, Deadline(20)))
    flows.complete(flows.redeem(flow, "code"))
    assert outcome(waiting) is None


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda flows, flow: flows.fail(flow, "access_denied"), "access_denied"),
        (lambda flows, flow: flows.forget(OWNER), "flow_cancelled"),
    ],
    ids=["failed", "forgotten"],
)
def test_whoever_waits_hears_that_it_came_to_nothing(flows, make, end, error):
    flow = flows.begin(OWNER, make)
    waiting = start(lambda: flows.wait(flow, Deadline(20)))
    end(flows, flow)
    found = outcome(waiting)
    assert isinstance(found, OAuthError)
    assert found.error == error


def test_whoever_waits_hears_that_another_took_its_place(flows, make):
    flow = flows.begin(OWNER, make)
    flows.begin(OWNER, make, instead_of=flows.find(OWNER))
    with pytest.raises(OAuthError, match="cancelled"):
        flows.wait(flow, Deadline(20))


def test_a_wait_ends_with_its_own_deadline_and_the_sign_in_goes_on(flows, make):
    flow = flows.begin(OWNER, make)
    with pytest.raises(RequestTimeout, match="the user to sign in"):
        flows.wait(flow, Deadline(0.05))
    assert flows.is_fresh(flows.find(OWNER))


def test_a_wait_can_be_cancelled(flows, make):
    flow, cancel = flows.begin(OWNER, make), Cancellation()
    waiting = start(lambda: flows.wait(flow, Deadline(20), cancel))
    cancel.cancel()
    assert isinstance(outcome(waiting), RequestCancelled)
