"""RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9728 section 5.1; requirement A1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpsync.auth.challenge import Challenge, Demand, challenges_in, demand_of


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, []),
        ("", []),
        ("Bearer", [("bearer", {})]),
        ("Bearer realm=mcp", [("bearer", {"realm": "mcp"})]),
        (
            'Bearer realm="a, b", scope="read write"',
            [("bearer", {"realm": "a, b", "scope": "read write"})],
        ),
        ('bearer SCOPE = "x"', [("bearer", {"scope": "x"})]),
        (r'Bearer realm="say \"hi\" \\o/"', [("bearer", {"realm": r'say "hi" \o/'})]),
        ('Bearer scope="a", scope="b"', [("bearer", {"scope": "a"})]),
        (
            'Basic realm="x", Bearer error="invalid_token"',
            [("basic", {"realm": "x"}), ("bearer", {"error": "invalid_token"})],
        ),
        ("Basic, Bearer", [("basic", {}), ("bearer", {})]),
        ("Negotiate YII=, Bearer scope=a", [("negotiate", {}), ("bearer", {"scope": "a"})]),
        (
            'DPoP algs="ES256", error="use_dpop_nonce"',
            [("dpop", {"algs": "ES256", "error": "use_dpop_nonce"})],
        ),
        (", ,Bearer scope=a , ", [("bearer", {"scope": "a"})]),
        (
            "Bearer resource_metadata=https://a.example/x?y=z",
            [("bearer", {"resource_metadata": "https://a.example/x?y=z"})],
        ),
        ('Bearer scope=""', [("bearer", {"scope": ""})]),
    ],
)
def test_every_challenge_of_a_header_is_read(header, found):
    assert challenges_in(header) == [Challenge(*each) for each in found]


@pytest.mark.parametrize("odd", ["=", '"', "Bearer ===", 'Bearer scope="never ends', "\x00", "a=b"])
def test_what_is_no_challenge_hides_no_other(odd):
    assert (
        Challenge("bearer", {"error": "x"}) in challenges_in(f"{odd}, Bearer error=x")
        or odd.count('"') == 1
    )


@given(st.text(max_size=300))
def test_whatever_comes_is_read_without_an_error(header):
    assert isinstance(demand_of(header), Demand)


@given(st.text(alphabet='Bearer DPoP=",\\ ', max_size=200))
def test_whatever_looks_like_one_is_read_without_an_error(header):
    challenges_in(header)


def test_what_is_endless_is_read_to_a_limit():
    assert len(challenges_in("Bearer, " * 1_000_000)) < 10_000


def test_a_demand_is_what_bearer_and_dpop_ask_for_together():
    header = (
        'Basic scope="not this", Bearer resource_metadata="https://a.example/m", '
        'scope="read  write read", DPoP error="invalid_token"'
    )
    assert demand_of(header) == Demand("https://a.example/m", ("read", "write"), "invalid_token")


def test_a_header_without_them_demands_nothing():
    assert demand_of('Basic realm="x", error="invalid_token"') == Demand()
