"""Calls that wait for a user who signs in meanwhile, and calls that do not."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from mcpsync import Cancellation, MCPManager
from mcpsync.auth.flows import PENDING_STALE
from mcpsync.errors import (
    AuthorizationRequired,
    ConnectionClosed,
    InsufficientScope,
    OAuthError,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.stores import MemoryStore
from mcpsync.testing import FakeClock, Page
from support.authority import Authority
from support.people import (
    ADD,
    manager_for,
    query_of,
    sign_in,
    tokens_seen,
    turned_away,
    what_comes_back,
)
from support.threads import Gate, outcome, start, wait_until


class Screen:
    """What a user is shown: the URLs, and when that is over."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.ended = 0

    def show(self, url: str) -> None:
        self.urls.append(url)

    def end(self) -> None:
        self.ended += 1

    @property
    def options(self) -> dict[str, Any]:
        """What a call is told with."""
        return {"oauth_start": self.show, "oauth_end": self.end}

    def wait_shown(self, how_many: int = 1) -> str:
        wait_until(lambda: len(self.urls) == how_many, f"{how_many} URLs on the screen")
        return self.urls[-1]


@pytest.fixture
def screen() -> Screen:
    return Screen()


def call(manager: MCPManager, screen: Screen, user: str = "ada", **options: Any) -> Any:
    return manager.call_tool(*ADD, user=user, **screen.options, **{"timeout": 10, **options})


# -- waiting --------------------------------------------------------------------------------------


def test_a_call_that_may_wait_goes_on_when_the_user_has_signed_in(
    authority: Authority, screen: Screen
) -> None:
    with manager_for(authority) as manager:
        waiting = start(call, manager, screen)
        back = what_comes_back(authority, screen.wait_shown())
        assert screen.ended == 0
        manager.complete_authorization(**back)
        assert outcome(waiting).structured_content == {"sum": 3}
        assert (len(screen.urls), screen.ended) == (1, 1)
        assert authority.mcp.executions == {"add": 1}


def test_a_call_goes_on_when_the_user_has_signed_in_elsewhere(
    authority: Authority, screen: Screen
) -> None:
    store = MemoryStore()
    with (
        manager_for(authority, store=store) as manager,
        manager_for(authority, store=store) as elsewhere,
    ):
        waiting = start(call, manager, screen)
        elsewhere.complete_authorization(**what_comes_back(authority, screen.wait_shown()))
        assert outcome(waiting).structured_content == {"sum": 3}
        assert authority.count("token") == 1


def test_whoever_is_shown_the_url_may_complete_it_at_once(one: Authority) -> None:
    with manager_for(one) as manager:
        result = manager.call_tool(
            *ADD,
            user="ada",
            oauth_start=lambda url: manager.complete_authorization(**what_comes_back(one, url)),
        )
        assert result.structured_content == {"sum": 3}


def test_three_threads_wait_for_one_user(authority: Authority, screen: Screen) -> None:
    with manager_for(authority) as manager:
        waiting = [start(call, manager, screen) for _ in range(3)]
        back = what_comes_back(authority, screen.wait_shown(3))
        assert len(set(screen.urls)) == 1
        manager.complete_authorization(**back)
        assert [outcome(each).structured_content for each in waiting] == [{"sum": 3}] * 3
        assert (screen.ended, authority.count("token")) == (3, 1)
        assert authority.mcp.executions == {"add": 3}


def test_whoever_joins_a_connection_on_its_way_decides_for_himself(
    one: Authority, screen: Screen
) -> None:
    gate = Gate()

    def late() -> None:
        gate()

    told: list[Any] = []
    one.say("/register", late)
    with manager_for(one, on_event=told.append) as manager:
        waits = start(call, manager, screen)
        gate.wait_reached()
        others = [
            start(turned_away, manager, "ada"),
            start(lambda: turned_away(manager, oauth_start=screen.show, return_on_oauth=True)),
        ]
        wait_until(lambda: sum(type(e).__name__ == "ConnectionJoined" for e in told) == 2)
        gate.open()
        urls = {outcome(each).authorization_url for each in others}
        assert urls == {screen.wait_shown(2)} == set(screen.urls)
        assert not waits.done()
        manager.complete_authorization(**what_comes_back(one, screen.urls[0]))
        assert outcome(waits).structured_content == {"sum": 3}
        assert one.count("register") == 1


