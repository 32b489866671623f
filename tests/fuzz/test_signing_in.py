"""Whatever an authorization server says: it is understood, or one of our errors, fit to read."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.profiles import examples
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth.challenge import MAX_LENGTH, demand_of
from mcpsync.auth.clients import registered
from mcpsync.auth.codes import Verifier, authorization_url, known_error
from mcpsync.auth.discovery import Discovery
from mcpsync.auth.metadata import covers, read_resource, read_server
from mcpsync.auth.token_endpoint import tokens_of
from mcpsync.errors import MCPSyncError
from mcpsync.http import Fetched, Fetcher
from mcpsync.security.guard import AddressPolicy
from mcpsync.security.redaction import safe_url
from transports.door import LONG

pytestmark = pytest.mark.once  # what is made up is as good with any Python

MCP, AS, BACK = "https://mcp.example/v1/mcp", "https://as.example/t", "https://app.example/back"

# fmt: off
urls = st.sampled_from([
    AS, f"{AS}/", MCP, f"{MCP}2", "https://mcp.example", "https://mcp.example/v1",
    "http://localhost:1/", "http://as.example/", "https://10.0.0.1/", "https://[::1]/", "https://[",
    "https://0x7f000001/", "https://a:b@as.example/", "javascript:alert(1)", "data:,x", "//x", "",
    "https://as.example:99999/", "https://as.example:x/", "https://\udc80/", "https://as.example/\n",
    "https://as.example\\@x/", "https://.example/", "https://xn--/", "https://" + "a." * 200,
    "https://ex\u00adample/", "https://①②⑦.⓪.⓪.①/", "https:/as.example/", "HTTPS://MCP.EXAMPLE/v1",
    "https://as.example/<script>", "https://as.example/%00", "https://as.example/?#", "http:x",
    "https://[fe80::1%25eth0]/", "https://[v1.x]/", "https://as.example/" + "x" * 20_000,
])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | urls
odd = st.sampled_from([
    10**400, -(10**400), float("nan"), float("inf"), "\ud800", "\x00", "9" * 5000,
])
things = st.recursive(scalars | odd, lambda inner: st.lists(inner, max_size=4) |
                      st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6)
names = st.sampled_from([
    "issuer", "resource", "authorization_servers", "scopes_supported", "authorization_endpoint",
    "token_endpoint", "registration_endpoint", "revocation_endpoint", "grant_types_supported",
    "response_types_supported", "code_challenge_methods_supported",
    "dpop_signing_alg_values_supported",
    "token_endpoint_auth_methods_supported", "client_id_metadata_document_supported", "client_id",
    "authorization_response_iss_parameter_supported", "dpop_bound_access_tokens_required",
    "client_secret", "client_secret_expires_at", "redirect_uris", "token_endpoint_auth_method",
    "access_token", "refresh_token", "expires_in", "token_type", "scope", "id_token", "error",
])
GOOD = {
    "issuer": AS, "resource": MCP, "authorization_servers": [AS], "client_id": "me",
    "authorization_endpoint": f"{AS}/authorize", "token_endpoint": f"{AS}/token",
    "access_token": "a", "token_type": "Bearer", "code_challenge_methods_supported": ["S256"],
}
# fmt: on
documents = st.dictionaries(names, things, max_size=5).map(lambda odd: {**GOOD, **odd})


def is_fit_to_read(error):
    text = str(error)
    assert text.isprintable()
    assert "<script" not in text
    assert len(text) < 1500


def tried(call):
    """What *call* returns; None if it is one of our errors."""
    try:
        return call()
    except MCPSyncError as error:
        is_fit_to_read(error)
        return None


@examples(300)
@given(documents)
@example({**GOOD, "expires_in": 10**400, "client_secret": "x", "client_secret_expires_at": 10**400})
@example({**GOOD, "client_id": "\ud800"})
def test_every_document_is_understood_or_refused(document):
    tried(lambda: read_resource(document, MCP))
    tried(lambda: tokens_of(document, 0.0))
    server = tried(lambda: read_server(document, AS))
    tried(lambda: read_server(document, AS, exactly=False))
    client = tried(
        lambda: registered(document, issuer=AS, redirect_uri=BACK, asked="client_secret_basic")
    )
    known_error(document.get("error"))
    if server is None or client is None:
        return
    url = tried(
        lambda: authorization_url(
            server,
            client_id=client.client_id,
            redirect_uri=BACK,
            state="st",
            challenge=Verifier.new().challenge,
            scopes=("a",),
            resource=MCP,
        )
    )
    assert url is None or (url.isascii() and url.startswith(("https://", "http://localhost")))


class Canned(Fetcher):
    """Has one answer for every question that may be asked at all."""

    def __init__(self, reach, answers):
        super().__init__(policy=AddressPolicy(reach))
        self.answers = answers
        self.asked = []

    def get(self, url, *, deadline, cancel=None, headers=None):
        self.check(url)
        self.asked.append(url)
        status, body = self.answers[len(self.asked) % len(self.answers)]
        return Fetched(url, status, {}, body)


bodies = documents.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20)
answers = st.tuples(st.sampled_from([200, 200, 200, 404, 401, 500]), bodies)


@examples(300)
@given(
    st.sampled_from(["public", "loopback"]),
    st.lists(answers, min_size=1, max_size=3),
    st.none() | urls,
    st.none() | urls,
)
def test_whoever_is_found_is_one_that_may_be_asked(reach, canned, hint, issuer):
    fetcher = Canned(reach, canned)
    found = tried(lambda: Discovery(fetcher).find(MCP, Deadline(LONG), hint=hint, issuer=issuer))
    assert len(fetcher.asked) <= 5
    if found is None or found.server.is_guess:
        return
    assert found.resource is None or covers(found.audience, MCP)
    for url in (found.server.token_endpoint, found.server.authorization_endpoint):
        if url is not None:
            fetcher.check(url)


pieces = st.sampled_from(
    [
        *("Bearer", "DPoP", "Basic", "Negotiate", "realm", "scope", "error", "resource_metadata"),
        *("=", "==", ",", ", ", " ", "\t", '"', '\\"', "\\", ";", "abc123==", "https://x/"),
    ]
)


@examples(400)
@given(st.lists(pieces | st.text(max_size=3), max_size=60).map("".join))
def test_every_challenge_is_read_without_an_error(header):
    demand = demand_of(header)
    assert all(isinstance(scope, str) and scope for scope in demand.scope)


@pytest.mark.parametrize(
    "piece", [" ", "a", "a ", "a=", 'a="', "\\", ",", "a,", "a b ", "\t=", '"']
)
@pytest.mark.parametrize("start", ["", "Bearer ", 'Bearer a="'])
def test_no_challenge_takes_long(start, piece):
    began = time.perf_counter()
    demand_of(start + piece * (2 * MAX_LENGTH // len(piece)))
    assert time.perf_counter() - began < 2


@examples(400)
@given(urls | st.text(max_size=40) | st.text("/:@?#[]\\<>%\n", max_size=15))
def test_every_url_can_be_shown_and_judged(url):
    shown = safe_url(url)
    assert shown.isprintable()
    assert len(shown) < 3000
    for reach in ("public", "loopback"):
        tried(lambda reach=reach: Fetcher(policy=AddressPolicy(reach)).check(url))
