"""Becoming known to authorization servers; requirements A17 to A20, seed 3.2."""

import json
import threading

import pytest

from auth.site import Site
from mcpsync import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import CimdDocument
from mcpsync.auth.clients import ClientCredentials
from mcpsync.auth.metadata import ServerMetadata
from mcpsync.auth.registering import SKEW, Registrar
from mcpsync.errors import (
    HTTPStatusError,
    MCPSyncError,
    MessageInvalid,
    OAuthError,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.http import Fetcher
from mcpsync.security.guard import AddressPolicy
from mcpsync.stores import MemoryStore
from mcpsync.testing import FakeClock
from support.threads import outcome, start
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import chunk, response

BACK = "https://app.example/callback"
DOCUMENT = CimdDocument("https://app.example/client.json", [BACK])
SECRET = "s3cr3t"
MARKUP = "<script>alert('s3cr3t')</script>"


@pytest.fixture
def clock():
    return FakeClock()


class NotingStore(MemoryStore):
    """Remembers under which names something was kept."""

    def __init__(self, clock):
        super().__init__(clock)
        self.names = []

    def set(self, key, value, ttl=None):
        self.names.append(key)
        return super().set(key, value, ttl)


@pytest.fixture
def store(clock):
    return NotingStore(clock)


@pytest.fixture
def site():
    with Site() as running:
        yield running


@pytest.fixture
def registrar(store, clock):
    def make(redirect_uri=BACK, reach="loopback", **options):
        return Registrar(
            store, Fetcher(policy=AddressPolicy(reach)), clock, redirect_uri=redirect_uri, **options
        )

    return make


def server(site, issuer=None, **said):
    """An authorization server that registers clients, one new client for each request."""
    site.pages.setdefault("/register", numbered(site))
    return ServerMetadata.model_validate(
        {
            "issuer": issuer or site.origin,
            "registration_endpoint": f"{site.origin}/register",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
            **said,
        }
    )


def numbered(site, **more):
    def script(peer):
        number = len(site.requests)
        body = {"client_id": f"me{number}", "client_secret": f"{SECRET}{number}", **more}
        peer.send(response(json.dumps(body).encode(), "201 Created"))

    return script


def client_at(registrar, found, timeout=LONG, cancel=None):
    return registrar.client_at(found, Deadline(timeout), cancel)


# -- the order -------------------------------------------------------------------------------


def test_a_client_that_was_registered_by_hand_comes_before_all_others(registrar, site):
    mine = ClientCredentials("mine", SECRET, "client_secret_post")
    who = registrar(configured=mine, document=DOCUMENT)
    found = server(site, client_id_metadata_document_supported=True)
    assert client_at(who, found).client_id == "mine"
    assert site.requests == []


def test_a_document_comes_before_registering(registrar, site):
    found = server(site, client_id_metadata_document_supported=True)
    client = client_at(registrar(document=DOCUMENT), found)
    assert (client.client_id, client.source, client.method) == (DOCUMENT.url, "document", "none")
    assert client.issuer is None, "it is the same everywhere"
    assert site.requests == []


def test_a_document_that_the_server_does_not_take_is_not_shown_to_it(registrar, site):
    client = client_at(registrar(document=DOCUMENT), server(site))
    assert client.source == "registered"
    assert site.targets == ["/register"]
    assert DOCUMENT.url.encode() not in site.requests[0].body


def test_a_document_that_does_not_list_where_users_come_back_to_is_not_shown(registrar, site):
    found = server(site, client_id_metadata_document_supported=True)
    client = client_at(registrar("https://app.example/other", document=DOCUMENT), found)
    assert client.source == "registered"


def test_without_any_way_the_operator_is_told_what_to_do(registrar, site):
    with pytest.raises(OAuthError, match="configure its client_id") as caught:
        client_at(registrar(), server(site, registration_endpoint=None))
    assert caught.value.error == "client_id_required"


# -- registering -----------------------------------------------------------------------------


def test_it_says_who_we_are_and_how_we_would_show_it(registrar, site):
    client = registrar(client_name="My application").client_at(
        server(site), Deadline(LONG), scopes=("read", "write")
    )
    (request,) = site.requests
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert request.json == {
        "client_name": "My application",
        "redirect_uris": [BACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_post",
        "application_type": "web",
        "scope": "read write",
    }
    assert client == ClientCredentials(
        "me1",
        f"{SECRET}1",
        "client_secret_post",
        "registered",
        site.origin,
        BACK,
        scope="read write",
    )


def test_who_wants_more_than_was_registered_is_registered_for_all_of_it(registrar, site):
    who, found = registrar(), server(site)
    for scopes, expected in (
        (["read"], "me1"),
        (["write"], "me2"),  # many servers let a client ask for what it was registered for
        (["read"], "me2"),
        (["write", "read"], "me2"),
        ([], "me2"),
    ):
        assert who.client_at(found, Deadline(LONG), scopes=scopes).client_id == expected
    assert [request.json["scope"] for request in site.requests] == ["read", "read write"]


def test_a_server_that_registers_nobody_for_more_may_still_let_us_ask(registrar, site):
    who, found = registrar(), server(site)
    before = who.client_at(found, Deadline(LONG), scopes=["read"])
    refusing(site, response(b'{"error": "invalid_client_metadata"}', "400 Bad Request"))
    assert who.client_at(found, Deadline(LONG), scopes=["write"]) == before
    closed = server(site, registration_endpoint=None)
    assert who.client_at(closed, Deadline(LONG), scopes=["write"]) == before


@pytest.mark.parametrize("uri", ["http://127.0.0.1:4711/callback", "com.example.app:/callback"])
def test_what_runs_on_a_users_machine_says_so(uri, registrar, site):
    client_at(registrar(uri), server(site))
    assert site.requests[0].json["application_type"] == "native"


def test_refresh_tokens_are_not_asked_for_where_there_are_none(registrar, site):
    client_at(registrar(), server(site, grant_types_supported=["authorization_code"]))
    assert site.requests[0].json["grant_types"] == ["authorization_code"]


def test_the_configured_way_to_show_who_we_are_is_asked_for(registrar, site):
    client_at(registrar(method="client_secret_basic"), server(site))
    assert site.requests[0].json["token_endpoint_auth_method"] == "client_secret_basic"


def test_it_is_done_once_for_all_users_and_processes_of_a_store(registrar, site):
    first = client_at(registrar(), server(site))
    assert client_at(registrar(), server(site)) == first
    assert len(site.requests) == 1


def test_of_many_who_need_a_client_one_registers(registrar, site):
    who, found = registrar(), server(site)
    threads = [start(lambda: client_at(who, found)) for _ in range(8)]
    assert len({outcome(thread) for thread in threads}) == 1
    assert len(site.requests) == 1


def test_another_issuer_is_registered_with_anew(registrar, site):
    who = registrar()
    one = client_at(who, server(site))
    other = client_at(who, server(site, issuer=f"{site.origin}/tenant"))
    slashed = client_at(who, server(site, issuer=f"{site.origin}/"))
    assert len({one.client_id, other.client_id, slashed.client_id}) == 3
    assert client_at(who, server(site)) == one


def test_another_place_to_come_back_to_is_registered_anew(registrar, site):
    one = client_at(registrar(), server(site))
    other = client_at(registrar("https://app.example/other"), server(site))
    assert one.client_id != other.client_id
    assert site.requests[1].json["redirect_uris"] == ["https://app.example/other"]


def test_what_is_stored_is_used_although_registering_is_no_longer_offered(registrar, site):
    client = client_at(registrar(), server(site))
    assert client_at(registrar(), server(site, registration_endpoint=None)) == client


def test_a_secret_that_is_about_to_end_is_replaced(registrar, site, clock):
    site.pages["/register"] = numbered(site, client_secret_expires_at=clock.time() + 3600)
    first = client_at(registrar(), server(site))
    clock.advance(3600 - SKEW - 1)
    assert client_at(registrar(), server(site)) == first
    clock.advance(1)
    assert client_at(registrar(), server(site)) != first


# -- forgetting ------------------------------------------------------------------------------


def test_a_client_that_its_server_forgot_is_forgotten_and_registered_again(registrar, site):
    who = registrar()
    first = client_at(who, server(site))
    assert who.forget(first) is True
    second = client_at(who, server(site))
    assert second.client_id == "me2"
    assert client_at(who, server(site)) == second


def test_who_comes_late_does_not_forget_the_new_one(registrar, site):
    who = registrar()
    first = client_at(who, server(site))
    who.forget(first)
    second = client_at(who, server(site))
    assert who.forget(first) is False
    assert client_at(who, server(site)) == second


@pytest.mark.parametrize(
    "client",
    [
        ClientCredentials("mine", SECRET, "client_secret_post", issuer="https://as.example"),
        ClientCredentials(DOCUMENT.url, source="document"),
        ClientCredentials("me", source="registered", issuer="https://never.example"),
    ],
    ids=["configured", "document", "unknown"],
)
def test_what_was_not_registered_by_us_is_not_forgotten(client, registrar):
    assert registrar().forget(client) is False


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b'{"client_id": "a", "later": 1}'])
def test_a_record_that_cannot_be_read_is_replaced(value, registrar, site, store):
    who = registrar()
    client_at(who, server(site))
    (name,) = store.names
    store.set(name, value)
    assert client_at(who, server(site)).client_id == "me2"
    assert client_at(who, server(site)).client_id == "me2"


