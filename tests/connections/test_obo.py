"""Servers that are called on behalf of users: a token for each request, or no request at all."""

import logging
import threading

import pytest

from mcpsync import Cancellation, Client, MCPManager, OboTokenError
from mcpsync.auth import OboTokenService, OpenIDToken
from mcpsync.auth.on_behalf import DOUBTFUL, FEW, Doubts
from mcpsync.config import HttpServerConfig, parse_server
from mcpsync.connections import Key
from mcpsync.connections.on_behalf import OnBehalf
from mcpsync.connections.signing_in import AuthorizationStatus
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    ConnectionLost,
    HTTPStatusError,
    MCPSyncError,
    RequestCancelled,
    RequestTimeout,
    StoreError,
)
from mcpsync.testing import FakeClock, Page
from support.entra import SCOPES, SECRET, Entra
from support.threads import Gate, outcome, start, wait_until

SUM = {"sum": 3}
REJECTED = "The identity provider rejected the OBO token exchange."


@pytest.fixture
def idp():
    with Entra(era="modern") as made:
        yield made


@pytest.fixture
def people(idp):
    """The tokens of those who are signed in."""
    return {name: idp.sign_in(name) for name in ("ada", "bob")}


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def manager(idp, people, clock):
    with manager_of(idp, people, clock=clock) as made:
        yield made


def manager_of(idp, people, more=None, *, obo=None, token_of=None, **options):
    server = {"url": idp.url, "obo": {"scopes": SCOPES}, **(more or {})}
    options.setdefault("idle_timeout", 1_000_000)
    return MCPManager(
        {"crm": server},
        obo=obo or service_of(idp, clock=options.get("clock")),
        access_token_of=token_of or people.get,
        connect_backoff=0.01,
        **options,
    )


def service_of(idp, **options):
    return OboTokenService(idp.token_endpoint, "app", SECRET, retry_delay=0.01, **options)


def add(manager, user="ada", **options):
    return manager.call_tool(
        "crm", "add", {"a": 1, "b": 2}, user=user, **options
    ).structured_content


def failed(manager, user="ada", **options):
    """The error of a call, which has to be one of ours."""
    with pytest.raises(OboTokenError) as caught:
        add(manager, user, **options)
    error = caught.value
    assert (error.server_name, error.user_id, error.tool_name) == ("crm", user, "add")
    assert error.maybe_executed is False
    return error


# -- the token of each request --------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"requires_oauth": False}, {"requires_oauth": True}])
def test_every_request_has_the_users_token_and_one_exchange_does_for_all(idp, people, more):
    with manager_of(idp, people, more) as manager:
        assert [add(manager) for _ in range(3)] == [SUM] * 3
    assert len(idp.came) >= 4
    assert len(set(idp.came)) == 1
    assert None not in idp.came
    assert idp.asked_times == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_so_it_is_in_both_eras(era):
    with Entra(era=era) as idp, manager_of(idp, {"ada": idp.sign_in("ada")}) as manager:
        assert add(manager) == SUM
        assert len(set(idp.came)) == 1


def test_and_over_sse():
    with Entra(transport="sse") as idp:
        with manager_of(idp, {"ada": idp.sign_in("ada")}, {"type": "sse"}) as manager:
            assert add(manager) == SUM
        assert len(set(idp.came)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"command": "x"},
        {"url": "wss://mcp.example/mcp"},
        {"type": "websocket", "url": "ws://127.0.0.1/mcp"},
    ],
)
def test_where_no_header_can_be_sent_it_cannot_be_configured(fields):
    with pytest.raises(ConfigurationError, match="a token can be sent to a server over HTTP only"):
        parse_server("crm", {**fields, "obo": {"scopes": SCOPES}})


