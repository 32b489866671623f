"""Finding out who issues tokens, asked of real servers; requirements A2 to A6, A24, S1."""

import json
import threading

import pytest

from auth.site import Site
from mcpsync import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth.discovery import Discovery
from mcpsync.auth.metadata import OPENID, RESOURCE, SERVER
from mcpsync.errors import (
    ConnectError,
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
from support.processes import free_port
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import chunk, response

MARKUP = "<script>alert(1)</script>\x1b[31m"
PAGE = response(b"<html>" + MARKUP.encode() + b"</html>", kind="text/html")
GONE = response(b"", "410 Gone")


@pytest.fixture
def mcp():
    """The MCP server."""
    with Site() as running:
        yield running


@pytest.fixture
def other():
    """The authorization server."""
    with Site() as running:
        yield running


def find(mcp, path="/mcp", timeout=LONG, cancel=None, reach="loopback", **options):
    discovery = Discovery(Fetcher(policy=AddressPolicy(reach)))
    return discovery.find(f"{mcp.origin}{path}", Deadline(timeout), cancel, **options)


def resource(mcp, *issuers, path="/mcp", **more):
    return {"resource": f"{mcp.origin}{path}", "authorization_servers": list(issuers), **more}


def server(site, path="", **more):
    issuer = f"{site.origin}{path}"
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "code_challenge_methods_supported": ["S256"],
        **more,
    }


def told(error):
    """What a person reads, after looking that it is fit to be read."""
    text = str(error)
    assert text.isprintable()
    assert "<script" not in text
    assert len(text) < 1000
    assert text.endswith(".")
    return text


# -- the MCP server --------------------------------------------------------------------------


def test_a_hint_is_followed_and_nothing_else_is_asked(mcp, other):
    mcp.pages["/custom/metadata"] = resource(mcp, other.origin)
    other.pages[SERVER] = server(other)
    found = find(mcp, hint=f"{mcp.origin}/custom/metadata")
    assert found.server.issuer == other.origin
    assert found.audience == f"{mcp.origin}/mcp"
    assert mcp.targets == ["/custom/metadata"]
    assert other.targets == [SERVER]


def test_a_hint_may_lead_to_another_origin_which_speaks_of_this_server(mcp, other):
    other.pages["/prm"] = resource(mcp, other.origin)
    other.pages[SERVER] = server(other)
    assert find(mcp, hint=f"{other.origin}/prm").server.issuer == other.origin
    assert mcp.requests == []


def test_without_a_hint_the_path_is_asked_and_then_the_root(mcp, other):
    mcp.pages[RESOURCE] = resource(mcp, other.origin, path="")
    other.pages[SERVER] = server(other)
    found = find(mcp, "/v1/mcp")
    assert mcp.targets == [f"{RESOURCE}/v1/mcp", RESOURCE]
    assert found.audience == mcp.origin, "letter for letter what the document says"


