"""Sign-ins under way, shared by all processes of a store. (8.10)"""

from collections.abc import Callable

import pytest

from mcpsync import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import flows as module
from mcpsync.auth.flows import Flow, FlowStateManager, FlowStatus
from mcpsync.errors import OAuthError, RequestCancelled, RequestTimeout
from mcpsync.stores import MemoryStore
from mcpsync.testing import FakeClock
from support.threads import outcome, start

OWNER = "ada:crm"
Make = Callable[[], Flow]


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def flows(store: MemoryStore, clock: FakeClock) -> FlowStateManager:
    return FlowStateManager(store, clock)


@pytest.fixture
def elsewhere(store: MemoryStore, clock: FakeClock) -> FlowStateManager:
    """What another process of the same store has."""
    return FlowStateManager(store, clock)


@pytest.fixture
def make(clock: FakeClock) -> Make:
    made: list[Flow] = []

    def one() -> Flow:
        state = f"state{len(made)}"
        url = f"https://as.example/authorize?state={state}"
        made.append(Flow(OWNER, url, state, verifier="v", created_at=clock.time()))
        return made[-1]

    return one


def test_a_flow_is_created_once_and_joined_by_whoever_comes_later(
    flows: FlowStateManager, elsewhere: FlowStateManager, make: Make
) -> None:
    first = flows.begin(OWNER, make)
    assert elsewhere.begin(OWNER, make) == first
    assert elsewhere.find_by_state(first.state) == first


def test_a_flow_that_is_completed_is_told_to_who_waits_in_another_process(
    flows: FlowStateManager, elsewhere: FlowStateManager, make: Make
) -> None:
    flow = flows.begin(OWNER, make)
    waiting = start(elsewhere.wait, flow, Deadline(10))
    redeemed = flows.redeem(flow, "code")
    assert redeemed is not None
    flows.complete(redeemed)
    assert outcome(waiting) is None


def test_a_flow_that_failed_is_an_error_of_who_waits(
    flows: FlowStateManager, elsewhere: FlowStateManager, make: Make
) -> None:
    flow = flows.begin(OWNER, make)
    waiting = start(elsewhere.wait, flow, Deadline(10))
    flows.fail(flow, "access_denied")
    error = outcome(waiting)
    assert isinstance(error, OAuthError)
    assert error.error == "access_denied"


def test_a_flow_that_is_completed_twice_is_redeemed_once(
    flows: FlowStateManager, elsewhere: FlowStateManager, make: Make
) -> None:
    flow = flows.begin(OWNER, make)
    redeemed = flows.redeem(flow, "code")
    assert redeemed is not None
    flows.complete(redeemed)
    again = elsewhere.find(OWNER)
    assert again is not None
    assert elsewhere.redeem(again, "code") is None
    assert again.stands is FlowStatus.COMPLETED


def test_a_flow_that_is_stale_is_begun_anew_and_its_state_leads_nowhere(
    flows: FlowStateManager, make: Make, clock: FakeClock
) -> None:
    first = flows.begin(OWNER, make)
    clock.advance(module.PENDING_STALE)
    assert not flows.is_fresh(first)
    second = flows.begin(OWNER, make)
    assert second.state != first.state
    assert flows.find_by_state(first.state) is None


def test_who_aborts_waiting_leaves_the_flow_to_the_others(
    flows: FlowStateManager, make: Make
) -> None:
    flow = flows.begin(OWNER, make)
    cancel = Cancellation()
    waiting = start(flows.wait, flow, Deadline(10), cancel)
    cancel.cancel()
    assert isinstance(outcome(waiting), RequestCancelled)
    with pytest.raises(RequestTimeout):
        flows.wait(flow, Deadline(0.05))
    assert flows.find(OWNER) == flow