def test_each_user_has_a_token_of_his_own(idp, manager):
    assert [add(manager, user) for user in ("ada", "bob", "ada")] == [SUM] * 3
    assert idp.asked_times == 2
    assert len(set(idp.came)) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"Authorization": "Bearer stale"}},
        {"headers": {"authorization": "Basic c3RhbGU="}},
        {"headers": {"AUTHORIZATION": "Bearer {{USER_ID}}"}},
        {
            "headers": {"Authorization": "Bearer {{KEY}}"},
            "custom_user_vars": {"KEY": {"title": "Key"}},
        },
    ],
)
def test_it_takes_the_place_of_a_configured_authorization(idp, people, more):
    options = {"custom_user_vars": {"KEY": "stale"}} if "custom_user_vars" in more else {}
    with manager_of(idp, people, more) as manager:
        assert add(manager, **options) == SUM
        idp.turns_down.add(idp.came[0].removeprefix("Bearer "))
        assert add(manager, **options) == SUM, "and it is replaced when it is turned down"
    assert not any("stale" in sent or "ada" in sent for sent in idp.came)


def test_and_of_one_that_the_call_brings_along(idp, manager):
    assert add(manager, headers={"Authorization": "Bearer stale"}) == SUM
    assert "Bearer stale" not in idp.came


def test_the_users_token_of_the_moment_is_what_is_exchanged(idp, manager, people):
    add(manager)
    people["ada"] = idp.sign_in("ada")
    add(manager)
    assert [said["assertion"] for said in idp.exchanged][1] == people["ada"]
    assert idp.asked_times == 2


def test_a_token_that_is_over_is_exchanged_anew(idp, manager, clock):
    add(manager)
    clock.advance(3590)
    assert add(manager) == SUM
    assert idp.asked_times == 2


def test_a_token_may_come_with_all_that_is_known_of_it(idp, people, clock):
    token = OpenIDToken(people["ada"], "sub", "https://idp", "contoso", clock.time() + 60)
    with manager_of(idp, people, token_of={"ada": token}.get, clock=clock) as manager:
        assert add(manager) == SUM
        clock.advance(61)
        assert failed(manager).reason == "missing_upstream_token"


def test_a_hundred_threads_of_one_user_on_a_cold_cache_make_one_exchange(idp, people):
    together = threading.Barrier(100)
    with manager_of(idp, people) as manager:

        def call():
            together.wait(30)
            return add(manager)

        calls = [start(call) for _ in range(100)]
        assert [call.result(60) for call in calls] == [SUM] * 100
    assert idp.asked_times == 1


def test_so_do_a_hundred_whose_token_is_over_at_the_same_time(idp, manager, clock):
    add(manager)
    clock.advance(3590)
    together = threading.Barrier(100)

    def call():
        together.wait(30)
        return add(manager)

    calls = [start(call) for _ in range(100)]
    assert [call.result(60) for call in calls] == [SUM] * 100
    assert idp.asked_times == 2


def test_looking_for_tools_is_on_behalf_of_the_user_too(idp, manager):
    found = manager.discover_server_tools("crm", user="ada")
    assert found.tools
    assert manager.get_connection("crm", user="ada").is_connected
    assert idp.asked_times == 1


# -- when there is none ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "status", "retryable", "message"),
    [
        (2, 503, True, "Temporary OBO token exchange failure."),
        (1, 400, False, REJECTED),
    ],
)
def test_an_exchange_that_fails_sends_nothing_at_all(
    idp, manager, times, status, retryable, message
):
    idp.fails(status, times)
    error = failed(manager)
    assert (error.reason, error.retryable, error.user_message) == (
        "exchange_failed",
        retryable,
        message,
    )
    assert idp.came == []
    assert idp.asked_times == times, "connecting is not tried again for it"
    assert add(manager) == SUM, "the next call is as good as new, and no breaker is open"


@pytest.mark.parametrize(("times", "status", "retryable"), [(2, 503, True), (1, 400, False)])
def test_so_it_is_on_a_connection_that_is_there(idp, manager, clock, times, status, retryable):
    add(manager)
    sent = len(idp.came)
    clock.advance(3590)
    idp.fails(status, times)
    assert failed(manager).retryable is retryable
    assert len(idp.came) == sent, "not even with the token of before"
    assert add(manager) == SUM


def test_a_configured_authorization_is_no_way_out(idp, people):
    with manager_of(idp, people, {"headers": {"Authorization": "Bearer stale"}}) as manager:
        idp.must_interact.add("ada")
        assert failed(manager).error == "interaction_required"
        assert failed(manager, headers={"Authorization": "Bearer own"}).error
    assert idp.came == []


