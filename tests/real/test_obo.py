"""Tokens on behalf of users, exchanged at a certified OpenID provider, for a server of the SDK."""

import base64
import hashlib
import secrets
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests

from mcpsync import AuthorizationRequired, MCPManager, OboTokenError
from mcpsync.auth import OboTokenService
from support.entra import EXCHANGE, JWT_BEARER
from support.protected import CALLBACK, protected, sign_in

APP = "https://app.example/api"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with protected(tmp_path_factory.mktemp("obo")) as servers:
        yield servers


@pytest.fixture(scope="module")
def app(servers):
    """The application, as the provider knows it."""
    said = {
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", JWT_BEARER, EXCHANGE],
        "token_endpoint_auth_method": "client_secret_post",
    }
    return post(f"{servers.issuer}/reg", json=said)


def post(url, **what):
    answer = requests.post(url, timeout=10, **what)
    assert answer.ok, answer.text
    return answer.json()


def signed_in(servers, app, resource=APP, scope="read"):
    """Sign the user in to the application; return the token it has of him."""
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    asked = {
        "client_id": app["client_id"],
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": scope,
        "resource": resource,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    came = sign_in(f"{servers.issuer}/auth?{urlencode(asked)}")
    fields = {
        "grant_type": "authorization_code",
        "code": dict(parse_qsl(urlsplit(came).query))["code"],
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
        "client_id": app["client_id"],
        "client_secret": app["client_secret"],
        "resource": resource,
    }
    return post(f"{servers.issuer}/token", data=fields)["access_token"]


def manager_of(servers, app, token, *, grant="jwt_bearer", scopes="read", **fields):
    service = OboTokenService(
        f"{servers.issuer}/token",
        app["client_id"],
        app["client_secret"],
        grant=grant,
        fields={"resource": servers.url, **fields},
    )
    config = {"url": servers.url, "obo": {"scopes": scopes}}
    return MCPManager({"crm": config}, obo=service, access_token_of=lambda _: token)


def whoami(manager):
    return manager.call_tool("crm", "whoami", user="42").content[0].text.split()


@pytest.mark.parametrize(
    ("grant", "name"), [("jwt_bearer", JWT_BEARER), ("token_exchange", EXCHANGE)]
)
def test_the_server_sees_the_user_by_either_grant(servers, app, grant, name):
    before = servers.count(f"exchanged {name}")
    with manager_of(servers, app, signed_in(servers, app), grant=grant) as manager:
        assert whoami(manager)[:2] == ["ada", app["client_id"]]
        assert whoami(manager)[:2] == ["ada", app["client_id"]]
    assert servers.count(f"exchanged {name}") == before + 1


@pytest.mark.parametrize("change", ["audience", "scope", "signature", "none"])
def test_the_provider_verifies_what_it_is_shown(servers, app, change):
    token = "no-token-at-all"
    if change == "audience":
        token = signed_in(servers, app, resource="https://other.example/api")
    elif change == "scope":
        token = signed_in(servers, app, scope="write")
    elif change == "signature":
        head, claims, _ = signed_in(servers, app).split(".")
        token = f"{head}.{claims}.{'A' * 342}"
    with manager_of(servers, app, token) as manager, pytest.raises(OboTokenError) as caught:
        whoami(manager)
    assert (caught.value.error, caught.value.retryable) == ("invalid_grant", False)


def test_more_may_be_wanted_of_the_user(servers, app):
    manager = manager_of(servers, app, signed_in(servers, app), scopes="write")
    with manager, pytest.raises(OboTokenError) as caught:
        whoami(manager)
    assert caught.value.error == "interaction_required"


def test_a_token_for_another_server_is_turned_down_by_this_one(servers, app):
    token = signed_in(servers, app)
    manager = manager_of(servers, app, token, resource="https://other.example/mcp")
    with manager, pytest.raises(AuthorizationRequired) as caught:
        whoami(manager)
    assert caught.value.authorization_url is None
