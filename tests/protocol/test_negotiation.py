"""From the answer to a probe to a verdict: what real servers said, and what they might."""

import json

import pytest

from mcpsync.errors import MCPError, UnsupportedProtocolVersion
from mcpsync.protocol import codec
from mcpsync.protocol.negotiation import (
    LEGACY,
    Verdict,
    judge_discovery,
    judge_refusal,
    supported_versions,
    unsupported,
)
from mcpsync.protocol.versions import LEGACY_VERSIONS, MODERN_VERSIONS, Era

MODERN = Verdict(Era.MODERN, "2026-07-28")


def body(code, message, request_id=None, data=None):
    """The body of a refusal, as bytes."""
    error = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode()


# -- refusals --------------------------------------------------------------------------------------

# What each kind of server was seen to answer to the probe. (Requirements, section 3.)
OBSERVED = {
    "TS v1, sessions": body(-32000, "Bad Request: Server not initialized"),
    "TS v1, stateless": body(
        -32000, "Bad Request: Unsupported protocol version: 2026-07-28 (supported versions: ...)"
    ),
    "Python v1, sessions": body(-32600, "Bad Request: Missing session ID", "server-error"),
    "Python v1, stateless": body(
        -32600, "Bad Request: Unsupported protocol version: 2026-07-28.", "server-error"
    ),
    "TS over stdio": body(-32601, "Method not found", 1),
    "Python v1 over stdio": body(-32602, "Invalid request parameters", 1),
}
NOT_JSON_RPC = {
    "TS, HTTP+SSE": b"<!DOCTYPE html><html><body><pre>Cannot POST /sse</pre></body></html>",
    "Python, HTTP+SSE": b"Method Not Allowed",
    "nothing": b"",
}


@pytest.mark.parametrize("server", list(OBSERVED))
def test_every_refusal_that_was_observed_means_legacy(server):
    error = codec.find_error(OBSERVED[server])
    assert error is not None
    assert judge_refusal(error) == LEGACY


@pytest.mark.parametrize("server", list(NOT_JSON_RPC))
def test_what_is_no_json_rpc_holds_no_evidence(server):
    assert codec.find_error(NOT_JSON_RPC[server]) is None


@pytest.mark.parametrize("code", [-32700, -32603, -32002, -32042, -32023, -32019, -32000, 0, 404])
def test_any_other_code_means_legacy_whatever_it_says(code):
    assert judge_refusal(MCPError("no.", code=code)) == LEGACY


def test_a_code_that_is_no_evidence_means_legacy_even_if_it_lists_versions():
    error = MCPError("no.", code=-32602, data={"supported": ["2026-07-28"]})
    assert judge_refusal(error) == LEGACY


@pytest.mark.parametrize("code", [codec.HEADER_MISMATCH, codec.MISSING_CLIENT_CAPABILITY])
def test_two_codes_are_evidence_of_a_modern_server(code):
    assert judge_refusal(MCPError("no.", code=code)) == MODERN


@pytest.mark.parametrize(
    "data", [{"supported": ["2025-11-25"]}, {"supported": ["x", "2024-11-05"]}]
)
def test_a_modern_server_that_still_speaks_a_legacy_version_is_spoken_to_in_that(data):
    error = MCPError("no.", code=codec.UNSUPPORTED_VERSION, data=data)
    assert judge_refusal(error) == LEGACY


@pytest.mark.parametrize(
    ("data", "listed"),
    [
        ({"supported": ["2027-01-01", "2027-06-01"]}, ("2027-01-01", "2027-06-01")),
        ({"supported": []}, ()),
        ({"supported": "2027-01-01"}, ()),
        ({"requested": "2026-07-28"}, ()),
        (["2025-11-25"], ()),
        (None, ()),
    ],
)
def test_a_modern_server_without_a_version_of_ours_is_refused_not_shaken_hands_with(data, listed):
    error = MCPError("no.", code=codec.UNSUPPORTED_VERSION, data=data)
    with pytest.raises(UnsupportedProtocolVersion) as caught:
        judge_refusal(error)
    assert caught.value.supported == listed


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("supported", "verdict"),
    [
        (["2026-07-28"], MODERN),
        (["2025-11-25", "2026-07-28"], MODERN),
        (["2026-07-28", "2099-01-01"], MODERN),
        (["2025-11-25"], LEGACY),  # N8: it answers, and lists legacy versions only
        (["2024-11-05", "2099-01-01"], LEGACY),
    ],
)
def test_a_discover_result_is_judged_by_the_versions_it_lists(supported, verdict):
    assert judge_discovery({"supportedVersions": supported}) == verdict


@pytest.mark.parametrize(
    "result", [{}, {"supportedVersions": None}, {"supportedVersions": "2026-07-28"}, {"tools": []}]
)
def test_an_answer_that_is_no_discover_result_means_legacy(result):
    assert judge_discovery(result) == LEGACY


@pytest.mark.parametrize("supported", [["2099-01-01"], [], [None, 7]])
def test_a_server_with_no_version_of_ours_is_refused(supported):
    with pytest.raises(UnsupportedProtocolVersion) as caught:
        judge_discovery({"supportedVersions": supported})
    assert caught.value.supported == tuple(map(str, supported))


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("supported", "theirs"),
    [
        (["2099-01-01", "2100-01-01"], "2099-01-01, 2100-01-01"),
        ([], "something else"),
        (None, "something else"),
        ("2099-01-01", "something else"),
    ],
)
def test_the_refusal_says_what_either_side_speaks(supported, theirs):
    error = unsupported(supported)
    ours = ", ".join(LEGACY_VERSIONS + MODERN_VERSIONS)
    assert str(error) == f"the server speaks {theirs}; this client speaks {ours}."
    assert error.maybe_executed is False


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"supported": ["2099-01-01"]}, ["2099-01-01"]),
        ({"supported": 7}, 7),
        ({}, None),
        (None, None),
        ("supported", None),
    ],
)
def test_the_versions_of_an_error_are_found_if_it_lists_any(data, found):
    assert supported_versions(MCPError("no.", data=data)) == found