def test_the_waiting_is_bounded_by_the_calls_own_time(one: Authority, screen: Screen) -> None:
    with manager_for(one) as manager:
        began = time.monotonic()
        with pytest.raises(RequestTimeout) as caught:
            call(manager, screen, timeout=0.5)
        assert 0.4 < time.monotonic() - began < 3
        assert not caught.value.maybe_executed
        assert (caught.value.server_name, caught.value.user_id) == ("crm", "ada")
        assert (len(screen.urls), screen.ended) == (1, 1)


def test_waiting_longer_than_connecting_may_take_is_no_error(
    one: Authority, screen: Screen
) -> None:
    with manager_for(one, {"connect_timeout": 0.5}) as manager:
        waiting = start(call, manager, screen)
        back = what_comes_back(one, screen.wait_shown())
        threading.Event().wait(0.7)  # longer than connecting may take: that is what is tested
        manager.complete_authorization(**back)
        assert outcome(waiting).structured_content == {"sum": 3}


def test_a_caller_who_called_it_off_waits_no_longer(one: Authority, screen: Screen) -> None:
    cancel = Cancellation()
    with manager_for(one) as manager:
        waiting = start(lambda: call(manager, screen, cancel=cancel))
        screen.wait_shown()
        cancel.cancel("the user left")
        assert isinstance(outcome(waiting), RequestCancelled)
        assert screen.ended == 1


def test_a_sign_in_that_is_cancelled_wakes_all_who_wait(one: Authority, screen: Screen) -> None:
    with manager_for(one) as manager:
        waiting = [start(call, manager, screen) for _ in range(2)]
        back = what_comes_back(one, screen.wait_shown(2))
        assert manager.cancel_authorization("crm", user="ada") is True
        for each in waiting:
            error = outcome(each)
            assert isinstance(error, OAuthError)
            assert (error.error, error.server_name, error.user_id) == (
                "flow_cancelled",
                "crm",
                "ada",
            )
        assert screen.ended == 2
        with pytest.raises(OAuthError):
            manager.complete_authorization(**back)
        assert one.count("token") == 0


def test_cancelling_leaves_what_is_done_and_what_is_others(one: Authority) -> None:
    with manager_for(one) as manager:
        assert manager.cancel_authorization("crm", user="ada") is False
        back = sign_in(manager, one)
        url = turned_away(manager, "bob").authorization_url
        assert manager.cancel_authorization("crm", user="ada") is False
        assert manager.authorization_status("crm", user="ada").is_authorized
        assert manager.complete_authorization(**back) == ("crm", "ada")
        assert turned_away(manager, "bob").authorization_url == url


def test_signing_out_wakes_all_who_wait(one: Authority, screen: Screen) -> None:
    with manager_for(one) as manager:
        waiting = start(call, manager, screen)
        screen.wait_shown()
        manager.revoke("crm", user="ada")
        assert outcome(waiting).error == "flow_cancelled"


def test_a_user_who_says_no_ends_the_waiting(one: Authority, screen: Screen) -> None:
    with manager_for(one) as manager:
        waiting = start(call, manager, screen)
        url = screen.wait_shown()
        with pytest.raises(OAuthError):
            manager.complete_authorization(**query_of(one.refuse(url)))
        assert outcome(waiting).error == "access_denied"


def test_a_server_that_was_configured_anew_ends_the_waiting(one: Authority, screen: Screen) -> None:
    with manager_for(one) as manager:
        waiting = start(call, manager, screen)
        back = what_comes_back(one, screen.wait_shown())
        manager.registry.update_server("crm", {"url": "https://elsewhere.example/mcp"})
        with pytest.raises(Exception, match="configured anew"):
            manager.complete_authorization(**back)
        assert outcome(waiting).error == "server_changed"


def test_a_sign_in_that_takes_too_long_ends_the_waiting(one: Authority, screen: Screen) -> None:
    clock = FakeClock()
    with manager_for(one, clock=clock) as manager:
        waiting = start(call, manager, screen)
        screen.wait_shown()
        clock.advance(PENDING_STALE)
        assert outcome(waiting).error == "flow_expired"


