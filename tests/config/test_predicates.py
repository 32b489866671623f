"""Questions to a configuration: the table of the seed's section 6, row by row."""

import copy
import pickle
import timeit
from typing import NamedTuple

import pytest

from mcpsync.config import (
    get_missing_custom_user_vars,
    has_custom_user_vars,
    is_allowed_at_app_level,
    is_oauth_server,
    is_user_sourced,
    missing_body_fields,
    parse_server,
    requires_ephemeral_user_connection,
    requires_oauth_machinery,
    requires_user_scoped_connection,
    scope_of_server,
)

URL = "https://crm.example.com/mcp"
VARS = {"API_KEY": {"title": "Key"}}


def http(**fields):
    """Make a server over HTTP."""
    return parse_server("crm", {"url": URL, **fields})


def stdio(**fields):
    """Make a server over stdio."""
    return parse_server("files", {"command": "npx", **fields})


def pickled(value):
    """Return what arrives in another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


# -- who made it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_so"),
    [
        ({}, False),
        ({"source": "user"}, True),
        ({"source": "user", "db_id": "7"}, True),
        ({"db_id": "7"}, True),
        ({"source": "yaml"}, False),
        ({"source": "config"}, False),
        ({"source": "yaml", "db_id": "7"}, False),
        ({"source": "config", "db_id": "7"}, False),
    ],
)
def test_a_user_made_what_says_so_or_only_has_an_entry_in_the_database(fields, is_so):
    assert is_user_sourced(http(**fields)) is is_so


# -- signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_oauth", "needs_machinery"),
    [
        ({}, False, False),
        ({"requires_oauth": True}, True, True),
        ({"oauth": {"client_id": "x"}}, True, True),
        ({"oauth": {}}, True, True),
        ({"requires_oauth": False}, False, False),
        ({"requires_oauth": False, "oauth": {"client_id": "x"}}, False, False),
        ({"obo": {"scopes": "api"}}, False, True),
        ({"obo": {"scopes": "api"}, "requires_oauth": False}, False, True),
        ({"custom_user_vars": VARS}, False, False),
    ],
)
def test_oauth_is_what_is_said_or_described_and_obo_needs_its_machinery(
    fields, is_oauth, needs_machinery
):
    config = http(**fields)
    assert is_oauth_server(config) is is_oauth
    assert requires_oauth_machinery(config) is needs_machinery


# -- whose connections -----------------------------------------------------------------------------


class Row(NamedTuple):
    """What a configuration is, by every predicate that is about its connections."""

    config: object
    user_scoped: bool = False
    ephemeral: bool = False
    app_level: bool = False
    scope: str | None = "user"


OPEN = {"app_level": True, "scope": None}
OWN = {"user_scoped": True}
SHORT = {"user_scoped": True, "ephemeral": True, "scope": "request"}

ROWS = [
    Row(http(), **OPEN),
    Row(stdio(), **OPEN),
    Row(http(scope="app"), app_level=True, scope="app"),
    Row(http(scope="user"), app_level=False, scope="user"),
    Row(http(startup=False)),
    Row(http(source="user")),
    Row(http(db_id="7")),
    Row(http(source="config", db_id="7"), **OPEN),
    Row(http(inspection_failed=True), app_level=False, scope=None),
    Row(http(scope="app", inspection_failed=True), app_level=False, scope="app"),
    Row(http(requires_oauth=True), **OWN),
    Row(http(requires_oauth=True, source="user"), **OWN),
    Row(http(requires_oauth=False), **OPEN),
    Row(http(obo={"scopes": "api"}), **OWN),
    Row(http(custom_user_vars=VARS), **OWN),
    Row(http(custom_user_vars=VARS, source="user"), **OWN),
    Row(http(custom_user_vars={}), **OPEN),
    # placeholders, wherever they are
    Row(http(headers={"X": "{{USER_ID}}"}), **OWN),
    Row(http(headers={"X": "a {{LIBRECHAT_USER_EMAIL}} b"}), **OWN),
    Row(http(headers={"X": "{{ USER_ID }}"}), **OWN),
    Row(http(headers={"X": "{{LIBRECHAT_OPENID_ACCESS_TOKEN}}"}), **OWN),
    Row(http(headers={"X": "{{OPENID_ID_TOKEN}}"}), **OWN),
    Row(http(headers={"X": "{{LIBRECHAT_GRAPH_ACCESS_TOKEN}}"}), **OWN),
    Row(http(url=f"{URL}/{{{{USER_ID}}}}"), **OWN),
    Row(stdio(args=["--user", "{{USER_ID}}"]), **OWN),
    Row(stdio(env={"WHO": "{{USER_ID}}"}), **OWN),
    Row(http(headers={"X": "{{LIBRECHAT_BODY_MESSAGEID}}"}), **SHORT),
    Row(http(url=f"{URL}/{{{{BODY_CONVERSATIONID}}}}"), **SHORT),
    Row(stdio(args=["{{BODY_ORDER}}"]), **SHORT),
    Row(stdio(env={"X": "{{BODY_ORDER}}"}), **SHORT),
    Row(http(headers={"X": "{{BODY_ORDER}}"}, scope="user"), **SHORT),
    # what is not one, or not for us
    Row(http(headers={"X": "{{API_KEY}}"}), **OPEN),
    Row(http(headers={"X": "{{user_id}}", "Y": "USER_ID", "Z": "{USER_ID}"}), **OPEN),
    Row(http(description="{{BODY_X}}"), **OPEN),
    Row(http(headers={"X": "{{USER_ID}}"}, source="user")),
    Row(http(headers={"X": "{{BODY_MESSAGEID}}"}, db_id="7")),
    Row(
        http(headers={"X": "{{BODY_KEY}}"}, custom_user_vars={"BODY_KEY": {}}),
        user_scoped=True,
        ephemeral=False,
        scope="user",
    ),
]


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: str(row.config.model_dump(exclude_unset=True))
)
def test_whose_connection_it_is_follows_from_the_configuration(row):
    assert (
        requires_user_scoped_connection(row.config),
        requires_ephemeral_user_connection(row.config),
        is_allowed_at_app_level(row.config),
        scope_of_server(row.config),
    ) == row[1:]


# -- what is missing -------------------------------------------------------------------------------

ALL_THREE = {
    "A": "{{LIBRECHAT_BODY_CONVERSATIONID}} {{BODY_ORDER_ID}}",
    "B": "{{BODY_PARENT_MESSAGE_ID}} {{LIBRECHAT_BODY_MESSAGEID}} {{BODY_MESSAGEID}}",
}
NAMES = ["messageId", "parentMessageId", "conversationId", "order_id"]


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (None, NAMES),
        ({}, NAMES),
        ({"messageId": "1", "conversationId": "2"}, ["parentMessageId", "order_id"]),
        ({"message_id": "1", "CONVERSATIONID": 2, "orderId": 3}, ["parentMessageId"]),
        (dict.fromkeys(NAMES, ""), NAMES),
        (dict.fromkeys(NAMES, " \n"), NAMES),
        (dict.fromkeys(NAMES, None), NAMES),
        ({**dict.fromkeys(NAMES, "x"), "order_id": {"a": 1}}, ["order_id"]),
        (dict.fromkeys(NAMES, "x"), []),
    ],
)
def test_missing_fields_of_the_body_are_named_in_the_seeds_order(body, missing):
    assert missing_body_fields(http(headers=ALL_THREE), body) == missing


@pytest.mark.parametrize(
    "config", [http(), http(headers=ALL_THREE, source="user"), http(headers={"X": "{{USER_ID}}"})]
)
def test_nothing_is_missing_from_the_body_where_nothing_is_needed(config):
    assert missing_body_fields(config, None) == []


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (None, ["B", "A"]),
        ({}, ["B", "A"]),
        ({"A": "1"}, ["B"]),
        ({"A": " ", "B": "1"}, ["A"]),
        ({"A": None, "B": ""}, ["B", "A"]),
        ({"A": "1", "B": "2", "C": ""}, []),
        ({"A": 1, "B": False}, []),  # as they are put in
    ],
)
def test_custom_variables_without_value_are_named_in_their_order(values, missing):
    config = http(custom_user_vars={"B": {}, "A": {}})
    assert has_custom_user_vars(config)
    assert get_missing_custom_user_vars(config, values) == missing


def test_a_server_without_custom_variables_misses_none():
    assert not has_custom_user_vars(http())
    assert get_missing_custom_user_vars(http(), None) == []


# -- the answers are kept, and are never those of another ------------------------------------------


def test_a_changed_copy_is_asked_anew():
    config = http(scope="user")
    assert scope_of_server(config) == "user"
    assert scope_of_server(config.model_copy(update={"scope": None})) is None


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_what_was_found_out_is_no_part_of_the_configuration(again):
    config, other = http(requires_oauth=True), http(requires_oauth=True)
    assert scope_of_server(config) == "user"
    assert config == other == again(config)
    assert config.model_dump() == other.model_dump()
    assert scope_of_server(again(config)) == "user"


def test_an_answer_costs_next_to_nothing():
    config = http(headers={"X": "{{USER_ID}}"})
    seconds = min(timeit.repeat(lambda: scope_of_server(config), number=1000, repeat=20))
    assert seconds / 1000 < 3e-6  # 0.07 µs here; ten times slower machines may run this
