"""One user's token on each request; seed 3.5, 3.6, 3.10, requirements A11 to A16, A23, S3, S6."""

from __future__ import annotations

import math
import threading

import pytest

from mcpsync import Cancellation, Client
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import OAuth
from mcpsync.auth import signing_in as module
from mcpsync.auth.token_endpoint import LONGEST
from mcpsync.auth.tokens import SKEW
from mcpsync.errors import (
    AuthorizationRequired,
    InsufficientScope,
    MCPSyncError,
    OAuthError,
    RequestCancelled,
    RequestTimeout,
    StoreError,
    TransportError,
)
from mcpsync.testing import FakeClock, Fault, Page
from support.authority import Authority
from support.browser import CALLBACK, Browser, query
from support.failing_store import FailingStore
from support.threads import Gate, outcome, start

SUM = {"a": 1, "b": 2}


@pytest.fixture
def authority():
    with Authority() as made:
        yield made


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return FailingStore(clock)


class Application:
    """A program with a user, and what its clients have in common."""

    def __init__(self, authority, store, clock):
        self.authority, self.store, self.clock = authority, store, clock
        self.browser = Browser(authority)
        self._clients = []

    def client(self, *, shows=True, clock=None, **options):
        handlers = {}
        if shows:
            handlers = {
                "redirect_handler": self.browser.go,
                "callback_handler": self.browser.come_back,
            }
        names = ("era", "timeout")
        more = {name: options.pop(name) for name in names if name in options}
        auth = OAuth(CALLBACK, store=self.store, clock=clock or self.clock, **handlers, **options)
        self._clients.append(Client(self.authority.url, auth=auth, **more))
        return self._clients[-1]

    def signed_in(self, **options):
        client = self.client(**options)
        client.list_tools()
        assert len(self.browser.shown) == 1
        return client

    def close(self):
        for client in self._clients:
            client.close()

    @property
    def refreshes(self):
        return self.authority.count("token", grant_type="refresh_token")

    @property
    def sign_ins(self):
        return self.authority.count("token", grant_type="authorization_code")

    def grant(self, owner="me"):
        return (
            OAuth(CALLBACK, store=self.store, owner=owner)
            .ceremony(self.authority.url)
            .storage.find(f"{owner}:{self.authority.url}")
        )

    def tokens_sent(self):
        """What came to the MCP server, one after the other."""
        return tokens_sent(self.authority)


@pytest.fixture
def app(authority, store, clock):
    made = Application(authority, store, clock)
    yield made
    made.close()


def tokens_sent(authority):
    return [
        each.headers.get("authorization") for each in authority.mcp.requests if each.path == "/mcp"
    ]


def add(client, **more):
    assert client.call_tool("add", SUM, **more).structured_content == {"sum": 3}


def no_token(message):
    return Page(401, headers=(("WWW-Authenticate", message),))


# -- refreshing before use


def test_a_token_is_refreshed_before_it_is_over_and_the_server_never_sees_it_again(
    authority, app, clock
):
    client = app.signed_in()
    old = f"Bearer {app.grant().tokens.access_token}"
    clock.advance(3600 - SKEW)
    before = len(app.tokens_sent())
    add(client)
    assert app.refreshes == 1
    assert old not in app.tokens_sent()[before:]
    assert None not in app.tokens_sent()[before:]


def test_one_that_is_good_is_not(app, clock):
    client = app.signed_in()
    clock.advance(3600 - SKEW - 1)
    add(client)
    assert app.refreshes == 0


def test_one_that_lasts_less_than_the_skew_is_used_for_half_its_life(authority, app, clock):
    authority.lifetime = 20
    client = app.signed_in()
    clock.advance(9)
    add(client)
    assert app.refreshes == 0
    clock.advance(1)
    add(client)
    add(client)
    assert app.refreshes == 1


