"""Tokens bound to a key: proofs, and the nonces of both servers. RFC 9449, SEP-1932."""

import base64
import hashlib
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mcpsync import Client
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import OAuth
from mcpsync.auth.clients import ClientCredentials
from mcpsync.auth.dpop import MAX_NONCE, MOST_NONCES, DPoPKey
from mcpsync.auth.metadata import ServerMetadata
from mcpsync.auth.token_endpoint import TokenEndpoint
from mcpsync.errors import ConfigurationError, OAuthError
from mcpsync.http import Fetcher
from mcpsync.security.guard import AddressPolicy
from mcpsync.testing import FakeClock, Page
from support.machines import MachineAuthority
from support.token_server import TOKENS, TokenServer

URL = "https://mcp.example/mcp"
BOUND = Page.json({**TOKENS, "token_type": "DPoP"})


def nonce(value, status=400, error="use_dpop_nonce"):
    body = b"" if error is None else json.dumps({"error": error}).encode()
    return Page(status, body, "application/json", (("DPoP-Nonce", value),))


def opened(proof):
    """The header and the claims of a proof, whose signature fits the key that it shows."""
    head = jwt.get_unverified_header(proof)
    key = jwt.PyJWK.from_dict(head["jwk"], algorithm="ES256")
    return head, jwt.decode(proof, key, algorithms=["ES256"], options={"verify_iat": False})


def claims_of(proof):
    return opened(proof)[1]


def ask(server, key, **fields):
    metadata = ServerMetadata(issuer="https://as.example", token_endpoint=server.url)
    endpoint = TokenEndpoint(
        metadata, Fetcher(policy=AddressPolicy("loopback")), FakeClock(), dpop=key
    )
    client = ClientCredentials("me")
    return endpoint.grant(client, {"grant_type": "client_credentials", **fields}, Deadline(20))


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def key(clock):
    return DPoPKey(clock)


# -- proofs ---------------------------------------------------------------------------------------


def test_a_proof_names_method_url_and_time_and_shows_the_public_key_only(key, clock):
    [(name, proof)] = key.proof("POST", URL).items()
    head, claims = opened(proof)
    assert name == "DPoP"
    assert head["typ"] == "dpop+jwt"
    assert head["alg"] == "ES256"
    assert {part: head["jwk"][part] for part in ("kty", "crv")} == {"kty": "EC", "crv": "P-256"}
    assert "d" not in head["jwk"]
    assert claims | {"jti": ""} == {"jti": "", "htm": "POST", "htu": URL, "iat": int(clock.time())}


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        (f"{URL}?a=1&b=2", URL),
        (f"{URL}#here", URL),
        (f"{URL}?a=1#here", URL),
        ("https://mcp.example", "https://mcp.example/"),
        ("https://mcp.example:8443/a/b", "https://mcp.example:8443/a/b"),
    ],
)
def test_neither_query_nor_fragment_is_in_a_proof(key, url, htu):
    assert claims_of(key.proof("GET", url)["DPoP"])["htu"] == htu


def test_a_proof_for_a_token_has_its_hash(key):
    claims = claims_of(key.proof("POST", URL, "access-1")["DPoP"])
    digest = hashlib.sha256(b"access-1").digest()
    assert claims["ath"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_a_proof_without_a_token_has_no_hash(key):
    assert "ath" not in claims_of(key.proof("POST", URL)["DPoP"])


def test_no_two_proofs_are_the_same(key):
    proofs = {key.proof("POST", URL, "access-1")["DPoP"] for _ in range(20)}
    assert len({claims_of(proof)["jti"] for proof in proofs}) == 20


def test_each_proof_is_of_its_moment(key, clock):
    before = claims_of(key.proof("POST", URL)["DPoP"])["iat"]
    clock.advance(90)
    assert claims_of(key.proof("POST", URL)["DPoP"])["iat"] == before + 90


# -- the key --------------------------------------------------------------------------------------


def test_a_key_that_was_kept_is_the_same_key(key, clock):
    again = DPoPKey(clock, key.pem)
    shown = [opened(each.proof("GET", URL)["DPoP"])[0]["jwk"] for each in (key, again)]
    assert shown[0] == shown[1]


def test_each_new_key_is_another(key, clock):
    assert DPoPKey(clock).pem != key.pem


def other_pem(kind):
    key = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }[kind]()
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.mark.parametrize("kind", ["rsa", "p384"])
def test_a_key_of_another_sort_is_refused(clock, kind):
    with pytest.raises(ConfigurationError, match=r"one of P-256"):
        DPoPKey(clock, other_pem(kind))