def test_no_failure_leads_to_oauth(idp, people):
    idp.must_interact.add("ada")
    oauth = {"client_id": "app", "issuer": idp.issuer}
    options = {"oauth_redirect_uri": "https://app.example/callback"}
    shown = []
    with manager_of(idp, people, {"requires_oauth": True, "oauth": oauth}, **options) as manager:
        assert failed(manager, oauth_start=shown.append).reason == "exchange_failed"
        idp.must_interact.clear()
        idp.same_token = True
        add(manager)
        idp.turns_down.add(idp.came[0].removeprefix("Bearer "))
        with pytest.raises(AuthorizationRequired) as caught:
            add(manager, oauth_start=shown.append)
        assert caught.value.authorization_url is None
    assert shown == []
    assert {name for name, _ in idp.asked} == {"token"}


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "missing_upstream_token"),
        ("", "missing_upstream_access_token"),
        (OpenIDToken(None, "ada"), "missing_upstream_access_token"),
    ],
)
def test_a_user_without_a_token_gets_an_error_and_nobody_is_asked(idp, people, token, reason):
    with manager_of(idp, people, token_of=lambda _: token) as manager:
        assert failed(manager).reason == reason
    assert (idp.came, idp.asked) == ([], [])


@pytest.mark.parametrize(
    ("error", "retryable"), [(KeyError("s3cret"), False), (TimeoutError(), True)]
)
def test_a_session_that_cannot_be_refreshed_is_an_error_of_its_own(idp, people, error, retryable):
    def token_of(user_id):
        raise error

    with manager_of(idp, people, token_of=token_of) as manager:
        found = failed(manager)
    assert (found.reason, found.retryable) == ("session_refresh_failed", retryable)
    assert found.__cause__ is error
    assert idp.came == []


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (AuthorizationRequired("x", authorization_url="https://else.example", flow_id="f"), False),
        (ConnectionLost("x", stale=True, maybe_executed=True), True),
        (HTTPStatusError("x", status=500), False),
        (RequestTimeout("x"), True),
        (StoreError("x", retryable=True), True),
        (RequestCancelled("x"), False),
    ],
)
def test_an_error_of_ours_is_no_other_there_so_nobody_signs_in_and_no_breaker_counts_it(
    idp, people, error, retryable
):
    def token_of(user_id):
        raise error

    shown = []
    with manager_of(idp, people, token_of=token_of) as manager:
        found = failed(manager, oauth_start=shown.append)
        assert manager.stats()["breakers"] == []
    assert (found.reason, found.retryable) == ("session_refresh_failed", retryable)
    assert (shown, idp.came) == ([], [])


def test_what_the_application_returns_has_to_be_a_token(idp, people):
    manager = manager_of(idp, people, token_of=lambda _: 7)
    with manager, pytest.raises(ConfigurationError, match="access_token_of="):
        add(manager)
    assert idp.came == []


def test_the_time_of_the_call_bounds_the_exchange(idp, manager):
    gate = Gate()
    idp.say(idp.path, gate)
    call = start(lambda: add(manager, timeout=0.3))
    gate.wait_reached()
    assert isinstance(outcome(call), RequestTimeout)
    gate.open()
    assert idp.came == []


def test_no_token_is_told(idp, people, clock, caplog):
    with caplog.at_level(logging.DEBUG), manager_of(idp, people, clock=clock) as manager:
        add(manager)
        idp.must_interact.add("ada")
        clock.advance(3590)
        error = failed(manager)
        shown = f"{error!r} {error} {manager!r} {manager.stats()} {caplog.text}"
    assert not [secret for secret in idp.secrets if secret in shown]


# -- when the server does not take it -------------------------------------------------------------


def test_a_token_that_is_turned_down_is_exchanged_once_more(idp, manager):
    add(manager)
    idp.turns_down.add(idp.came[0].removeprefix("Bearer "))
    assert add(manager) == SUM
    assert idp.asked_times == 2


