"""Signing in, begun and completed; seed 3.2, 3.3, 3.7, requirements A7 to A11, A14, A20, S4, S5."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import threading

import pytest

from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import flows as flows_module
from mcpsync.auth import tokens as tokens_module
from mcpsync.auth.ceremony import Ceremony
from mcpsync.auth.challenge import Demand
from mcpsync.auth.flows import FlowStateManager, FlowStatus
from mcpsync.auth.options import OAuthOptions
from mcpsync.errors import (
    HTTPStatusError,
    MCPSyncError,
    MessageInvalid,
    OAuthError,
    RequestTimeout,
    ResponseTooLarge,
    StoreError,
    TransportError,
)
from mcpsync.http import Fetcher
from mcpsync.security.guard import AddressPolicy
from mcpsync.testing import FakeClock, Page
from support.authority import Authority
from support.browser import CALLBACK, query, returned
from support.failing_store import FailingStore
from support.threads import Gate, outcome, start

OWNER = "ada:crm"
PATIENCE = 20.0


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


@pytest.fixture
def made(authority, store, clock):
    """Make a ceremony, as another process would that has the same store."""

    def make(url=None, **options):
        options.setdefault("redirect_uri", CALLBACK)
        return Ceremony(
            url or authority.url,
            OAuthOptions(**options),
            store=store,
            fetcher=Fetcher(policy=AddressPolicy("loopback")),
            clock=clock,
        )

    return make


@pytest.fixture
def ceremony(made):
    return made()


def begin(ceremony, owner=OWNER, **more):
    return ceremony.begin(owner, Deadline(PATIENCE), **more)


def complete(ceremony, back, owner=OWNER, **more):
    return ceremony.complete(owner, back, Deadline(PATIENCE), **more)


def refusal(ceremony, back, owner=OWNER):
    with pytest.raises(OAuthError) as caught:
        complete(ceremony, back, owner)
    return caught.value


# -- what is sent


def test_the_user_is_sent_with_the_challenge_of_a_verifier_that_only_the_token_request_has(
    authority, ceremony
):
    flow = begin(ceremony)
    sent = query(flow.url)
    complete(ceremony, returned(authority.approve(flow.url)))
    (_, fields) = next(each for each in authority.asked if each[0] == "token")
    digest = hashlib.sha256(fields["code_verifier"].encode()).digest()
    assert sent["code_challenge_method"] == "S256"
    assert sent["code_challenge"] == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert fields["code_verifier"] not in flow.url


def test_the_resource_and_the_redirect_uri_are_the_same_in_both_requests(authority, ceremony):
    flow = begin(ceremony)
    complete(ceremony, returned(authority.approve(flow.url)))
    sent = query(flow.url)
    assert sent["resource"] == authority.url
    assert sent["redirect_uri"] == CALLBACK
    assert authority.count("token", resource=authority.url, redirect_uri=CALLBACK) == 1


@pytest.fixture
def configured(authority):
    """Everything that is found out otherwise."""
    authority.add_client("me", redirect_uris=[CALLBACK])
    return {
        "client_id": "me",
        "authorization_url": f"{authority.issuer}/authorize",
        "token_url": f"{authority.issuer}/token",
        "revocation_url": f"{authority.issuer}/revoke",
        "issuer": authority.issuer,
    }


def test_where_all_is_configured_nobody_is_asked_and_the_resource_is_sent(
    authority, made, configured
):
    ceremony = made(**configured)
    for path in ("oauth-protected-resource/mcp", "oauth-authorization-server"):
        authority.say(f"/.well-known/{path}", Page(500), times=9)
    flow = begin(ceremony)
    complete(ceremony, returned(authority.approve(flow.url)))
    assert query(flow.url)["resource"] == authority.url
    assert authority.count("token", resource=authority.url) == 1
    assert revoke(ceremony) is True


def test_a_server_that_chokes_on_the_resource_is_spared(authority, made, configured):
    ceremony = made(send_resource=False, **configured)
    flow = begin(ceremony)
    complete(ceremony, returned(authority.approve(flow.url)))
    assert "resource" not in query(flow.url)
    assert authority.count("token", resource=authority.url) == 0


def test_a_configured_issuer_is_who_has_to_answer(authority, made, configured):
    ceremony = made(**{**configured, "issuer": "https://another.example"})
    back = returned(authority.approve(begin(ceremony).url))
    assert refusal(ceremony, back).error == "issuer_mismatch"


@pytest.mark.parametrize(
    ("iss", "good"),
    [
        ("right", True),
        (None, True),
        ("realm", True),
        ("https://evil.example", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_where_nobody_said_who_is_asked_he_answers_from_where_the_user_was_sent(
    authority, made, configured, iss, good
):
    del configured["issuer"]
    ceremony = made(**configured)
    came = {"right": authority.issuer, "realm": f"{authority.issuer}/realms/a"}.get(iss, iss)
    back = returned(authority.approve(begin(ceremony).url), iss=came)
    if good:
        assert complete(ceremony, back) is not None
    else:
        assert refusal(ceremony, back).error == "issuer_mismatch"
        assert authority.count("token") == 0


def test_the_resource_is_sent_as_the_server_writes_it(authority, ceremony):
    above = authority.url.removesuffix("/mcp") + "/"
    authority.resource_metadata["resource"] = above
    flow = begin(ceremony)
    complete(ceremony, returned(authority.approve(flow.url)))
    assert query(flow.url)["resource"] == above
    assert authority.count("token", resource=above) == 1


def test_a_state_has_256_bits_and_says_nothing_of_the_user(ceremony):
    states = {query(begin(ceremony, f"user{n}:crm").url)["state"] for n in range(20)}
    assert len(states) == 20
    for state in states:
        assert len(base64.urlsafe_b64decode(state + "=")) == 32
        assert "user" not in state


def test_it_is_in_the_store_before_anybody_sees_the_url(authority, ceremony, made):
    flow = begin(ceremony)
    back = returned(authority.approve(flow.url))
    assert complete(made(), back) is not None, "another process completes it"


def test_where_the_store_does_not_take_it_nobody_is_sent_anywhere(ceremony, store):
    store.broken = ("compare_and_set",)
    with pytest.raises(StoreError):
        begin(ceremony)
    store.broken = ()
    assert ceremony.flows.find(OWNER) is None


# -- who begins it, and again


def test_a_late_joiner_gets_the_same_url_in_whatever_process(authority, ceremony, made):
    url = begin(ceremony).url
    assert begin(ceremony).url == begin(made()).url == url
    assert authority.count("register") == 1


@pytest.mark.parametrize(
    "before", ["nothing", "a stale one", "one that failed", "one that is done"]
)
def test_of_many_who_begin_at_once_all_get_one_url(authority, ceremony, made, clock, before):
    if before != "nothing":
        flow = begin(ceremony)
        if before == "one that failed":
            ceremony.flows.fail(flow, "access_denied")
        elif before == "one that is done":
            complete(ceremony, returned(authority.approve(flow.url)))
        else:
            clock.advance(flows_module.PENDING_STALE + 1)
    ready = threading.Barrier(6)

    def go(each):
        ready.wait(PATIENCE)
        return begin(each).url

    urls = {outcome(task) for task in [start(go, made()) for _ in range(6)]}
    assert len(urls) == 1
    assert before == "nothing" or urls != {flow.url}
    assert complete(ceremony, returned(authority.approve(urls.pop()))) is not None


def test_a_stale_one_is_replaced_and_its_state_is_good_no_more(authority, ceremony, clock):
    first = begin(ceremony)
    back = returned(authority.approve(first.url))
    clock.advance(flows_module.PENDING_STALE + 1)
    second = begin(ceremony)
    assert second.url != first.url
    assert refusal(ceremony, back).error == "state_unknown"
    assert complete(ceremony, returned(authority.approve(second.url))) is not None


def test_one_that_failed_is_replaced(authority, ceremony):
    first = begin(ceremony)
    assert refusal(ceremony, returned(authority.refuse(first.url))).error == "access_denied"
    assert begin(ceremony).url != first.url


def test_one_that_asks_for_too_little_is_replaced_by_one_that_asks_for_both(ceremony):
    one = begin(ceremony, demand=Demand(scope=("read",)))
    assert begin(ceremony, demand=Demand(scope=("read",))).url == one.url
    both = begin(ceremony, demand=Demand(scope=("write",)))
    assert query(both.url)["scope"].split() == ["read", "write"]
    for scope in ("read", "write"):
        assert begin(ceremony, demand=Demand(scope=(scope,))).url == both.url


def test_two_who_want_different_things_at_once_get_one_url_for_both(ceremony, made):
    begin(ceremony, demand=Demand(scope=("profile",)))
    ready = threading.Barrier(2)

    def go(scope):
        ready.wait(PATIENCE)
        return begin(made(), demand=Demand(scope=(scope,)))

    for task in [start(go, "read"), start(go, "write")]:
        outcome(task)
    wanted = {"profile", "read", "write"}
    assert set(ceremony.flows.find(OWNER).facts["scopes"]) == wanted


def test_offline_access_is_no_reason_to_begin_again(authority, ceremony):
    first = begin(ceremony, asked=("read", "offline_access"))
    assert query(first.url)["scope"] == "read", "the authorization server does not offer it"
    assert begin(ceremony, asked=("read", "offline_access")).url == first.url


def test_one_that_cannot_be_read_is_replaced(authority, ceremony, store):
    begin(ceremony)
    store.set(flows_module._flow_key(OWNER), b'{"of": "another version"}')
    assert complete(ceremony, returned(authority.approve(begin(ceremony).url))) is not None


def test_users_do_not_meet(authority, ceremony):
    mine, theirs = begin(ceremony), begin(ceremony, "bob:crm")
    assert mine.url != theirs.url
    grant = complete(ceremony, returned(authority.approve(mine.url)))
    assert ceremony.storage.find(OWNER) == grant
    assert ceremony.storage.find("bob:crm") is None


# -- who completes it


def test_completing_it_twice_is_harmless(authority, ceremony, made):
    back = returned(authority.approve(begin(ceremony).url))
    grant = complete(ceremony, back)
    assert complete(ceremony, back) is None
    assert complete(made(), back) is None
    assert ceremony.storage.find(OWNER) == grant
    assert authority.count("token") == 1


def test_a_double_click_waits_for_the_first_and_says_the_same(authority, ceremony, made):
    back = returned(authority.approve(begin(ceremony).url))
    gate = Gate()
    authority.say("/token", gate)
    first = start(complete, ceremony, back)
    gate.wait_reached()
    other, waits = made(), threading.Event()
    wait = other.flows.wait

    def seen(*what):
        waits.set()
        return wait(*what)

    other.flows.wait = seen
    second = start(complete, other, back)
    assert waits.wait(PATIENCE)
    gate.open()
    assert outcome(first) is not None
    assert outcome(second) is None
    assert authority.count("token") == 1


def test_of_many_threads_one_redeems_the_code(authority, ceremony, made):
    back = returned(authority.approve(begin(ceremony).url))
    ready = threading.Barrier(6)

    def go(each):
        ready.wait(PATIENCE)
        return complete(each, back)

    found = [outcome(task) for task in [start(go, made()) for _ in range(6)]]
    assert sum(each is not None for each in found) == 1
    assert not any(isinstance(each, Exception) for each in found)
    assert authority.count("token") == 1


def test_who_waits_for_another_to_redeem_it_hears_that_it_failed(authority, ceremony, made):
    back = returned(authority.approve(begin(ceremony).url))
    authority.end_codes()
    gate = Gate()
    authority.say("/token", gate)
    first = start(complete, ceremony, back)
    gate.wait_reached()
    second = start(complete, made(), back)
    gate.open()
    assert {outcome(task).error for task in (first, second)} == {"invalid_grant"}


def test_who_waits_for_another_to_redeem_it_waits_no_longer_than_he_may(authority, ceremony, made):
    back = returned(authority.approve(begin(ceremony).url))
    gate = Gate()
    authority.say("/token", gate)
    first = start(complete, ceremony, back)
    gate.wait_reached()
    with pytest.raises(RequestTimeout):
        made().complete(OWNER, back, Deadline(0.1))
    gate.open()
    assert outcome(first) is not None


@pytest.mark.parametrize(
    "state", [None, "", "forged", "x" * 10_000, "grüße", "\ud800", "\0", "oauth:state:"]
)
def test_a_state_that_nobody_gave_out_is_refused(authority, ceremony, state):
    back = returned(authority.approve(begin(ceremony).url), state=state)
    error = refusal(ceremony, back)
    assert error.error == "state_unknown"
    assert not state or state not in str(error)
    assert authority.count("token") == 0


def test_a_state_that_is_over_is_refused(authority, ceremony, clock):
    back = returned(authority.approve(begin(ceremony).url))
    clock.advance(flows_module.PENDING_STALE + 1)
    assert refusal(ceremony, back).error == "flow_over"
    clock.advance(flows_module.FLOW_TTL)
    assert refusal(ceremony, back).error == "state_unknown"
    assert authority.count("token") == 0


def test_a_state_is_good_for_one_code(authority, ceremony):
    flow = begin(ceremony)
    complete(ceremony, returned(authority.approve(flow.url)))
    another = returned(authority.approve(flow.url))
    assert refusal(ceremony, another).error == "flow_over"
    assert authority.count("token") == 1


def test_the_state_of_another_user_is_refused_and_is_still_good_for_him(authority, ceremony):
    back = returned(authority.approve(begin(ceremony, "bob:crm").url))
    assert refusal(ceremony, back).error == "state_unknown"
    assert ceremony.storage.find(OWNER) is None
    assert complete(ceremony, back, "bob:crm") is not None


def test_a_code_that_is_over_ends_it(authority, ceremony):
    back = returned(authority.approve(begin(ceremony).url))
    authority.end_codes()
    error = refusal(ceremony, back)
    assert error.error == "invalid_grant"
    assert not error.retryable
    assert ceremony.flows.find(OWNER).stands is FlowStatus.FAILED
    assert back.code not in f"{error!r}{error}"


def test_the_code_of_another_sign_in_is_worth_nothing(authority, ceremony):
    """Whose verifier does not fit it. (RFC 9700, section 4.5)"""
    stolen = returned(authority.approve(begin(ceremony, "bob:crm").url)).code
    back = returned(authority.approve(begin(ceremony).url), code=stolen)
    assert refusal(ceremony, back).error == "invalid_grant"
    assert ceremony.storage.find(OWNER) is None


@pytest.mark.parametrize("code", [None, ""])
def test_an_answer_without_a_code_is_none(authority, ceremony, code):
    back = returned(authority.approve(begin(ceremony).url), code=code)
    assert refusal(ceremony, back).error == "code_missing"


@pytest.mark.parametrize("code", ["\ud800", "a\nb", "grüße", "\0"])
def test_what_can_be_no_code_is_not_sent(authority, ceremony, code):
    back = returned(authority.approve(begin(ceremony).url), code=code)
    assert refusal(ceremony, back).error == "code_invalid"
    assert authority.count("token") == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("access_denied", "access_denied"),
        ("server_error", "server_error"),
        ("<script>alert(1)</script>", "unknown_error"),
        ("a\r\nSet-Cookie: x", "unknown_error"),
        ("\x1b[31mred", "unknown_error"),
        ("x" * 1000, "unknown_error"),
        ("", "unknown_error"),
    ],
)
def test_a_refusal_is_told_by_its_code_and_ends_it(authority, ceremony, error, told):
    flow = begin(ceremony)
    back = returned(authority.refuse(flow.url, error))
    found = refusal(ceremony, back)
    assert found.error == told
    assert told in str(found)
    assert not error or told == error or error not in str(found)
    assert ceremony.flows.find(OWNER).error == told
    assert authority.count("token") == 0


def test_a_refusal_that_comes_too_late_undoes_nothing(authority, ceremony):
    flow = begin(ceremony)
    complete(ceremony, returned(authority.approve(flow.url)))
    refusal(ceremony, returned(authority.refuse(flow.url)))
    assert ceremony.flows.find(OWNER).stands is FlowStatus.COMPLETED
    assert ceremony.storage.find(OWNER) is not None


OTHERS = ["https://evil.example", "", "/", " ", "\ud800"]


@pytest.mark.parametrize("answer", ["code", "error"])
@pytest.mark.parametrize("says_iss", [True, False])
@pytest.mark.parametrize("iss", ["right", "missing", *OTHERS, "slash", "upper", "quoted"])
def test_who_answers_is_who_was_asked(authority, ceremony, says_iss, iss, answer):
    """Requirement A10: the four rows, for codes and for errors, letter for letter."""
    authority.says_iss = says_iss
    flow = begin(ceremony)
    issuer = authority.issuer
    came = {
        "right": issuer,
        "missing": None,
        "slash": f"{issuer}/",
        "upper": issuer.upper(),
        "quoted": issuer.replace(":", "%3A"),
    }.get(iss, iss)
    url = authority.approve(flow.url) if answer == "code" else authority.refuse(flow.url)
    back = returned(url, iss=came)
    if iss == "right" or (iss == "missing" and not says_iss):
        if answer == "code":
            assert complete(ceremony, back) is not None
        else:
            assert refusal(ceremony, back).error == "access_denied"
        return
    error = refusal(ceremony, back)
    assert error.error == ("issuer_missing" if iss == "missing" else "issuer_mismatch")
    assert "access_denied" not in str(error)
    assert not came or len(came) < 2 or came not in str(error)
    assert authority.count("token") == 0
    assert ceremony.flows.find(OWNER).stands is FlowStatus.PENDING, "whoever it was ended nothing"


def test_whether_iss_has_to_come_is_what_was_said_when_it_began(authority, ceremony):
    flow = begin(ceremony)
    authority.says_iss = False
    assert refusal(ceremony, returned(authority.approve(flow.url))).error == "issuer_missing"


def test_a_server_that_has_moved_meanwhile_gets_no_token(authority, ceremony, made):
    back = returned(authority.approve(begin(ceremony).url))
    moved = made(url="http://127.0.0.1:1/mcp")
    assert refusal(moved, back).error == "resource_mismatch"
    assert authority.count("token") == 0
    assert ceremony.storage.find(OWNER) is None


def test_it_is_seen_as_pending_while_the_code_is_redeemed(authority, ceremony, store, clock):
    flow = begin(ceremony)
    back = returned(authority.approve(flow.url))
    gate = Gate()
    authority.say("/token", gate)
    task = start(complete, ceremony, back)
    gate.wait_reached()
    seen = FlowStateManager(store, clock).find(OWNER)
    assert seen.status is FlowStatus.REDEEMING
    assert seen.stands is FlowStatus.PENDING
    gate.open()
    outcome(task)
    assert ceremony.flows.find(OWNER).stands is FlowStatus.COMPLETED


def test_a_cancelled_completion_ends(authority, ceremony):
    back = returned(authority.approve(begin(ceremony).url))
    gate, cancel = Gate(), Cancellation()
    authority.say("/token", gate)
    task = start(lambda: complete(ceremony, back, cancel=cancel))
    gate.wait_reached()
    cancel.cancel()
    assert isinstance(outcome(task), MCPSyncError)
    gate.open()
    assert ceremony.flows.find(OWNER).stands is FlowStatus.FAILED


def test_if_the_store_does_not_take_the_tokens_the_user_signs_in_anew(authority, ceremony, store):
    flow = begin(ceremony)
    store.broken = ("set",)
    with pytest.raises(StoreError) as caught:
        complete(ceremony, returned(authority.approve(flow.url)))
    assert caught.value.retryable
    store.broken = ()
    again = begin(ceremony)
    assert again.url != flow.url, "the code of the first was redeemed"
    assert complete(ceremony, returned(authority.approve(again.url))) is not None


# -- which browser


def test_the_binding_of_a_browser_is_an_hmac_that_only_the_store_can_make(ceremony, made):
    flow = begin(ceremony)
    assert len(flow.browser_binding) == 32
    assert int(flow.browser_binding, 16)
    found = made().flows.find(OWNER)
    assert found.is_of_browser(flow.browser_binding)
    assert flow.browser_key not in flow.url
    assert flow.browser_binding not in flow.url


@pytest.mark.parametrize("wrong", ["", "0" * 32, "grüße", "\ud800", "x" * 10_000])
def test_another_browser_has_another_binding(ceremony, wrong):
    assert not begin(ceremony).is_of_browser(wrong)


def test_bindings_are_compared_in_constant_time(ceremony, monkeypatch):
    flow, compared = begin(ceremony), []

    def compare(one, other):
        compared.append(sorted((one, other)))
        return one == other

    monkeypatch.setattr(flows_module.hmac, "compare_digest", compare)
    binding = flow.browser_binding.encode()
    assert not flow.is_of_browser("guess")
    assert flow.is_of_browser(flow.browser_binding)
    assert compared == [sorted((b"guess", binding)), [binding, binding]]


# -- bad authorization servers


def page(body, status=200, kind="application/json", **headers):
    return Page(status, body, kind, tuple(headers.items()))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (page(b"<h1>s3cret</h1>", 500, "text/html"), OAuthError),
        (page(b"<h1>s3cret</h1>", 400, "text/html"), OAuthError),
        (page(b"<h1>s3cret</h1>", 200, "text/html"), MessageInvalid),
        (page(b'{"error": "<b>s3cret</b>"}', 400), OAuthError),
        (page(b'{"error": {"s3cret": 1}}', 400), OAuthError),
        (page(b'{"error": "invalid_grant", "error_description": "s3cret"}', 400), OAuthError),
        (page(b'{"access_token": "s3cret", "token_type": "mac"}'), MessageInvalid),
        (page(b'{"access_token": "s3cret\\n", "token_type": "Bearer"}'), MessageInvalid),
        (page(b'{"access_token": ["s3cret"], "token_type": "Bearer"}'), MessageInvalid),
        (page(b'["s3cret"]'), MessageInvalid),
        (page(b"s3cret" + b"[" * 100_000), MessageInvalid),
        (page(b" " * (1024 * 1024 + 1)), ResponseTooLarge),
        (page(b"", 302, Location="https://evil.example/?s3cret"), HTTPStatusError),
        (page(b"", 307, Location="http://127.0.0.1:1/token"), HTTPStatusError),
        (page(b"", 307, Location="javascript:s3cret"), HTTPStatusError),
        (page(b"", 204), MCPSyncError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value.status}",
)
def test_what_is_no_answer_of_a_token_endpoint_is_a_typed_error(
    authority, ceremony, answer, expected
):
    flow = begin(ceremony)
    authority.say("/token", answer)
    with pytest.raises(expected) as caught:
        complete(ceremony, returned(authority.approve(flow.url)))
    assert "s3cret" not in f"{caught.value!r}{caught.value}"
    assert ceremony.storage.find(OWNER) is None
    assert ceremony.flows.find(OWNER).stands is FlowStatus.FAILED
    assert begin(ceremony).url != flow.url


def test_a_token_endpoint_that_is_not_there_is_a_typed_error(authority, ceremony):
    flow = begin(ceremony)
    back = returned(authority.approve(flow.url))
    authority.server.close()
    with pytest.raises(TransportError):
        complete(ceremony, back)
    assert ceremony.flows.find(OWNER).stands is FlowStatus.FAILED


def test_a_token_endpoint_of_another_origin_gets_the_code_if_the_metadata_names_it(
    authority, ceremony
):
    """And nobody else: what is at the issuer's own /token hears nothing."""
    with Authority() as other:
        authority.server_metadata["token_endpoint"] = f"{other.issuer}/token"
        flow = begin(ceremony)
        with pytest.raises(OAuthError):
            complete(ceremony, returned(authority.approve(flow.url)))
        assert other.count("token", grant_type="authorization_code") == 1
    assert authority.count("token") == 0


