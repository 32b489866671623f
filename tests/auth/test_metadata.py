"""Protected resources and authorization servers; requirements A2, A3, A5, A6, A11, A21, A24."""

import pytest

from mcpsync.auth.metadata import (
    canonical_resource,
    covers,
    guessed_server,
    read_resource,
    read_server,
    resource_metadata_urls,
    server_metadata_urls,
)
from mcpsync.errors import MessageInvalid, OAuthError, RefusedError

MCP = "https://mcp.example/v1/mcp"
AS = "https://as.example"


def test_a_hint_of_the_server_is_authoritative():
    assert resource_metadata_urls(MCP, "https://else.example/x") == ["https://else.example/x"]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            MCP,
            [
                "https://mcp.example/.well-known/oauth-protected-resource/v1/mcp",
                "https://mcp.example/.well-known/oauth-protected-resource",
            ],
        ),
        (
            "https://mcp.example:8443/?a=b#c",
            ["https://mcp.example:8443/.well-known/oauth-protected-resource"],
        ),
        (
            "https://u:p@mcp.example/mcp/",
            [
                "https://mcp.example/.well-known/oauth-protected-resource/mcp",
                "https://mcp.example/.well-known/oauth-protected-resource",
            ],
        ),
    ],
)
def test_without_one_the_path_is_asked_before_the_root(url, found):
    assert resource_metadata_urls(url) == found


@pytest.mark.parametrize(
    ("issuer", "found"),
    [
        (
            AS,
            [
                f"{AS}/.well-known/oauth-authorization-server",
                f"{AS}/.well-known/openid-configuration",
            ],
        ),
        (
            f"{AS}/",
            [
                f"{AS}/.well-known/oauth-authorization-server",
                f"{AS}/.well-known/openid-configuration",
            ],
        ),
        (
            f"{AS}/tenant1",
            [
                f"{AS}/.well-known/oauth-authorization-server/tenant1",
                f"{AS}/.well-known/openid-configuration/tenant1",
                f"{AS}/tenant1/.well-known/openid-configuration",
            ],
        ),
    ],
)
def test_an_issuer_is_asked_at_these_places_in_this_order(issuer, found):
    assert server_metadata_urls(issuer) == found


@pytest.mark.parametrize(
    "resource",
    [MCP, "https://mcp.example", "https://mcp.example/", "https://mcp.example/v1", f"{MCP}/"],
)
def test_a_resource_may_be_the_server_or_what_it_is_part_of(resource):
    found = read_resource({"resource": resource, "authorization_servers": [AS]}, MCP)
    assert found.resource == resource, "letter for letter"


@pytest.mark.parametrize(
    "resource",
    [
        "https://evil.example/v1/mcp",
        "http://mcp.example/v1/mcp",
        "https://mcp.example:444/v1/mcp",
        "https://mcp.example/v1/mc",
        "https://mcp.example/v1/mcp/more",
        "https://mcp.example/v1/mcp2",
        "https://mcp.example/v",
        "https://ada@mcp.example/v1/mcp",
        "https://mcp.exam\nple/v1/mcp",
        "https://mcp.example:x/v1/mcp",
        "https://mcp.example.evil.example/v1/mcp",
        "https://mcp.example/v1/mcp#x",
        "https://[",
        "",
    ],
)
def test_another_resource_is_refused(resource):
    with pytest.raises(OAuthError, match="which it is not") as caught:
        read_resource({"resource": resource}, MCP)
    assert caught.value.error == "resource_mismatch"


@pytest.mark.parametrize("document", [{}, {"resource": 7}, {"resource": None}])
def test_what_is_no_resource_metadata_is_told(document):
    with pytest.raises(MessageInvalid, match="protected-resource metadata is wrong at 'resource'"):
        read_resource(document, MCP)


def test_lists_that_are_none_are_nothing_and_long_ones_are_cut():
    found = read_resource(
        {"resource": MCP, "authorization_servers": "x", "scopes_supported": [1, "a", *["b"] * 999]},
        MCP,
    )
    assert found.authorization_servers == ()
    assert found.scopes_supported[0] == "a"
    assert len(found.scopes_supported) < 100


@pytest.mark.parametrize("said", [f"{AS}/", AS.upper(), f"{AS}:443", "https://evil.example", ""])
def test_metadata_of_another_issuer_is_not_used(said):
    with pytest.raises(OAuthError, match="not used") as caught:
        read_server({"issuer": said}, AS)
    assert caught.value.error == "issuer_mismatch"


def test_metadata_of_the_issuer_is():
    assert read_server({"issuer": AS, "token_endpoint": f"{AS}/token"}, AS).token_endpoint


@pytest.mark.parametrize("said", [AS, f"{AS}/", f"{AS}:443", f"{AS}/tenant", "HTTPS://AS.example"])
def test_who_is_the_server_itself_may_call_himself_anything_of_its_origin(said):
    """2025-03-26: nobody named an issuer, so there is none to compare letter for letter."""
    assert read_server({"issuer": said}, AS, exactly=False).issuer == said


@pytest.mark.parametrize(
    "said",
    ["https://good.example", "http://as.example", f"{AS}:444", "https://[", "as.example", ""],
)
def test_who_is_the_server_itself_may_not_call_himself_somebody_else(said):
    """It would be sent the client, and the codes, that are meant for that one. (A6, A20)"""
    with pytest.raises(OAuthError) as caught:
        read_server({"issuer": said}, AS, exactly=False)
    assert caught.value.error == "issuer_mismatch"


@pytest.mark.parametrize("name", ["authorization", "token", "registration", "revocation"])
@pytest.mark.parametrize(
    "url",
    [
        "http://as.example/x",
        "javascript:x",
        "javascript://as.example/%0aalert(1)",
        "ftp://a/",
        "x",
        "https://as.example\\.localhost/",
        "http://as.example\\.localhost/",
        "https://as.example/<script>",
        'https://as.example/"onload="',
        "https://as.exämple/",
        "https://as.example/\u202e",
    ],
)
def test_endpoints_that_are_not_https_are_refused(name, url):
    with pytest.raises(RefusedError, match=f"the {name} endpoint") as caught:
        read_server({"issuer": AS, f"{name}_endpoint": url}, AS)
    assert caught.value.rule == "form"
    assert "<script" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_where_nothing_is_said_the_paths_of_2025_03_26_are_taken():
    guess = guessed_server("https://mcp.example:8443/v1/mcp")
    assert guess.issuer == "https://mcp.example:8443"
    assert guess.authorization_endpoint == "https://mcp.example:8443/authorize"
    assert guess.token_endpoint == "https://mcp.example:8443/token"
    assert guess.registration_endpoint == "https://mcp.example:8443/register"
    assert guess.is_guess


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTPS://MCP.Example/Path#x", "https://mcp.example/Path"),
        ("https://mcp.example/", "https://mcp.example"),
        ("https://mcp.example/mcp?a=b", "https://mcp.example/mcp?a=b"),
        ("https://u:p@mcp.example:1/mcp", "https://mcp.example:1/mcp"),
    ],
)
def test_a_server_that_says_nothing_is_the_resource_of_its_url(url, canonical):
    assert canonical_resource(url) == canonical
    assert covers(canonical, url)
