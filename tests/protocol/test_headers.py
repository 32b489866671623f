"""The headers of streamable HTTP, and what may stand in them."""

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpsync.protocol.headers import (
    challenged_scopes,
    header_value,
    is_session_id,
    legacy_headers,
    modern_headers,
)
from mcpsync.protocol.versions import LEGACY_VERSIONS

POST = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
MODERN = POST | {"MCP-Protocol-Version": "2026-07-28"}


def hidden(value):
    """*value* behind the sentinel."""
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def read_back(value):
    """What a server makes of a header: the sentinel taken off, if it is there."""
    found = re.fullmatch(r"=\?base64\?(.*)\?=", value, re.DOTALL)
    return base64.b64decode(found[1], validate=True).decode() if found else value


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "add",
        "",
        "a",
        "two words",
        "in  ner   spaces",
        "test://notes/two?x=1#y",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        "=?base64?",
        "=?utf-8?q?x?=",
        "x=?base64?eA==?=",
        "=?base64?eA==?= ,",
    ],
)
def test_what_a_header_can_hold_stays_as_it_is(value):
    assert header_value(value) == value


@pytest.mark.parametrize(
    "value",
    [
        " leading",
        "trailing ",
        " ",
        "\t",
        "tab\tinside",
        "line\nfeed",
        "carriage\rreturn",
        "end\n",
        "nul\0",
        "\x7f",
        "grüße",
        "日本語",
        "\N{NO-BREAK SPACE}",
        "e\N{COMBINING ACUTE ACCENT}",
        "=?base64?eA==?=",
        "=?base64??=",
        "=?base64?anything at all?=",
    ],
)
def test_what_it_cannot_hold_goes_behind_the_sentinel(value):
    assert header_value(value) == hidden(value)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_value_can_be_read_back_and_is_printable_ascii_without_white_space_at_an_edge(value):
    sent = header_value(value)
    assert read_back(sent) == value
    assert re.fullmatch(r"[\x20-\x7e]*", sent)
    assert sent == sent.strip()


@settings(deadline=None)
@given(st.text("=?base64 x\n", max_size=24))
def test_values_that_look_like_the_sentinel_can_be_read_back(value):
    assert read_back(header_value(value)) == value


# -- modern ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "add", "arguments": {}}, "add"),
        ("prompts/get", {"name": "greet"}, "greet"),
        ("resources/read", {"uri": "test://notes/two"}, "test://notes/two"),
        ("tools/call", {"name": "grüße"}, hidden("grüße")),
        ("tools/call", {"name": ""}, ""),
    ],
)
def test_what_is_called_got_or_read_is_named_in_a_header(method, params, name):
    assert modern_headers("2026-07-28", method, params) == MODERN | {
        "Mcp-Method": method,
        "Mcp-Name": name,
    }


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/list", {"name": "add", "uri": "test://x"}),
        ("server/discover", None),
        ("completion/complete", {"ref": {"name": "greet"}}),
        ("notifications/cancelled", {"requestId": 1}),
        ("tools/call", None),
        ("tools/call", {}),
        ("tools/call", {"name": 7}),
        ("tools/call", {"uri": "test://x"}),
        ("resources/read", {"name": "x"}),
    ],
)
def test_other_messages_are_mirrored_by_their_method_alone(method, params):
    assert modern_headers("2026-07-28", method, params) == MODERN | {"Mcp-Method": method}


def test_the_version_header_is_the_version_that_is_spoken():
    headers = modern_headers("2099-01-01", "ping", None)
    assert headers["MCP-Protocol-Version"] == "2099-01-01"


def test_a_modern_request_carries_no_session():
    headers = modern_headers("2026-07-28", "tools/list", {"_meta": {"Mcp-Session-Id": "x"}})
    assert "mcp-session-id" not in {name.lower() for name in headers}


# -- legacy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, {}),
        ("2024-11-05", {}),
        ("2025-03-26", {}),
        ("2025-06-18", {"MCP-Protocol-Version": "2025-06-18"}),
        ("2025-11-25", {"MCP-Protocol-Version": "2025-11-25"}),
    ],
)
def test_the_version_is_sent_to_those_who_know_the_header(version, expected):
    assert legacy_headers(version, None) == POST | expected


def test_the_table_above_has_every_legacy_version():
    assert {"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"} == set(LEGACY_VERSIONS)


@pytest.mark.parametrize("version", [None, *LEGACY_VERSIONS])
def test_the_session_id_is_sent_as_it_was_given(version):
    assert legacy_headers(version, "s-1")["Mcp-Session-Id"] == "s-1"


def test_a_legacy_request_is_not_mirrored():
    assert not set(legacy_headers("2025-11-25", "s-1")) & {"Mcp-Method", "Mcp-Name"}


@pytest.mark.parametrize(
    ("challenge", "scopes"),
    [
        ('Bearer error="insufficient_scope", scope="files:read files:write"', 2),
        ('Bearer scope="files:read files:write", error="insufficient_scope"', 2),
        ('Bearer realm="x",scope="files:read  files:write"', 2),
        ("Bearer scope=files:read", 1),
        ('bearer SCOPE="files:read"', 1),
        ('Bearer scope=""', 0),
        ('Bearer realm="x"', 0),
        ('Bearer notscope="files:read"', 0),
        ("", 0),
    ],
)
def test_the_scopes_of_a_challenge_are_read(challenge, scopes):
    assert challenged_scopes(challenge) == ("files:read", "files:write")[:scopes]


def test_every_call_gets_headers_of_its_own():
    legacy_headers(None, None)["X"] = "mine"
    modern_headers("2026-07-28", "ping", None)["X"] = "mine"
    assert legacy_headers(None, None) == POST


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("s-1", True),
        ("!~", True),
        ("a" * 1000, True),
        ("", False),
        ("a b", False),
        (" a", False),
        ("a\n", False),
        ("a\tb", False),
        ("\x7f", False),
        ("\0", False),
        ("ä", False),
    ],
)
def test_a_session_id_is_visible_ascii_only(value, allowed):
    assert is_session_id(value) is allowed