def test_threads_that_are_turned_down_together_exchange_once(idp, manager):
    add(manager)
    idp.turns_down.add(idp.came[0].removeprefix("Bearer "))
    together = threading.Barrier(20)

    def call():
        together.wait(30)
        return add(manager)

    calls = [start(call) for _ in range(20)]
    assert [call.result(60) for call in calls] == [SUM] * 20
    assert idp.asked_times == 2


def test_a_server_that_takes_none_is_an_error_and_not_a_storm(idp, people, clock):
    with manager_of(
        idp, people, {"obo": {"scopes": "api://mail/.default"}}, clock=clock
    ) as manager:
        for _ in range(4):
            with pytest.raises(AuthorizationRequired):
                add(manager)
        assert idp.asked_times == 2, "though each call has to connect first"
        assert len(idp.came) == 2 + 3
        clock.advance(DOUBTFUL)
        with pytest.raises(AuthorizationRequired):
            add(manager)
    assert idp.asked_times == 3


def test_a_token_that_was_taken_after_all_may_be_replaced_at_once(idp, people, clock):
    with manager_of(idp, people, clock=clock) as manager:
        for calls in range(1, 4):
            assert add(manager) == SUM
            idp.turns_down.add(idp.came[-1].removeprefix("Bearer "))
            assert idp.asked_times == calls
        assert add(manager) == SUM


def test_what_is_in_doubt_is_forgotten_in_time(clock):
    doubts = Doubts(clock)
    for number in range(FEW):
        doubts.add(f"old-{number}")
    clock.advance(DOUBTFUL)
    doubts.add("new")
    assert len(doubts) == 1
    assert "new" in doubts
    assert "old-1" not in doubts


def test_nor_is_one_that_takes_none_any_more(idp, people, clock):
    with manager_of(idp, people, clock=clock) as manager:
        add(manager)
        real, idp.mcp._endpoint.front = idp.mcp._endpoint.front, lambda request: Page(401)
        for _ in range(4):
            with pytest.raises(AuthorizationRequired):
                add(manager)
        assert idp.asked_times == 2, "the one that replaced it is not replaced for a minute"
        clock.advance(DOUBTFUL)
        idp.mcp._endpoint.front = real
        assert add(manager) == SUM


def test_a_token_that_is_no_other_is_not_tried_again(idp, manager):
    idp.same_token = True
    add(manager)
    idp.turns_down.add(idp.came[0].removeprefix("Bearer "))
    sent = len(idp.came)
    with pytest.raises(AuthorizationRequired) as caught:
        add(manager)
    assert caught.value.maybe_executed is False
    assert len(idp.came) == sent + 1
    assert idp.asked_times == 2


def test_an_exchange_that_fails_after_a_401_is_the_error(idp, manager):
    add(manager)
    idp.turns_down.add(idp.came[0].removeprefix("Bearer "))
    idp.must_interact.add("ada")
    sent = len(idp.came)
    assert failed(manager).error == "interaction_required"
    assert len(idp.came) == sent + 1


def test_a_403_is_no_reason_to_exchange(idp, manager):
    add(manager)
    idp.mcp._endpoint.front = lambda request: Page(403)
    with pytest.raises(MCPSyncError):
        add(manager)
    assert idp.asked_times == 1


def test_who_may_is_asked_before_that_exchange_as_well(idp, people):
    config = HttpServerConfig(url=idp.url, obo={"scopes": SCOPES}, db_id="7")
    behalf = OnBehalf(service_of(idp), people.get, FakeClock(), lambda *_: not idp.turns_down)
    client = Client(
        config, auth=behalf.authorizer_for(Key("ada", "crm"), config), mode="2026-07-28"
    )

    def turned_down(request):
        idp.turns_down.add("any")
        return Page(401)

    with client:
        client.call_tool("add", {"a": 1, "b": 2})
        idp.mcp._endpoint.front = turned_down
        with pytest.raises(OboTokenError) as caught:
            client.call_tool("add", {"a": 1, "b": 2})
    assert (caught.value.reason, caught.value.maybe_executed) == ("not_permitted", False)
    assert idp.asked_times == 1


def test_who_calls_off_a_call_does_not_wait_for_its_exchange(idp, manager):
    gate, cancel = Gate(), Cancellation()
    idp.say(idp.path, gate)
    call = start(lambda: add(manager, cancel=cancel))
    gate.wait_reached()
    cancel.cancel("enough")
    assert isinstance(outcome(call), RequestCancelled)
    gate.open()
    assert idp.came == []


