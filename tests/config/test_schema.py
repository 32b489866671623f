"""The JSON Schema for editors, held against what is really taken and refused."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mcpsync.config import load_servers, parse_user_server
from mcpsync.config.schema import file_schema, user_schema
from mcpsync.errors import ConfigurationError

FILES = Path(__file__).parent / "files"
URL = "https://crm.example.com/mcp"


def is_good(document: Any, schema: dict[str, Any]) -> bool:
    return bool(Draft202012Validator(schema).is_valid(document))


@pytest.mark.parametrize("make", [file_schema, user_schema])
def test_it_is_a_json_schema_and_json(make: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema = make()
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("file", ["librechat.yaml", "mcp.json"])
def test_files_of_other_programs_are_good(file: str) -> None:
    document = yaml.safe_load((FILES / file).read_text().replace("\t", " "))
    errors = list(Draft202012Validator(file_schema()).iter_errors(document))
    assert errors == []


GOOD = [
    {"url": URL},
    {"url": "${CRM_URL}/mcp"},
    {"url": "{{CRM_URL}}"},
    {"type": "sse", "url": URL, "headers": {"X": "1"}, "timeout": 5},
    {"url": "wss://crm.example.com"},
    {"command": "npx", "args": ["-y"], "env": {"A": "1"}, "stderr": 2},
    {"url": URL, "oauth": {"scope": "a b"}, "iconPath": "x", "chat_menu": None},
    {"url": URL, "oauth": {"client_id": "me", "token_exchange_method": "default_post"}},
    {"url": URL, "updated_at": 7, "custom_user_vars": {"K": {"title": "K"}}},
    {"url": URL, "api_key": {"key": "k"}, "obo": {"scopes": "x"}, "proxy": "http://p:1"},
]
BAD = [
    {},
    {"url": URL, "timout": 5},
    {"url": URL, "timeout": -1},
    {"url": URL, "timeout": "soon"},
    {"url": URL, "command": "npx"},
    {"url": "wss://crm.example.com", "headers": {"X": "1"}},
    {"url": "wss://crm.example.com", "obo": {"scopes": "x"}},
    {"url": "wss://crm.example.com", "type": "sse"},
    {"url": URL, "type": "grpc"},
    {"url": URL, "obo": {}},
    {"url": URL, "obo": {"scopes": ""}},
    {"command": "npx", "obo": {"scopes": "x"}},
    {"command": "npx", "env": {"A": 1}},
    {"command": "npx", "stderr": "log"},
    {"url": URL, "oauth": {"scope": 7}},
    {"url": URL, "custom_user_vars": {"K": {"titel": "K"}}},
]


@pytest.mark.parametrize("server", GOOD, ids=json.dumps)
def test_what_is_taken_is_good(server: dict[str, Any]) -> None:
    environment = {"CRM_URL": "https://crm.example.com"}
    assert load_servers({"crm": server}, environment=environment)
    assert is_good({"servers": {"crm": server}}, file_schema())


@pytest.mark.parametrize("server", BAD, ids=json.dumps)
def test_what_is_refused_is_not(server: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        load_servers({"crm": server})
    assert not is_good({"servers": {"crm": server}}, file_schema())


@pytest.mark.parametrize("document", [{}, {"server": {}}, {"servers": []}, [], "servers"])
def test_a_file_without_servers_is_not_good(document: Any) -> None:
    assert not is_good(document, file_schema())


def test_below_mcp_servers_durations_are_milliseconds() -> None:
    for timeout, is_right in ((0, True), (60, False), (60_000, True)):
        said = {"mcpServers": {"crm": {"url": URL, "timeout": timeout}}}
        assert is_good(said, file_schema()) is is_right


def test_every_field_says_what_it_is() -> None:
    defined = file_schema()["$defs"]
    without = {
        (model, name)
        for model in ("HttpServerConfig", "StdioServerConfig", "WebSocketServerConfig")
        for name, field in defined[model]["properties"].items()
        if "description" not in field and name != "type"
    }
    assert without == set()


USERS = [
    ({"url": URL, "headers": {"X": "1"}, "title": "CRM"}, True),
    ({"url": "wss://crm.example.com"}, True),
    ({"url": URL, "apiKey": {"source": "user"}, "obo": {"scopes": "x"}}, True),
    ({"command": "sh"}, False),
    ({"url": URL, "proxy": "http://p:1"}, False),
    ({"url": URL, "timeout": 5}, False),
    ({"url": URL, "source": "yaml"}, False),
    ({"url": URL, "oauth": {"redirect_uri": URL}}, False),
    ({"url": URL, "oauth": {"assertion_file": "/etc/passwd"}}, False),
]


@pytest.mark.parametrize(("sent", "is_right"), USERS, ids=repr)
def test_a_users_is_as_narrow_as_what_is_taken_from_a_user(
    sent: dict[str, Any], is_right: bool
) -> None:
    assert is_good(sent, user_schema()) is is_right
    if is_right:
        parse_user_server("mine", sent)
    else:
        with pytest.raises(ConfigurationError):
            parse_user_server("mine", sent)