@pytest.mark.parametrize("pem", ["", "s3cret", "-----BEGIN PRIVATE KEY-----\ns3cret\n"])
def test_what_is_no_key_is_refused_and_not_shown(clock, pem):
    with pytest.raises(ConfigurationError) as caught:
        DPoPKey(clock, pem)
    assert "s3cret" not in str(caught.value)


def test_a_key_is_in_no_repr(key):
    assert repr(key) == "DPoPKey(…)"


# -- nonces ---------------------------------------------------------------------------------------


def test_a_nonce_is_in_every_proof_for_its_origin_and_in_none_for_another(key):
    assert key.note("https://mcp.example/mcp", {"dpop-nonce": "n1"})
    for url in (URL, "https://mcp.example/else"):
        assert claims_of(key.proof("POST", url)["DPoP"])["nonce"] == "n1"
    for url in ("https://as.example/mcp", "https://mcp.example:444/mcp", "http://mcp.example/mcp"):
        assert "nonce" not in claims_of(key.proof("POST", url)["DPoP"])


def test_both_servers_have_nonces_of_their_own(key):
    key.note("https://as.example/token", {"dpop-nonce": "theirs"})
    key.note(URL, {"dpop-nonce": "its"})
    assert claims_of(key.proof("POST", "https://as.example/token")["DPoP"])["nonce"] == "theirs"
    assert claims_of(key.proof("POST", URL)["DPoP"])["nonce"] == "its"


def test_a_newer_nonce_takes_the_place_of_the_old_one(key):
    assert key.note(URL, {"dpop-nonce": "n1"})
    assert not key.note(URL, {"dpop-nonce": "n1"})
    assert not key.note(URL, {})
    assert key.note(URL, {"dpop-nonce": "n2"})
    assert claims_of(key.proof("POST", URL)["DPoP"])["nonce"] == "n2"


@pytest.mark.parametrize("value", ["", "x" * (MAX_NONCE + 1), "a\nb", "ä", "\x00"])
def test_what_is_no_nonce_is_not_kept(key, value):
    assert not key.note(URL, {"dpop-nonce": value})
    assert "nonce" not in claims_of(key.proof("POST", URL)["DPoP"])


def test_nonces_of_endlessly_many_servers_are_not_kept(key):
    for number in range(MOST_NONCES + 5):
        key.note(f"https://s{number}.example/", {"dpop-nonce": "n"})
    first, last = "https://s0.example/", f"https://s{MOST_NONCES + 4}.example/"
    assert "nonce" not in claims_of(key.proof("GET", first)["DPoP"])
    assert claims_of(key.proof("GET", last)["DPoP"])["nonce"] == "n"


def test_a_proof_is_stale_if_a_newer_nonce_is_known(key):
    without = key.proof("POST", URL)["DPoP"]
    assert not key.is_stale(URL, without)
    key.note(URL, {"dpop-nonce": "n1"})
    first = key.proof("POST", URL)["DPoP"]
    assert key.is_stale(URL, without)
    assert not key.is_stale(URL, first)
    key.note(URL, {"dpop-nonce": "n2"})
    assert key.is_stale(URL, first)
    assert not key.is_stale("https://as.example/", first)
    assert not key.is_stale(URL, None)


# -- at the token endpoint ------------------------------------------------------------------------