def test_a_token_that_names_nobody_is_that_of_the_user_of_the_call(idp, people):
    tokens = {"ada": OpenIDToken(people["ada"])}
    with manager_of(idp, people, token_of=tokens.get) as manager:
        assert add(manager) == SUM


# -- a resolver of the application's --------------------------------------------------------------


def test_an_application_may_exchange_tokens_itself(idp, people):
    service, asked = service_of(idp), []

    def resolver(user, scopes, from_cache):
        asked.append((user.subject, scopes, from_cache))
        return {"access_token": service.exchange(user, scopes, from_cache).access_token}

    with manager_of(idp, people, obo=resolver) as manager:
        assert add(manager) == SUM
        assert set(asked) == {("ada", SCOPES, True)}
        idp.turns_down.add(idp.came[0].removeprefix("Bearer "))
        assert add(manager) == SUM
    assert asked.count(("ada", SCOPES, False)) == 1


def test_what_it_raises_is_told_as_what_it_is_and_nothing_is_sent(idp, people):
    def resolver(user, scopes, from_cache):
        raise TimeoutError

    with manager_of(idp, people, obo=resolver) as manager:
        assert failed(manager).retryable is True
    assert idp.came == []


# -- who may have one -----------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{"source": "user"}, {"db_id": "7"}])
def test_what_a_user_configured_gets_no_token(idp, people, more):
    here = ["127.0.0.0/8"]
    with manager_of(idp, people, more, allowed_addresses=here) as manager:
        error = failed(manager)
        assert (error.reason, error.retryable) == ("not_permitted", False)
        assert error.user_message == (
            'OBO is not permitted for server "crm". '
            "The user who configured it no longer has permission to use OBO."
        )
        assert manager.authorization_status("crm", user="ada") == AuthorizationStatus(False)
    assert (idp.came, idp.asked) == ([], [])


def raises(name, config):
    raise LookupError


@pytest.mark.parametrize("may", [lambda *_: False, lambda *_: None, lambda *_: "yes", raises])
def test_who_may_is_asked_before_each_request_and_what_is_unclear_is_no(idp, people, may):
    config = HttpServerConfig(url=idp.url, obo={"scopes": SCOPES}, db_id="7")
    asked, answers = [], [lambda *_: True] * 2

    def may_use_obo(name, given):
        asked.append((name, given))
        return (answers.pop(0) if answers else may)(name, given)

    behalf = OnBehalf(service_of(idp), people.get, FakeClock(), may_use_obo)
    client = Client(
        config, auth=behalf.authorizer_for(Key("ada", "crm"), config), mode="2026-07-28"
    )
    with client:
        client.call_tool("add", {"a": 1, "b": 2})
        while answers:
            client.call_tool("add", {"a": 1, "b": 2})
        sent = len(idp.came)
        with pytest.raises(OboTokenError) as caught:
            client.call_tool("add", {"a": 1, "b": 2})
    assert caught.value.reason == "not_permitted"
    assert len(idp.came) == sent
    assert all(each == ("crm", config) for each in asked)


def test_only_users_have_tokens(idp, manager):
    with pytest.raises(ConfigurationError):
        add(manager, None)
    assert (idp.came, idp.asked) == ([], [])
    config = HttpServerConfig(url=idp.url, obo={"scopes": SCOPES})
    behalf = OnBehalf(service_of(idp), {}.get, FakeClock())
    with pytest.raises(ConfigurationError, match="none is given"):
        behalf.authorizer_for(Key(None, "crm"), config)


def test_no_such_server_is_the_applications(idp, manager):
    assert manager.get_app_tool_functions() == {}
    assert idp.came == []


# -- a manager that knows no tokens ---------------------------------------------------------------


def test_without_both_halves_there_is_no_manager(idp, people):
    for half in ({"obo": service_of(idp)}, {"access_token_of": people.get}):
        with pytest.raises(ConfigurationError, match="obo=, access_token_of="):
            MCPManager({}, **half)