def test_one_that_cannot_be_refreshed_is_used_however_short_it_lasts(authority, app, clock):
    """Otherwise its user would be asked again and again."""
    authority.lifetime = 20
    authority.server_metadata["grant_types_supported"] = ["authorization_code"]
    client = app.client()
    add(client)
    clock.advance(5)
    add(client)
    assert len(app.browser.shown) == 1


@pytest.mark.parametrize(
    "said",
    [
        None,
        0,
        -1,
        -3600.5,
        10**30,
        1e308,
        math.inf,
        math.nan,
        "3600",
        "-5",
        "soon",
        "",
        True,
        [3600],
        {},
    ],
)
def test_whatever_is_said_of_its_life_it_is_used_until_it_is_turned_down(authority, app, said):
    authority.lifetime = said
    client = app.signed_in()
    add(client)
    assert app.refreshes == 0
    authority.end_access_tokens()
    add(client)
    assert app.refreshes == 1
    assert len(app.browser.shown) == 1


@pytest.mark.parametrize("refreshes", [True, False])
@pytest.mark.parametrize("said", [10**400, 1e308], ids=["int", "float"])
def test_no_token_is_believed_to_last_longer_than_a_year(authority, app, clock, said, refreshes):
    told = {"access_token": "a", "token_type": "Bearer", "expires_in": said}
    more = {"refresh_token": "r"} if refreshes else {}
    authority.say("/token", Page.json({**told, **more}))
    client = app.client(shows=False)
    with pytest.raises(AuthorizationRequired) as caught:
        client.list_tools()
    app.browser.go(caught.value.authorization_url)
    OAuth(CALLBACK, store=app.store, clock=clock).complete(authority.url, app.browser.come_back())
    assert app.grant().tokens.expires_at == clock.time() + LONGEST


def test_a_number_that_is_written_as_a_string_counts(authority, app, clock):
    authority.lifetime = "100"
    client = app.signed_in()
    clock.advance(70)
    add(client)
    assert app.refreshes == 1


def test_the_refresh_names_the_resource_and_goes_nowhere_else(authority, app):
    client = app.signed_in()
    refresh_token = app.grant().tokens.refresh_token
    authority.end_access_tokens()
    add(client)
    assert authority.count("token", refresh_token=refresh_token, resource=authority.url) == 1
    for request in authority.mcp.requests:
        assert refresh_token.encode() not in request.raw_body
        assert refresh_token not in f"{request.path}{request.headers}"


def test_without_metadata_of_the_server_a_refresh_still_goes_where_the_token_came_from(
    authority, app, clock
):
    client = app.signed_in()
    authority.say("/.well-known/oauth-protected-resource/mcp", Page(404), times=9)
    authority.say("/.well-known/oauth-authorization-server", Page(404), times=9)
    clock.advance(3600)
    add(client)
    assert app.refreshes == 1


# -- refreshing after a 401


def test_a_token_that_is_turned_down_though_it_should_be_good_is_refreshed(authority, app):
    client = app.signed_in()
    authority.end_access_tokens()
    add(client)
    assert app.refreshes == 1
    assert len(app.browser.shown) == 1
    assert authority.mcp.executions["add"] == 1


@pytest.mark.parametrize("ahead", [5 * 3600, -5 * 3600])
def test_clocks_that_are_hours_apart_do_no_harm(authority, app, clock, ahead):
    app.signed_in(clock=FakeClock(time=clock.time() + ahead))
    authority.end_access_tokens()  # an hour is over, whatever the other machine's clock shows
    client = app.client()
    add(client)
    add(client)
    assert app.refreshes == 1
    assert len(app.browser.shown) == 1


def test_many_threads_refresh_a_token_once(authority, app):
    client = app.signed_in()
    authority.end_access_tokens()
    ready = threading.Barrier(20)

    def go():
        ready.wait(20)
        add(client)

    for task in [start(go) for _ in range(20)]:
        assert outcome(task) is None
    assert app.refreshes == 1
    assert authority.mcp.executions["add"] == 20