def test_who_waits_holds_no_connection_and_no_thread(one: Authority, screen: Screen) -> None:
    with manager_for(one) as manager:
        sign_in(manager, one)
        one.end_grants()
        waiting = start(call, manager, screen)
        screen.wait_shown()
        assert manager.get_connection_stats()["leased_connections"] == 0
        assert manager.get_connection_stats()["pending_connections"] == 0
        manager.cancel_authorization("crm", user="ada")
        outcome(waiting)


def test_closing_the_manager_wakes_all_who_wait_and_ends_no_sign_in(
    one: Authority, screen: Screen
) -> None:
    store = MemoryStore()
    with manager_for(one, store=store) as manager:
        waiting = [
            start(lambda: call(manager, screen)),
            start(lambda: call(manager, screen, cancel=Cancellation())),
        ]
        url = screen.wait_shown(2)
        began = time.monotonic()
        manager.close()
        for each in waiting:
            assert isinstance(outcome(each), ConnectionClosed)
        assert time.monotonic() - began < 2
        assert screen.ended == 2
    with manager_for(one, store=store) as manager:
        manager.complete_authorization(**what_comes_back(one, url))
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


# -- not waiting ----------------------------------------------------------------------------------


def test_return_on_oauth_shows_the_url_and_waits_for_nobody(one: Authority, screen: Screen) -> None:
    with manager_for(one) as manager:
        with pytest.raises(AuthorizationRequired) as caught:
            call(manager, screen, return_on_oauth=True)
        assert screen.urls == [caught.value.authorization_url]
        assert screen.ended == 0, "it is not over: the user is still to go there"


def test_an_error_of_whoever_shows_the_url_reaches_the_caller(one: Authority) -> None:
    def broken(url: str) -> None:
        raise RuntimeError("no screen")

    ended: list[None] = []
    with manager_for(one) as manager, pytest.raises(RuntimeError, match="no screen"):
        manager.call_tool(
            *ADD, user="ada", oauth_start=broken, oauth_end=lambda: ended.append(None)
        )
    assert ended == [None]


def test_nobody_waits_where_there_is_nothing_to_wait_for(one: Authority, screen: Screen) -> None:
    with manager_for(one, {"requires_oauth": False}) as manager:
        with pytest.raises(AuthorizationRequired):
            call(manager, screen)
        assert (screen.urls, screen.ended) == ([], 0)


# -- other ways to a connection -------------------------------------------------------------------


@pytest.mark.parametrize("way", ["get_user_connection", "get_connection", "connection"])
def test_whoever_wants_a_connection_may_wait_for_the_user_too(
    authority: Authority, screen: Screen, way: str
) -> None:
    with manager_for(authority) as manager:

        def connect() -> Any:
            found = getattr(manager, way)("crm", user="ada", timeout=10, **screen.options)
            if way != "connection":
                return found.call_tool("add", {"a": 1, "b": 2})
            with found as connection:
                return connection.call_tool("add", {"a": 1, "b": 2})

        waiting = start(connect)
        manager.complete_authorization(**what_comes_back(authority, screen.wait_shown()))
        assert outcome(waiting).structured_content == {"sum": 3}
        assert screen.ended == 1
        wait_until(lambda: manager.get_connection_stats()["leased_connections"] == 0)


@pytest.mark.parametrize("way", ["get_user_connection", "get_connection"])
def test_whoever_wants_a_connection_and_does_not_wait_is_told_where_to_go(
    one: Authority, way: str
) -> None:
    with manager_for(one) as manager:
        with pytest.raises(AuthorizationRequired) as caught:
            getattr(manager, way)("crm", user="ada")
        assert caught.value.authorization_url is not None


def test_asking_for_tools_says_where_to_go_and_shows_nobody_anything(
    one: Authority, screen: Screen
) -> None:
    with manager_for(one) as manager:
        found = manager.discover_server_tools("crm", user="ada", **screen.options)
        assert (found.tools, found.oauth_required) == (None, True)
        assert found.oauth_url == turned_away(manager).authorization_url
        assert screen.urls == []
        sign_in(manager, one)
        assert manager.discover_server_tools("crm", user="ada").tools is not None


# -- more than was agreed to ----------------------------------------------------------------------


