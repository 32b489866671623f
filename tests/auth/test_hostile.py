"""A client in front of servers that mean it no good, from the 401 to the token."""

import json

import pytest
import requests

from mcpsync import Client
from mcpsync.auth import CimdDocument, ClientCredentialsGrant, OAuth
from mcpsync.errors import (
    AuthorizationRequired,
    MCPSyncError,
    OAuthError,
    RefusedError,
)
from mcpsync.stores import MemoryStore
from mcpsync.testing import Page
from support.authority import RESOURCE, SERVER, Authority

CALLBACK = "http://127.0.0.1:9/callback"
MARKUP = "<script>alert(1)</script>\x1b[31m"


@pytest.fixture
def authority():
    with Authority() as running:
        yield running


def call(client):
    """Call a tool: its answers are not kept."""
    return client.call_tool("add", {"a": 1, "b": 2})


def url_of(client):
    """Call, and return where the user has to go."""
    with pytest.raises(AuthorizationRequired) as caught:
        call(client)
    return caught.value.authorization_url


def signed_in(authority, auth):
    with Client(authority.url, auth=auth) as client:
        auth.complete(authority.url, authority.approve(url_of(client)))
        call(client)


def told(error):
    """What a person reads, after looking that it is fit to be read."""
    assert isinstance(error, MCPSyncError)
    text = str(error)
    assert text.isprintable()
    assert "<script" not in text
    assert len(text) < 1000
    return text


# -- metadata --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"issuer": "https://evil.example"}, OAuthError),
        ({"issuer": MARKUP}, OAuthError),
        ({"issuer": 7}, OAuthError),
        ({"authorization_endpoint": "javascript:alert(1)"}, RefusedError),
        ({"authorization_endpoint": f"https://as.example/{MARKUP}"}, RefusedError),
        ({"authorization_endpoint": ["x"]}, OAuthError),
        ({"token_endpoint": "http://as.example/token"}, RefusedError),
        ({"token_endpoint": "https://169.254.169.254/token"}, RefusedError),
        ({"token_endpoint": None}, OAuthError),
        ({"authorization_endpoint": None}, OAuthError),
        ({"registration_endpoint": "https://10.0.0.1/register"}, RefusedError),
        ({"revocation_endpoint": "file:///etc/passwd"}, RefusedError),
        ({"code_challenge_methods_supported": None}, OAuthError),
        ({"code_challenge_methods_supported": ["plain"]}, OAuthError),
        ({"code_challenge_methods_supported": "S256"}, OAuthError),
    ],
)
def test_hostile_metadata_of_an_authorization_server_is_one_typed_error(said, error, authority):
    authority.server_metadata.update(said)
    with Client(authority.url, auth=OAuth(CALLBACK)) as client:
        with pytest.raises(error) as caught:
            call(client)
        told(caught.value)
    assert authority.count("token") == authority.count("authorize") == 0


@pytest.mark.parametrize(
    "said",
    [
        {"resource": "https://evil.example/mcp"},
        {"resource": MARKUP},
        {"resource": None},
        {"authorization_servers": ["javascript:alert(1)"]},
        {"authorization_servers": ["http://as.example"]},
        {"authorization_servers": ["https://169.254.169.254"]},
        {"authorization_servers": [MARKUP]},
        {"authorization_servers": ["https://["]},
    ],
)
def test_hostile_metadata_of_the_server_is_one_typed_error(said, authority):
    authority.resource_metadata.update(said)
    with Client(authority.url, auth=OAuth(CALLBACK)) as client:
        with pytest.raises(MCPSyncError) as caught:
            call(client)
        told(caught.value)
    assert not isinstance(caught.value, AuthorizationRequired)
    assert authority.asked == []


@pytest.mark.parametrize(
    "page",
    [
        Page(200, f"<html>{MARKUP}</html>".encode(), "text/html"),
        Page(200, b"[1]", "application/json"),
        Page(200, b'{"issuer":' * 50_000, "application/json"),
        Page(200, b" " * 2_000_000, "application/json"),
        Page(307, headers=(("Location", "http://169.254.169.254/"),)),
        Page(500, MARKUP.encode(), "text/html"),
    ],
    ids=["page", "list", "deep", "large", "redirect", "failure"],
)
@pytest.mark.parametrize("path", [SERVER, f"{RESOURCE}/mcp"])
def test_hostile_pages_in_place_of_metadata_are_one_typed_error(path, page, authority):
    authority.say(path, page)
    with Client(authority.url, auth=OAuth(CALLBACK)) as client:
        with pytest.raises(MCPSyncError) as caught:
            call(client)
        told(caught.value)
    assert not isinstance(caught.value, AuthorizationRequired)


def test_a_client_goes_on_as_soon_as_the_metadata_make_sense(authority):
    authority.say(SERVER, Page(200, b"<html>", "text/html"))
    auth = OAuth(CALLBACK)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(OAuthError):
            call(client)
        auth.complete(authority.url, authority.approve(url_of(client)))
        call(client)