def test_many_clients_of_a_store_refresh_a_token_once(authority, app, clock):
    app.signed_in()
    clients = [app.client() for _ in range(5)]
    clock.advance(3600)
    ready = threading.Barrier(5)

    def go(client):
        ready.wait(20)
        add(client)

    for task in [start(go, client) for client in clients]:
        assert outcome(task) is None
    assert app.refreshes == 1


@pytest.mark.parametrize("rotate", [True, False])
def test_a_refresh_token_is_replaced_if_a_new_one_comes_and_kept_if_not(authority, app, rotate):
    authority.rotate = rotate
    client = app.signed_in()
    for _ in range(3):
        authority.end_access_tokens()
        add(client)
    redeemed = [said["refresh_token"] for name, said in authority.asked if "refresh_token" in said]
    assert len(redeemed) == 3
    assert len(set(redeemed)) == (3 if rotate else 1)
    assert len(app.browser.shown) == 1


def test_a_refreshed_token_that_is_turned_down_again_is_a_sign_in_and_no_loop(
    authority, app, clock
):
    app.signed_in()
    client = app.client(shows=False)
    client.list_tools()
    before = len(app.tokens_sent())
    authority.say("/mcp", no_token("Bearer"), times=100)
    with pytest.raises(AuthorizationRequired) as caught:
        client.call_tool("add", SUM)
    assert caught.value.authorization_url is not None
    assert not caught.value.maybe_executed
    assert app.refreshes == 1
    assert len(app.tokens_sent()) - before == 2
    with pytest.raises(AuthorizationRequired) as again:
        client.call_tool("add", SUM)
    assert again.value.authorization_url == caught.value.authorization_url
    assert app.refreshes == 1, "not again so soon"
    clock.advance(module.DOUBTFUL)
    with pytest.raises(AuthorizationRequired):
        client.call_tool("add", SUM)
    assert app.refreshes == 2
    assert authority.mcp.executions.get("add") is None


def test_a_token_that_was_accepted_is_beyond_doubt(authority, app):
    client = app.signed_in()
    for _ in range(3):
        authority.end_access_tokens()
        add(client)
    assert app.refreshes == 3
    assert len(app.browser.shown) == 1


# -- refreshing that fails


@pytest.mark.parametrize("when", ["over", "turned down"])
def test_a_grant_that_is_over_is_a_sign_in(authority, app, clock, when):
    app.signed_in()
    client = app.client(shows=False)
    authority.end_grants()
    if when == "over":
        clock.advance(3600)
    with pytest.raises(AuthorizationRequired) as caught:
        client.list_tools()
    assert app.grant() is None
    assert app.refreshes == 1
    app.browser.go(caught.value.authorization_url)
    OAuth(CALLBACK, store=app.store, clock=clock).complete(authority.url, app.browser.come_back())
    add(client)


def test_a_client_that_is_known_no_more_is_registered_anew(authority, app):
    app.signed_in()
    client = app.client(shows=False)
    authority.forget_clients()
    authority.end_access_tokens()
    with pytest.raises(AuthorizationRequired) as caught:
        client.list_tools()
    assert authority.count("register") == 2
    assert query(caught.value.authorization_url)["client_id"] in authority.clients


TROUBLE = [
    Page.json({"error": "temporarily_unavailable"}, 400),
    Page.json({"error": "server_error"}, 400),
    Page.json({"error": "temporarily_unavailable"}, 503),
    Page(500, b"<h1>no</h1>", "text/html"),
    Page(502),
    Page(429),
]


@pytest.mark.parametrize("when", ["over", "turned down"])
@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda page: f"{page.status}")
def test_trouble_at_the_authorization_server_is_worth_another_try(
    authority, app, clock, trouble, when
):
    authority.rotate = False
    client = app.signed_in()
    if when == "over":
        clock.advance(3600)
    authority.end_access_tokens()
    authority.say("/token", trouble)
    with pytest.raises(OAuthError) as caught:
        client.call_tool("add", SUM)
    assert caught.value.retryable
    assert not caught.value.maybe_executed
    add(client)
    assert len(app.browser.shown) == 1
    assert authority.mcp.executions["add"] == 1


