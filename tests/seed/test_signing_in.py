"""Users who sign in, and what becomes of their connections. (8.1, 8.3)"""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import BreakerPolicy, Cancellation, MCPManager
from mcpsync.connections.reconnecting import Outcome
from mcpsync.errors import AuthorizationRequired, OAuthError, RequestCancelled
from mcpsync.stores import MemoryStore
from mcpsync.testing import FakeClock, Fault, Page
from seed.things import count, raised
from support.authority import Authority
from support.people import ADD, manager_for, query_of, sign_in, tokens_seen, what_comes_back
from support.threads import Gate, outcome, start, wait_until

POLICY = BreakerPolicy()


@pytest.fixture(params=["legacy", "modern"])
def authority(request: pytest.FixtureRequest) -> Iterator[Authority]:
    with Authority(era=request.param) as authority:
        yield authority
        assert authority.mcp.violations == []


@pytest.fixture
def legacy() -> Iterator[Authority]:
    with Authority(era="legacy", rotate=False) as authority:
        yield authority


def call(manager: MCPManager, **options: Any) -> Any:
    return manager.call_tool(*ADD, user="ada", **options).structured_content


def test_with_a_flow_manager_oauth_is_wired_to_the_connection(authority: Authority) -> None:
    with manager_for(authority) as manager:
        required = raised(lambda: manager.get_user_connection("crm", user="ada"))
        assert isinstance(required, AuthorizationRequired)
        back = what_comes_back(authority, required.authorization_url)
        manager.complete_authorization(**back)
        connection = manager.get_user_connection("crm", user="ada")
        assert {tool.name for tool in connection.tools()} >= {"add"}
        assert len(set(tokens_seen(authority, "tools/list"))) == 1


def test_what_a_call_shows_the_user_with_is_forgotten_after_it(authority: Authority) -> None:
    shown: list[str] = []

    def show(url: str) -> None:
        shown.append(url)
        manager.complete_authorization(**what_comes_back(authority, url))

    with manager_for(authority) as manager:
        assert call(manager, oauth_start=show) == {"sum": 3}
        authority.end_grants()
        assert isinstance(raised(lambda: call(manager)), AuthorizationRequired)
        assert len(shown) == 1


def test_discovery_with_oauth_returns_where_to_go(authority: Authority) -> None:
    with manager_for(authority) as manager:
        found = manager.discover_server_tools("crm", user="ada")
        assert (found.tools, found.oauth_required) == (None, True)
        assert found.oauth_url is not None
        manager.complete_authorization(
            **what_comes_back(authority, found.oauth_url), reconnect=False
        )
        found = manager.discover_server_tools("crm", user="ada")
        assert found.tools is not None
        assert (found.oauth_required, found.oauth_url) == (False, None)
        assert manager.get_connection_stats()["total_connections"] == 0
        assert authority.mcp.open_sessions == []


def test_discovery_that_returns_waits_for_nobody(authority: Authority) -> None:
    shown: list[str] = []
    with manager_for(authority) as manager:
        found = manager.discover_server_tools(
            "crm", user="ada", oauth_start=shown.append, return_on_oauth=True
        )
        assert found.oauth_url is not None
        assert shown == []
        assert manager.stats()["breakers"] == []


def test_recovery_from_a_401_is_once_for_all_callers_and_each_calls_once_more(
    authority: Authority,
) -> None:
    with manager_for(authority) as manager:
        sign_in(manager, authority)
        assert call(manager) == {"sum": 3}
        authority.end_access_tokens()
        ready = threading.Barrier(8, timeout=10)

        def at_once() -> Any:
            ready.wait()
            return call(manager)

        calls = [start(at_once) for _ in range(8)]
        assert [outcome(each) for each in calls] == [{"sum": 3}] * 8
        assert authority.count("token", grant_type="refresh_token") == 1
        assert authority.mcp.executions == {"add": 9}


def test_an_abort_during_recovery_leaves_the_other_waiters(legacy: Authority) -> None:
    gate, cancel = Gate(), Cancellation()
    with manager_for(legacy) as manager:
        sign_in(manager, legacy)
        assert call(manager) == {"sum": 3}
        legacy.end_access_tokens()
        legacy.say("/token", lambda: gate())
        first = start(lambda: call(manager, cancel=cancel))
        gate.wait_reached()
        others = [start(call, manager) for _ in range(3)]
        flights = manager._sign_ins.storage._flights
        wait_until(lambda: flights.joined == 3, "three who wait for the first")
        cancel.cancel("the user left")
        assert isinstance(outcome(first), RequestCancelled)
        assert not any(each.done() for each in others)
        gate.open()
        assert [outcome(each) for each in others] == [{"sum": 3}] * 3


