"""Users who sign in to the servers of a manager, at an authorization server in this process."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from mcpsync import MCPManager
from mcpsync.auth.clients import ClientCredentials
from mcpsync.auth.flows import PENDING_STALE, FlowStatus
from mcpsync.auth.token_endpoint import Tokens
from mcpsync.auth.tokens import Grant
from mcpsync.connections.connection import Key
from mcpsync.connections.signing_in import owner_of
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    OAuthError,
    RefusedError,
    ServerNotFound,
    StoreError,
)
from mcpsync.stores import MemoryStore
from mcpsync.testing import FakeClock, Page
from support.authority import Authority
from support.people import (
    ADD,
    CALLBACK,
    manager_for,
    query_of,
    sign_in,
    tokens_seen,
    turned_away,
    what_comes_back,
)
from support.threads import outcome, start


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def manager(authority: Authority, store: MemoryStore) -> Iterator[MCPManager]:
    with manager_for(authority, store=store) as manager:
        yield manager


# -- begun ----------------------------------------------------------------------------------------


def test_the_call_of_a_user_without_tokens_says_where_to_send_him(
    manager: MCPManager, authority: Authority
) -> None:
    required = turned_away(manager)
    assert required.authorization_url is not None
    assert required.authorization_url.startswith(f"{authority.issuer}/authorize?")
    assert query_of(required.authorization_url)["redirect_uri"] == CALLBACK
    assert query_of(required.authorization_url)["state"] == required.state
    assert str(required.state) not in f"{required} {required!r}"
    assert len(required.browser_binding or "") == 32
    assert (required.flow_id, required.server_name, required.user_id) == ("ada:crm", "crm", "ada")
    assert not required.maybe_executed
    assert authority.mcp.executions == {}


def test_whoever_comes_late_is_sent_to_the_same_url(
    manager: MCPManager, authority: Authority, store: MemoryStore
) -> None:
    first = turned_away(manager)
    with manager_for(authority, store=store) as elsewhere:
        late = turned_away(elsewhere)
    assert late.authorization_url == first.authorization_url
    assert late.browser_binding == first.browser_binding
    assert authority.count("register") == 1


def test_what_says_where_to_go_can_be_sent_to_another_process(manager: MCPManager) -> None:
    required = turned_away(manager)
    there = pickle.loads(pickle.dumps(required))  # noqa: S301 - our own
    assert there.authorization_url == required.authorization_url
    assert there.browser_binding == required.browser_binding


def test_each_user_has_a_sign_in_of_his_own(manager: MCPManager) -> None:
    ada, bob = turned_away(manager, "ada"), turned_away(manager, "bob")
    assert ada.authorization_url != bob.authorization_url
    assert ada.browser_binding != bob.browser_binding


# -- completed ------------------------------------------------------------------------------------


def test_another_manager_completes_what_one_began(
    manager: MCPManager, authority: Authority, store: MemoryStore
) -> None:
    back = what_comes_back(authority, turned_away(manager).authorization_url)
    with manager_for(authority, store=store) as elsewhere:
        done = elsewhere.complete_authorization(**back)
    assert done == ("crm", "ada")
    assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_completing_twice_is_harmless(manager: MCPManager, authority: Authority) -> None:
    back = sign_in(manager, authority)
    connection, before = manager.get_user_connections("ada")["crm"], len(authority.mcp.requests)
    assert manager.complete_authorization(**back) == ("crm", "ada")
    assert authority.count("token") == 1
    assert manager.get_user_connections("ada")["crm"] is connection
    assert len(authority.mcp.requests) == before


def test_many_who_complete_it_at_once_do_it_once(manager: MCPManager, authority: Authority) -> None:
    back = what_comes_back(authority, turned_away(manager).authorization_url)
    done = [start(lambda: manager.complete_authorization(**back)) for _ in range(8)]
    assert [outcome(each) for each in done] == [("crm", "ada")] * 8
    assert authority.count("token") == 1
    assert manager.stats()["totals"]["ConnectionCreated"] == 1


def test_no_two_users_and_servers_have_one_sign_in() -> None:
    names = ("a", "a:b", "a%3Ab", "b", "b:c", "", "ä")
    owners = {owner_of(Key(user, server)) for user in names for server in names}
    assert len(owners) == len(names) ** 2


def test_another_user_cannot_complete_a_sign_in(manager: MCPManager, authority: Authority) -> None:
    back = what_comes_back(authority, turned_away(manager).authorization_url)
    for other in ("bob", None):
        with pytest.raises(RefusedError, match="another user"):
            manager.complete_authorization(**back, user=other)
    assert authority.count("token") == 0
    assert manager.complete_authorization(**back, user="ada") == ("crm", "ada")


def test_another_browser_cannot_complete_a_sign_in(
    manager: MCPManager, authority: Authority
) -> None:
    required = turned_away(manager)
    others = turned_away(manager, "bob").browser_binding
    back = what_comes_back(authority, required.authorization_url)
    for binding in (others, "", "é", None):
        with pytest.raises(RefusedError, match="another browser"):
            manager.complete_authorization(**back, browser_binding=binding)
    assert authority.count("token") == 0
    manager.complete_authorization(**back, browser_binding=required.browser_binding)


@pytest.mark.parametrize("state", ["", "made up", None])
def test_a_state_that_nobody_gave_out_is_refused(one: Authority, state: Any) -> None:
    with manager_for(one) as manager:
        with pytest.raises(OAuthError) as caught:
            manager.complete_authorization(state=state, code="c")
        assert caught.value.error == "state_unknown"


def test_who_says_no_has_not_signed_in(manager: MCPManager, authority: Authority) -> None:
    url = turned_away(manager).authorization_url
    assert url is not None
    with pytest.raises(OAuthError) as caught:
        manager.complete_authorization(**query_of(authority.refuse(url)))
    assert caught.value.error == "access_denied"
    assert (caught.value.server_name, caught.value.user_id) == ("crm", "ada")
    status = manager.authorization_status("crm", user="ada")
    assert (status.flow, status.error) == (FlowStatus.FAILED, "access_denied")
    assert turned_away(manager).authorization_url != url


def test_a_refusal_that_somebody_else_brings_ends_nothing(one: Authority) -> None:
    with manager_for(one) as manager:
        url = turned_away(manager).authorization_url
        assert url is not None
        refusal = query_of(one.refuse(url))
        with pytest.raises(RefusedError):
            manager.complete_authorization(**refusal, browser_binding="made up")
        with pytest.raises(RefusedError):
            manager.complete_authorization(**refusal, user="bob")
        with pytest.raises(OAuthError):
            manager.complete_authorization(**{**refusal, "iss": "https://evil.example"})
        assert manager.authorization_status("crm", user="ada").flow is FlowStatus.PENDING
        manager.complete_authorization(**what_comes_back(one, url))


def test_the_answer_of_another_server_is_refused_before_anything_is_redeemed(
    manager: MCPManager, authority: Authority
) -> None:
    back = what_comes_back(authority, turned_away(manager).authorization_url)
    with pytest.raises(OAuthError):
        manager.complete_authorization(**{**back, "iss": "https://evil.example"})
    assert authority.count("token") == 0


def test_tokens_that_cannot_be_had_leave_the_user_signed_out(one: Authority) -> None:
    with manager_for(one) as manager:
        back = what_comes_back(one, turned_away(manager).authorization_url)
        one.say("/token", Page.json({"error": "invalid_grant"}, 400))
        with pytest.raises(OAuthError):
            manager.complete_authorization(**back)
        status = manager.authorization_status("crm", user="ada")
        assert (status.is_authorized, status.flow) == (False, FlowStatus.FAILED)
        assert manager.get_user_connections("ada") == {}


# -- after it -------------------------------------------------------------------------------------


def test_the_user_is_connected_once_he_has_signed_in(
    manager: MCPManager, authority: Authority
) -> None:
    sign_in(manager, authority)
    assert manager.get_user_connections("ada")["crm"].is_connected
    before = len(authority.mcp.requests)
    functions = manager.get_server_tool_functions("ada", "crm")
    assert functions is not None
    assert "add_mcp_crm" in functions
    assert len(authority.mcp.requests) == before, "they were asked for already"


def test_a_connection_from_before_the_sign_in_is_made_anew(
    manager: MCPManager, authority: Authority
) -> None:
    sign_in(manager, authority)
    old = manager.get_user_connections("ada")["crm"]
    authority.end_grants()
    sign_in(manager, authority)
    assert manager.get_user_connections("ada")["crm"] is not old
    assert not old.is_connected


def test_errors_after_the_sign_in_do_not_undo_it(
    manager: MCPManager, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    back = what_comes_back(authority, turned_away(manager).authorization_url)
    authority.say("/mcp", Page(500), times=20)
    assert manager.complete_authorization(**back) == ("crm", "ada")
    assert manager.authorization_status("crm", user="ada").is_authorized
    assert "signed in, not connected" in caplog.text
    with authority._lock:
        authority._pages.clear()
    manager.clear_cooldown("crm")
    assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_connecting_may_be_left_to_the_next_call(manager: MCPManager, authority: Authority) -> None:
    sign_in(manager, authority, reconnect=False)
    assert manager.get_user_connections("ada") == {}
    assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_a_sign_in_that_somebody_else_completed_needs_no_new_connection(
    manager: MCPManager, authority: Authority, store: MemoryStore
) -> None:
    sign_in(manager, authority)
    connection = manager.get_user_connections("ada")["crm"]
    authority.end_grants()
    with manager_for(authority, store=store) as elsewhere:
        sign_in(elsewhere, authority)
    assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
    assert manager.get_user_connections("ada")["crm"] is connection


def test_a_sign_in_resets_the_breaker_of_that_user_alone(one: Authority) -> None:
    with manager_for(one, connect_attempts=1) as manager:
        for user in ("ada", "bob"):
            one.say("/mcp", Page(500), times=20)
            for _ in range(3):
                with pytest.raises(Exception, match="500"):
                    manager.call_tool(*ADD, user=user)
            with one._lock:
                one._pages.clear()
        assert {each["user_id"] for each in manager.stats()["breakers"]} == {"ada", "bob"}
        with manager_for(one, store=manager._sign_ins._store) as elsewhere:
            back = what_comes_back(one, turned_away(elsewhere).authorization_url)
        manager.complete_authorization(**back, reconnect=False)
        assert {each["user_id"] for each in manager.stats()["breakers"]} == {"bob"}


def test_having_to_sign_in_is_not_held_against_the_server(one: Authority) -> None:
    with manager_for(one) as manager:
        for _ in range(10):
            turned_away(manager)
        assert manager.stats()["breakers"] == []


# -- the server changes in between ----------------------------------------------------------------


def test_a_server_that_was_removed_meanwhile_is_not_signed_in_to(
    manager: MCPManager, authority: Authority
) -> None:
    back = what_comes_back(authority, turned_away(manager).authorization_url)
    manager.registry.remove_server("crm")
    with pytest.raises(ServerNotFound):
        manager.complete_authorization(**back)
    assert authority.count("token") == 0


@pytest.mark.parametrize(
    "config",
    [
        {"url": "https://elsewhere.example/mcp", "requires_oauth": True},
        {"command": "python3"},
        {"requires_oauth": False},
    ],
    ids=["elsewhere", "a command", "without signing in"],
)
def test_a_server_that_was_configured_anew_meanwhile_is_not_signed_in_to(
    one: Authority, config: dict[str, Any]
) -> None:
    with manager_for(one) as manager:
        url = turned_away(manager).authorization_url
        back = what_comes_back(one, url)
        manager.registry.update_server(
            "crm", config if "command" in config else {"url": one.url, **config}
        )
        with pytest.raises(RefusedError, match="configured anew"):
            manager.complete_authorization(**back)
        assert one.count("token") == 0


def test_a_sign_in_at_another_server_of_that_name_is_begun_anew(one: Authority) -> None:
    with Authority() as other, manager_for(one) as manager:
        turned_away(manager)
        manager.registry.update_server("crm", {"url": other.url, "requires_oauth": True})
        url = turned_away(manager).authorization_url
        assert url is not None
        assert url.startswith(other.issuer)


def test_a_token_is_never_sent_to_another_server_of_that_name(one: Authority) -> None:
    with Authority() as other, manager_for(one) as manager:
        sign_in(manager, one)
        manager.registry.update_server("crm", {"url": other.url, "requires_oauth": True})
        assert not manager.authorization_status("crm", user="ada").is_authorized
        turned_away(manager)
        assert all("authorization" not in each.headers for each in other.mcp.requests)
        sign_in(manager, other)
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
        assert not set(one.secrets) & set(other.secrets)
        assert set(tokens_seen(other)) <= set(other.secrets)


# -- which servers --------------------------------------------------------------------------------


def test_no_token_crosses_from_user_to_user_or_from_server_to_server() -> None:
    with Authority() as one, Authority() as two:
        servers = {
            name: {"url": each.url, "requires_oauth": True}
            for name, each in (("one", one), ("two", two))
        }
        with MCPManager(servers, oauth_redirect_uri=CALLBACK) as manager:
            seen = {}
            for name, authority in (("one", one), ("two", two)):
                for user in ("ada", "bob"):
                    with pytest.raises(AuthorizationRequired) as caught:
                        manager.call_tool(name, "add", {"a": 1, "b": 2}, user=user)
                    back = what_comes_back(authority, caught.value.authorization_url)
                    manager.complete_authorization(**back)
                    before = len(tokens_seen(authority))
                    manager.call_tool(name, "add", {"a": 1, "b": 2}, user=user)
                    (seen[name, user],) = set(tokens_seen(authority)[before:])
        assert len(set(seen.values())) == 4
        for name, authority in (("one", one), ("two", two)):
            assert {seen[name, "ada"], seen[name, "bob"]} <= set(authority.secrets)
            sent = {each.headers.get("authorization", "") for each in authority.mcp.requests}
            others = one if authority is two else two
            assert not any(secret in text for text in sent for secret in others.secrets)


def test_a_server_whose_url_is_the_users_own_is_signed_in_to(one: Authority) -> None:
    config = {"url": f"{one.url}?for={{{{USER_ID}}}}"}
    with manager_for(one, config) as manager:
        sign_in(manager, one)
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
        assert manager.authorization_status("crm", user="ada").is_authorized
        assert not manager.authorization_status("crm", user="bob").is_authorized
        assert manager.revoke("crm", user="bob") is False
        assert manager.revoke("crm", user="ada") is True
        assert not manager.authorization_status("crm", user="ada").is_authorized


def test_a_server_whose_url_is_a_requests_own_is_signed_in_to_once(one: Authority) -> None:
    with manager_for(one, {"url": f"{one.url}?in={{{{BODY_ID}}}}"}) as manager:
        first = turned_away(manager, request_body={"ID": "1"}).authorization_url
        assert turned_away(manager, request_body={"ID": "2"}).authorization_url == first
        manager.complete_authorization(**what_comes_back(one, first))
        for number in "123":
            result = manager.call_tool(*ADD, user="ada", request_body={"ID": number})
            assert result.structured_content == {"sum": 3}
        assert one.count("token") == 1


@pytest.mark.parametrize(
    ("resource", "url", "is_for"),
    [
        (None, "https://crm.example/mcp", True),
        (None, "https://crm.example/mcp?a=b", True),
        (None, "https://crm.example/other", False),
        (None, "https://crm.example:8443/mcp", False),
        (None, "http://crm.example/mcp", False),
        ("https://crm.example/", "https://crm.example/other", True),
        ("https://crm.example/mcp", "https://crm.example/other", False),
        ("https://crm.example/", "https://evil.example/mcp", False),
    ],
)
def test_a_grant_is_for_the_server_it_was_agreed_to_for(
    resource: str | None, url: str, is_for: bool
) -> None:
    grant = Grant(
        tokens=Tokens("t"),
        client=ClientCredentials("c"),
        issuer="https://login.example",
        token_endpoint="https://login.example/token",
        resource=resource,
        server_url="https://crm.example/mcp",
    )
    assert grant.is_for(url) is is_for


def test_a_server_that_is_not_known_to_want_it_is_signed_in_to_when_it_does(
    one: Authority,
) -> None:
    with manager_for(one, {"requires_oauth": None}) as manager:
        sign_in(manager, one)
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_a_server_that_is_said_to_want_none_is_not_signed_in_to(one: Authority) -> None:
    with manager_for(one, {"requires_oauth": False}) as manager:
        assert turned_away(manager).authorization_url is None
        assert one.count("register") == 0


def test_a_server_with_an_authorization_of_its_own_is_not_signed_in_to(one: Authority) -> None:
    config = {"requires_oauth": None, "headers": {"authorization": "Bearer of-the-operator"}}
    with manager_for(one, config) as manager:
        assert turned_away(manager).authorization_url is None
        assert one.count("register") == 0


def test_a_call_with_an_authorization_of_its_own_begins_no_sign_in(one: Authority) -> None:
    with manager_for(one) as manager:
        sign_in(manager, one)
        mine = {"Authorization": "Bearer of-the-caller"}
        assert turned_away(manager, headers=mine).authorization_url is None
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_the_application_itself_has_no_connection_to_a_server_that_users_sign_in_to(
    one: Authority,
) -> None:
    with manager_for(one) as manager:
        with pytest.raises(ConfigurationError, match="missing id"):
            manager.call_tool(*ADD)
        assert one.mcp.requests == []


def test_the_application_itself_signs_in_nowhere(one: Authority) -> None:
    with manager_for(one, {"requires_oauth": None}) as manager:
        required = turned_away(manager, None)
        assert required.authorization_url is None
        assert one.count("register") == 0


def test_what_all_users_share_signs_in_nowhere(one: Authority) -> None:
    with manager_for(one, {"requires_oauth": None, "scope": "app"}) as manager:
        assert turned_away(manager, "ada").authorization_url is None


def test_without_a_page_to_come_back_to_nobody_can_sign_in(one: Authority) -> None:
    with (
        manager_for(one, oauth_redirect_uri=None) as manager,
        pytest.raises(ConfigurationError, match="oauth_redirect_uri"),
    ):
        manager.call_tool(*ADD, user="ada")
    with manager_for(one, {"requires_oauth": None}, oauth_redirect_uri=None) as manager:
        assert turned_away(manager).authorization_url is None


def test_a_server_may_have_a_page_to_come_back_to_of_its_own(one: Authority) -> None:
    own = "https://app.example/crm/callback"
    with manager_for(one, {"oauth": {"redirect_uri": own}}, oauth_redirect_uri=None) as manager:
        url = turned_away(manager).authorization_url
        assert query_of(url or "")["redirect_uri"] == own


def test_users_come_back_over_https(one: Authority) -> None:
    oauth = {"redirect_uri": "http://app.example/callback"}
    with (
        manager_for(one, {"oauth": oauth}) as manager,
        pytest.raises(ConfigurationError, match="a redirect URI is https"),
    ):
        manager.call_tool(*ADD, user="ada")
    with pytest.raises(ConfigurationError, match="a redirect URI is https"):
        manager_for(one, oauth_redirect_uri="http://app.example/callback")


def test_a_user_who_made_the_configuration_does_not_say_where_users_come_back_to(
    one: Authority,
) -> None:
    oauth = {
        "redirect_uri": "https://evil.example/",
        "client_id": "c",
        "authorization_url": "https://login.example/authorize",
        "token_url": "https://login.example/token",
    }
    with manager_for(
        one, {"oauth": oauth, "source": "user"}, allowed_addresses=[urlsplit(one.url).netloc]
    ) as manager:
        url = turned_away(manager).authorization_url
        assert query_of(url or "")["redirect_uri"] == CALLBACK


def test_what_a_user_configured_leads_to_no_private_address(one: Authority) -> None:
    server = urlsplit(one.url).netloc
    for allowed in ([], [server]):
        with manager_for(one, {"source": "user"}, allowed_addresses=allowed) as manager:
            with pytest.raises(RefusedError):
                manager.call_tool(*ADD, user="ada")
            assert bool(one.mcp.requests) is bool(allowed), "the server itself is allowed then"
            assert one.asked == []
            assert one.server.requests == []
    oauth = {
        "client_id": "c",
        "authorization_url": f"{one.issuer}/authorize",
        "token_url": f"{one.issuer}/token",
    }
    one.add_client("c", redirect_uris=[CALLBACK])
    config = {"oauth": oauth, "source": "user"}
    with manager_for(one, config, allowed_addresses=[server]) as manager:
        back = what_comes_back(one, turned_away(manager).authorization_url)
        with pytest.raises(RefusedError):
            manager.complete_authorization(**{**back, "iss": None})
        assert one.count("token") == 0
    both = [server, urlsplit(one.issuer).netloc]
    with manager_for(one, config, allowed_addresses=both) as manager:
        back = what_comes_back(one, turned_away(manager).authorization_url)
        manager.complete_authorization(**{**back, "iss": None})
        assert one.count("token") == 1


def test_a_guard_for_all_holds_whom_an_operators_server_names_as_well(one: Authority) -> None:
    server, issuer = (urlsplit(each).netloc for each in (one.url, one.issuer))
    for allowed, reached in (([], False), ([server], True)):
        with manager_for(one, guard="all", allowed_addresses=allowed) as manager:
            with pytest.raises(RefusedError):
                manager.call_tool(*ADD, user="ada")
            assert bool(one.mcp.requests) is reached
            assert one.server.requests == []
    with manager_for(one, guard="all", allowed_addresses=[server, issuer]) as manager:
        assert turned_away(manager).authorization_url


def test_an_application_that_acts_for_itself_has_one_token_for_all(one: Authority) -> None:
    one.add_client("me", client_secret="s3cret")
    oauth = {
        "grant": "client_credentials",
        "client_id": "me",
        "client_secret": "s3cret",
        "issuer": one.issuer,
    }
    config = {"requires_oauth": None, "oauth": oauth}
    with manager_for(one, config, oauth_redirect_uri=None) as manager:
        for user in (None, "ada", "bob"):
            assert manager.call_tool(*ADD, user=user).structured_content == {"sum": 3}
        assert one.count("token", grant_type="client_credentials") == one.count("token") == 1
        assert len(set(tokens_seen(one))) == 1
        assert manager.authorization_status("crm", user="ada").is_authorized
        assert manager.reconnect_servers("ada") == {}
        one.end_access_tokens()
        calls = [start(lambda: manager.call_tool(*ADD, user="ada")) for _ in range(4)]
        assert [outcome(each).structured_content for each in calls] == [{"sum": 3}] * 4
        assert one.count("token") == 2


def test_users_who_sign_in_call_and_sign_out_at_once_never_use_one_token(one: Authority) -> None:
    def come_and_go(user: str) -> None:
        for _ in range(4):
            sign_in(manager, one, user)
            for _ in range(3):
                manager.call_tool(*ADD, user=user, headers={"X-User": user})
            manager.revoke("crm", user=user)

    users = [f"user {number}" for number in range(5)]
    with manager_for(one) as manager:
        for each in [start(come_and_go, user) for user in users]:
            assert outcome(each) is None
        assert manager.get_connection_stats()["total_connections"] == 0
        assert manager.stats()["breakers"] == []
    used = {
        (request.headers["authorization"], request.headers["x-user"])
        for request in one.mcp.requests
        if "x-user" in request.headers
    }
    assert {user for _, user in used} == set(users)
    assert len({token for token, _ in used}) == len(used) == 4 * len(users)


# -- where a user stands --------------------------------------------------------------------------


def test_the_status_tells_where_a_user_stands(one: Authority, clock: FakeClock) -> None:
    with manager_for(one, clock=clock) as manager:

        def status() -> Any:
            return manager.authorization_status("crm", user="ada")

        assert status() == (False, None, None, None, ())
        url = turned_away(manager).authorization_url
        assert status() == (False, FlowStatus.PENDING, url, None, ())
        clock.advance(PENDING_STALE)
        assert status() == (False, FlowStatus.FAILED, None, None, ())
        sign_in(manager, one)
        assert status() == (True, FlowStatus.COMPLETED, None, None, ())
        clock.advance(3600)
        assert status().is_authorized, "it has a refresh token"
        assert manager.authorization_status("crm", user="bob") == (False, None, None, None, ())


def test_a_token_that_is_over_and_cannot_be_refreshed_is_none(
    one: Authority, clock: FakeClock
) -> None:
    with manager_for(one, clock=clock) as manager:
        back = what_comes_back(one, turned_away(manager).authorization_url)
        answer = {"access_token": "a", "token_type": "Bearer", "expires_in": 60}
        one.say("/token", Page.json(answer))
        manager.complete_authorization(**back, reconnect=False)
        assert manager.authorization_status("crm", user="ada").is_authorized
        clock.advance(31)
        assert not manager.authorization_status("crm", user="ada").is_authorized


def test_a_sign_in_is_pending_until_its_code_is_redeemed(one: Authority) -> None:
    with manager_for(one) as manager:
        back = what_comes_back(one, turned_away(manager).authorization_url)
        seen = []

        def look() -> None:
            seen.append(manager.authorization_status("crm", user="ada").flow)

        one.say("/token", look)
        manager.complete_authorization(**back)
        assert seen == [FlowStatus.PENDING]


def test_the_status_asks_nobody(one: Authority) -> None:
    with manager_for(one) as manager:
        manager.authorization_status("crm", user="ada")
        manager.authorization_status("unknown", user="ada")
        assert (one.mcp.requests, one.server.requests) == ([], [])


# -- signing out ----------------------------------------------------------------------------------


def test_signing_out_forgets_and_revokes_what_a_user_has(
    manager: MCPManager, authority: Authority
) -> None:
    sign_in(manager, authority, "ada")
    sign_in(manager, authority, "bob")
    connection = manager.get_user_connections("ada")["crm"]
    assert manager.revoke("crm", user="ada") is True
    assert authority.count("revoke", token_type_hint="refresh_token") == 1
    assert authority.count("revoke", token_type_hint="access_token") == 1
    assert not manager.authorization_status("crm", user="ada").is_authorized
    assert manager.get_user_connections("ada") == {}
    assert not connection.is_connected
    turned_away(manager, "ada")


def test_signing_out_leaves_other_users_alone(manager: MCPManager, authority: Authority) -> None:
    sign_in(manager, authority, "ada")
    sign_in(manager, authority, "bob")
    connection = manager.get_user_connections("bob")["crm"]
    manager.revoke("crm", user="ada")
    assert manager.get_user_connections("bob")["crm"] is connection
    assert manager.call_tool(*ADD, user="bob").structured_content == {"sum": 3}
    assert authority.count("token", grant_type="refresh_token") == 0


@pytest.mark.parametrize("page", [Page(500), Page(404), Page(200, b"{")], ids=lambda p: p.status)
def test_signing_out_forgets_everything_here_whatever_the_other_side_says(
    one: Authority, page: Page
) -> None:
    with manager_for(one) as manager:
        sign_in(manager, one)
        one.say("/revoke", page, times=2)
        assert manager.revoke("crm", user="ada") is (page.status == 200)
        assert not manager.authorization_status("crm", user="ada").is_authorized
        assert manager.get_user_connections("ada") == {}


def test_signing_out_of_a_server_that_is_gone_forgets_everything_here(one: Authority) -> None:
    with manager_for(one) as manager:
        sign_in(manager, one)
        one.server.close()
        assert manager.revoke("crm", user="ada") is False
        assert not manager.authorization_status("crm", user="ada").is_authorized


@pytest.mark.parametrize("config", [None, {"requires_oauth": False}, {"command": "python3"}])
def test_signing_out_of_what_is_no_longer_configured_forgets_everything_here(
    one: Authority, config: dict[str, Any] | None
) -> None:
    with manager_for(one) as manager:
        sign_in(manager, one)
        if config is None:
            manager.registry.remove_server("crm")
        elif "command" in config:
            manager.registry.update_server("crm", config)
        else:
            manager.registry.update_server("crm", {"url": one.url, **config})
        manager.revoke("crm", user="ada")
        manager.registry.add_server("crm", {"url": one.url, "requires_oauth": True})
        assert not manager.authorization_status("crm", user="ada").is_authorized
        turned_away(manager)


def test_signing_out_ends_the_connections_though_the_store_cannot_be_reached(
    one: Authority,
) -> None:
    class Broken(MemoryStore):
        broken = False

        def delete(self, *args: Any) -> bool:
            if self.broken:
                raise StoreError("the store cannot be reached.")
            return super().delete(*args)

    store = Broken()
    with manager_for(one, store=store) as manager:
        sign_in(manager, one)
        store.broken = True
        with pytest.raises(StoreError) as caught:
            manager.revoke("crm", user="ada")
        assert (caught.value.server_name, caught.value.user_id) == ("crm", "ada")
        assert manager.get_user_connections("ada") == {}


def test_signing_out_resets_the_breaker(one: Authority) -> None:
    with manager_for(one, connect_attempts=1) as manager:
        one.say("/mcp", Page(500), times=20)
        for _ in range(3):
            with pytest.raises(Exception, match="500"):
                manager.call_tool(*ADD, user="ada")
        assert manager.stats()["breakers"] != []
        manager.revoke("crm", user="ada")
        assert manager.stats()["breakers"] == []


def test_signing_out_while_a_code_is_redeemed_brings_no_tokens_back(one: Authority) -> None:
    with manager_for(one) as manager:
        back = what_comes_back(one, turned_away(manager).authorization_url)

        def sign_out() -> None:
            manager.revoke("crm", user="ada")

        one.say("/token", sign_out)
        with pytest.raises(OAuthError) as caught:
            manager.complete_authorization(**back)
        assert caught.value.error == "flow_cancelled"
        assert not manager.authorization_status("crm", user="ada").is_authorized
