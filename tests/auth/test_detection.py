"""Does a server want its users to sign in? Seed 3.1."""

import threading

import pytest

from auth.site import Site
from mcpsync import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.auth import detection
from mcpsync.auth.detection import OAuthRequirement, detect_oauth_requirement
from mcpsync.auth.metadata import RESOURCE
from mcpsync.errors import RequestCancelled
from mcpsync.http import Fetcher
from mcpsync.security.guard import AddressPolicy
from mcpsync.testing import LocalServer
from support.authority import Authority
from support.processes import free_port
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import response

NOTHING = OAuthRequirement(False, "no-metadata-found", None)
BARE = OAuthRequirement(True, "no-metadata-found", None)
ISSUER = "https://as.example"
FETCHER = Fetcher(policy=AddressPolicy("loopback"))


@pytest.fixture
def mcp():
    with Site() as running:
        yield running


def detect(server, **options):
    url = server if isinstance(server, str) else server.url
    return detect_oauth_requirement(url, FETCHER, **{"deadline": Deadline(LONG), **options})


def challenge(text, status="401 Unauthorized"):
    return response(b"", status, WWW_Authenticate=text)


def serve(mcp, head=None, post=None):
    """Have the server answer HEAD and POST so."""
    asked = []

    def page(peer):
        method = mcp.requests[-1].method
        asked.append(method)
        peer.send((head if method == "HEAD" else post) or response(b"", "405 Not Allowed"))

    mcp.pages["/mcp"] = page
    return asked


def document(mcp, *issuers):
    return {"resource": mcp.url, "authorization_servers": list(issuers)}


# -- metadata --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [f"{RESOURCE}/mcp", RESOURCE])
def test_metadata_at_their_place_say_so_and_the_server_itself_is_left_in_peace(place, mcp):
    mcp.pages[place] = document(mcp, ISSUER)
    found = detect(mcp)
    assert found[:2] == (True, "protected-resource-metadata")
    assert found.metadata.authorization_servers == (ISSUER,)
    assert "/mcp" not in mcp.targets


def test_a_real_server_that_wants_tokens_is_found():
    with Authority() as authority:
        found = detect(authority.url)
    assert found[:2] == (True, "protected-resource-metadata")


def test_a_real_server_that_wants_none_is_found():
    with LocalServer() as server:
        assert detect(server.url) == NOTHING


@pytest.mark.parametrize(
    "page",
    [
        {"resource": "{url}"},
        {"resource": "{url}", "authorization_servers": []},
        {"resource": "https://evil.example", "authorization_servers": [ISSUER]},
        {"authorization_servers": [ISSUER]},
        {"error": "not found"},
        response(b"<html>", kind="text/html"),
        response(b"[]"),
        response(b"", "500 Oh"),
        response(b"", "302 Found", Location="https://as.example/"),
    ],
)
def test_metadata_that_name_nobody_or_somebody_else_say_nothing(page, mcp):
    if isinstance(page, dict):
        page = {name: mcp.url if value == "{url}" else value for name, value in page.items()}
    mcp.pages[f"{RESOURCE}/mcp"] = mcp.pages[RESOURCE] = page
    assert detect(mcp) == NOTHING


# -- challenges ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["HEAD", "POST"])
@pytest.mark.parametrize(
    "text",
    [
        'Bearer resource_metadata="{url}"',
        'Bearer realm="x", error="invalid_token", resource_metadata="{url}"',
        'Basic realm="x", Bearer resource_metadata="{url}"',
        'Bearer resource_metadata="{url}", Basic realm="y"',
        "Bearer resource_metadata={url}",
        'DPoP algs="ES256", resource_metadata="{url}"',
    ],
)
def test_a_challenge_that_names_metadata_says_so(method, text, mcp):
    mcp.pages["/prm"] = document(mcp, ISSUER)
    no = challenge(text.format(url=f"{mcp.origin}/prm"))
    asked = serve(mcp, **{method.lower(): no})
    found = detect(mcp)
    assert found[:2] == (True, "401-challenge-metadata")
    assert found.metadata.authorization_servers == (ISSUER,)
    assert asked == (["HEAD"] if method == "HEAD" else ["HEAD", "POST"])