def test_an_authorization_server_that_is_gone_takes_no_grant_along(authority, app, clock):
    client = app.signed_in()
    clock.advance(3600)
    authority.server.close()
    with pytest.raises(TransportError) as caught:
        client.call_tool("add", SUM)
    assert not caught.value.maybe_executed
    assert app.grant().tokens.refresh_token is not None


def page(body, status=200, **headers):
    return Page(status, body, "application/json", tuple(headers.items()))


@pytest.mark.parametrize(
    "answer",
    [
        page(b" " * (1024 * 1024 + 1)),
        page(b"s3cret" + b"[" * 100_000),
        page(b"", 302, Location="https://evil.example/?s3cret"),
        page(b"", 307, Location="http://127.0.0.1:1/token"),
        page(b"{", **{"Content-Encoding": "gzip"}),
    ],
    ids=["endless", "deep", "to another server", "to another port", "no gzip"],
)
@pytest.mark.parametrize("when", ["over", "turned down"])
def test_a_bad_answer_to_a_refresh_is_a_typed_error_of_a_call_that_was_not_made(
    authority, app, clock, answer, when
):
    authority.rotate = False
    client = app.signed_in()
    if when == "over":
        clock.advance(3600)
    authority.end_access_tokens()
    authority.say("/token", answer)
    with pytest.raises(MCPSyncError) as caught:
        client.call_tool("add", SUM)
    assert not isinstance(caught.value, AuthorizationRequired)
    assert not caught.value.maybe_executed
    assert "has not run it" in str(caught.value)
    assert "s3cret" not in f"{caught.value!r}{caught.value}"
    add(client)
    assert authority.mcp.executions["add"] == 1


@pytest.mark.parametrize("when", ["over", "turned down"])
def test_a_token_endpoint_that_hangs_is_waited_for_no_longer_than_the_call(
    authority, app, clock, when
):
    authority.rotate = False
    client = app.signed_in()
    if when == "over":
        clock.advance(3600)
    authority.end_access_tokens()
    gate, too_long = Gate(), Deadline(4)
    authority.say("/token", gate)
    with pytest.raises(RequestTimeout) as caught:
        client.call_tool("add", SUM, timeout=0.3)
    assert not too_long.expired
    assert not caught.value.maybe_executed
    gate.open()
    add(client)
    assert authority.mcp.executions["add"] == 1


def test_a_refresh_is_given_up_when_another_thread_cancels_the_call(authority, app):
    authority.rotate = False
    client = app.signed_in()
    authority.end_access_tokens()
    gate, cancel = Gate(), Cancellation()
    authority.say("/token", gate)
    task = start(lambda: client.call_tool("add", SUM, cancel=cancel))
    gate.wait_reached()
    cancel.cancel()
    found = outcome(task)
    assert isinstance(found, RequestCancelled)
    assert not found.maybe_executed
    gate.open()
    add(client)


def test_an_answer_that_is_lost_is_a_sign_in_and_no_silent_loss(authority, app):
    """The refresh token was redeemed, and what came of it is nowhere."""
    app.signed_in()
    client = app.client(shows=False)
    authority.end_access_tokens()
    authority.say("/token", Page(200, b"<h1>proxy</h1>", "text/html"))
    with pytest.raises(OAuthError) as caught:
        client.list_tools()
    assert caught.value.error == "bad_answer"
    assert app.grant() is not None
    with pytest.raises(AuthorizationRequired):
        client.list_tools()
    assert app.grant() is None