def test_where_the_code_goes_was_settled_when_it_began(authority, ceremony):
    flow = begin(ceremony)
    authority.server_metadata["token_endpoint"] = "http://127.0.0.1:1/token"
    assert complete(ceremony, returned(authority.approve(flow.url))) is not None


@pytest.mark.parametrize(
    "endpoint", ["http://as.example/token", "javascript:x", "file:///etc/passwd", "https://u:p@a/"]
)
def test_a_token_endpoint_that_must_not_be_asked_ends_it_before_it_begins(
    authority, ceremony, endpoint
):
    authority.server_metadata["token_endpoint"] = endpoint
    with pytest.raises(MCPSyncError):
        begin(ceremony)
    assert authority.count("register") == 0


# -- clients


def test_a_client_that_its_server_has_forgotten_is_registered_anew(authority, ceremony):
    flow = begin(ceremony)
    back = returned(authority.approve(flow.url))
    authority.forget_clients()
    assert refusal(ceremony, back).error == "invalid_client"
    again = begin(ceremony)
    assert query(again.url)["client_id"] != query(flow.url)["client_id"]
    assert complete(ceremony, returned(authority.approve(again.url))) is not None
    assert authority.count("register") == 2


@pytest.mark.parametrize(
    "expires", [10**400, 1e308, 0, -1, None, "soon", []], ids=lambda said: repr(said)[:9]
)
def test_whatever_is_said_of_the_end_of_a_secret_the_client_is_used(authority, ceremony, expires):
    client = {"client_id": "me", "client_secret": "s3cret", "client_secret_expires_at": expires}
    authority.add_client("me", client_secret="s3cret", redirect_uris=[CALLBACK])
    authority.say("/register", Page.json(client, 201), times=9)
    complete(ceremony, returned(authority.approve(begin(ceremony).url)))
    assert query(begin(ceremony).url)["client_id"] == "me"
    assert authority.count("register") == 1


