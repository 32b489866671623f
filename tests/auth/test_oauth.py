"""A client that signs its user in at a server which wants tokens."""

from __future__ import annotations

import copy
import json
import pickle
import threading

import pytest

from mcpsync import Cancellation, Client
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import OAuth
from mcpsync.auth.codes import Returned
from mcpsync.auth.oauth import returned_in
from mcpsync.client.core import MOST_SIGN_INS
from mcpsync.config import HttpServerConfig
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    MCPSyncError,
    OAuthError,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.stores import MemoryStore
from mcpsync.testing import LocalServer, Page
from support.authority import Authority
from support.browser import CALLBACK, Browser, query, returned
from support.threads import Gate, outcome, start, wait_until

SUM = {"a": 1, "b": 2}


@pytest.fixture
def authority():
    with Authority() as made:
        yield made


@pytest.fixture
def browser(authority):
    return Browser(authority)


@pytest.fixture
def auth(browser):
    return OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=browser.come_back)


def add(client, **options):
    return client.call_tool("add", SUM, **options).structured_content


def signs_in_elsewhere(auth, authority, url):
    """Complete a sign-in as another process does, which has the same store."""
    auth.complete(authority.url, authority.approve(url))


# -- a user who is there


@pytest.mark.parametrize(
    "server",
    [
        {"era": era, "answer": answer}
        for era in ("legacy", "modern", "both")
        for answer in ("json", "sse")
    ],
    ids=lambda server: "-".join(server.values()),
)
def test_the_call_that_is_turned_down_signs_the_user_in_and_is_made_again(server):
    with Authority(**server) as authority:
        browser = Browser(authority)
        auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=browser.come_back)
        with Client(authority.url, auth=auth) as client:
            assert add(client) == {"sum": 3}
        assert len(browser.shown) == 1
        assert authority.count("token", grant_type="authorization_code") == 1
        assert authority.mcp.executions["add"] == 1
        sent = [each.headers.get("authorization") for each in authority.mcp.requests]
        assert sent.count(None) == 2, "the one that was turned down, and one for the metadata"
        assert not authority.mcp.violations


@pytest.mark.parametrize(
    "call",
    [Client.connect, Client.list_tools, Client.list_prompts, add],
    ids=lambda call: call.__name__,
)
def test_whatever_comes_first_signs_the_user_in(authority, browser, auth, call):
    with Client(authority.url, auth=auth) as client:
        call(client)
        client.list_tools()
    assert len(browser.shown) == 1


def test_a_sign_in_that_becomes_needed_in_the_midst_of_a_conversation(authority, browser, auth):
    with Client(authority.url, auth=auth) as client:
        add(client)
        authority.end_grants()
        assert add(client) == {"sum": 3}
    assert len(browser.shown) == 2
    assert authority.mcp.executions["add"] == 2


def test_of_many_calls_that_are_turned_down_at_once_one_shows_the_user_where_to_go(
    authority, browser
):
    at_the_browser = Gate()

    def come_back():
        at_the_browser()
        return browser.come_back()

    auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=come_back)
    with Client(authority.url, auth=auth) as client:
        tasks = [start(add, client) for _ in range(20)]
        at_the_browser.wait_reached()
        at_the_browser.open()
        assert [outcome(task) for task in tasks] == [{"sum": 3}] * 20
    assert len(browser.shown) == 1
    assert authority.mcp.executions["add"] == 20


def test_a_sign_in_that_is_done_by_the_time_is_not_shown(authority, browser, auth):
    with Client(authority.url, auth=auth) as client:
        add(client)
        authorizer = client._keeper._opening.authorizer
        flow = authorizer.ceremony.flows.find(auth.owner_at(authority.url))
        required = AuthorizationRequired("sign in.", authorization_url=flow.url)
        assert authorizer.sign_in(required, Deadline(10), None)
    assert len(browser.shown) == 1


def test_a_call_signs_in_so_often_and_no_more(authority, browser, auth):
    authority.say("/mcp", Page(401, headers=(("WWW-Authenticate", "Bearer"),)), times=1000)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(AuthorizationRequired) as caught:
            add(client)
        assert not caught.value.maybe_executed
    assert len(browser.shown) == MOST_SIGN_INS
    assert authority.mcp.executions.get("add") is None


def test_connecting_has_its_own_time_and_signing_in_that_of_the_call(authority, browser):
    """The user may take longer than a server may take to answer."""
    slow = threading.Event()

    def come_back():
        slow.wait(0.5)
        return browser.come_back()

    auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=come_back)
    config = HttpServerConfig(url=authority.url, connect_timeout=0.4)
    with Client(config, auth=auth) as client:
        assert add(client, timeout=20) == {"sum": 3}


def test_a_conversation_over_one_stream_signs_the_user_in_too():
    """HTTP+SSE of 2024-11-05: the stream is a request, and so is each message."""
    with Authority(transport="sse") as authority:
        browser = Browser(authority)
        auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=browser.come_back)
        config = HttpServerConfig(url=authority.url, type="sse")
        with Client(config, auth=auth) as client:
            assert add(client) == {"sum": 3}
            authority.end_access_tokens()
            assert add(client) == {"sum": 3}
            authority.end_grants()
            assert add(client) == {"sum": 3}
        assert authority.mcp.executions["add"] == 3
    assert len(browser.shown) == 2


