"""The authorization code flow: RFC 7636, RFC 9207, RFC 8707; requirements A7 to A11, S2."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

from mcpsync.auth.codes import (
    Returned,
    Verifier,
    authorization_url,
    check_issuer,
    check_pkce,
    code_of,
    known_error,
    new_state,
)
from mcpsync.auth.metadata import ServerMetadata
from mcpsync.errors import OAuthError, RefusedError

ISSUER = "https://as.example"


def server(**more):
    given = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/authorize", **more}
    return ServerMetadata.model_validate(given)


def url_at(found, **more):
    given = {
        "client_id": "me",
        "redirect_uri": "https://app.example/callback",
        "state": "st",
        "challenge": "ch",
        "scopes": (),
        "resource": "https://mcp.example/mcp",
    }
    return authorization_url(found, **(given | more))


def asked(url):
    return parse_qs(urlsplit(url).query, strict_parsing=True)


def test_the_challenge_is_the_sha256_of_the_verifier():
    verifier = Verifier.new()
    digest = hashlib.sha256(verifier.secret.encode()).digest()
    assert verifier.challenge == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert 43 <= len(verifier.secret) <= 128
    assert verifier.secret not in repr(verifier)


def test_no_verifier_and_no_state_comes_twice():
    assert len({Verifier.new().secret for _ in range(100)}) == 100
    assert len({new_state() for _ in range(100)}) == 100


@pytest.mark.parametrize("methods", [None, [], ["plain"], "S256"])
def test_a_server_that_does_not_say_that_it_knows_s256_is_refused(methods):
    with pytest.raises(OAuthError, match="PKCE") as caught:
        check_pkce(server(code_challenge_methods_supported=methods))
    assert caught.value.error == "pkce_unsupported"


def test_one_that_says_so_is_not():
    check_pkce(server(code_challenge_methods_supported=["plain", "S256"]))


def test_an_operator_may_waive_it():
    check_pkce(server(), insist=False)


def test_the_url_has_everything_that_the_flow_needs():
    assert asked(url_at(server(), scopes=("read", "write"))) == {
        "response_type": ["code"],
        "client_id": ["me"],
        "redirect_uri": ["https://app.example/callback"],
        "state": ["st"],
        "code_challenge": ["ch"],
        "code_challenge_method": ["S256"],
        "scope": ["read write"],
        "resource": ["https://mcp.example/mcp"],
    }


def test_without_scopes_there_is_no_scope_parameter():
    assert "scope" not in asked(url_at(server()))


def test_a_query_of_the_endpoint_is_kept_but_replaces_nothing_of_ours():
    found = server(authorization_endpoint=f"{ISSUER}/authorize?tenant=a&state=theirs&x=#frag")
    url = url_at(found, more={"prompt": "consent", "client_id": "another"})
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert query["tenant"] == ["a"]
    assert query["x"] == [""]
    assert query["prompt"] == ["consent"]
    assert query["state"] == ["st"]
    assert query["client_id"] == ["me"]
    assert "#" not in url


@pytest.mark.parametrize(
    "endpoint",
    [
        "javascript:alert(1)//",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "http://as.example/authorize",
        "https://user:secret@as.example/",
        "https://as.example/a b",
        "https://as.example/\n",
        "//as.example",
        "https://",
        "https://[",
        "nothing",
    ],
)
def test_nobody_is_sent_to_what_is_not_https(endpoint):
    with pytest.raises(RefusedError, match="only https") as caught:
        url_at(server(authorization_endpoint=endpoint))
    assert "secret" not in str(caught.value)


def test_http_on_this_machine_will_do():
    assert url_at(server(authorization_endpoint="http://localhost:1234/a")).startswith("http://loc")


def test_without_an_authorization_endpoint_there_is_no_url():
    with pytest.raises(OAuthError, match="no authorization endpoint"):
        url_at(server(authorization_endpoint=None))


@pytest.mark.parametrize(
    ("says_so", "iss", "good"),
    [
        (True, ISSUER, True),
        (True, None, False),
        (True, "https://evil.example", False),
        (False, ISSUER, True),
        (False, None, True),
        (False, "https://evil.example", False),
        (True, ISSUER + "/", False),
        (True, ISSUER.upper(), False),
        (True, "https://as.example:443", False),
        (True, "https%3A%2F%2Fas.example", False),
        (True, "", False),
    ],
)
def test_who_answers_is_who_was_asked_letter_for_letter(says_so, iss, good):
    if good:
        check_issuer(says_so, ISSUER, iss)
        return
    with pytest.raises(OAuthError, match="believed") as caught:
        check_issuer(says_so, ISSUER, iss)
    assert not iss or iss not in str(caught.value)


def test_an_error_is_told_by_its_code_and_nothing_else():
    with pytest.raises(OAuthError, match="access_denied") as caught:
        code_of(Returned("st", error="access_denied"))
    assert caught.value.error == "access_denied"


@pytest.mark.parametrize("code", [None, ""])
def test_an_answer_without_a_code_is_none(code):
    with pytest.raises(OAuthError, match="no code"):
        code_of(Returned("st", code))


@pytest.mark.parametrize(
    "text",
    [
        "<script>",
        "a" * 65,
        "",
        None,
        7,
        "a\nb",
        "access_denied\n",
        'a"b',
        "grüße",
        ["x"],
        "a\\b",
        "call us",
        "code-Q3J5cHQ",
        "d3adb33f",
    ],
)
def test_what_is_no_error_code_is_not_shown(text):
    assert known_error(text) == "unknown_error"


def test_what_came_back_is_in_no_repr():
    assert "s3cret" not in repr(Returned("s3cret", "s3cret", "s3cret", "s3cret"))