def test_what_is_found_at_the_path_is_not_looked_for_at_the_root(mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
    mcp.pages[RESOURCE] = resource(mcp, "https://wrong.example")
    other.pages[SERVER] = server(other)
    assert find(mcp).server.issuer == other.origin
    assert mcp.targets == [f"{RESOURCE}/mcp"]


@pytest.mark.parametrize(
    "page",
    [PAGE, GONE, response(b"[]"), response(b""), response(b"", "302 Found", Location="/login")],
    ids=["page", "gone", "list", "empty", "redirect"],
)
def test_what_is_no_document_is_no_reason_not_to_look_further(page, mcp, other):
    """Some servers answer every path with a page."""
    mcp.pages[f"{RESOURCE}/mcp"] = page
    mcp.pages[RESOURCE] = resource(mcp, other.origin)
    other.pages[SERVER] = page
    other.pages[OPENID] = server(other)
    assert find(mcp).server.issuer == other.origin
    assert other.targets == [SERVER, OPENID]


@pytest.mark.parametrize("page", [PAGE, GONE, response(b"[]")], ids=["page", "gone", "list"])
def test_a_hint_that_leads_to_nothing_is_told(page, mcp):
    mcp.pages["/prm"] = page
    with pytest.raises(OAuthError, match="is not there") as caught:
        find(mcp, hint=f"{mcp.origin}/prm")
    assert caught.value.error == "no_metadata"
    told(caught.value)
    assert mcp.targets == ["/prm"], "the hint is authoritative"


def test_a_hint_that_leads_away_is_told(mcp, other):
    mcp.pages["/prm"] = response(b"", "302 Found", Location=f"{other.origin}/prm")
    with pytest.raises(HTTPStatusError, match="not followed") as caught:
        find(mcp, hint=f"{mcp.origin}/prm")
    told(caught.value)
    assert other.requests == []
    assert mcp.targets == ["/prm"]


@pytest.mark.parametrize(
    "named",
    [
        "https://evil.example/mcp",
        "{origin}/mcp2",
        "{origin}/mc",
        "{origin}/mcp/more",
        "{origin}/mcp#x",
        "https://{host}/mcp",
        MARKUP,
        f"https://evil.example/{MARKUP}",
        "https://evil.example/" + "x" * 100_000,
        "",
    ],
)
def test_a_document_of_another_resource_asks_for_no_token(named, mcp, other):
    name = named.format(origin=mcp.origin, host=mcp.origin.removeprefix("http://"))
    mcp.pages[f"{RESOURCE}/mcp"] = {"resource": name, "authorization_servers": [other.origin]}
    other.pages[SERVER] = server(other)
    with pytest.raises(OAuthError, match="which it is not") as caught:
        find(mcp)
    assert caught.value.error == "resource_mismatch"
    told(caught.value)
    assert other.requests == [], "whoever it names is not even asked"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"resource": None},
        {"resource": 7},
        {"resource": ["{origin}/mcp"]},
        {"resource": {"a": MARKUP}},
        {"error": "not found"},
    ],
)
def test_what_is_no_resource_document_is_told(document, mcp):
    mcp.pages[f"{RESOURCE}/mcp"] = document
    with pytest.raises(MessageInvalid, match="wrong at 'resource'") as caught:
        find(mcp)
    told(caught.value)


# -- several authorization servers -----------------------------------------------------------


def test_of_several_the_first_is_asked(mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin, "https://second.example")
    other.pages[SERVER] = server(other)
    assert find(mcp).server.issuer == other.origin


def test_of_several_the_configured_one_is_asked(mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, "https://first.example", other.origin)
    other.pages[SERVER] = server(other)
    assert find(mcp, issuer=other.origin).server.issuer == other.origin


@pytest.mark.parametrize("suffix", ["/", "/tenant"])
def test_a_configured_one_that_the_server_does_not_name_is_not_asked(suffix, mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, f"{other.origin}{suffix}")
    with pytest.raises(OAuthError, match="does not take tokens of") as caught:
        find(mcp, issuer=other.origin)
    assert caught.value.error == "issuer_not_named"
    assert other.requests == []