def test_when_the_first_to_recover_fails_another_takes_over(legacy: Authority) -> None:
    gate, cancel = Gate(), Cancellation()
    with manager_for(legacy) as manager:
        sign_in(manager, legacy)
        assert call(manager) == {"sum": 3}
        legacy.end_access_tokens()
        legacy.say("/token", lambda: gate())
        first = start(lambda: call(manager, cancel=cancel))
        gate.wait_reached()
        cancel.cancel("the user left")
        assert isinstance(outcome(first), RequestCancelled)
        second = start(call, manager)
        gate.open()
        assert outcome(second) == {"sum": 3}


def lose(authority: Authority, manager: MCPManager, clock: FakeClock) -> None:
    """Have a connection found dead, and made anew."""
    call(manager)
    clock.advance(1)
    authority.mcp.inject(Fault.HTTP_500, method="ping")
    call(manager)


def cycles(manager: MCPManager) -> list[int]:
    return [state["cycles"] for state in manager.stats()["breakers"]]


def test_a_sign_in_that_succeeds_takes_the_cycles_back_and_one_that_fails_does_not(
    legacy: Authority, clock: FakeClock
) -> None:
    """Here: all of them, for signing in is as explicit a wish as ``force_new``."""
    with manager_for(legacy, clock=clock, trust_timeout=1) as manager:
        sign_in(manager, legacy)
        for _ in range(2):
            lose(legacy, manager, clock)
        assert cycles(manager) == [2]
        legacy.end_grants()
        url = raised(lambda: call(manager)).authorization_url  # type: ignore[attr-defined]
        refused = raised(lambda: manager.complete_authorization(**query_of(legacy.refuse(url))))
        assert isinstance(refused, OAuthError)
        assert cycles(manager) == [2]
        sign_in(manager, legacy)
        assert cycles(manager) == []


def test_three_sign_ins_and_more_do_not_trip_it(authority: Authority, clock: FakeClock) -> None:
    told: list[Any] = []
    with manager_for(authority, clock=clock, on_event=told.append) as manager:
        for _ in range(2 * POLICY.max_cycles):
            sign_in(manager, authority)
            assert call(manager) == {"sum": 3}
            authority.end_grants()
        assert count(told, "BreakerOpened") == 0
        assert manager.stats()["breakers"] == []


def test_reconnections_that_fail_are_left_alone_for_5_10_20_and_30_minutes(
    clock: FakeClock,
) -> None:
    with Authority() as authority:
        store = MemoryStore()
        with manager_for(authority, store=store) as before:
            sign_in(before, authority, reconnect=False)
        with manager_for(authority, store=store, clock=clock, connect_attempts=1) as manager:
            storage = manager._sign_ins.storage
            grant = storage.find("ada:crm")
            assert grant is not None

            def reconnect() -> str:
                storage.keep("ada:crm", grant)
                return manager.reconnect_servers("ada")["crm"].outcome

            authority.end_grants()
            for minutes in (5, 10, 20, 30, 30):
                assert reconnect() == Outcome.FAILED
                clock.advance(60 * minutes - 1)
                assert reconnect() == Outcome.COOLING
                clock.advance(1)
            sign_in(manager, authority, reconnect=False)
            assert manager.reconnect_servers("ada")["crm"].outcome == Outcome.CONNECTED


@pytest.mark.parametrize(
    ("word", "is_forgotten"),
    [("invalid_client", True), ("unauthorized_client", True), ("invalid_grant", False)],
)
def test_who_is_not_known_any_more_registers_again(
    word: str, is_forgotten: bool, authority: Authority
) -> None:
    with manager_for(authority) as manager:
        sign_in(manager, authority)
        assert call(manager) == {"sum": 3}
        authority.end_access_tokens()
        answer = json.dumps({"error": word}).encode()
        authority.say("/token", Page(400, answer, "application/json"))
        assert isinstance(raised(lambda: call(manager)), AuthorizationRequired)
        sign_in(manager, authority)
        assert call(manager) == {"sum": 3}
    assert authority.count("register") == (2 if is_forgotten else 1)