# -- what handlers do


class Ouch(Exception):
    pass


@pytest.mark.parametrize("which", ["redirect_handler", "callback_handler"])
def test_what_a_handler_raises_comes_out_and_the_next_call_shows_the_same_url(
    authority, browser, which
):
    broken = [True]

    def fail():
        if broken and broken.pop():
            raise Ouch("no display")

    def go(url):
        browser.go(url)
        if which == "redirect_handler":
            fail()

    def come_back():
        fail()
        return browser.come_back()

    auth = OAuth(CALLBACK, redirect_handler=go, callback_handler=come_back)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(Ouch):
            add(client)
        assert add(client) == {"sum": 3}
    first, second = browser.shown
    assert first == second
    assert authority.mcp.executions["add"] == 1


@pytest.mark.parametrize(
    "said", [None, 7, (), ("a",), ("a", "b", "c", "d"), (1, 2), [], b"x", {"code": "a"}]
)
def test_a_handler_that_returns_something_else_is_told_so(authority, browser, said):
    auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=lambda: said)
    with (
        Client(authority.url, auth=auth) as client,
        pytest.raises(ConfigurationError, match="callback_handler"),
    ):
        add(client)


@pytest.mark.parametrize(
    "form",
    [
        lambda url: url,
        lambda url: url.partition("?")[2],
        lambda url: "?" + url.partition("?")[2],
        lambda url: f"{url}#fragment",
        lambda url: (query(url)["code"], query(url)["state"], query(url)["iss"]),
        lambda url: returned(url),
    ],
    ids=["url", "query", "with question mark", "with fragment", "tuple", "returned"],
)
def test_what_the_user_came_back_with_may_be_said_in_several_ways(authority, browser, form):
    auth = OAuth(
        CALLBACK, redirect_handler=browser.go, callback_handler=lambda: form(browser.come_back())
    )
    with Client(authority.url, auth=auth) as client:
        assert add(client) == {"sum": 3}


def test_a_pair_is_enough_where_the_server_does_not_say_who_it_is(authority, browser):
    authority.says_iss = False

    def come_back():
        said = query(browser.come_back())
        return said["code"], said["state"]

    auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=come_back)
    with Client(authority.url, auth=auth) as client:
        assert add(client) == {"sum": 3}


@pytest.mark.parametrize(
    "answer", ["http://[/", "x&" * 1000, "https://app.example/", "", "state=a&state=b", "%ff=%00"]
)
def test_what_is_no_answer_is_refused(authority, auth, answer):
    with pytest.raises(OAuthError) as caught:
        auth.complete(authority.url, answer)
    assert caught.value.error == "state_unknown"


def test_what_comes_twice_is_as_if_it_had_not_come():
    assert returned_in("code=a&code=b&state=s&iss=i") == Returned("s", None, "i", None)


def test_a_user_who_says_no_ends_the_call(authority, browser, auth):
    def refuse(url):
        browser.came_to.append(authority.refuse(url))

    auth = OAuth(CALLBACK, redirect_handler=refuse, callback_handler=browser.come_back)
    with Client(authority.url, auth=auth) as client, pytest.raises(OAuthError) as caught:
        add(client)
    assert caught.value.error == "access_denied"
    assert not caught.value.maybe_executed
    assert authority.mcp.executions.get("add") is None


# -- waiting


def test_a_call_waits_for_a_sign_in_that_somebody_else_completes(authority):
    shown = []
    auth = OAuth(CALLBACK, redirect_handler=shown.append)
    with Client(authority.url, auth=auth) as client:
        calls = [start(add, client) for _ in range(3)]
        wait_until(lambda: bool(shown), "the user is shown where to go")
        assert not any(call.done() for call in calls)
        signs_in_elsewhere(auth, authority, shown[0])
        assert [outcome(call) for call in calls] == [{"sum": 3}] * 3
    assert len(shown) == 1


def test_waiting_ends_with_the_call_s_time_and_the_sign_in_goes_on(authority):
    shown = []
    auth = OAuth(CALLBACK, redirect_handler=shown.append)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(RequestTimeout, match="sign in") as caught:
            add(client, timeout=0.3)
        assert not caught.value.maybe_executed
        signs_in_elsewhere(auth, authority, shown[0])
        assert add(client) == {"sum": 3}
    assert len(shown) == 1


def test_waiting_ends_when_another_thread_cancels_it(authority):
    shown, cancel = [], Cancellation()
    auth = OAuth(CALLBACK, redirect_handler=shown.append)
    with Client(authority.url, auth=auth) as client:
        call = start(lambda: add(client, cancel=cancel))
        wait_until(lambda: bool(shown), "the user is shown where to go")
        cancel.cancel()
        found = outcome(call)
        assert isinstance(found, RequestCancelled)
        assert not found.maybe_executed
    assert authority.mcp.executions.get("add") is None


