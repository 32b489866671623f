"""Tokens on behalf of users: the exchange, its errors, and the calls they are for. (8.1, 8.8)"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcpsync import ConfigurationError, MCPManager, OboTokenError
from mcpsync.auth import OboTokenService, OpenIDToken, resolve_obo_token
from mcpsync.config import HttpServerConfig, OboConfig, parse_server
from mcpsync.connections.on_behalf import is_the_operators
from mcpsync.testing import FakeClock, Page
from support.entra import JWT_BEARER, SCOPES, SECRET, Entra
from support.threads import Gate, outcome, start, wait_until

ADD = ("crm", "add", {"a": 1, "b": 2})
SUM = {"sum": 3}
URL = "https://crm.example/mcp"


@pytest.fixture(params=["legacy", "modern"])
def idp(request: pytest.FixtureRequest) -> Iterator[Entra]:
    with Entra(era=request.param) as made:
        yield made


@pytest.fixture
def service(idp: Entra, clock: FakeClock) -> OboTokenService:
    return OboTokenService(idp.token_endpoint, "app", SECRET, retry_delay=0.01, clock=clock)


@pytest.fixture
def on_behalf(idp: Entra, service: OboTokenService, clock: FakeClock) -> Iterator[MCPManager]:
    with manager_of(idp, service, clock) as manager:
        yield manager


def manager_of(idp: Entra, service: OboTokenService, clock: FakeClock, **more: Any) -> MCPManager:
    config = {"url": idp.url, "obo": {"scopes": SCOPES}, "requires_oauth": False, **more}
    token = idp.sign_in("ada")
    return MCPManager(
        {"crm": config},
        obo=service,
        access_token_of=lambda _: token,
        clock=clock,
        idle_timeout=1_000_000,
        allowed_addresses=["127.0.0.0/8"],  # for what users configure
    )


def ada_of(idp: Entra) -> OpenIDToken:
    return OpenIDToken(idp.sign_in("ada"), "ada")


def failed(call: Callable[..., Any], *args: Any, **options: Any) -> OboTokenError:
    with pytest.raises(OboTokenError) as caught:
        call(*args, **options)
    return caught.value


# -- calls (8.1) ------------------------------------------------------------------------------


def test_with_a_flow_manager_obo_is_wired_to_the_connection(
    on_behalf: MCPManager, idp: Entra
) -> None:
    assert on_behalf.call_tool(*ADD, user="ada").structured_content == SUM
    assert None not in idp.came


def test_authorization_is_replaced_for_each_call(
    idp: Entra, service: OboTokenService, clock: FakeClock
) -> None:
    stale = {"Authorization": "Bearer stale"}
    with manager_of(idp, service, clock, headers=stale) as manager:
        for _ in range(3):
            assert manager.call_tool(*ADD, user="ada").structured_content == SUM
            clock.advance(3600)
        assert len(set(idp.came)) == 3, "the token of each call is that of its moment"
    assert "Bearer stale" not in idp.came


def test_a_transient_failure_sets_no_header_and_sends_no_request(
    on_behalf: MCPManager, idp: Entra, clock: FakeClock
) -> None:
    on_behalf.call_tool(*ADD, user="ada")
    sent = len(idp.came)
    clock.advance(3600)
    idp.fails(503, times=2)
    error = failed(on_behalf.call_tool, *ADD, user="ada")
    assert error.user_message == "Temporary OBO token exchange failure."
    assert len(idp.came) == sent


def test_a_permanent_failure_neither_and_says_something_else(
    on_behalf: MCPManager, idp: Entra, clock: FakeClock
) -> None:
    on_behalf.call_tool(*ADD, user="ada")
    sent = len(idp.came)
    clock.advance(3600)
    idp.must_interact.add("ada")
    error = failed(on_behalf.call_tool, *ADD, user="ada")
    assert error.user_message == "The identity provider rejected the OBO token exchange."
    assert "has not run it" in str(error)
    assert len(idp.came) == sent


def test_an_author_who_is_not_trusted_is_refused(
    idp: Entra, service: OboTokenService, clock: FakeClock
) -> None:
    with manager_of(idp, service, clock, db_id="65a") as manager:
        error = failed(manager.call_tool, *ADD, user="ada")
    assert error.message == (
        'OBO is not permitted for server "crm". '
        "The user who configured it no longer has permission to use OBO."
    )
    assert (idp.came, idp.asked) == ([], [])


# -- the service (8.8) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "scopes", "message"),
    [
        (
            OpenIDToken("t"),
            SCOPES,
            "User must be authenticated via OpenID to perform OBO token exchange",
        ),
        (OpenIDToken(None, "ada"), SCOPES, "Access token is required for OBO exchange"),
        (OpenIDToken("t", "ada"), "", "Scopes are required for OBO exchange"),
    ],
)
def test_each_precondition_has_its_message(
    service: OboTokenService, idp: Entra, user: OpenIDToken, scopes: str, message: str
) -> None:
    assert failed(service.exchange, user, scopes).message == message
    unknown = OboTokenService(None, "app", SECRET)
    error = failed(unknown.exchange, OpenIDToken("t", "ada"), SCOPES)
    assert error.message == "OpenID configuration not available"
    assert idp.asked == []


def test_a_token_is_had_once_until_its_time_is_over(
    service: OboTokenService, idp: Entra, clock: FakeClock
) -> None:
    ada = ada_of(idp)
    idp.lifetime = None  # an hour, then
    first = service.exchange(ada, SCOPES)
    clock.advance(3600 - 31)
    assert service.exchange(ada, SCOPES) is first
    clock.advance(1)
    assert service.exchange(ada, SCOPES) is not first


def test_from_cache_false_asks_again(service: OboTokenService, idp: Entra) -> None:
    ada = ada_of(idp)
    assert service.exchange(ada, SCOPES) != service.exchange(ada, SCOPES, from_cache=False)
    assert idp.asked_times == 2


def test_the_grant_is_jwt_bearer_on_behalf_of(service: OboTokenService, idp: Entra) -> None:
    ada = ada_of(idp)
    service.exchange(ada, SCOPES)
    wanted = {"grant_type": JWT_BEARER, "assertion": ada.access_token or "", "scope": SCOPES}
    assert idp.count("token", requested_token_use="on_behalf_of", **wanted) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_is_transient_is_tried_once_more(
    service: OboTokenService, idp: Entra, status: int
) -> None:
    idp.fails(status)
    assert service.exchange(ada_of(idp), SCOPES)
    idp.fails(status, times=2)
    error = failed(service.exchange, ada_of(idp), SCOPES)
    assert (error.reason, error.retryable) == ("exchange_failed", True)
    assert idp.asked_times == 4


def test_no_network_is_transient_too(clock: FakeClock) -> None:
    with Entra() as idp:
        ada, endpoint = ada_of(idp), idp.token_endpoint
    service = OboTokenService(endpoint, "app", SECRET, retry_delay=0.01, clock=clock)
    assert failed(service.exchange, ada, SCOPES).retryable


def test_what_is_refused_is_not_tried_again(service: OboTokenService, idp: Entra) -> None:
    idp.fails(400)
    assert not failed(service.exchange, ada_of(idp), SCOPES).retryable
    assert idp.asked_times == 1


def test_callers_of_one_key_share_an_exchange_and_it_is_gone_afterwards(
    service: OboTokenService, idp: Entra
) -> None:
    ada = ada_of(idp)
    for times, fails in ((1, False), (2, True)):
        gate = Gate()
        idp.say(idp.path, refusing(gate) if fails else gate)
        calls = [start(service.exchange, ada, SCOPES) for _ in range(3)]
        gate.wait_reached()
        joined = 2 * times
        wait_until(lambda joined=joined: service._flights.joined == joined)  # type: ignore[misc]
        gate.open()
        found = [outcome(call) for call in calls]
        assert [isinstance(each, OboTokenError) for each in found] == [fails] * 3
        assert idp.asked_times == times
        assert len(service._flights) == 0
        service.forget()
    assert service.exchange(ada, SCOPES)


def refusing(gate: Gate) -> Callable[[], Page]:
    """A page that waits at *gate*, and says no."""

    def page() -> Page:
        gate()
        return Page.json({"error": "invalid_grant"}, 400)

    return page


def test_callers_of_other_keys_do_not(service: OboTokenService, idp: Entra) -> None:
    ada = ada_of(idp)
    service.exchange(ada, SCOPES)
    service.exchange(ada, "api://mail/.default")
    service.exchange(OpenIDToken(idp.sign_in("bob"), "bob"), SCOPES)
    service.exchange(ada_of(idp), SCOPES)
    assert idp.asked_times == 4


def test_from_cache_false_neither_joins_nor_is_joined(service: OboTokenService, idp: Entra) -> None:
    ada = ada_of(idp)
    for first, second in ((True, False), (False, False)):
        gate = Gate()
        idp.say(idp.path, gate)
        one = start(service.exchange, ada, SCOPES, first)
        gate.wait_reached()
        before = service._flights.waited
        other = start(service.exchange, ada, SCOPES, second)
        wait_until(lambda before=before: service._flights.waited > before)  # type: ignore[misc]
        gate.open()
        assert outcome(one) != outcome(other)
    assert (idp.asked_times, service._flights.joined) == (4, 0)


# -- the resolver (8.8) -----------------------------------------------------------------------


def resolved(resolver: Any, user: OpenIDToken | None, **options: Any) -> Any:
    return resolve_obo_token(user, OboConfig(scopes=SCOPES), resolver, **options)


class Tagged(Exception):
    """An error that says of itself whether it passes."""

    def __init__(self, text: str, **tags: Any) -> None:
        super().__init__(text)
        self.__dict__.update(tags)


def raising(error: Exception) -> Any:
    def resolver(*_: Any) -> Any:
        raise error

    return resolver


@pytest.mark.parametrize(
    ("user", "resolver", "reason", "retryable"),
    [
        (None, None, "missing_upstream_token", False),
        (OpenIDToken("t", "ada", expires_at=1.0), None, "missing_upstream_token", False),
        (OpenIDToken(None, "ada"), None, "missing_upstream_access_token", False),
        (OpenIDToken("t", "ada"), lambda *_: {}, "empty_exchange_response", False),
        (OpenIDToken("t", "ada"), raising(Tagged("x", status=503)), "exchange_failed", True),
        (OpenIDToken("t", "ada"), raising(Tagged("x", status=400)), "exchange_failed", False),
    ],
)
def test_each_reason(user: OpenIDToken | None, resolver: Any, reason: str, retryable: bool) -> None:
    error = failed(resolved, resolver, user)
    assert (error.reason, error.retryable) == (reason, retryable)
    assert error.user_message == error.message


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (Tagged("x", status=429), True),
        (Tagged("timeout", status=401), False),
        (Tagged("x", code="etimedout"), True),
        (Tagged("x", code="ENOTFOUND"), True),
        (Tagged("Service Unavailable"), True),
        (Tagged("invalid_grant"), False),
        (Tagged("timeout", retryable=False, status=503, code="ECONNRESET"), False),
        (Tagged("x", retryable=True, status=400), True),
    ],
)
def test_status_code_and_text_are_looked_at_in_this_order_and_a_tag_before_all(
    error: Exception, retryable: bool
) -> None:
    assert failed(resolved, raising(error), OpenIDToken("t", "ada")).retryable is retryable


def test_a_token_without_a_time_is_good_for_an_hour(clock: FakeClock) -> None:
    found = resolved(lambda *_: {"access_token": "x"}, OpenIDToken("t", "ada"), clock=clock)
    assert (found.obtained_at, found.expires_at) == (clock.time(), clock.time() + 3600)
    found = resolved(
        lambda *_: {"access_token": "x", "expires_in": 60}, OpenIDToken("t", "ada"), clock=clock
    )
    assert found.expires_at == clock.time() + 60


# -- trust and schema (8.8) -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "trusted"),
    [({}, True), ({"source": "yaml"}, True), ({"source": "config"}, True), ({"db_id": "7"}, False)],
)
def test_what_the_operator_configured_is_trusted(more: dict[str, Any], trusted: bool) -> None:
    config = parse_server("crm", {"url": URL, "obo": {"scopes": SCOPES}, **more})
    assert is_the_operators("crm", config) is trusted


@pytest.mark.parametrize("kind", ["sse", "http", "streamable-http"])
def test_obo_is_taken_where_headers_can_be_sent(kind: str) -> None:
    config = parse_server("crm", {"type": kind, "url": URL, "obo": {"scopes": SCOPES}})
    assert isinstance(config, HttpServerConfig)
    assert config.obo == OboConfig(scopes=SCOPES)


@pytest.mark.parametrize(
    "fields", [{"command": "x"}, {"type": "websocket", "url": "wss://crm.example/mcp"}]
)
def test_obo_is_refused_where_they_cannot(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="obo"):
        parse_server("crm", {**fields, "obo": {"scopes": SCOPES}})


@pytest.mark.parametrize("scopes", ["", " ", None])
def test_empty_scopes_are_refused(scopes: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"obo\.scopes"):
        parse_server("crm", {"url": URL, "obo": {"scopes": scopes}})