@pytest.mark.parametrize("named", [[], None, "https://one.example", [7, None]])
def test_who_names_nobody_is_its_own_authorization_server(named, mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = {"resource": f"{mcp.origin}/mcp", "authorization_servers": named}
    mcp.pages[SERVER] = server(mcp)
    assert find(mcp).server.issuer == mcp.origin
    other.pages[SERVER] = server(other)
    assert find(mcp, issuer=other.origin).server.issuer == other.origin


# -- the authorization server ----------------------------------------------------------------

ROOT = [SERVER, OPENID]
TENANT = [f"{SERVER}/a/b", f"{OPENID}/a/b", f"/a/b{OPENID}"]


@pytest.mark.parametrize(
    ("path", "places", "stands"),
    [("", ROOT, at) for at in range(2)] + [("/a/b", TENANT, at) for at in range(3)],
)
def test_an_issuer_is_asked_place_by_place(path, places, stands, mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, f"{other.origin}{path}")
    other.pages[places[stands]] = server(other, path)
    assert find(mcp).server.token_endpoint == f"{other.origin}{path}/token"
    assert other.targets == places[: stands + 1]


def test_a_slash_at_the_end_of_an_issuer_counts_when_it_is_compared(mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, f"{other.origin}/")
    other.pages[SERVER] = {**server(other), "issuer": f"{other.origin}/"}
    assert find(mcp).server.issuer == f"{other.origin}/"
    other.pages[SERVER] = server(other)
    with pytest.raises(OAuthError, match="not used"):
        find(mcp)


@pytest.mark.parametrize(
    "said", ["{issuer}/", "{issuer}/tenant", "https://good.example", "", MARKUP, "x" * 100_000]
)
def test_a_document_that_says_it_is_somebody_else_is_not_used(said, mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
    other.pages[SERVER] = {**server(other), "issuer": said.format(issuer=other.origin)}
    other.pages[OPENID] = server(other)
    with pytest.raises(OAuthError, match="not used") as caught:
        find(mcp)
    assert caught.value.error == "issuer_mismatch"
    told(caught.value)


def test_a_server_that_does_not_describe_itself_is_told(mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, f"{other.origin}/a/b")
    with pytest.raises(OAuthError, match="does not describe itself") as caught:
        find(mcp)
    assert caught.value.error == "no_metadata"
    assert other.targets == TENANT
    assert mcp.targets == [f"{RESOURCE}/mcp"], "there is no guessing where somebody was named"


@pytest.mark.parametrize("status", ["500 Oh", "502 Bad Gateway", "429 Slow down"])
def test_a_server_that_is_down_is_not_one_without_a_document(status, mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
    other.pages[SERVER] = response(MARKUP.encode(), status)
    with pytest.raises(HTTPStatusError, match="answered with status") as caught:
        find(mcp)
    assert caught.value.retryable
    assert other.targets == [SERVER]
    told(caught.value)


def test_nobody_there_is_told(mcp):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectError, match="nobody listens"):
        find(mcp)


@pytest.mark.parametrize(
    ("issuer", "match"),
    [
        ("javascript:alert(1)", "only https"),
        ("data:application/json,{}", "only https"),
        ("file:///etc", "only https"),
        ("http://as.example", "only https"),
        ("https://ada:pw@as.example", "only https"),
        ("https://[", "only https"),
        ("as.example", "only https"),
        ("", "only https"),
        (MARKUP, "only https"),
        ("https://as.example\n.evil.example", "only https"),
        ("https://10.0.0.1", "not public"),
        ("https://[::ffff:10.0.0.1]", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("https://0xa9fea9fe/", "not public"),
        ("https://2852039166/", "not public"),
    ],
)
def test_an_issuer_that_must_not_be_asked_is_not(issuer, match, mcp):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, issuer)
    with pytest.raises(RefusedError, match=match) as caught:
        find(mcp)
    told(caught.value)


@pytest.mark.parametrize(
    "hint",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "/relative",
        "https://169.254.169.254/latest/meta-data",
        "http://metadata.example/",
        MARKUP,
        "https://[",
    ],
)
def test_a_hint_that_must_not_be_followed_is_not(hint, mcp):
    with pytest.raises(RefusedError) as caught:
        find(mcp, hint=hint)
    told(caught.value)
    assert mcp.requests == []


def test_a_server_elsewhere_cannot_have_us_ask_this_machine(other):
    with pytest.raises(RefusedError, match="only https"):
        Discovery(Fetcher(policy=AddressPolicy("public"))).find(
            "https://mcp.example/mcp", Deadline(LONG), hint=f"{other.origin}/prm"
        )
    with pytest.raises(RefusedError, match="not public"):
        Discovery(Fetcher(policy=AddressPolicy("public"))).find(
            "https://mcp.example/mcp",
            Deadline(LONG),
            hint=f"{other.origin}/prm".replace("http://", "https://"),
        )
    assert other.accepted == 0


ENDPOINTS = ["authorization", "token", "registration", "revocation"]


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(document.cookie)",
        "data:text/html,<script>",
        "http://as.example/x",
        "https://as.example/<script>alert(1)</script>",
        "https://as.example/\x1b[31m",
        "https://ada:pw@as.example/",
        "https://10.0.0.1/x",
        "https://169.254.169.254/x",
        "https://[fd00:ec2::254]/x",
        "https://[",
        "",
        "x",
    ],
)
def test_an_endpoint_that_must_not_be_used_spoils_the_document(name, url, mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
    other.pages[SERVER] = server(other, **{f"{name}_endpoint": url})
    with pytest.raises(RefusedError) as caught:
        find(mcp)
    told(caught.value)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "issuer"])