def test_who_waits_with_another_may_go_before_him(authority, browser):
    at_the_browser = Gate()

    def come_back():
        at_the_browser()
        return browser.come_back()

    auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=come_back)
    with Client(authority.url, auth=auth) as client:
        patient = start(add, client)
        at_the_browser.wait_reached()
        with pytest.raises(RequestTimeout):
            add(client, timeout=0.2)
        at_the_browser.open()
        assert outcome(patient) == {"sum": 3}
    assert len(browser.shown) == 1


def test_a_user_who_comes_back_too_late_for_his_call_has_signed_in_all_the_same(authority, browser):
    late = threading.Event()

    def come_back():
        late.wait(0.4)
        return browser.come_back()

    auth = OAuth(CALLBACK, redirect_handler=browser.go, callback_handler=come_back)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(RequestTimeout):
            add(client, timeout=0.3)
        assert add(client) == {"sum": 3}
    assert len(browser.shown) == 1
    assert authority.mcp.executions["add"] == 1


def test_a_sign_in_that_is_forgotten_ends_the_wait(authority):
    shown = []
    auth = OAuth(CALLBACK, redirect_handler=shown.append)
    with Client(authority.url, auth=auth) as client:
        call = start(add, client)
        wait_until(lambda: bool(shown), "the user is shown where to go")
        auth.ceremony(authority.url).flows.forget(auth.owner_at(authority.url))
        found = outcome(call)
    assert isinstance(found, OAuthError)
    assert found.error == "flow_cancelled"


def test_closing_the_client_does_not_undo_a_sign_in(authority, browser):
    store = MemoryStore()
    for _ in range(2):
        auth = OAuth(
            CALLBACK,
            store=store,
            redirect_handler=browser.go,
            callback_handler=browser.come_back,
        )
        with Client(authority.url, auth=auth) as client:
            assert add(client) == {"sum": 3}
    assert len(browser.shown) == 1


# -- who cannot wait


@pytest.fixture
def required(authority):
    with (
        Client(authority.url, auth=OAuth(CALLBACK)) as client,
        pytest.raises(AuthorizationRequired) as caught,
    ):
        client.call_tool("add", SUM)
    return caught.value


def test_who_cannot_be_shown_anything_gets_the_url(authority):
    auth = OAuth(CALLBACK)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(AuthorizationRequired) as caught:
            client.list_tools()
        url = caught.value.authorization_url
        assert url.startswith(f"{authority.issuer}/authorize?")
        with pytest.raises(AuthorizationRequired) as again:
            add(client)
        assert again.value.authorization_url == url
        signs_in_elsewhere(auth, authority, url)
        assert add(client) == {"sum": 3}


def test_the_error_has_all_that_a_web_application_needs(authority, required):
    assert required.authorization_url.startswith(f"{authority.issuer}/authorize?")
    assert required.flow_id == f"me:{authority.url}"
    assert len(required.browser_binding) == 32
    assert required.challenge.startswith("Bearer ")
    assert required.tool_name == "add"
    assert not required.maybe_executed
    assert not required.retryable


FIELDS = ("authorization_url", "flow_id", "browser_binding", "challenge", "tool_name")


@pytest.mark.parametrize(
    "through",
    [
        lambda error: pickle.loads(pickle.dumps(error)),  # noqa: S301 - our own
        copy.copy,
        copy.deepcopy,
    ],
    ids=["pickle", "copy", "deepcopy"],
)
def test_the_error_survives_a_queue(required, through):
    there = through(required)
    assert type(there) is AuthorizationRequired
    assert str(there) == str(required)
    assert [getattr(there, name) for name in FIELDS] == [getattr(required, name) for name in FIELDS]


def test_what_it_says_becomes_json(required):
    said = {name: getattr(required, name) for name in FIELDS}
    assert json.loads(json.dumps(said)) == said


def test_its_text_has_nothing_of_the_url_or_the_binding(required):
    text = f"{required!r}{required}"
    for secret in (query(required.authorization_url)["state"], required.browser_binding):
        assert secret not in text


# -- servers that want nothing


def test_a_server_that_wants_no_token_gets_none(browser, auth):
    with LocalServer() as server, Client(server.url, auth=auth) as client:
        assert add(client) == {"sum": 3}
        assert all("authorization" not in each.headers for each in server.requests)
    assert browser.shown == []


def test_where_nobody_can_be_asked_the_error_is_typed(authority, auth):
    authority.server_metadata["code_challenge_methods_supported"] = None
    with Client(authority.url, auth=auth) as client, pytest.raises(OAuthError) as caught:
        add(client)
    assert caught.value.error == "pkce_unsupported"
    assert not caught.value.maybe_executed


def test_an_authorization_server_that_hangs_is_waited_for_no_longer_than_the_call(authority, auth):
    gate, too_long = Gate(), Deadline(4)
    authority.say("/.well-known/oauth-authorization-server", gate)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(MCPSyncError) as caught:
            add(client, timeout=0.5)
        assert not too_long.expired
        assert isinstance(caught.value, TimeoutError)
        assert not caught.value.maybe_executed
    gate.open()