# -- what may go wrong -----------------------------------------------------------------------


def refusing(site, page):
    site.pages["/register"] = page
    return server(site)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("400 Bad", {"error": "invalid_redirect_uri", "error_description": MARKUP}, None),
        ("400 Bad", {"error": "invalid_client_metadata"}, None),
        ("403 No", {"error": "access_denied"}, None),
        ("400 Bad", {"error": MARKUP}, "unknown_error"),
        ("400 Bad", {"error": f"no-{SECRET}-Q"}, "unknown_error"),
        ("400 Bad", {"error": ["x"]}, "unknown_error"),
        ("400 Bad", {}, "unknown_error"),
        ("401 No", MARKUP.encode(), "http_401"),
        ("404 No", b"", "http_404"),
        ("405 No", b"[1]", "http_405"),
        ("500 Oh", b"{" * 100_000, "http_500"),
    ],
)
def test_a_refusal_is_told_by_its_code_alone(status, body, error, registrar, site):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(OAuthError, match="did not register us") as caught:
        client_at(registrar(), refusing(site, response(raw, status, kind="text/html")))
    assert caught.value.error == (error or body["error"])
    assert caught.value.retryable is status.startswith("5")
    assert SECRET not in str(caught.value)
    assert "<" not in str(caught.value)
    assert len(site.requests) == 1, "it is not tried again"


