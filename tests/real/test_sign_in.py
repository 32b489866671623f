"""Signing in at a certified OpenID provider, for a server of the official SDK."""

import collections
import json
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

import mcpsync
from mcpsync._runtime.clock import SystemClock
from mcpsync.auth import CimdDocument, ClientCredentialsGrant, ClientKey, OAuth
from mcpsync.auth.tokens import LEASE, TokenStorage
from mcpsync.stores import MemoryStore
from support import signing_in
from support.certificates import certificate
from support.protected import CALLBACK, protected, sign_in
from support.stores import description
from support.workers import Worker
from transports.fixtures import serve
from transports.peer import always, response

__all__ = ["certificate", "serve"]

OWNER = signing_in.OWNER


@pytest.fixture(scope="module")
def servers(tmp_path_factory, certificate):
    told = {"DPOP_NONCE": "1", "NODE_EXTRA_CA_CERTS": certificate.path}
    with protected(tmp_path_factory.mktemp("protected"), told) as servers:
        yield servers


@pytest.fixture
def happened(servers):
    """What the provider says has happened since the test began, with how often."""
    before = len(servers.provider.output.splitlines())
    return lambda: collections.Counter(servers.provider.output.splitlines()[before:])


class Browser:
    """A user who goes where he is sent, and agrees. What he comes back with is in no log."""

    def __init__(self, leaks):
        self.went, self.came, self._leaks = [], [], leaks

    def go(self, url):
        self.went.append(url)
        self.came.append(sign_in(url))
        self._leaks.made.append(asked_for(self.came[-1])["code"])

    def came_to(self):
        return self.came[-1]

    def auth(self, **options):
        return OAuth(CALLBACK, redirect_handler=self.go, callback_handler=self.came_to, **options)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def browser(leaks):
    return Browser(leaks)


def said(client, tool="whoami"):
    """Who the server says calls it: the user, the client, and his scopes."""
    return client.call_tool(tool).content[0].text.split()


def asked_for(url):
    return dict(parse_qsl(urlsplit(url).query))


def test_who_signs_in_is_registered_once_and_his_token_is_rotated_in_silence(
    servers, browser, happened
):
    with mcpsync.Client(servers.url, auth=browser.auth()) as client:
        user, client_id, *scopes = said(client)
        assert (user, scopes) == ("ada", ["read"])
        assert said(client) == [user, client_id, *scopes]
    [url] = browser.went
    asked = asked_for(url)
    assert (asked["client_id"], asked["resource"]) == (client_id, servers.url)
    assert happened() == {
        "registered": 1,
        "granted authorization_code": 1,
        "rotated": 1,
        "granted refresh_token": 1,
    }


def test_a_token_that_is_bound_to_a_key_comes_with_proofs(servers, browser, happened):
    proofs = servers.server.output.count("proof taken")
    with mcpsync.Client(servers.url, auth=browser.auth(dpop=True)) as client:
        assert said(client)[0] == said(client)[0] == "ada"
    assert servers.server.output.count("proof taken") - proofs >= 2
    assert "proof refused" not in servers.server.output
    told = happened()  # a nonce was wanted first, and nothing was used up by that
    assert (told["granted authorization_code"], told["granted refresh_token"]) == (1, 1)
    assert told["rotated"] == 1


def test_a_document_stands_for_a_registration(servers, browser, happened, serve, certificate):
    body = []
    peer = serve(lambda peer: always(response(body[0]))(peer), certificate.context())
    document = CimdDocument(peer.url, [CALLBACK], client_name="A test")
    body.append(json.dumps(document.body).encode())
    with mcpsync.Client(servers.url, auth=browser.auth(document=document)) as client:
        assert said(client) == ["ada", document.url, "read"]
    assert peer.accepted == 1
    assert happened()["registered"] == 0
    assert happened()["rotated"] == 1


def test_a_tool_that_needs_more_is_called_when_the_user_has_agreed_to_more(
    servers, browser, happened
):
    with mcpsync.Client(servers.url, auth=browser.auth()) as client:
        assert said(client)[2:] == ["read"]
        assert sorted(said(client, "save")[2:]) == ["read", "write"]
        assert sorted(said(client)[2:]) == ["read", "write"]
    first, second = map(asked_for, browser.went)
    assert set(first["scope"].split()) == {"read", "offline_access"}
    assert set(second["scope"].split()) == {"read", "offline_access", "write"}
    # This provider lets a client ask for nothing that it was not registered for.
    assert happened()["registered"] == 2
    assert first["client_id"] != second["client_id"]


def test_two_users_are_of_one_registration(servers, browser, store, happened):
    for owner in ("ada", "bob"):
        auth = browser.auth(store=store, owner=owner)
        with mcpsync.Client(servers.url, auth=auth) as client:
            said(client)
    assert happened()["registered"] == 1
    assert happened()["granted authorization_code"] == 2