def test_a_configured_client_is_not_forgotten(authority, made):
    authority.add_client("me", client_secret="s3cret", redirect_uris=[CALLBACK])
    ceremony = made(client_id="me", client_secret="wrong")
    flow = begin(ceremony)
    assert refusal(ceremony, returned(authority.approve(flow.url))).error == "invalid_client"
    assert query(begin(ceremony).url)["client_id"] == "me"
    assert authority.count("register") == 0


# -- revoking


@pytest.fixture
def signed_in(authority, ceremony):
    return complete(ceremony, returned(authority.approve(begin(ceremony).url)))


def revoke(ceremony, patience=PATIENCE):
    return ceremony.revoke(OWNER, Deadline(patience))


def nothing_left(ceremony):
    return ceremony.storage.find(OWNER) is None and ceremony.flows.find(OWNER) is None


def test_revoking_tells_the_authorization_server_of_both_tokens(authority, ceremony, signed_in):
    assert revoke(ceremony) is True
    assert authority.count("revoke", token=signed_in.tokens.refresh_token) == 1
    assert authority.count("revoke", token=signed_in.tokens.access_token) == 1
    assert nothing_left(ceremony)
    assert revoke(ceremony) is False, "there is nothing left"


@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_what_is_kept_goes_though_the_authorization_server_fails(
    authority, ceremony, signed_in, status
):
    authority.say("/revoke", Page(status, b"<h1>no</h1>", "text/html"), times=2)
    assert revoke(ceremony) is False
    assert nothing_left(ceremony)