@pytest.mark.parametrize("value", [7, ["x"], {"a": "b"}, True, "\ud800"])
def test_a_field_of_another_kind_spoils_the_document(name, value, mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
    other.pages[SERVER] = server(other, **{name: value})
    with pytest.raises(MCPSyncError) as caught:
        find(mcp)
    assert isinstance(caught.value, MessageInvalid | OAuthError | RefusedError)
    told(caught.value)


def test_a_server_without_a_token_endpoint_is_told_before_anybody_signs_in(mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
    other.pages[SERVER] = server(other, token_endpoint=None)
    with pytest.raises(OAuthError, match="no token endpoint") as caught:
        find(mcp)
    assert caught.value.error == "no_endpoint"


def test_lists_with_all_sorts_in_them_are_read_as_far_as_they_make_sense(mcp, other):
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin, scopes_supported=["a", 7, None, "b"])
    other.pages[SERVER] = server(other, scopes_supported="x", grant_types_supported=[{}, "x"])
    found = find(mcp)
    assert found.resource.scopes_supported == ("a", "b")
    assert found.server.scopes_supported == ()
    assert found.server.grant_types_supported == ("x",)


def test_whoever_is_asked_is_told_which_protocol_it_is_about(mcp, other):
    """A25. It is nobody's credential, and nothing else goes along."""
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
    other.pages[SERVER] = server(other)
    find(mcp)
    for request in mcp.requests + other.requests:
        assert request.headers["mcp-protocol-version"] == "2026-07-28"
        assert set(request.headers) - {"host", "accept-encoding", "connection"} == {
            "accept",
            "mcp-protocol-version",
            "user-agent",
        }


# -- 2025-03-26 ------------------------------------------------------------------------------


def test_who_says_nothing_of_itself_is_asked_as_an_authorization_server_at_its_origin(mcp):
    mcp.pages[SERVER] = server(mcp, token_endpoint=f"{mcp.origin}/oauth/token")
    found = find(mcp, "/v1/mcp")
    assert found.resource is None
    assert found.server.token_endpoint == f"{mcp.origin}/oauth/token"
    assert mcp.targets == [f"{RESOURCE}/v1/mcp", RESOURCE, SERVER]


def test_who_does_not_describe_itself_at_all_has_these_endpoints(mcp):
    found = find(mcp, "/v1/mcp")
    assert mcp.targets == [f"{RESOURCE}/v1/mcp", RESOURCE, SERVER, OPENID]
    assert found.server.is_guess
    assert found.server.authorization_endpoint == f"{mcp.origin}/authorize"
    assert found.server.token_endpoint == f"{mcp.origin}/token"
    assert found.server.registration_endpoint == f"{mcp.origin}/register"
    assert found.audience == f"{mcp.origin}/v1/mcp"


def test_the_resource_is_not_named_to_a_server_that_does_not_know_the_parameter(mcp):
    assert find(mcp, modern=False).audience is None


def test_an_issuer_of_the_same_origin_will_do_there(mcp):
    mcp.pages[SERVER] = {**server(mcp), "issuer": f"{mcp.origin}/oauth"}
    assert find(mcp).server.issuer == f"{mcp.origin}/oauth"


def test_a_server_that_says_it_is_somebody_elses_authorization_server_is_not_believed(mcp, other):
    """Else it would be sent the client, and the codes, that are meant for that one."""
    mcp.pages[SERVER] = server(
        mcp, issuer=other.origin, authorization_endpoint=f"{other.origin}/authorize"
    )
    with pytest.raises(OAuthError, match="not used") as caught:
        find(mcp)
    assert caught.value.error == "issuer_mismatch"
    assert other.requests == []


# -- bodies and time -------------------------------------------------------------------------


def dripping(peer):
    peer.send(response(Content_Length="100000"))
    peer.drip(b" " * 100_000)


def endless(peer):
    peer.send(response(b"", Content_Length="", Transfer_Encoding="chunked"))
    try:
        while True:
            peer.sock.sendall(chunk(b" " * 65536))
    except OSError:
        return


PLACES = ["hint", "resource", "server", "fallback"]


def arranged(place, page, mcp, other):
    """Put *page* at one of the places that are asked; return what to look for it with."""
    if place == "hint":
        mcp.pages["/prm"] = page
        return {"hint": f"{mcp.origin}/prm"}
    if place == "resource":
        mcp.pages[f"{RESOURCE}/mcp"] = page
    elif place == "server":
        mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin)
        other.pages[SERVER] = page
    else:
        mcp.pages[SERVER] = page
    return {}