def test_without_them_nothing_is_sent_and_the_error_says_what_is_missing(idp):
    with MCPManager({"crm": {"url": idp.url, "obo": {"scopes": SCOPES}}}) as manager:
        with pytest.raises(ConfigurationError, match=r"MCPManager\(obo=, access_token_of=\)"):
            add(manager)
        assert manager.authorization_status("crm", user="ada") == AuthorizationStatus(False)
    assert idp.came == []


def test_a_client_alone_has_no_tokens_and_sends_nothing_without(idp):
    config = HttpServerConfig(url=idp.url, obo={"scopes": SCOPES})
    with pytest.raises(MCPSyncError, match=r"MCPManager\(obo=, access_token_of=\)"):
        Client(config).call_tool("add", {"a": 1, "b": 2})
    assert idp.came == []


def test_the_status_asks_nobody_but_the_application(idp, manager, people):
    assert manager.authorization_status("crm", user="ada").is_authorized
    assert not manager.authorization_status("crm", user="eve").is_authorized
    people["ada"] = OpenIDToken(people["ada"], expires_at=1.0)
    assert not manager.authorization_status("crm", user="ada").is_authorized
    assert idp.asked == []


def test_a_manager_that_is_closed_leaves_no_exchange_behind(idp, people):
    gate = Gate()
    idp.say(idp.path, gate)
    with manager_of(idp, people) as manager:
        call = start(lambda: add(manager))
        gate.wait_reached()
        gate.open()
        assert outcome(call) == SUM
    wait_until(lambda: idp.asked_times == 1)


# -- the rest of a connection's life --------------------------------------------------------------


def test_the_connection_of_one_request_has_the_users_token_as_well(idp, people):
    with manager_of(idp, people, {"headers": {"X-Message": "{{BODY_MESSAGEID}}"}}) as manager:
        assert add(manager, request_body={"messageId": "m1"}) == SUM
        idp.must_interact.add("bob")
        assert failed(manager, "bob", request_body={"messageId": "m2"}).reason == "exchange_failed"
    assert len(set(idp.came)) == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_without_a_token_a_connection_is_closed_in_silence(era, caplog):
    clock = FakeClock()
    with Entra(era=era) as idp:
        with manager_of(idp, {"ada": idp.sign_in("ada")}, clock=clock) as manager:
            add(manager)
            clock.advance(3590)
            idp.must_interact.add("ada")
            sent = len(idp.came)
        assert len(idp.came) == sent
    assert [line for line in caplog.records if line.levelno >= logging.WARNING] == []


def test_a_legacy_server_that_was_silent_is_not_given_up_for_a_failed_exchange():
    clock = FakeClock()
    with (
        Entra(era="legacy") as idp,
        manager_of(idp, {"ada": idp.sign_in("ada")}, clock=clock) as manager,
    ):
        add(manager)
        connection = manager.get_user_connection("crm", user="ada")
        clock.advance(3590)
        idp.must_interact.add("ada")
        sent = len(idp.came)
        assert failed(manager).error == "interaction_required"
        assert len(idp.came) == sent
        assert idp.asked_times == 2, "the ping has failed for it; that is enough"
        idp.must_interact.clear()
        assert add(manager) == SUM
        assert manager.get_user_connection("crm", user="ada") is connection


def test_a_connection_of_before_the_server_had_obo_is_not_asked_with_its_old_header(idp, people):
    before = {"url": idp.url, "scope": "user", "headers": {"Authorization": "Bearer old"}}
    said, came = {}, []
    idp.mcp._endpoint.front = lambda request: came.append(request.headers.get("authorization"))
    with MCPManager(
        {"crm": before},
        obo=service_of(idp),
        access_token_of=people.get,
        overrides=lambda user_id: dict(said),
    ) as manager:
        assert add(manager) == SUM
        assert manager.get_server_tool_functions("ada", "crm")
        said["crm"] = {"url": idp.url, "obo": {"scopes": SCOPES}}
        manager.registry.invalidate_overrides()
        came.clear()
        assert manager.get_server_tool_functions("ada", "crm") is None
        assert came == []
        assert add(manager) == SUM
        assert manager.get_server_tool_functions("ada", "crm")
        assert came
        assert "Bearer old" not in came