def test_what_post_names_counts_though_head_was_turned_down_without_a_word(mcp):
    mcp.pages["/prm"] = document(mcp, ISSUER)
    serve(
        mcp,
        head=response(b"", "401 No"),
        post=challenge(f'Bearer resource_metadata="{mcp.origin}/prm"'),
    )
    assert detect(mcp).method == "401-challenge-metadata"


def test_the_probe_is_an_empty_object_with_nobodys_credentials(mcp):
    serve(mcp)
    detect(mcp)
    head, post = (request for request in mcp.requests if request.target == "/mcp")
    assert (head.method, head.body) == ("HEAD", b"")
    assert (post.method, post.json) == ("POST", {})
    assert post.headers["accept"] == "application/json, text/event-stream"
    assert "authorization" not in {*head.headers, *post.headers}


@pytest.mark.parametrize(
    "hint",
    [
        "https://169.254.169.254/latest/meta-data",
        "http://metadata.example/",
        "https://10.0.0.1/",
        "javascript:alert(1)",
        "https://[",
        "/relative",
        "{origin}/nothing",
        "{origin}/other",
    ],
)
def test_metadata_that_are_not_to_be_fetched_or_not_there_leave_a_bare_refusal(hint, mcp):
    mcp.pages["/other"] = {"resource": "https://evil.example", "authorization_servers": [ISSUER]}
    serve(mcp, head=challenge(f'Bearer resource_metadata="{hint.format(origin=mcp.origin)}"'))
    assert detect(mcp) == BARE
    assert detect(mcp, on_auth_error=False) == NOTHING


# -- bare refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "post", "counts"),
    [
        ("401 No", None, True),
        ("403 No", None, True),
        (None, "401 No", True),
        (None, "403 No", False),
        ("404 No", "400 No", False),
        ("200 OK", "200 OK", False),
        ("500 Oh", "503 Oh", False),
    ],
)
def test_a_bare_refusal_counts_unless_it_is_not_to(head, post, counts, mcp):
    serve(mcp, head and response(b"", head), post and response(b"", post))
    assert detect(mcp) == (BARE if counts else NOTHING)
    assert detect(mcp, on_auth_error=False) == NOTHING


# -- whatever goes wrong ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nothing",
        "https://[",
        "javascript:alert(1)",
        "http://mcp.example/mcp",
        "https://ada:pw@mcp.example/",
    ],
)
def test_a_url_that_cannot_be_asked_wants_nothing(url):
    assert detect(url) == NOTHING


def test_nobody_there_wants_nothing(caplog):
    caplog.set_level("INFO", "mcpsync")
    assert detect(f"http://127.0.0.1:{free_port()}/mcp") == NOTHING
    assert "nobody listens" in caplog.text


def test_each_question_takes_five_seconds_at_most(mcp, monkeypatch):
    assert detection.PROBE_SECONDS == 5
    monkeypatch.setattr(detection, "PROBE_SECONDS", BUDGET / 4)
    mcp.pages = dict.fromkeys([f"{RESOURCE}/mcp", RESOURCE, "/mcp"], lambda peer: peer.wait_gone())
    with within(BUDGET, BUDGET + SOON):
        assert detect(mcp, deadline=None) == NOTHING
    assert len(mcp.requests) == 4


def test_the_deadline_bounds_it_all(mcp):
    mcp.pages = dict.fromkeys([f"{RESOURCE}/mcp", RESOURCE, "/mcp"], lambda peer: peer.wait_gone())
    with within(BUDGET, BUDGET + SOON):
        assert detect(mcp, deadline=Deadline(BUDGET)) == NOTHING


def test_a_cancel_is_the_callers_own_wish(mcp):
    cancel = Cancellation()
    mcp.pages[f"{RESOURCE}/mcp"] = lambda peer: peer.wait_gone()
    threading.Timer(0.05, cancel.cancel).start()
    with within(0, SOON), pytest.raises(RequestCancelled):
        detect(mcp, cancel=cancel)