def test_what_is_kept_goes_though_the_authorization_server_is_gone(authority, ceremony, signed_in):
    authority.server.close()
    assert revoke(ceremony) is False
    assert nothing_left(ceremony)


def test_an_authorization_server_that_hangs_holds_nobody_longer_than_he_may_wait(
    authority, ceremony, signed_in
):
    gate = Gate()
    authority.say("/revoke", gate)
    deadline, too_long = Deadline(0.2), Deadline(4)
    assert ceremony.revoke(OWNER, deadline) is False
    assert deadline.expired
    assert not too_long.expired
    assert nothing_left(ceremony)
    gate.open()


@pytest.mark.parametrize("kept", [b"{}", b"[]", b"\xff", b'{"tokens": 1}', b"null"])
def test_what_cannot_be_read_goes_all_the_same(authority, ceremony, store, kept):
    begin(ceremony)
    for key in (tokens_module._key(OWNER), flows_module._flow_key(OWNER)):
        store.set(key, kept)
    with pytest.raises(StoreError):
        ceremony.storage.find(OWNER)
    assert revoke(ceremony) is False
    assert nothing_left(ceremony)


def test_a_sign_in_under_way_ends_with_revoking(authority, ceremony):
    back = returned(authority.approve(begin(ceremony).url))
    revoke(ceremony)
    assert refusal(ceremony, back).error == "state_unknown"
    assert authority.count("token") == 0