@pytest.mark.parametrize(
    "no",
    [
        Page.json({"error": "invalid_request"}, 400),
        Page.json({"error": "interaction_required"}, 400),
        Page(400, b"<script>no</script>", "text/html"),
        Page(401),
    ],
    ids=lambda page: f"{page.status}",
)
def test_any_other_refusal_is_a_sign_in_too_but_the_grant_is_kept(authority, app, no):
    authority.rotate = False
    app.signed_in()
    client = app.client(shows=False)
    authority.end_access_tokens()
    authority.say("/token", no)
    with pytest.raises(AuthorizationRequired):
        client.list_tools()
    client.list_tools()
    assert app.sign_ins == 1


def test_a_configured_client_may_get_a_new_secret(authority, app):
    authority.add_client("me", client_secret="old", redirect_uris=[CALLBACK])
    app.signed_in(client_id="me", client_secret="old")
    authority.clients["me"]["client_secret"] = "new"
    authority.end_access_tokens()
    add(app.client(client_id="me", client_secret="new"))
    assert len(app.browser.shown) == 1


# -- stores


def test_a_store_that_fails_is_a_typed_error_and_nothing_is_lost(authority, app, store):
    client = app.signed_in()
    authority.end_access_tokens()
    store.broken = ("get",)
    with pytest.raises(StoreError) as caught:
        client.call_tool("add", SUM)
    assert caught.value.retryable
    assert not caught.value.maybe_executed
    store.broken = ()
    add(client)
    assert app.refreshes == 1
    assert len(app.browser.shown) == 1


def test_tokens_that_the_store_does_not_take_are_kept_until_it_does(authority, app, store):
    """The old refresh token is gone by then: without them the user would have to sign in."""
    client = app.signed_in()
    authority.end_access_tokens()

    def fail():
        store.broken = ("compare_and_set",)

    authority.say("/token", fail)
    for _ in range(2):
        with pytest.raises(StoreError):
            client.call_tool("add", SUM)
    store.broken = ()
    add(client)
    assert app.refreshes == 1
    assert len(app.browser.shown) == 1
    add(app.client(shows=False))  # another process has them, too


def test_a_grant_that_was_revoked_elsewhere_is_noticed(authority, app, clock):
    app.signed_in()
    client = app.client(shows=False)
    client.list_tools()
    elsewhere = OAuth(CALLBACK, store=app.store).ceremony(authority.url)
    elsewhere.storage.forget(f"me:{authority.url}")
    before = len(app.tokens_sent())
    clock.advance(module.RECHECK)
    with pytest.raises(AuthorizationRequired):
        client.call_tool("add", SUM)
    assert app.tokens_sent()[before:] == [None]


def test_what_another_process_has_refreshed_is_used(authority, app):
    mine, theirs = app.signed_in(), app.client()
    theirs.list_tools()
    authority.end_access_tokens()
    add(mine)
    add(theirs)
    assert app.refreshes == 1


# -- whose


def test_the_tokens_of_one_user_are_not_used_for_another(authority, app):
    app.signed_in(owner="ada")
    theirs = {f"Bearer {app.grant('ada').tokens.access_token}"}
    client = app.client(owner="bob", shows=False)
    before = len(app.tokens_sent())
    with pytest.raises(AuthorizationRequired) as caught:
        client.call_tool("add", SUM)
    assert not theirs & {*app.tokens_sent()[before:]}
    assert "ada" not in caught.value.flow_id
    assert authority.mcp.executions.get("add") is None


def test_the_token_of_one_server_is_not_sent_to_another(authority, app):
    app.signed_in()
    with Authority() as other:
        auth = OAuth(CALLBACK, store=app.store, clock=app.clock)
        with Client(other.url, auth=auth) as client, pytest.raises(AuthorizationRequired):
            client.list_tools()
        assert tokens_sent(other) == [None]


def test_a_token_is_in_the_header_of_every_request_and_in_no_url(authority, app):
    client = app.signed_in()
    before = len(app.tokens_sent())
    add(client)
    client.list_tools()
    token = f"Bearer {app.grant().tokens.access_token}"
    assert set(app.tokens_sent()[before:]) == {token}
    assert not any("access" in each.path for each in authority.mcp.requests)