@pytest.mark.parametrize("place", PLACES)
def test_a_body_without_an_end_is_one_error_at_once(place, mcp, other):
    options = arranged(place, endless, mcp, other)
    with within(0, SOON), pytest.raises(ResponseTooLarge) as caught:
        find(mcp, **options)
    told(caught.value)


@pytest.mark.parametrize("place", PLACES)
def test_a_body_that_drips_ends_with_the_deadline(place, mcp, other):
    options = arranged(place, dripping, mcp, other)
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
        find(mcp, timeout=BUDGET, **options)
    told(caught.value)


@pytest.mark.parametrize("place", PLACES)
def test_a_cancel_ends_it(place, mcp, other):
    cancel = Cancellation()
    options = arranged(place, dripping, mcp, other)
    threading.Timer(0.05, cancel.cancel).start()
    with within(0, SOON), pytest.raises(RequestCancelled):
        find(mcp, cancel=cancel, **options)


@pytest.mark.parametrize("place", PLACES)
def test_a_redirect_to_this_machines_secrets_is_not_followed(place, mcp, other):
    page = response(b"", "307 Moved", Location="http://169.254.169.254/latest/meta-data")
    options = arranged(place, page, mcp, other)
    if place in ("resource", "fallback"):
        assert find(mcp, **options).server.is_guess, "as if nothing were there"
        return
    with pytest.raises(MCPSyncError) as caught:
        find(mcp, **options)
    told(caught.value)


@pytest.mark.parametrize("place", PLACES)
def test_a_document_that_is_deep_is_none(place, mcp, other):
    page = response(b'{"issuer":' * 50_000 + b"1" + b"}" * 50_000)
    options = arranged(place, page, mcp, other)
    if place in ("resource", "fallback"):
        assert find(mcp, **options).server.is_guess
        return
    with pytest.raises(OAuthError) as caught:
        find(mcp, **options)
    told(caught.value)


def test_depth_in_what_nobody_looks_at_does_no_harm(mcp, other):
    deep = json.loads("[" * 500 + "]" * 500)
    mcp.pages[f"{RESOURCE}/mcp"] = resource(mcp, other.origin, more=deep)
    other.pages[SERVER] = server(other, more=deep, scopes_supported=deep)
    assert find(mcp).server.scopes_supported == ()