def test_a_key_that_is_not_configured_any_more_keeps_nothing_from_going(ceremony, signed_in):
    client = dataclasses.replace(signed_in.client, method="private_key_jwt")
    ceremony.storage.keep(OWNER, dataclasses.replace(signed_in, client=client))
    assert revoke(ceremony) is False
    assert nothing_left(ceremony)


# -- secrets


def test_nothing_secret_is_in_a_log_or_an_error(authority, ceremony, caplog):
    caplog.set_level("DEBUG")
    flow = begin(ceremony)
    text = caplog.text
    back, another = (returned(authority.approve(flow.url)) for _ in range(2))
    caplog.clear()  # of what the browser logs
    grant = complete(ceremony, back)
    errors = [
        refusal(ceremony, another),
        refusal(ceremony, returned(authority.refuse(flow.url), state="forged")),
    ]
    revoke(ceremony)
    text += caplog.text + "".join(f"{each!r}{each}" for each in [*errors, flow, grant])
    assert len(authority.secrets) > 4
    for secret in [*authority.secrets, flow.browser_key, flow.verifier]:
        assert secret not in text


@pytest.mark.parametrize(("dpop", "is_used"), [(True, False), (None, True), (False, True)])
def test_a_token_that_is_bound_to_no_key_is_not_used_where_one_was_wanted(
    authority, made, dpop, is_used
):
    ceremony = made(dpop=dpop)
    back = returned(authority.approve(begin(ceremony).url))
    if is_used:
        complete(ceremony, back)
    else:
        assert refusal(ceremony, back).error == "token_not_bound"
    assert (ceremony.storage.find(OWNER) is not None) is is_used