def test_a_token_of_the_caller_s_own_is_left_alone(authority, app):
    client = app.signed_in()
    with pytest.raises(AuthorizationRequired) as caught:
        client.call_tool("add", SUM, headers={"Authorization": "Bearer mine"})
    assert caught.value.authorization_url is None
    assert app.refreshes == 0
    assert app.tokens_sent().count("Bearer mine") == 1


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (("me", "https://a.example/mcp"), ("you", "https://a.example/mcp")),
        (("me", "https://a.example/mcp"), ("me", "https://b.example/mcp")),
        (("me", "https://a.example/mcp"), ("me", "http://a.example/mcp")),
        (("me", "https://a.example/mcp"), ("me", "https://a.example/mcp/other")),
        (("me", "https://a.example/?tenant=1"), ("me", "https://a.example/?tenant=2")),
        (("a:https://b", "https://c"), ("a", "https://b:https://c")),
    ],
)
def test_no_two_users_and_no_two_servers_have_one_place_in_the_store(mine, theirs):
    mine, theirs = (OAuth(CALLBACK, owner=owner).owner_at(url) for owner, url in (mine, theirs))
    assert mine != theirs


@pytest.mark.parametrize(
    "url", ["https://A.Example/mcp", "https://user:pass@a.example/mcp", "https://a.example/mcp#x"]
)
def test_one_server_has_one_place_however_it_is_written(url):
    auth = OAuth(CALLBACK)
    assert auth.owner_at(url) == auth.owner_at("https://a.example/mcp")


def test_a_secret_of_a_url_is_in_no_flow_id():
    assert "s3cret" not in OAuth(CALLBACK).owner_at("https://u:s3cret@a.example/?key=s3cret")


# -- scopes


def scope_asked(authority, app, challenge="", **options):
    """Return the scope of the URL that the user is sent to after a 401."""
    where = authority.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    authority.say("/mcp", no_token(f'Bearer resource_metadata="{where}"{challenge}'))
    with pytest.raises(AuthorizationRequired) as caught:
        app.client(shows=False, **options).list_tools()
    return query(caught.value.authorization_url).get("scope")


@pytest.mark.parametrize(
    ("challenge", "resource", "configured", "expected"),
    [
        ("", None, None, None),
        ("", ["r1", "r2"], None, "r1 r2"),
        (', scope="c1 c2"', ["r1"], None, "c1 c2"),
        (', scope="c1"', None, None, "c1"),
        ("", ["r1"], ["own"], "own"),
        (', scope="c1"', ["r1"], ["own"], "own c1"),
        ("", ["r1"], [], None),
    ],
)
def test_a_configuration_comes_before_the_challenge_and_that_before_the_server_s_own_words(
    authority, app, challenge, resource, configured, expected
):
    authority.resource_metadata["scopes_supported"] = resource
    authority.server_metadata["scopes_supported"] = ["everything"]
    assert scope_asked(authority, app, challenge, scopes=configured) == expected


@pytest.mark.parametrize(
    ("offered", "resource", "expected"),
    [
        (["offline_access"], ["read"], "read offline_access"),
        ([], ["read"], "read"),
        ([], ["read", "offline_access"], "read"),
        (["offline_access"], None, None),
    ],
)
def test_offline_access_is_asked_for_if_the_authorization_server_has_it(
    authority, app, offered, resource, expected
):
    authority.resource_metadata["scopes_supported"] = resource
    authority.server_metadata["scopes_supported"] = offered
    assert scope_asked(authority, app) == expected


# -- step-up


