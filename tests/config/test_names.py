"""Names that tools have towards a model, and which server each leads to."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpsync.config import (
    normalize_server_name,
    oauth_tool_name,
    server_of_key,
    shadowed_names,
    split_tool_key,
    tool_key,
    tool_of_key,
)

ALLOWED = set(string.ascii_letters + string.digits + "_.-")
# Few letters, and the delimiter itself, so that names meet.
pieces = st.sampled_from(["a", "b", "mcp", "_mcp_", "_", " ", "é", "."])
names = st.lists(pieces, min_size=1, max_size=6).map("".join)

# -- normalising -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("crm", "crm"),
        ("My-Server_2.0", "My-Server_2.0"),
        ("_crm_", "_crm_"),
        ("my server", "my_server"),
        ("my  server!", "my__server"),
        (" crm ", "crm"),
        ("a/b:c", "a_b_c"),
        ("café", "caf"),
        ("_a b_", "a_b"),
        ("a\n", "a"),
    ],
)
def test_a_servers_name_is_made_of_letters_digits_and_a_few_signs(name, normal):
    assert normalize_server_name(name) == normal


@pytest.mark.parametrize("name", ["", "!!!", "客户", " ", "\ud800"])
def test_a_name_of_which_nothing_is_left_gets_one_from_its_hash(name):
    normal = normalize_server_name(name)
    assert normal.startswith("server_")
    assert normal == normalize_server_name(name)


def test_two_names_of_which_nothing_is_left_are_still_two():
    assert normalize_server_name("客户") != normalize_server_name("顧客")


@given(st.text())
def test_what_is_normalised_is_normal_and_stays_so(name):
    normal = normalize_server_name(name)
    assert normal
    assert set(normal) <= ALLOWED
    assert normalize_server_name(normal) == normal


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_is_the_tool_and_the_normalised_server():
    assert tool_key("search", "my crm") == "search_mcp_my_crm"


@pytest.mark.parametrize(
    ("key", "split"),
    [
        ("search_mcp_crm", ("search", "crm")),
        ("get_mcp_status_mcp_crm", ("get_mcp_status", "crm")),
        ("a_mcp_mcp_crm", ("a_mcp", "crm")),
        ("_mcp__mcp_b", ("_mcp_", "b")),
        ("search", None),
        ("search_mcp_", None),
        ("_mcp_crm", None),
        ("", None),
    ],
)
def test_a_key_is_split_at_the_last_delimiter(key, split):
    assert split_tool_key(key) == split


@given(st.text(min_size=1), names)
def test_a_key_is_split_into_what_it_was_made_of(tool, server):
    normal = normalize_server_name(server)
    if "_mcp_" not in f"_{normal}":  # then it is the server's name that is split
        assert split_tool_key(tool_key(tool, server)) == (tool, normal)


@given(names, st.lists(names, min_size=1, unique=True))
def test_a_key_leads_to_its_own_server_unless_that_is_shadowed(tool, configured):
    shadowed = shadowed_names(configured)
    for server in configured:
        key = tool_key(tool, server)
        found = server_of_key(key, configured)
        assert found == shadowed.get(server, server)
        if server not in shadowed:
            assert tool_of_key(key, server) == tool


@given(names, st.lists(names, unique=True))
def test_no_key_leads_to_a_shadowed_server(key, configured):
    assert server_of_key(key, configured) not in shadowed_names(configured)


@pytest.mark.parametrize("key", ["search", "search_mcp_other", "_mcp_crm", "crm", ""])
def test_a_key_of_nobodys_leads_nowhere(key):
    assert server_of_key(key, ["crm"]) is None


# -- shadows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "shadowed"),
    [
        (["crm", "files"], {}),
        (["my crm", "my_crm"], {"my crm": "my_crm"}),
        (["my_crm", "my crm"], {"my crm": "my_crm"}),
        (["my crm", "my/crm"], {"my/crm": "my crm"}),
        (["my/crm", "my crm", "my:crm"], {"my crm": "my/crm", "my:crm": "my/crm"}),
        (["a_mcp_b", "b"], {"a_mcp_b": "b"}),
        (["a_mcp_b"], {}),
        (["mcp_b", "b"], {"mcp_b": "b"}),
        (["crm", "crm"], {}),
    ],
)
def test_of_servers_with_one_name_the_exact_one_wins_and_else_the_first(configured, shadowed):
    assert shadowed_names(configured) == shadowed
    for name in configured:
        winner = shadowed.get(name, name)
        assert server_of_key(tool_key("t", name), configured) == winner


# -- signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("crm", "oauth_mcp_crm"),
        ("my crm", "oauth_mcp_my_crm"),
        ("oauth_mcp_crm", "oauth_mcp_crm"),
        ("oauth", "oauth_mcp_oauth"),
    ],
)
def test_the_tool_that_asks_to_sign_in_is_not_wrapped_twice(server, name):
    assert oauth_tool_name(server) == name
    assert oauth_tool_name(oauth_tool_name(server)) == name
