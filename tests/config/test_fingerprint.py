"""A name for where a configuration leads and as whom."""

import re
import subprocess
import sys

import pytest

from mcpsync.config import HttpServerConfig, StdioServerConfig, fingerprint, parse_server

HTTP = {
    "url": "https://crm.example.com/mcp",
    "headers": {"X-Key": "s3cret"},
    "oauth": {"client_id": "a", "scope": ["b", "c"]},
}
STDIO = {"command": "npx", "args": ["-y", "server"], "env": {"TOKEN": "s3cret"}, "cwd": "/srv"}

DIFFERENCES = [
    (HTTP, {"url": "https://crm.example.com/mcp2"}),
    (HTTP, {"url": "http://crm.example.com/mcp"}),
    (HTTP, {"headers": {"X-Key": "other"}}),
    (HTTP, {"headers": {"X-Other": "s3cret"}}),
    (HTTP, {"headers": {}}),
    (HTTP, {"oauth": {"client_id": "b", "scope": ["b", "c"]}}),
    (HTTP, {"oauth": {"client_id": "a", "scope": ["c", "b"]}}),
    (HTTP, {"oauth": {"client_id": "a", "scope": ["b", "c"], "dpop": True}}),
    (HTTP, {"oauth": None}),
    (HTTP, {"requires_oauth": False}),
    (HTTP, {"obo": {"scopes": "api"}}),
    (HTTP, {"oauth_headers": {"X-Key": "1"}}),
    (HTTP, {"api_key": {"key": "k"}}),
    (HTTP, {"proxy": "http://proxy:3128"}),
    (HTTP, {"source": "user"}),
    (HTTP, {"custom_user_vars": {"KEY": {}}}),
    (STDIO, {"command": "uvx"}),
    (STDIO, {"args": ["server", "-y"]}),
    (STDIO, {"args": ["-y server"]}),
    (STDIO, {"env": {"TOKEN": "other"}}),
    (STDIO, {"env": {"token": "s3cret"}}),
    (STDIO, {"cwd": None}),
    (STDIO, {"stderr": "ignore"}),
]
INDIFFERENT = [
    (HTTP, {"title": "CRM", "description": "x"}),
    (HTTP, {"icon_path": "x.png", "chat_menu": True}),
    (HTTP, {"author": "7", "consume_only": True}),
    (HTTP, {"timeout": 5, "connect_timeout": 5}),
    (HTTP, {"updated_at": 1.0, "inspection_failed": True}),
    (HTTP, {"scope": "user"}),
    (HTTP, {"startup": False}),
    (HTTP, {"server_instructions": "x"}),
    (HTTP, {"source": "yaml", "db_id": "7"}),
    (HTTP, {"type": "http"}),
    (HTTP, {"headers": {"x-KEY": "s3cret"}}),
    (HTTP, {"oauth": {"scope": "b c", "client_id": "a"}}),
    (STDIO, {"title": "Files"}),
]


def of(written):
    """Return the fingerprint of what was written."""
    return fingerprint(parse_server("crm", written))


@pytest.mark.parametrize(("written", "change"), DIFFERENCES, ids=repr)
def test_what_leads_elsewhere_or_as_somebody_else_has_another(written, change):
    assert of(written | change) != of(written)


@pytest.mark.parametrize(("written", "change"), INDIFFERENT, ids=repr)
def test_what_leads_to_the_same_place_has_the_same(written, change):
    assert of(written | change) == of(written)


def test_every_field_is_known_to_make_a_difference_or_none():
    tried = {name for _, change in DIFFERENCES + INDIFFERENT for name in change}
    assert {*HttpServerConfig.model_fields, *StdioServerConfig.model_fields} <= tried


def test_no_variables_are_like_none():
    assert of({"command": "x", "env": {}}) == of({"command": "x"})


def test_the_order_of_headers_and_variables_does_not_matter():
    one, two = {"A": "1", "B": "2"}, {"B": "2", "A": "1"}
    assert of(HTTP | {"headers": one}) == of(HTTP | {"headers": two})
    assert of(STDIO | {"env": one}) == of(STDIO | {"env": two})


@pytest.mark.parametrize("written", [HTTP, STDIO])
def test_it_is_a_hash_and_shows_nothing(written):
    assert re.fullmatch(r"[0-9a-f]{32}", of(written))


def test_a_changed_copy_has_its_own():
    config = parse_server("crm", HTTP)
    before = fingerprint(config)
    assert fingerprint(config.model_copy(update={"url": "https://other.example.com"})) != before
    assert fingerprint(config) == before


def test_another_process_gives_it_the_same_name():
    code = f"from mcpsync.config import *; print(fingerprint(parse_server('crm', {HTTP!r})))"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == of(HTTP)
