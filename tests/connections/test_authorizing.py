"""Who may complete a sign-in: the user who began it, in the browser where he did."""

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, urlsplit

import pytest

import mcpsync
from support.authority import Authority, wait_until

CALLBACK = "http://127.0.0.1:9/callback"


@pytest.fixture
def authority():
    with Authority() as running:
        yield running


@pytest.fixture
def manager(authority):
    servers = {"crm": {"url": authority.url, "requires_oauth": True}}
    with mcpsync.MCPManager(servers, oauth_redirect_uri=CALLBACK, timeout=20) as made:
        yield made


@pytest.fixture
def required(manager):
    with pytest.raises(mcpsync.AuthorizationRequired) as caught:
        manager.call_tool("crm", "echo", {"text": "hi"}, user="ada")
    return caught.value


def brought(authority, required):
    """What the user comes back with."""
    return dict(parse_qsl(urlsplit(authority.approve(required.authorization_url)).query))


def test_the_state_that_names_a_cookie_is_the_one_that_comes_back(authority, required):
    assert brought(authority, required)["state"] == required.state
    assert required.state not in f"{required} {required!r}"


@pytest.mark.parametrize("wrong", [None, "", "0" * 32, "\N{SNOWMAN}"])
def test_a_browser_without_the_cookie_is_another_one(authority, manager, required, wrong):
    back = brought(authority, required)
    with pytest.raises(mcpsync.RefusedError, match="another browser"):
        manager.complete_authorization(**back, user="ada", browser_binding=wrong)
    right = required.browser_binding
    assert manager.complete_authorization(**back, user="ada", browser_binding=right) == (
        "crm",
        "ada",
    )
    assert authority.count("token") == 1


@pytest.mark.parametrize("wrong", [None, "eve"])
def test_nobody_is_another_user(authority, manager, required, wrong):
    back = brought(authority, required)
    with pytest.raises(mcpsync.RefusedError, match="another user"):
        manager.complete_authorization(**back, user=wrong)
    assert authority.count("token") == 0
    assert not manager.authorization_status("crm", user="ada").is_authorized


def test_what_is_left_out_is_not_looked_at(authority, manager, required):
    manager.complete_authorization(**brought(authority, required))
    assert manager.authorization_status("crm", user="ada").is_authorized


def test_who_comes_while_it_is_completed_waits_for_that(authority, manager, required):
    second_is_there = threading.Event()
    back = brought(authority, required)

    def complete():
        return manager.complete_authorization(**back, user="ada")

    authority.say("/token", lambda: second_is_there.wait(10) and None)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(complete)
        wait_until(lambda: authority.count("token") == 1)
        second = pool.submit(complete)
        assert not second_is_there.wait(0.2)
        assert not second.done()
        second_is_there.set()
        assert first.result(10) == second.result(10) == ("crm", "ada")
    assert authority.count("token") == 1


def test_a_server_that_was_moved_gets_no_token_of_the_place_where_it_was(authority):
    store = mcpsync.stores.MemoryStore()
    options = {"store": store, "oauth_redirect_uri": CALLBACK, "timeout": 20}

    def said_no(manager):
        with pytest.raises(mcpsync.AuthorizationRequired) as caught:
            manager.call_tool("crm", "echo", {"text": "hi"}, user="ada")
        return caught.value

    with mcpsync.MCPManager({"crm": {"url": authority.url}}, **options) as here:
        here.complete_authorization(**brought(authority, said_no(here)))
        here.call_tool("crm", "echo", {"text": "hi"}, user="ada")
    with Authority() as other, mcpsync.MCPManager({"crm": {"url": other.url}}, **options) as there:
        back = brought(other, said_no(there))
        sent = {request.headers.get("authorization") for request in other.mcp.requests}
        assert sent <= {None}
        assert other.count("token") == 0
        there.complete_authorization(**back)
        there.call_tool("crm", "echo", {"text": "hi"}, user="ada")