@pytest.mark.parametrize(
    "body",
    [b"", MARKUP.encode(), b"[]", b'{"client_id": 7}', b'{"client_secret": "s3cr3t"}', b"\xff"],
)
def test_an_answer_that_is_none_is_told_without_being_shown(body, registrar, site):
    with pytest.raises(MessageInvalid) as caught:
        client_at(registrar(), refusing(site, response(body, "201 Created")))
    assert SECRET not in str(caught.value)
    assert "<script" not in str(caught.value)


@pytest.mark.parametrize(
    "page",
    [
        response(b'{"error": "invalid_scope"}', "400 Bad"),
        response(MARKUP.encode()),
        response(b"", "307 Moved", Location="https://evil.example/"),
        response(b" " * 2_000_000),
    ],
    ids=["refusal", "page", "redirect", "large"],
)
def test_who_cannot_be_registered_for_more_is_who_he_was(page, registrar, site):
    who = registrar()
    found = server(site)
    first = who.client_at(found, Deadline(LONG), scopes=("read",))
    site.pages["/register"] = page
    assert who.client_at(found, Deadline(LONG), scopes=("read", "write")) == first
    assert len(site.requests) == 2


def test_a_failure_is_not_kept(registrar, site):
    who = registrar()
    with pytest.raises(OAuthError):
        client_at(who, refusing(site, response(b"{}", "400 Bad")))
    site.pages["/register"] = numbered(site)
    assert client_at(who, server(site)).client_id == "me2"


def endless(peer):
    """A body without an end."""
    peer.send(response(b"", Content_Length="", Transfer_Encoding="chunked"))
    try:
        while True:
            peer.sock.sendall(chunk(b" " * 65536))
    except OSError:
        return


def test_a_body_without_an_end_is_one_error(registrar, site):
    with within(0, SOON), pytest.raises(MCPSyncError, match="is larger than"):
        client_at(registrar(), refusing(site, endless))


def test_a_redirect_is_not_followed_to_another_origin(registrar, site):
    moved = response(b"", "307 Moved", Location="http://169.254.169.254/latest")
    with pytest.raises(HTTPStatusError, match="not followed"):
        client_at(registrar(), refusing(site, moved))


@pytest.mark.parametrize(
    "endpoint",
    ["javascript:alert(1)", "http://as.example/register", "https://10.0.0.1/register", "x"],
)
def test_an_endpoint_that_must_not_be_asked_is_not(endpoint, registrar, site):
    with pytest.raises(RefusedError):
        client_at(registrar(reach="public"), server(site, registration_endpoint=endpoint))


def test_the_deadline_bounds_it(registrar, site):
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
        client_at(registrar(), refusing(site, lambda peer: peer.wait_gone()), BUDGET)


def test_a_cancel_ends_it(registrar, site):
    cancel = Cancellation()
    threading.Timer(0.05, cancel.cancel).start()
    with within(0, SOON), pytest.raises(RequestCancelled):
        client_at(registrar(), refusing(site, lambda peer: peer.wait_gone()), LONG, cancel)


def test_whoever_failed_does_not_keep_others_waiting(registrar, site):
    who = registrar()
    with pytest.raises(RequestTimeout):
        client_at(who, refusing(site, lambda peer: peer.wait_gone()), BUDGET)
    site.pages["/register"] = numbered(site)
    with within(0, SOON):
        assert client_at(who, server(site)).client_id == "me2"