# -- one server against another --------------------------------------------------------------


def test_a_server_that_names_a_good_authorization_server_as_itself_gets_none_of_its_clients(
    authority,
):
    """Mix-up: the client and the code of one must not come to another's token endpoint."""
    store = MemoryStore()
    signed_in(authority, OAuth(CALLBACK, store=store))
    with Posing(authority.metadata()) as evil:
        auth = OAuth(CALLBACK, store=store)
        with Client(evil.url, auth=auth) as client, pytest.raises(OAuthError) as caught:
            call(client)
        assert caught.value.error == "issuer_mismatch"
        assert evil.asked == []


class Posing(Authority):
    """A server of 2025-03-26 that says it is another's authorization server, but for the tokens."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def _before_mcp(self, request):
        path = request.path.partition("?")[0]
        if path == "/mcp":
            return Page(401, headers=(("WWW-Authenticate", "Bearer"),))
        if path == SERVER:
            return Page.json({**self.other, "token_endpoint": f"{self.issuer}/token"})
        return Page(404)


def test_the_tokens_of_one_server_are_not_shown_to_another(authority):
    """Though both name the same authorization server, and one store has the tokens."""
    store = MemoryStore()
    signed_in(authority, OAuth(CALLBACK, store=store))
    with Noting() as other:
        other.resource_metadata["authorization_servers"] = [authority.issuer]
        with Client(other.url, auth=OAuth(CALLBACK, store=store)) as client:
            assert url_of(client).startswith(authority.issuer)
        assert {headers.get("authorization") for _, headers in other.seen} == {None}
    assert authority.count("register") == 1, "the client is the same"


class Noting(Authority):
    """Notes which headers come, at both of its servers."""

    def __init__(self):
        self.seen = []
        super().__init__()

    def _before_mcp(self, request):
        self.seen.append((request.path, dict(request.headers)))
        return super()._before_mcp(request)

    def _answer(self, request):
        self.seen.append((f"as:{request.path.partition('?')[0]}", dict(request.headers)))
        return super()._answer(request)


def test_an_authorization_server_does_not_get_what_the_session_has_for_the_server(
    tmp_path, monkeypatch
):
    (tmp_path / ".netrc").write_text("default login ada password s3cr3t\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    session = requests.Session()
    session.headers["X-Api-Key"] = "s3cr3t"
    session.cookies.set("sid", "s3cr3t")
    auth = OAuth(CALLBACK, token_endpoint_auth_method="client_secret_post")
    with Noting() as authority:
        with Client(authority.url, auth=auth, session=session) as client:
            auth.complete(authority.url, authority.approve(url_of(client)))
            call(client)
        mine = [headers for path, headers in authority.seen if path == "/mcp"]
        others = [(path, headers) for path, headers in authority.seen if path != "/mcp"]
        theirs = [headers for path, headers in others if path != "as:/authorize"]
    assert mine[0]["x-api-key"] == "s3cr3t"
    assert len(theirs) == 4, "two documents, a registration, a code"
    assert "s3cr3t" not in json.dumps(theirs)
    assert not any({"authorization", "cookie"} & set(headers) for headers in theirs)


# -- clients that are not known any more -----------------------------------------------------


def test_a_registered_client_that_is_rejected_is_registered_again_once(authority):
    auth = OAuth(CALLBACK)
    signed_in(authority, auth)
    authority.forget_clients()
    authority.end_access_tokens()
    with Client(authority.url, auth=auth) as client:
        url = url_of(client)
        assert authority.count("token", grant_type="refresh_token") == 1
        assert authority.count("register") == 2
        auth.complete(authority.url, authority.approve(url))
        call(client)
    assert authority.count("register") == 2


def test_a_client_that_is_always_rejected_is_no_loop(authority):
    auth = OAuth(CALLBACK)
    signed_in(authority, auth)
    with Client(authority.url, auth=auth) as client:
        call(client)
        authority.end_access_tokens()
        authority.say("/token", Page.json({"error": "invalid_client"}, 401), times=100)
        asked = len(authority.asked)
        back = authority.approve(url_of(client))
        with pytest.raises(OAuthError) as caught:
            auth.complete(authority.url, back)
        assert caught.value.error == "invalid_client"
        url_of(client)
    names = [name for name, _ in authority.asked[asked:]]
    assert names.count("token") == 2, "a refresh, and the code"
    assert names.count("register") == 2


def test_a_code_that_is_turned_down_with_the_client_forgets_the_client(authority):
    auth = OAuth(CALLBACK)
    with Client(authority.url, auth=auth) as client:
        back = authority.approve(url_of(client))
        authority.forget_clients()
        with pytest.raises(OAuthError) as caught:
            auth.complete(authority.url, back)
        assert caught.value.error == "invalid_client"
        auth.complete(authority.url, authority.approve(url_of(client)))
        call(client)
    assert authority.count("register") == 2


# -- the order of registration, seen by the server -------------------------------------------


def test_a_client_of_the_operators_is_used_and_nobody_is_registered(authority):
    authority.add_client("mine", client_secret="s3cr3t-of-mine", redirect_uris=[CALLBACK])
    document = CimdDocument("https://app.example/client.json", [CALLBACK])
    authority.server_metadata["client_id_metadata_document_supported"] = True
    auth = OAuth(
        CALLBACK,
        client_id="mine",
        client_secret="s3cr3t-of-mine",
        document=document,
    )
    signed_in(authority, auth)
    assert authority.count("authorize", client_id="mine") == 1
    assert authority.count("register") == 0


def test_a_document_is_used_where_it_is_taken(authority):
    authority.server_metadata["client_id_metadata_document_supported"] = True
    document = CimdDocument("https://app.example/client.json", [CALLBACK])
    signed_in(authority, OAuth(CALLBACK, document=document))
    assert authority.count("token", client_id=document.url) == 1
    assert authority.count("register") == 0


@pytest.mark.parametrize(
    ("offered", "method"),
    [
        (["none", "client_secret_post", "client_secret_basic"], "client_secret_basic"),
        (["none", "client_secret_post"], "client_secret_post"),
        (["none"], "none"),
        (None, "client_secret_basic"),
    ],
)
def test_who_we_are_is_shown_as_the_server_likes_it_best(offered, method, authority):
    authority.server_metadata["token_endpoint_auth_methods_supported"] = offered
    signed_in(authority, OAuth(CALLBACK))
    (client,) = authority.clients.values()
    assert client["token_endpoint_auth_method"] == method
    assert client["application_type"] == "native"


# -- machines --------------------------------------------------------------------------------


def test_a_machine_is_not_led_astray_either(authority):
    authority.add_client("mine", client_secret="s3cr3t-of-mine")
    authority.server_metadata["token_endpoint"] = "https://169.254.169.254/token"
    grant = ClientCredentialsGrant("mine", "s3cr3t-of-mine")
    with Client(authority.url, auth=grant) as client, pytest.raises(RefusedError) as caught:
        call(client)
    told(caught.value)
    assert authority.asked == []


# -- what a token endpoint answers -----------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        Page.json({"error": MARKUP, "error_description": MARKUP}, 400),
        Page.json({"error": ["x"]}, 400),
        Page(400, MARKUP.encode(), "text/html"),
        Page(200, MARKUP.encode(), "text/html"),
        Page.json({"access_token": "x" * 100_000, "token_type": "Bearer"}),
        Page.json({"access_token": "a\r\nX-Evil: 1", "token_type": "Bearer"}),
        Page.json({"access_token": 7, "token_type": "Bearer"}),
        Page.json({"access_token": "good-enough", "token_type": MARKUP}),
        Page.json({"token_type": "Bearer"}),
        Page(200, b" " * 2_000_000, "application/json"),
        Page(307, headers=(("Location", "http://169.254.169.254/"),)),
    ],
)
def test_hostile_answers_of_a_token_endpoint_are_one_typed_error(page, authority):
    auth = OAuth(CALLBACK)
    with Client(authority.url, auth=auth) as client:
        back = authority.approve(url_of(client))
        authority.say("/token", page)
        with pytest.raises(MCPSyncError) as caught:
            auth.complete(authority.url, back)
        told(caught.value)
        assert authority.count("token") == 1


@pytest.mark.parametrize("lasts", [10**400, -5, float("inf"), "soon", [], True, 1e308, "9" * 5000])
def test_a_lifetime_that_makes_no_sense_is_no_reason_to_fail(lasts, authority):
    auth = OAuth(CALLBACK)
    with Client(authority.url, auth=auth) as client:
        back = authority.approve(url_of(client))
        good = {"access_token": "good-enough", "token_type": "Bearer", "expires_in": lasts}
        authority.say("/token", Page.json(good))
        auth.complete(authority.url, back)


def test_an_error_that_repeats_what_was_sent_is_not_told(authority):
    """The fixture around every test would find the code."""
    auth = OAuth(CALLBACK)
    with Client(authority.url, auth=auth) as client:
        back = authority.approve(url_of(client))
        authority.say("/token", lambda: Page.json({"error": authority.secrets[-1]}, 400))
        with pytest.raises(OAuthError) as caught:
            auth.complete(authority.url, back)
        assert caught.value.error == "unknown_error"


@pytest.mark.parametrize(
    "page", [Page(500), Page(200, b"{}", "application/json")], ids=["failure", "nonsense"]
)
@pytest.mark.parametrize("path", [SERVER, f"{RESOURCE}/mcp"])
def test_what_is_asked_of_others_says_nothing_about_the_servers_era(path, page, authority):
    """A modern server whose authorization server fails once is modern, for all who come later."""
    authority.say(path, page)
    auth = OAuth(CALLBACK)
    with Client(authority.url, auth=auth) as client:
        with pytest.raises(OAuthError):
            call(client)
        auth.complete(authority.url, authority.approve(url_of(client)))
        call(client)
        assert client.protocol_version == "2026-07-28"