def test_a_token_is_asked_for_with_a_proof_for_the_endpoint(key):
    with TokenServer(BOUND) as server:
        tokens = ask(server, key)
    claims = claims_of(server.asked[0].headers["dpop"])
    assert tokens.token_type == "DPoP"
    assert (claims["htm"], claims["htu"]) == ("POST", server.url)
    assert "ath" not in claims


@pytest.mark.parametrize("status", [400, 401])
def test_a_nonce_that_the_endpoint_wants_is_sent_in_a_new_proof(key, status):
    with TokenServer(nonce("n1", status), BOUND) as server:
        assert ask(server, key).access_token == "access-1"
    first, second = (claims_of(asking.headers["dpop"]) for asking in server.asked)
    assert "nonce" not in first
    assert second["nonce"] == "n1"
    assert first["jti"] != second["jti"]
    assert server.asked[0].fields == server.asked[1].fields


def test_the_nonce_of_any_answer_is_for_the_next_request(key):
    good = Page(200, BOUND.body, "application/json", (("DPoP-Nonce", "n7"),))
    with TokenServer(good) as server:
        ask(server, key)
        ask(server, key)
    assert [claims_of(asking.headers["dpop"]).get("nonce") for asking in server.asked] == [
        None,
        "n7",
    ]


def test_a_nonce_that_was_replaced_meanwhile_costs_one_more_request(key):
    with TokenServer(nonce("n1"), BOUND, nonce("n2"), BOUND) as server:
        ask(server, key)
        ask(server, key)
    shown = [claims_of(asking.headers["dpop"]).get("nonce") for asking in server.asked]
    assert shown == [None, "n1", "n1", "n2"]


def test_who_wants_a_new_nonce_over_and_over_is_asked_twice_and_no_more(key):
    with TokenServer(nonce("n1"), nonce("n2"), nonce("n3")) as server:
        with pytest.raises(OAuthError) as caught:
            ask(server, key)
        assert len(server.asked) == 2
    assert caught.value.error == "use_dpop_nonce"
    assert claims_of(key.proof("POST", server.url)["DPoP"])["nonce"] == "n2"


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_dpop_proof", None])
def test_a_refusal_that_brings_a_nonce_is_a_refusal_and_the_grant_is_not_sent_twice(key, error):
    with TokenServer(nonce("n1", 400, error)) as server:
        with pytest.raises(OAuthError) as caught:
            ask(server, key, refresh_token="r")
        assert len(server.asked) == 1
    assert caught.value.error == error or error is None


def test_who_wants_a_nonce_and_gives_none_is_not_asked_again(key):
    with TokenServer(Page.json({"error": "use_dpop_nonce"}, 400)) as server:
        with pytest.raises(OAuthError, match="use_dpop_nonce"):
            ask(server, key)
        assert len(server.asked) == 1


def test_a_server_that_knows_no_such_tokens_gives_a_plain_one(key):
    with TokenServer() as server:
        assert ask(server, key).token_type == "Bearer"


# -- of users -------------------------------------------------------------------------------------


class Browser:
    """A user who agrees to everything."""

    def __init__(self, authority):
        self.authority, self.came_to = authority, []

    def go(self, url):
        self.came_to.append(self.authority.approve(url))

    def come_back(self):
        return self.came_to[-1]


@pytest.mark.parametrize("rotations", [0, 2])
def test_a_user_whose_tokens_are_bound_is_not_asked_again_for_the_sake_of_a_nonce(rotations):
    with MachineAuthority(era="modern") as authority:
        authority.nonces = {"as": "a1", "mcp": "m1"}
        user = Browser(authority)
        auth = OAuth(
            "http://127.0.0.1:9/callback",
            redirect_handler=user.go,
            callback_handler=user.come_back,
            dpop=True,
        )
        with Client(authority.url, auth=auth) as client:
            client.call_tool("add", {"a": 1, "b": 2})
            authority.nonces["mcp"] = "m2"
            authority.rotations = rotations
            client.call_tool("add", {"a": 1, "b": 2})
        assert authority.rotations == 0
        assert authority.count("token", grant_type="refresh_token") == 0
        assert len(user.came_to) == 1