def test_a_tool_that_needs_more_asks_for_more_and_is_called_then(
    authority: Authority, screen: Screen
) -> None:
    authority.scope_of["add"] = "write"
    with manager_for(authority, {"oauth": {"scope": "read"}}) as manager:
        sign_in(manager, authority)
        waiting = start(call, manager, screen)
        url = screen.wait_shown()
        assert set(query_of(url)["scope"].split()) == {"read", "write"}
        manager.complete_authorization(**what_comes_back(authority, url))
        assert outcome(waiting).structured_content == {"sum": 3}
        assert manager.authorization_status("crm", user="ada").scopes == ("read", "write")


def test_what_was_agreed_to_elsewhere_counts_at_once(authority: Authority) -> None:
    authority.scope_of["add"] = "write"
    store = MemoryStore()
    with (
        manager_for(authority, {"oauth": {"scope": "read"}}, store=store) as manager,
        manager_for(authority, {"oauth": {"scope": "read"}}, store=store) as elsewhere,
    ):
        sign_in(manager, authority)
        url = turned_away(manager).authorization_url
        elsewhere.complete_authorization(**what_comes_back(authority, url))
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
        assert authority.count("authorize") == 2


def test_a_tool_that_is_never_content_is_an_error_in_the_end(
    one: Authority, screen: Screen
) -> None:
    one.scope_of["add"] = "write"
    with manager_for(one, {"oauth": {"scope": "read"}}) as manager:
        sign_in(manager, one)
        back = what_comes_back(one, turned_away(manager).authorization_url)
        one.say(
            "/token",
            Page.json({"access_token": "weak", "token_type": "Bearer", "scope": "read"}),
        )
        manager.complete_authorization(**back, reconnect=False)
        one._good["weak"] = next(iter(one._good.values()))
        with pytest.raises(InsufficientScope) as caught:
            call(manager, screen)
        assert caught.value.required_scopes == ("write",)
        assert screen.urls == []


# -- tokens that are over -------------------------------------------------------------------------


def test_a_token_that_is_over_is_refreshed_once_for_all_calls_of_a_user(
    authority: Authority,
) -> None:
    with manager_for(authority) as manager:
        sign_in(manager, authority)
        manager.call_tool(*ADD, user="ada")
        authority.end_access_tokens()
        calls = [start(lambda: manager.call_tool(*ADD, user="ada")) for _ in range(8)]
        assert [outcome(each).structured_content for each in calls] == [{"sum": 3}] * 8
        assert authority.count("token", grant_type="refresh_token") == 1
        assert authority.mcp.executions == {"add": 9}


def test_the_connection_is_kept_when_its_token_is_refreshed(authority: Authority) -> None:
    told: list[Any] = []
    with manager_for(authority, on_event=told.append) as manager:
        sign_in(manager, authority)
        connection = manager.get_user_connection("crm", user="ada")
        authority.end_access_tokens()
        manager.call_tool(*ADD, user="ada")
        assert manager.get_user_connection("crm", user="ada") is connection
        assert sum(type(each).__name__ == "ConnectionCreated" for each in told) == 1
        assert len(set(tokens_seen(authority))) == 2


def test_a_caller_who_gives_up_leaves_the_refreshing_to_the_others() -> None:
    gate, cancel = Gate(), Cancellation()
    with Authority(rotate=False) as authority, manager_for(authority) as manager:
        sign_in(manager, authority)
        manager.call_tool(*ADD, user="ada")
        authority.end_access_tokens()
        authority.say("/token", lambda: gate())
        first = start(lambda: manager.call_tool(*ADD, user="ada", cancel=cancel))
        gate.wait_reached()
        second = start(lambda: manager.call_tool(*ADD, user="ada"))
        flights = manager._sign_ins.storage._flights
        wait_until(lambda: flights.joined == 1, "a second caller who waits")
        cancel.cancel()
        assert isinstance(outcome(first), RequestCancelled)
        gate.open()
        assert outcome(second).structured_content == {"sum": 3}


def test_a_grant_that_is_over_is_a_sign_in_and_no_failure(authority: Authority) -> None:
    with manager_for(authority) as manager:
        sign_in(manager, authority)
        authority.end_grants()
        required = turned_away(manager)
        assert required.authorization_url is not None
        assert manager.stats()["breakers"] == []
        assert not manager.authorization_status("crm", user="ada").is_authorized