@pytest.mark.parametrize("server", [{"era": "legacy"}, {"era": "modern"}, {"answer": "sse"}])
def test_a_call_that_needs_more_asks_for_that_besides_and_runs_the_tool_once(clock, server):
    with Authority(**server) as authority:
        authority.resource_metadata["scopes_supported"] = ["read"]
        authority.scope_of["add"] = "math"
        app = Application(authority, FailingStore(clock), clock)
        add(app.client())
        app.close()
        scopes = [query(url)["scope"] for url in app.browser.shown]
        assert scopes == ["read", "read math"]
        assert authority.mcp.executions["add"] == 1
        assert app.grant().step_ups == 1


def test_what_was_agreed_to_is_asked_for_again_with_each_step(authority, app):
    client = app.signed_in()
    for tool, scope in (("add", "math"), ("whoami", "profile")):
        authority.scope_of[tool] = scope
    add(client)
    client.call_tool("whoami")
    assert query(app.browser.shown[-1])["scope"] == "math profile"
    add(client)
    assert len(app.browser.shown) == 3


def test_who_cannot_wait_gets_the_url_of_the_step_and_goes_on(authority, app):
    app.signed_in()
    authority.scope_of["add"] = "math"
    client = app.client(shows=False)
    with pytest.raises(AuthorizationRequired) as caught:
        client.call_tool("add", SUM)
    assert 'scope="math"' in caught.value.challenge
    assert not caught.value.maybe_executed
    app.browser.go(caught.value.authorization_url)
    OAuth(CALLBACK, store=app.store, clock=app.clock).complete(
        authority.url, app.browser.come_back()
    )
    add(client)
    assert authority.mcp.executions["add"] == 1


class AnythingNew(dict):
    """Scopes of which none was ever heard of before."""

    asked = 0

    def get(self, tool, default=None):
        if tool != "add":
            return None
        self.asked += 1
        return f"scope{self.asked}"


def step_ups(authority, app):
    """Agree to whatever is asked for, and return how often that was before it ended."""
    client, auth = app.client(shows=False), OAuth(CALLBACK, store=app.store, clock=app.clock)
    for number in range(50):
        try:
            client.call_tool("add", SUM)
        except AuthorizationRequired as required:
            app.browser.go(required.authorization_url)
            auth.complete(authority.url, app.browser.come_back())
        except InsufficientScope as error:
            return number, error
    raise AssertionError("no end")


def test_a_server_that_always_wants_more_is_given_up(authority, app):
    app.signed_in()
    authority.scope_of = AnythingNew()
    number, error = step_ups(authority, app)
    assert number == module.MOST_STEP_UPS
    assert error.required_scopes
    assert not error.maybe_executed
    assert authority.mcp.executions.get("add") is None


def test_one_that_does_not_say_what_it_wants_is_given_up_sooner(authority, app):
    app.signed_in()
    app.client(shows=False).list_tools()
    no = Page(403, headers=(("WWW-Authenticate", 'Bearer error="insufficient_scope"'),))
    client = app.client(shows=False)
    client.list_tools()
    authority.say("/mcp", no, times=100)
    auth = OAuth(CALLBACK, store=app.store, clock=app.clock)
    for _ in range(module.MOST_BLIND_STEP_UPS):
        with pytest.raises(AuthorizationRequired) as caught:
            client.call_tool("add", SUM)
        app.browser.go(caught.value.authorization_url)
        auth.complete(authority.url, app.browser.come_back())
    with pytest.raises(InsufficientScope) as ended:
        client.call_tool("add", SUM)
    assert ended.value.required_scopes == ()


def test_what_the_user_was_asked_for_already_is_not_asked_for_again(authority, app):
    authority.scope_of["add"] = "math"
    client = app.client()
    add(client)
    no = 'Bearer error="insufficient_scope", scope="math"'
    authority.say("/mcp", Page(403, headers=(("WWW-Authenticate", no),)), times=9)
    with pytest.raises(InsufficientScope) as caught:
        client.call_tool("add", SUM)
    assert caught.value.required_scopes == ("math",)
    assert caught.value.challenge == no
    assert len(app.browser.shown) == 2


