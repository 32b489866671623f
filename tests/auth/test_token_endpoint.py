"""Asking for tokens: who we say we are, and what is made of an answer; requirement A22, S1."""

import base64
import json
import logging
import math
import traceback

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import ClientKey
from mcpsync.auth.clients import ClientCredentials
from mcpsync.auth.metadata import ServerMetadata
from mcpsync.auth.token_endpoint import ASSERTION, MAX_TOKEN, TokenEndpoint
from mcpsync.errors import (
    ConfigurationError,
    ConnectionLost,
    HTTPStatusError,
    MCPSyncError,
    MessageInvalid,
    OAuthError,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
    ResponseTooLarge,
)
from mcpsync.http import Fetcher
from mcpsync.security.guard import AddressPolicy
from mcpsync.testing import FakeClock, Page
from support.threads import outcome, start, wait_until
from support.token_server import TOKENS, TokenServer
from transports import peer

ISSUER = "https://as.example/tenant"
FIELDS = {"grant_type": "client_credentials"}
SECRET = "p%s+ s:ä/&=?~"
PUBLIC = ClientCredentials("me")
LONG = 20.0


def endpoint_at(url, **options):
    server = ServerMetadata(issuer=ISSUER, token_endpoint=url)
    clock = options.pop("clock", None) or FakeClock()
    return TokenEndpoint(server, Fetcher(policy=AddressPolicy("loopback")), clock, **options)


def ask(url, client=PUBLIC, fields=FIELDS, **options):
    return endpoint_at(url, **options).grant(client, fields, Deadline(LONG), asked=("read",))


def answered(page):
    """What comes of one answer: the tokens, or the error."""
    with TokenServer(page) as server:
        try:
            return ask(server.url)
        except MCPSyncError as error:
            return error


def saying(**fields):
    return answered(Page.json({**TOKENS, **fields}))