@pytest.fixture
def manager(servers, store, leaks):
    """The user has signed in, by another; his token is over."""
    with signing_in.manager_of(servers.url, store) as before:
        url = signing_in.call(before, "whoami")["url"]
        assert signing_in.complete(before, sign_in(url)) == ["crm", "ada"]
    tokens = signing_in.age(store).tokens
    leaks.made += [tokens.access_token, tokens.refresh_token]
    with signing_in.manager_of(servers.url, store) as manager:
        yield manager


def test_who_signs_out_has_nothing_left_at_the_provider(manager, happened):
    assert manager.revoke("crm", user="ada")
    assert happened()["revoked"] == 1
    assert not manager.authorization_status("crm", user="ada").is_authorized
    assert "url" in signing_in.call(manager, "whoami")


def test_who_was_signed_out_at_the_provider_has_to_sign_in(manager, store, happened):
    grant = signing_in.age(store)
    client = grant.client
    answer = requests.post(
        grant.revocation_endpoint,
        {"token": grant.tokens.refresh_token},
        auth=(client.client_id, client.client_secret),
        timeout=10,
    )
    assert answer.status_code == 200
    assert "url" in signing_in.call(manager, "whoami")
    assert happened()["refused refresh_token invalid_grant"] == 1
    assert not manager.authorization_status("crm", user="ada").is_authorized


def test_a_refresh_token_that_comes_again_ends_the_grant_for_everybody(
    manager, servers, store, happened
):
    storage = TokenStorage(store, SystemClock())
    used = storage.find(OWNER)
    assert "text" in signing_in.call(manager, "whoami")
    assert storage.find(OWNER).tokens.refresh_token != used.tokens.refresh_token
    storage.keep(OWNER, used)  # as when an old copy of the store is put in place
    with signing_in.manager_of(servers.url, store) as another:
        assert "url" in signing_in.call(another, "whoami")
    assert happened()["refused refresh_token invalid_grant"] == 1
    assert happened()["revoked"] == 1


def test_a_call_that_waits_goes_on_when_the_user_has_signed_in(servers):
    with signing_in.manager_of(servers.url, MemoryStore()) as manager:

        def go(url):
            signing_in.complete(manager, sign_in(url))

        assert signing_in.call(manager, "whoami", oauth_start=go)["text"].startswith("ada ")


METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "dpop"])
@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_acts_for_itself(servers, happened, method, dpop):
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    metadata = {
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
        "token_endpoint_auth_method": method,
    }
    if method == "private_key_jwt":
        metadata["jwks"] = {"keys": [public]}
        metadata["token_endpoint_auth_signing_alg"] = "ES256"
    client = requests.post(f"{servers.issuer}/reg", json=metadata, timeout=10).json()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    shown = (
        {"client_key": ClientKey(pem, "ES256")}
        if method == "private_key_jwt"
        else {"client_secret": client["client_secret"]}
    )
    auth = ClientCredentialsGrant(
        client["client_id"], token_endpoint_auth_method=method, dpop=dpop, **shown
    )
    with mcpsync.Client(servers.url, auth=auth) as mine:
        assert said(mine)[1:] == said(mine)[1:] == [client["client_id"], "read"]
    assert happened()["granted client_credentials"] == 1


@pytest.fixture(params=["sqlite", "redis"])
def another(request, servers, redis_url, tmp_path):
    """Make other processes that have one store."""
    kept = description(request.param, redis_url, tmp_path)
    workers = []

    def start():
        workers.append(Worker("support.signing_in", servers.url, str(LEASE), *kept))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


def test_what_one_process_began_another_completes_and_all_may_call(another, happened):
    first, second, third = another(), another(), another()
    came = first.ask("call('whoami')")
    assert second.ask("call('whoami')") == came  # who comes late is sent to the same page
    back = sign_in(came["url"])
    assert second.ask(f"complete({back!r})") == ["crm", "ada"]
    assert third.ask(f"complete({back!r})") == ["crm", "ada"]  # a double click
    answers = [worker.ask("call('whoami')") for worker in (first, second, third)]
    assert answers == [answers[0]] * 3
    assert answers[0]["text"].startswith("ada ")
    assert happened() == {
        "registered": 1,
        "granted authorization_code": 1,
        "rotated": 1,
        "granted refresh_token": 1,
    }


def test_a_call_waits_in_one_process_for_what_another_completes(another):
    first, second = another(), another()
    first.tell("wait('whoami')")
    back = sign_in(first.said()["go"])
    assert second.ask(f"complete({back!r})") == ["crm", "ada"]
    assert first.said()["text"].startswith("ada ")
