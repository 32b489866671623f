"""Users who have signed in before are connected again when they come back. (Seed 3.9)"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import Cancellation, MCPManager
from mcpsync.connections.connection import Key
from mcpsync.connections.reconnecting import (
    ACTIVE_TIMEOUT,
    FORGET_AFTER,
    STAGGER,
    Outcome,
    ReconnectionTracker,
)
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    ConnectionClosed,
    ConnectTimeout,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.stores import MemoryStore
from mcpsync.testing import FakeClock, Fault, LocalServer, Page
from support.authority import Authority
from support.people import ADD, CALLBACK, manager_for, sign_in, turned_away, what_comes_back
from support.threads import Gate, outcome, start

ADA = Key("ada", "crm")
MINUTE = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tracker(clock: FakeClock) -> ReconnectionTracker:
    return ReconnectionTracker(clock)


@pytest.fixture
def authority() -> Iterator[Authority]:
    with Authority() as authority:
        yield authority


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def signed_in(authority: Authority, store: MemoryStore) -> MemoryStore:
    """The store of an application at which ada has signed in, and which was started anew."""
    with manager_for(authority, store=store) as before:
        sign_in(before, authority, reconnect=False)
    return store


def attempt(tracker: ReconnectionTracker, key: Key = ADA, *, failed: bool | None) -> Outcome | None:
    """Begin an attempt and end it; return why it must not begin, if so."""
    began = tracker.begin(key)
    if isinstance(began, Outcome):
        return began
    tracker.end(key, began, failed=failed)
    return None


# -- the tracker ----------------------------------------------------------------------------------


def test_failures_are_left_alone_for_5_10_20_and_30_minutes(
    tracker: ReconnectionTracker, clock: FakeClock
) -> None:
    for minutes in (5, 10, 20, 30, 30):
        assert attempt(tracker, failed=True) is None
        clock.advance(minutes * MINUTE - 1)
        assert attempt(tracker, failed=False) is Outcome.COOLING
        clock.advance(1)


def test_a_success_forgets_the_failures(tracker: ReconnectionTracker, clock: FakeClock) -> None:
    for minutes in (5, 10):
        attempt(tracker, failed=True)
        clock.advance(minutes * MINUTE)
    attempt(tracker, failed=False)
    attempt(tracker, failed=True)
    clock.advance(5 * MINUTE)
    assert attempt(tracker, failed=False) is None
    assert len(tracker) == 0


def test_what_nobody_knows_the_outcome_of_changes_nothing(
    tracker: ReconnectionTracker, clock: FakeClock
) -> None:
    attempt(tracker, failed=True)
    clock.advance(5 * MINUTE)
    attempt(tracker, failed=None)
    attempt(tracker, failed=True)
    clock.advance(10 * MINUTE - 1)
    assert attempt(tracker, failed=False) is Outcome.COOLING


def test_what_failed_can_be_forgotten(tracker: ReconnectionTracker) -> None:
    attempt(tracker, failed=True)
    tracker.forget(ADA)
    assert attempt(tracker, failed=False) is None


def test_users_and_servers_fail_for_themselves(tracker: ReconnectionTracker) -> None:
    attempt(tracker, failed=True)
    assert attempt(tracker, Key("bob", "crm"), failed=False) is None
    assert attempt(tracker, Key("ada", "wiki"), failed=False) is None
    assert attempt(tracker, failed=False) is Outcome.COOLING


def test_one_is_at_it_at_a_time_until_he_is_taken_for_dead(
    tracker: ReconnectionTracker, clock: FakeClock
) -> None:
    began = tracker.begin(ADA)
    assert isinstance(began, float)
    clock.advance(ACTIVE_TIMEOUT - 1)
    assert tracker.begin(ADA) is Outcome.ACTIVE
    clock.advance(1)
    second = tracker.begin(ADA)
    assert isinstance(second, float)
    tracker.end(ADA, began, failed=True)
    assert tracker.begin(ADA) is Outcome.ACTIVE, "the dead one says nothing of the other"
    tracker.end(ADA, second, failed=False)
    assert attempt(tracker, failed=False) is None


def test_those_who_never_come_back_are_forgotten(
    tracker: ReconnectionTracker, clock: FakeClock
) -> None:
    faithful = Key("0", "crm")
    for number in range(100):
        attempt(tracker, Key(str(number), "crm"), failed=True)
    clock.advance(5 * MINUTE + FORGET_AFTER - 1)
    attempt(tracker, faithful, failed=True)
    assert len(tracker) == 100
    clock.advance(1)
    attempt(tracker, failed=False)
    assert len(tracker) == 1
    assert attempt(tracker, faithful, failed=False) is Outcome.COOLING


def test_a_forked_child_is_not_kept_from_it_by_its_parents_threads(
    tracker: ReconnectionTracker,
) -> None:
    tracker.begin(ADA)
    child = os.fork()
    if child == 0:
        os._exit(0 if attempt(tracker, failed=False) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert tracker.begin(ADA) is Outcome.ACTIVE


# -- a manager ------------------------------------------------------------------------------------


def test_a_user_who_signed_in_before_is_connected_again(
    authority: Authority, signed_in: MemoryStore
) -> None:
    with manager_for(authority, store=signed_in) as manager:
        assert manager.reconnect_servers("ada") == {"crm": (Outcome.CONNECTED, None)}
        connection = manager.get_user_connections("ada")["crm"]
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
        assert manager.get_user_connections("ada")["crm"] is connection
        assert authority.count("authorize") == 1


def test_a_token_that_is_over_is_refreshed_for_it(
    authority: Authority, signed_in: MemoryStore
) -> None:
    authority.end_access_tokens()
    with manager_for(authority, store=signed_in) as manager:
        assert manager.reconnect_servers("ada")["crm"].outcome is Outcome.CONNECTED
    assert authority.count("token", grant_type="refresh_token") == 1


def test_who_is_connected_is_left_alone(authority: Authority, signed_in: MemoryStore) -> None:
    with manager_for(authority, store=signed_in) as manager:
        manager.reconnect_servers("ada")
        before = len(authority.mcp.requests)
        assert manager.reconnect_servers("ada") == {"crm": (Outcome.ALREADY_CONNECTED, None)}
        assert len(authority.mcp.requests) == before


def test_who_has_not_signed_in_is_not_asked_to(authority: Authority) -> None:
    with manager_for(authority) as manager:
        assert manager.reconnect_servers("ada") == {"crm": (Outcome.NOT_SIGNED_IN, None)}
        assert (authority.mcp.requests, authority.server.requests) == ([], [])


def test_servers_that_nobody_signs_in_to_are_none_of_its_business(
    authority: Authority, signed_in: MemoryStore
) -> None:
    servers = {
        "crm": {"url": authority.url, "requires_oauth": True},
        "plain": {"url": authority.url, "requires_oauth": False},
        "command": {"command": "python3"},
        "shared": {"url": authority.url, "scope": "app"},
        "of a request": {"url": f"{authority.url}?{{{{BODY_ID}}}}", "requires_oauth": True},
        "on behalf": {"url": authority.url, "obo": {"scopes": "a"}},
    }
    with MCPManager(servers, store=signed_in, oauth_redirect_uri=CALLBACK) as manager:
        assert list(manager.reconnect_servers("ada")) == ["crm"]


def test_a_server_that_was_found_to_want_it_counts_too(
    authority: Authority, signed_in: MemoryStore
) -> None:
    with manager_for(authority, {"requires_oauth": None}, store=signed_in) as manager:
        assert manager.reconnect_servers("ada")["crm"].outcome is Outcome.CONNECTED


def test_a_failure_is_told_and_left_alone_for_five_minutes(
    authority: Authority, signed_in: MemoryStore, clock: FakeClock
) -> None:
    with manager_for(authority, store=signed_in, clock=clock, connect_attempts=1) as manager:
        authority.say("/mcp", Page(500), times=20)
        found = manager.reconnect_servers("ada")["crm"]
        assert found.outcome is Outcome.FAILED
        assert found.error is not None
        assert (found.error.server_name, found.error.user_id) == ("crm", "ada")
        assert manager.get_user_connections("ada") == {}
        before = len(authority.mcp.requests)
        assert manager.reconnect_servers("ada") == {"crm": (Outcome.COOLING, None)}
        assert len(authority.mcp.requests) == before
        with authority._lock:
            authority._pages.clear()
        clock.advance(5 * MINUTE)
        assert manager.reconnect_servers("ada") == {"crm": (Outcome.CONNECTED, None)}


def test_a_grant_that_is_over_is_a_failure_that_says_where_to_go(
    authority: Authority, signed_in: MemoryStore
) -> None:
    authority.end_grants()
    shown: list[str] = []
    with manager_for(authority, store=signed_in) as manager:
        found = manager.reconnect_servers("ada", oauth_start=shown.append)["crm"]
        assert found.outcome is Outcome.FAILED
        assert isinstance(found.error, AuthorizationRequired)
        assert found.error.authorization_url == turned_away(manager).authorization_url
        assert shown == [], "nobody is asked to sign in"


def test_signing_in_forgets_what_failed(authority: Authority, signed_in: MemoryStore) -> None:
    authority.end_grants()
    with manager_for(authority, store=signed_in) as manager:
        assert manager.reconnect_servers("ada")["crm"].outcome is Outcome.FAILED
        back = what_comes_back(authority, turned_away(manager).authorization_url)
        manager.complete_authorization(**back, reconnect=False)
        assert manager.reconnect_servers("ada") == {"crm": (Outcome.CONNECTED, None)}


def test_signing_out_forgets_what_failed(authority: Authority, signed_in: MemoryStore) -> None:
    authority.end_grants()
    with manager_for(authority, store=signed_in) as manager:
        assert manager.reconnect_servers("ada")["crm"].outcome is Outcome.FAILED
        manager.revoke("crm", user="ada")
        assert manager.reconnect_servers("ada")["crm"].outcome is Outcome.NOT_SIGNED_IN
        assert len(manager._reconnections) == 0


def test_one_thread_is_at_it_at_a_time(authority: Authority, signed_in: MemoryStore) -> None:
    gate = Gate()
    authority.say("/mcp", gate)  # type: ignore[arg-type]
    with manager_for(authority, store=signed_in) as manager:
        first = start(manager.reconnect_servers, "ada")
        gate.wait_reached()
        assert manager.reconnect_servers("ada") == {"crm": (Outcome.ACTIVE, None)}
        gate.open()
        assert outcome(first) == {"crm": (Outcome.CONNECTED, None)}


# -- several servers ------------------------------------------------------------------------------


@pytest.fixture
def many(authority: Authority, signed_in: MemoryStore) -> Iterator[MCPManager]:
    """A manager of six servers at which ada has signed in."""
    names = [f"s{number}" for number in range(6)]
    servers = {name: {"url": authority.url, "requires_oauth": True} for name in names}
    with MCPManager(servers, store=signed_in, oauth_redirect_uri=CALLBACK) as manager:
        grant = manager._sign_ins.storage.find("ada:crm")
        assert grant is not None
        for name in names:
            manager._sign_ins.storage.keep(f"ada:{name}", grant)
        yield manager


def test_they_are_begun_one_after_the_other_and_four_at_a_time(
    many: MCPManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(many, "_pause", lambda seconds, *_: waits.append(seconds))
    found = many.reconnect_servers("ada")
    assert {each.outcome for each in found.values()} == {Outcome.CONNECTED}
    assert sorted(waits) == [STAGGER, STAGGER, STAGGER, 2 * STAGGER, 3 * STAGGER]


def test_what_the_callers_time_does_not_suffice_for_is_left_out_and_not_held_against_it(
    many: MCPManager,
) -> None:
    found = many.reconnect_servers("ada", timeout=0.4)
    assert found["s0"].outcome is Outcome.CONNECTED
    others = [found[f"s{number}"] for number in range(1, 6)]
    assert {each.outcome for each in others} == {Outcome.LEFT_OUT}
    assert all(isinstance(each.error, RequestTimeout) for each in others)
    assert len(many._reconnections) == 0


def test_it_can_be_called_off(many: MCPManager) -> None:
    cancel = Cancellation()
    cancel.cancel()
    found = many.reconnect_servers("ada", cancel=cancel)
    assert {each.outcome for each in found.values()} == {Outcome.LEFT_OUT}
    assert all(isinstance(each.error, RequestCancelled) for each in found.values())


def test_a_user_who_is_disconnected_meanwhile_has_not_failed(
    authority: Authority, signed_in: MemoryStore
) -> None:
    gate = Gate()
    authority.say("/mcp", gate)  # type: ignore[arg-type]
    with manager_for(authority, store=signed_in) as manager:
        reconnecting = start(manager.reconnect_servers, "ada")
        gate.wait_reached()
        manager.disconnect_user_connections("ada")
        found = outcome(reconnecting)["crm"]
        gate.open()
        assert found.outcome is Outcome.LEFT_OUT
        assert isinstance(found.error, ConnectionClosed)
        assert len(manager._reconnections) == 0


@pytest.mark.parametrize(("config", "seconds"), [({}, 10.0), ({"connect_timeout": 3.0}, 3.0)])
def test_a_server_has_ten_seconds_or_what_its_configuration_says(
    authority: Authority,
    signed_in: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    seconds: float,
) -> None:
    seen: list[float | None] = []
    with manager_for(authority, config, store=signed_in) as manager:
        create = manager._factory.create

        def note(key: Any, options: Any, scope: Any, **more: Any) -> Any:
            seen.append(options.connection_timeout or options.config.connect_timeout)
            return create(key, options, scope, **more)

        monkeypatch.setattr(manager._factory, "create", note)
        manager.reconnect_servers("ada")
    assert seen == [seconds]


def test_a_server_that_hangs_is_a_failure_when_its_time_is_over(
    authority: Authority, signed_in: MemoryStore
) -> None:
    config = {"connect_timeout": 0.3}
    with manager_for(authority, config, store=signed_in) as manager:
        authority.mcp.inject(Fault.HANG)
        found = manager.reconnect_servers("ada")["crm"]
        assert found.outcome is Outcome.FAILED
        assert isinstance(found.error, ConnectTimeout)
        authority.mcp.release()


def test_it_needs_a_user() -> None:
    with LocalServer() as server, MCPManager({"crm": {"url": server.url}}) as manager:
        with pytest.raises(ConfigurationError):
            manager.reconnect_servers(None)
        with pytest.raises(TypeError):
            manager.reconnect_servers("ada", no_such_option=1)