def pem_of(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture(scope="module")
def elliptic():
    return ec.generate_private_key(ec.SECP256R1())


# -- who we are -----------------------------------------------------------------------------------


def test_basic_shows_id_and_secret_form_encoded_and_nothing_of_them_in_the_body():
    client = ClientCredentials("my client:1", SECRET, "client_secret_basic")
    with TokenServer() as server:
        ask(server.url, client)
    [asking] = server.asked
    scheme, _, shown = asking.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    # RFC 6749, section 2.3.1 and appendix B: each is form-encoded before they are joined
    assert base64.b64decode(shown) == b"my+client%3A1:p%25s%2B+s%3A%C3%A4%2F%26%3D%3F~"
    assert asking.fields == FIELDS


def test_post_shows_id_and_secret_in_the_body_and_nothing_in_a_header():
    with TokenServer() as server:
        ask(server.url, ClientCredentials("my client", SECRET, "client_secret_post"))
    [asking] = server.asked
    assert asking.fields == {**FIELDS, "client_id": "my client", "client_secret": SECRET}
    assert "authorization" not in asking.headers


def test_a_public_client_says_its_id_only():
    with TokenServer() as server:
        ask(server.url, ClientCredentials("me", "never sent", "none"))
    assert server.asked[0].fields == {**FIELDS, "client_id": "me"}
    assert "authorization" not in server.asked[0].headers


def test_who_is_known_by_an_assertion_says_no_id_at_all():
    with TokenServer() as server:
        ask(server.url, ClientCredentials(""))
    assert server.asked[0].fields == FIELDS


def test_a_key_signs_an_assertion_for_the_issuer_and_each_is_a_new_one(elliptic):
    client = ClientCredentials("me", method="private_key_jwt")
    key, clock = ClientKey(pem_of(elliptic), "ES256", "k1"), FakeClock()
    with TokenServer() as server:
        ask(server.url, client, key=key, clock=clock)
        ask(server.url, client, key=key, clock=clock)
    assertions = []
    for asking in server.asked:
        fields = asking.fields
        assertions.append(fields.pop("client_assertion"))
        assert fields == {**FIELDS, "client_id": "me", "client_assertion_type": ASSERTION}
        assert "authorization" not in asking.headers
    assert jwt.get_unverified_header(assertions[0]) == {"alg": "ES256", "kid": "k1", "typ": "JWT"}
    claims = [
        jwt.decode(
            assertion,
            elliptic.public_key(),
            algorithms=["ES256"],
            audience=ISSUER,
            options={"verify_exp": False, "verify_iat": False},
        )
        for assertion in assertions
    ]
    now = int(clock.time())
    assert claims[0] | {"jti": ""} == {
        "iss": "me",
        "sub": "me",
        "aud": ISSUER,
        "jti": "",
        "iat": now,
        "exp": now + 300,
    }
    assert claims[0]["jti"] != claims[1]["jti"]


def test_an_rsa_key_signs_as_well():
    key = rsa.generate_private_key(65537, 2048)
    with TokenServer() as server:
        client = ClientCredentials("me", method="private_key_jwt")
        ask(server.url, client, key=ClientKey(pem_of(key)))
    jwt.decode(
        server.asked[0].fields["client_assertion"],
        key.public_key(),
        algorithms=["RS256"],
        audience=ISSUER,
        options={"verify_exp": False, "verify_iat": False},
    )


@pytest.mark.parametrize(
    ("pem", "algorithm"),
    [
        ("not a key", "RS256"),
        ("-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----", "ES256"),
        ("ec", "RS256"),
        ("ec", "HS256"),
        ("ec", "none"),
        ("ec", "XX99"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_before_anything_is_sent(elliptic, pem, algorithm):
    key = ClientKey(pem_of(elliptic) if pem == "ec" else pem, algorithm)
    with TokenServer() as server:
        with pytest.raises(ConfigurationError, match="private key cannot be used") as caught:
            ask(server.url, ClientCredentials("me", method="private_key_jwt"), key=key)
        assert server.asked == []
    told = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in told
    assert key.pem not in told


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_who_has_nothing_to_show_sends_nothing(method):
    with TokenServer() as server:
        with pytest.raises(ConfigurationError, match="needs a"):
            ask(server.url, ClientCredentials("me", method=method))
        assert server.asked == []


# -- where it goes --------------------------------------------------------------------------------


def test_what_is_asked_for_goes_into_a_form_and_an_answer_in_json_is_asked_for():
    fields = {"grant_type": "refresh_token", "refresh_token": "a b&c=ä", "resource": "https://m/"}
    with TokenServer() as server:
        ask(server.url, ClientCredentials("me"), fields)
    [asking] = server.asked
    assert asking.fields == {**fields, "client_id": "me"}
    assert asking.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asking.headers["accept"] == "application/json"
    assert asking.path == "/token"


@pytest.mark.parametrize(
    "url", ["http://as.example/token", "javascript:alert(1)", "https://a:b@as.example/token"]
)
def test_an_endpoint_that_is_not_https_is_refused_when_it_is_made(url):
    with pytest.raises(RefusedError, match="the token endpoint"):
        endpoint_at(url)


def test_a_server_without_a_token_endpoint_is_an_error():
    with pytest.raises(OAuthError, match="no token endpoint"):
        endpoint_at(None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_gets_neither_grant_nor_secret(status):
    with TokenServer() as other:
        away = Page(status, headers=(("Location", other.url),))
        with TokenServer(away) as server, pytest.raises(HTTPStatusError, match="redirects"):
            ask(server.url, ClientCredentials("me", "s", "client_secret_post"))
        assert other.asked == []


# -- answers --------------------------------------------------------------------------------------


def test_a_good_answer_is_taken_as_it_is():
    clock = FakeClock()
    said = {**TOKENS, "refresh_token": "refresh-1", "scope": "a b a", "id_token": "x.y.z", "new": 1}
    with TokenServer(Page.json(said)) as server:
        tokens = ask(server.url, clock=clock)
    assert (tokens.access_token, tokens.refresh_token) == ("access-1", "refresh-1")
    assert tokens.expires_at == clock.time() + 3600
    assert (tokens.scopes, tokens.token_type, tokens.id_token) == (("a", "b"), "Bearer", "x.y.z")


def test_what_was_asked_for_is_granted_if_the_answer_does_not_say():
    assert saying().scopes == ("read",)
    assert saying(scope="").scopes == ()
    assert saying(scope=["write"]).scopes == ("read",)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (3600, 3600),
        (3600.5, 3600.5),
        ("3600", 3600),
        (10**400, 365 * 24 * 3600),
        (math.inf, 365 * 24 * 3600),
        ("9" * 300, 365 * 24 * 3600),
    ],
)
def test_how_long_a_token_lasts_is_a_number_of_seconds_or_digits(said, seconds):
    assert saying(expires_in=said).expires_at == FakeClock().time() + seconds


@pytest.mark.parametrize(
    "said", [None, "", "soon", 0, "0", -5, "-5", "३", True, [3600], {}, math.nan]
)
def test_what_is_no_number_of_seconds_says_nothing(said):
    assert saying(expires_in=said).expires_at is None


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_the_type_of_a_token_is_known_in_any_case(kind):
    assert saying(token_type=kind).token_type == "Bearer"


def test_a_type_that_is_left_out_is_bearer():
    assert answered(Page.json({"access_token": "a"})).token_type == "Bearer"


@pytest.mark.parametrize("kind", ["mac", "N_A", "", None, 1, ["Bearer"], "Bearer DPoP"])
def test_a_token_of_a_type_we_do_not_know_is_refused(kind):
    error = saying(token_type=kind)
    assert isinstance(error, MessageInvalid)
    assert "token_type" in str(error)


def test_a_token_bound_to_a_key_is_refused_where_nobody_has_one():
    error = saying(token_type="DPoP")
    assert isinstance(error, MessageInvalid)
    assert "a key nobody has" in str(error)


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        1,
        True,
        ["a"],
        {"a": 1},
        "a b",
        "a\r\nX-Evil: 1",
        "\x00",
        "ä",
        "x" * (MAX_TOKEN + 1),
    ],
)
def test_a_token_that_no_header_may_hold_is_refused_and_not_shown(token):
    error = saying(access_token=token)
    assert isinstance(error, MessageInvalid)
    assert str(error) == "the authorization server's answer has no usable access_token."


def test_an_answer_without_a_token_is_refused():
    error = answered(Page.json({"token_type": "Bearer"}))
    assert isinstance(error, MessageInvalid)
    assert "no usable access_token" in str(error)


@pytest.mark.parametrize("token", ["", 1, "a b", ["r"], "a\nb"])
def test_a_refresh_token_that_is_none_counts_as_none(token):
    assert saying(refresh_token=token).refresh_token is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"access_token=a&token_type=bearer",
        b"<html><script>alert('s3cret')</script></html>",
        b"[]",
        b'"access-1"',
        b"null",
        b"\xff\xfe",
        b'{"access_token": "s3cret"',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_no_json_object_is_refused_and_not_shown(body):
    error = answered(Page(200, body, "text/html"))
    assert isinstance(error, MessageInvalid)
    assert "did not answer with a JSON object" in str(error)
    assert "s3cret" not in "".join(traceback.format_exception(error))


def test_an_endless_answer_is_cut_off():
    page = Page(200, b'{"access_token": "' + b"x" * (2 * 1024 * 1024), "application/json")
    assert isinstance(answered(page), ResponseTooLarge)


def test_an_answer_that_never_ends_is_cut_off_as_well():
    def script(server):
        server.read()
        server.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
        for _ in range(64):  # 4 MiB; it is cut off at one
            server.send(b" " * 65536)

    with peer.RawServer(script) as server, pytest.raises(ResponseTooLarge):
        ask(server.url.replace("/mcp", "/token"))


def test_a_server_that_cuts_its_answer_has_perhaps_used_the_grant_up():
    whole = peer.response(json.dumps(TOKENS).encode())

    def script(server):
        server.read()
        server.send(whole[:-5])

    with peer.RawServer(script) as server, pytest.raises(ConnectionLost) as caught:
        ask(server.url.replace("/mcp", "/token"))
    assert caught.value.maybe_executed
    assert server.accepted == 1


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_a_refusal_is_known_by_its_word_whatever_its_status(status):
    error = answered(
        Page.json({"error": "invalid_grant", "error_description": "<b>s3cret</b>\x1b[2J"}, status)
    )
    assert isinstance(error, OAuthError)
    assert error.error == "invalid_grant"
    assert str(error) == "the authorization server gave no token: invalid_grant."


@pytest.mark.parametrize(
    "word",
    [
        1,
        True,
        ["invalid_grant"],
        {"code": 7},
        "<script>alert(1)</script>",
        "no\x1b[2Jway",
        "a\nb",
        'a"b',
        "",
        "x" * 65,
        "ünmöglich",
    ],
)
def test_a_word_that_is_none_is_not_repeated(word):
    error = answered(Page.json({"error": word}, 400))
    assert isinstance(error, OAuthError)
    assert error.error == "unknown_error"
    assert str(error) == "the authorization server gave no token: unknown_error."


@pytest.mark.parametrize("body", [b"", b"<h1>Bad gateway s3cret</h1>", b"[1]", b'{"error": null}'])
@pytest.mark.parametrize(("status", "retryable"), [(400, False), (429, True), (502, True)])
def test_a_refusal_without_a_word_is_told_by_its_status(body, status, retryable):
    error = answered(Page(status, body, "text/html"))
    assert isinstance(error, OAuthError)
    assert error.error == f"http_{status}"
    assert str(error) == f"the authorization server gave no token: status {status}."
    assert error.retryable is retryable


def test_a_token_that_comes_with_a_status_of_failure_is_not_used():
    assert isinstance(answered(Page.json(TOKENS, 201)), OAuthError)
    assert isinstance(answered(Page.json(TOKENS, 500)), OAuthError)


def test_a_grant_is_sent_once_whatever_the_answer():
    with TokenServer(Page(503)) as server:
        with pytest.raises(OAuthError):
            ask(server.url)
        assert len(server.asked) == 1


# -- another kind of token (RFC 8693) -------------------------------------------------------------


def exchanged(**said):
    answer = {"access_token": "jag", "issued_token_type": "urn:kind", "token_type": "N_A", **said}
    with TokenServer(Page.json(answer)) as server:
        return endpoint_at(server.url).exchange(PUBLIC, FIELDS, "urn:kind", Deadline(LONG))


def test_a_token_of_another_kind_is_taken_if_it_is_that_kind():
    assert exchanged() == "jag"


@pytest.mark.parametrize(
    "said",
    [
        {"issued_token_type": "urn:other"},
        {"issued_token_type": None},
        {"access_token": ""},
        {"access_token": 5},
        {"access_token": "a b"},
    ],
)
def test_a_token_of_a_kind_nobody_asked_for_is_refused(said):
    with pytest.raises(MessageInvalid, match="another kind"):
        exchanged(**said)


def test_an_exchange_that_is_refused_says_why():
    no = Page.json({"error": "invalid_target"}, 200)
    with TokenServer(no) as server, pytest.raises(OAuthError, match="invalid_target"):
        endpoint_at(server.url).exchange(PUBLIC, FIELDS, "urn:kind", Deadline(LONG))


# -- time, and secrets ----------------------------------------------------------------------------


def test_asking_ends_with_the_deadline_of_the_call():
    with peer.RawServer(peer.silent) as server, pytest.raises(RequestTimeout):
        endpoint_at(server.url).grant(PUBLIC, FIELDS, Deadline(0.2))


def test_asking_ends_when_another_thread_cancels():
    cancel = Cancellation()
    with peer.RawServer(peer.silent) as server:
        asking = start(
            lambda: endpoint_at(server.url).grant(PUBLIC, FIELDS, Deadline(LONG), cancel)
        )
        wait_until(lambda: server.accepted == 1)
        cancel.cancel()
        assert isinstance(outcome(asking), RequestCancelled)


def test_no_secret_is_in_a_log_an_error_or_a_repr(caplog, elliptic):
    caplog.set_level(logging.DEBUG)
    key = ClientKey(pem_of(elliptic), "ES256")
    clients = [
        ClientCredentials("me", "s3cret-1", "client_secret_basic"),
        ClientCredentials("me", "s3cret-1", "client_secret_post"),
        ClientCredentials("me", method="private_key_jwt"),
    ]
    fields = {"grant_type": "refresh_token", "refresh_token": "s3cret-2"}
    seen = [repr(clients), repr(key)]
    shown = {"s3cret-1", "s3cret-2", "s3cret-3", key.pem}
    pages = [
        Page.json({"access_token": "s3cret-3", "token_type": "mac", "refresh_token": "s3cret-3"}),
        Page(200, b'{"access_token": "s3cret-3"', "application/json"),
        Page.json({"error": "invalid_grant", "error_description": "s3cret-2"}, 400),
        Page.json({"access_token": "s3cret-3", "token_type": "Bearer", "id_token": "s3cret-3"}),
    ]
    for page in pages:
        with TokenServer(page) as server:
            for client in clients:
                endpoint = endpoint_at(server.url, key=key)
                try:
                    tokens = endpoint.grant(client, fields, Deadline(LONG))
                except MCPSyncError as error:
                    seen += [repr(error), "".join(traceback.format_exception(error))]
                else:
                    seen += [repr(tokens), str(tokens), f"{tokens}"]
                seen += [repr(endpoint)]
            for asking in server.asked:
                shown.add(asking.fields.get("client_assertion", key.pem))
                shown.add(asking.headers.get("authorization", key.pem).partition(" ")[2] or key.pem)
    text = "\n".join([*seen, caplog.text])
    assert [secret for secret in shown if secret in text] == []
    assert len(shown) > 6