def test_any_other_403_is_no_reason_to_sign_in(authority, app):
    client = app.signed_in()
    authority.say("/mcp", Page(403))
    with pytest.raises(MCPSyncError) as caught:
        client.call_tool("add", SUM)
    assert not isinstance(caught.value, AuthorizationRequired)
    assert len(app.browser.shown) == 1


def test_who_was_turned_down_while_another_stepped_up_takes_what_he_got(authority, app):
    client = app.signed_in()
    authority.scope_of["add"] = "math"
    add(app.client())
    shown = len(app.browser.shown)
    assert shown == 2
    add(client)
    assert len(app.browser.shown) == shown
    assert authority.mcp.executions["add"] == 2


def test_of_many_calls_that_need_more_at_once_one_asks_the_user(authority, app):
    client = app.signed_in()
    authority.scope_of["add"] = "math"
    ready = threading.Barrier(20)

    def go():
        ready.wait(20)
        add(client)

    for task in [start(go) for _ in range(20)]:
        assert outcome(task) is None
    assert len(app.browser.shown) == 2
    assert authority.mcp.executions["add"] == 20


@pytest.mark.parametrize("why", ["no grant", "too little"])
def test_who_is_turned_down_just_before_another_has_signed_in_does_not_ask_again(
    authority, app, why
):
    """He has found no way but to ask the user, and asks where; meanwhile it is done."""
    first = app.signed_in()
    client = app.client(shows=False)
    client.list_tools()
    authority.scope_of["add"] = "math"
    if why == "no grant":
        authority.end_grants()

    def somebody_is_faster():
        add(first)

    authority.say("/.well-known/oauth-authorization-server", somebody_is_faster)
    add(client)
    shown = len(app.browser.shown)
    flow = first._keeper._opening.authorizer.ceremony.flows.find(f"me:{authority.url}")
    assert flow.stands == "COMPLETED", "none is left open"
    assert shown == (2 if why == "too little" else 3)


FAULTS = [Fault.DIE_BEFORE_ANSWER, Fault.DIE_MID_ANSWER, Fault.GARBAGE, Fault.HTTP_500]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("needs", ["a refresh", "a sign-in", "a step-up"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_may_have_run_is_not_made_again(clock, era, needs, fault):
    """It was turned down unseen once, and made again: that one is the only one."""
    with Authority(era=era) as authority:
        app = Application(authority, FailingStore(clock), clock)
        client = app.signed_in()
        if needs == "a refresh":
            authority.end_access_tokens()
        elif needs == "a sign-in":
            authority.end_grants()
        else:
            authority.scope_of["add"] = "math"
        authority.mcp.inject(fault, "tools/call", times=2)  # the one that gets a 401 takes one
        with pytest.raises(MCPSyncError) as caught:
            client.call_tool("add", SUM)
        app.close()
    assert caught.value.maybe_executed
    assert authority.mcp.executions.get("add", 0) <= 1
    reached = [each for each in authority.mcp.requests if each.rpc_method == "tools/call"]
    assert len(reached) == 2, "one that was turned down, one that may have run"


# -- secrets


def test_nothing_secret_is_in_a_log_or_an_error(authority, app, caplog, clock):
    app.signed_in()
    authority.scope_of["add"] = "math"
    client = app.client(shows=False)
    client.list_tools()
    caplog.clear()  # of what the browser logs
    caplog.set_level("DEBUG")
    errors = []
    for trouble in (*TROUBLE, None):
        authority.end_access_tokens()
        if trouble is not None:
            authority.say("/token", trouble)
        with pytest.raises(MCPSyncError) as caught:
            client.call_tool("add", SUM)
        errors.append(caught.value)
    text = caplog.text + "".join(f"{each!r}{each}" for each in errors)
    assert len(authority.secrets) > 4
    for secret in authority.secrets:
        assert secret not in text
