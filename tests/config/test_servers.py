"""The configuration of one server: what is taken, and what each mistake is called."""

import json
import logging
import math
import pickle
import traceback
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from mcpsync.config import (
    CustomUserVar,
    HttpServerConfig,
    OboConfig,
    StdioServerConfig,
    load_servers,
    parse_server,
)
from mcpsync.config.oauth import OAuthConfig
from mcpsync.errors import ConfigurationError, MCPSyncError

URL = "https://crm.example.com/mcp"
COMMON = {
    "title": None,
    "description": None,
    "icon_path": None,
    "chat_menu": None,
    "timeout": None,
    "connect_timeout": 30.0,
    "startup": True,
    "scope": None,
    "server_instructions": False,
    "requires_oauth": None,
    "oauth": None,
    "oauth_headers": {},
    "custom_user_vars": {},
    "source": None,
    "db_id": None,
    "author": None,
    "consume_only": False,
    "updated_at": None,
    "inspection_failed": False,
}

# -- what is taken ---------------------------------------------------------------------------------


def test_a_url_is_a_server_to_call():
    config = parse_server("crm", {"url": URL})
    assert isinstance(config, HttpServerConfig)
    assert config.model_dump() == {
        "type": "streamable-http",
        "url": URL,
        "headers": {},
        "api_key": None,
        "obo": None,
        "proxy": None,
        **COMMON,
    }


def test_a_command_is_a_server_to_start():
    config = parse_server("files", {"command": "npx"})
    assert isinstance(config, StdioServerConfig)
    assert config.model_dump() == {
        "type": "stdio",
        "command": "npx",
        "args": (),
        "env": None,
        "cwd": None,
        "stderr": "pipe",
        "obo": None,
        **COMMON,
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"url": URL, "type": "http"}, {"type": "http"}),
        ({"url": URL, "type": "streamable-http"}, {"type": "streamable-http"}),
        ({"url": URL, "headers": {"X-Key": "1"}}, {"headers": {"X-Key": "1"}}),
        ({"url": URL, "timeout": 30}, {"timeout": 30.0}),
        ({"url": URL, "timeout": "30"}, {"timeout": 30.0}),
        ({"url": URL, "timeout": None}, {"timeout": None}),
        ({"url": URL, "timeout": math.inf}, {"timeout": math.inf}),
        ({"url": URL, "connect_timeout": 0.5}, {"connect_timeout": 0.5}),
        ({"url": URL, "title": "CRM", "description": "x"}, {"title": "CRM", "description": "x"}),
        ({"url": URL, "startup": False}, {"startup": False}),
        ({"url": URL, "scope": "app"}, {"scope": "app"}),
        ({"url": URL, "scope": "user"}, {"scope": "user"}),
        ({"url": URL, "server_instructions": True}, {"server_instructions": True}),
        ({"url": URL, "server_instructions": "true"}, {"server_instructions": "true"}),
        ({"url": URL, "requires_oauth": False}, {"requires_oauth": False}),
        ({"url": URL, "oauth": {"scope": "a b"}}, {"oauth": OAuthConfig(scope=("a", "b"))}),
        ({"url": URL, "obo": {"scopes": "a b"}}, {"obo": OboConfig(scopes="a b")}),
        ({"url": URL, "source": "user", "db_id": "7"}, {"source": "user", "db_id": "7"}),
        ({"url": URL, "inspection_failed": True}, {"inspection_failed": True}),
        ({"url": URL, "updated_at": 7}, {"updated_at": 7.0}),
        ({"url": URL, "updated_at": datetime(1970, 1, 2, tzinfo=UTC)}, {"updated_at": 86400.0}),
        (
            {"url": URL, "custom_user_vars": {"KEY": {"title": "Key"}, "a-b.c": {}}},
            {"custom_user_vars": {"KEY": CustomUserVar(title="Key"), "a-b.c": CustomUserVar()}},
        ),
        ({"command": "x", "type": "stdio"}, {"command": "x"}),
        ({"command": "x", "args": ["{{USER_ID}}"]}, {"args": ("{{USER_ID}}",)}),
        ({"command": "x", "obo": None}, {"obo": None}),
        ({"command": "x", "args": ["a", "b"]}, {"args": ("a", "b")}),
        ({"command": "x", "env": {"A": "1"}, "cwd": "/tmp"}, {"env": {"A": "1"}, "cwd": "/tmp"}),
    ],
)
def test_what_is_written_is_what_is_read(written, read):
    config = parse_server("crm", written)
    assert {name: getattr(config, name) for name in read} == read


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/mcp",
        "http://localhost",
        "http://[::1]:8000/mcp",
        "HTTPS://Example.com/mcp?x=1",
        "https://user:password@example.com/mcp",
    ],
)
def test_any_http_url_is_taken_as_it_is(url):
    assert parse_server("crm", {"url": url}).url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://{{HOST}}/mcp",
        "https://{{HOST}}:{{PORT}}/mcp",
        "https://{{SUB}}.example.com/{{BODY_CONVERSATIONID}}?u={{USER_ID}}",
        "https://u:{{KEY}}@example.com/",
        "{{BASE}}/mcp",
        "{{URL}}",
    ],
)
def test_a_url_may_have_placeholders(url):
    assert parse_server("crm", {"url": url}).url == url


def test_the_values_of_a_variable_are_secrets_unless_it_says_otherwise():
    assert CustomUserVar().sensitive


@pytest.mark.parametrize(
    "config", [HttpServerConfig(url=URL), StdioServerConfig(command="npx", args=["-y"])]
)
def test_a_configuration_that_is_one_already_is_taken_as_it_is(config):
    assert parse_server("crm", config) is config


def test_what_was_given_is_copied_so_that_changing_it_later_changes_nothing():
    headers = {"X-Key": "1"}
    config = parse_server("crm", {"url": URL, "headers": headers})
    headers["X-Key"] = "2"
    assert config.headers == {"X-Key": "1"}


@pytest.mark.parametrize(
    ("config", "field"),
    [(HttpServerConfig(url=URL), "url"), (StdioServerConfig(command="npx"), "command")],
)
def test_a_configuration_is_frozen(config, field):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, field, "other")


# -- mistakes --------------------------------------------------------------------------------------

MISTAKES = [
    ({}, "url", "Field required"),
    ({"headers": {}}, "url", "Field required"),
    ({"type": "stdio"}, "command", "Field required"),
    ({"url": None}, "url", "valid string"),
    ({"url": 7}, "url", "valid string"),
    ({"url": ""}, "url", "'' is not an http:// or https:// URL"),
    ({"url": "example.com/mcp"}, "url", "'example.com/mcp' is not an http:// or https:// URL"),
    ({"url": "ftp://example.com"}, "url", "is not an http:// or https:// URL"),
    ({"url": "http://"}, "url", "is not an http:// or https:// URL"),
    ({"url": "http:///mcp"}, "url", "is not an http:// or https:// URL"),
    ({"url": "http://[::1"}, "url", "it is not a URL"),
    ({"url": "http://example.com:port/"}, "url", "is not a URL"),
    ({"url": "http://example.com:99999/"}, "url", "is not a URL"),
    ({"url": URL, "type": "smtp"}, "type", "none of stdio, streamable-http, http, sse, websocket"),
    ({"url": URL, "type": "stdio"}, "command", "Field required"),
    ({"url": URL, "headers": ["X"]}, "headers", "valid"),
    ({"url": URL, "headers": {"X": 1}}, "headers.X", "valid string"),
    ({"url": URL, "headers": {"X": None}}, "headers.X", "valid string"),
    ({"url": URL, "timeout": 0}, "timeout", "greater than 0"),
    ({"url": URL, "timeout": -1}, "timeout", "greater than 0"),
    ({"url": URL, "timeout": math.nan}, "timeout", "greater than 0"),
    ({"url": URL, "timeout": "soon"}, "timeout", "valid number"),
    ({"url": URL, "connect_timeout": 0}, "connect_timeout", "greater than 0"),
    ({"url": URL, "connect_timeout": None}, "connect_timeout", "valid number"),
    ({"url": URL, "tmieout": 5}, "tmieout", "not permitted"),
    ({"url": URL, "command": "npx"}, "command", "not permitted"),
    ({"url": URL, "args": []}, "args", "not permitted"),
    ({"command": ""}, "command", "at least 1 character"),
    ({"command": ["npx", "-y"]}, "command", "valid string"),
    ({"command": "x", "args": "-y"}, "args", "valid tuple"),
    ({"command": "x", "args": [1]}, "args.0", "valid string"),
    ({"command": "x", "env": {"A": 1}}, "env.A", "valid string"),
    ({"command": "x", "env": "A=1"}, "env", "valid"),
    ({"command": "x", "cwd": 1}, "cwd", "valid string"),
    ({"command": "x", "headers": {}}, "headers", "not permitted"),
    ({"command": "x", "type": "http"}, "type", "'stdio'"),
    ({"url": URL, "startup": "later"}, "startup", "valid boolean"),
    ({"url": URL, "startup": None}, "startup", "valid boolean"),
    ({"url": URL, "scope": "request"}, "scope", "'app' or 'user'"),
    ({"url": URL, "source": "admin"}, "source", "'yaml', 'config' or 'user'"),
    ({"url": URL, "oauth": "x"}, "oauth", "valid"),
    ({"url": URL, "updated_at": "yesterday"}, "updated_at", "valid number"),
    ({"url": URL, "updated_at": math.nan}, "updated_at", "finite number"),
    ({"url": URL, "updated_at": datetime(2026, 1, 1)}, "updated_at", "without a time zone"),
    ({"url": URL, "custom_user_vars": ["KEY"]}, "custom_user_vars", "valid"),
    ({"url": URL, "custom_user_vars": {"K": {"x": 1}}}, "custom_user_vars.K.x", "not permitted"),
    ({"url": URL, "custom_user_vars": {"a b": {}}}, "custom_user_vars.a b.[key]", "letters"),
    ({"url": URL, "obo": {}}, "obo.scopes", "Field required"),
    ({"url": URL, "obo": {"scopes": ""}}, "obo.scopes", "at least 1 character"),
    ({"url": URL, "obo": {"scopes": " "}}, "obo.scopes", "at least 1 character"),
    ({"url": URL, "obo": {"scopes": "api://{{USER_ID}}"}}, "obo.scopes", "are not replaced here"),
    ({"url": URL, "obo": {"scopes": "a", "x": 1}}, "obo.x", "not permitted"),
    ({"command": "x", "obo": {"scopes": "a"}}, "obo", "to a server over HTTP only"),
    ({"url": URL, "timout": 5}, "timout", "nobody knows it; the nearest is 'timeout'"),
    ({"url": URL, "header": {}}, "header", "the nearest is 'headers'"),
    ({"url": URL, "custmUserVars": {}}, "custmUserVars", "the nearest is 'customUserVars'"),
    ({"url": URL, "xyzzy": 1}, "xyzzy", "not permitted, for nobody knows it."),
    ({"url": URL, "oauth": {"clientid": "x"}}, "oauth.clientid", "the nearest is 'client_id'"),
    ({"url": URL, "type": "stremable-http"}, "type", "the nearest is 'streamable-http'"),
    ({"url": URL, "command": "npx"}, "command", "not permitted for a server over HTTP"),
    ({"command": "npx", "proxy": "http://p:1"}, "proxy", "for a server over stdio"),
    ({"url": URL, "headers": {"X": "a\r\nY: b"}}, "headers.X", "line break"),
    ({"url": URL, "headers": {"X": "a\0b"}}, "headers.X", "control character"),
    ({"url": URL, "headers": {"X: a\r\nY": "b"}}, "headers.X: a\r\nY.[key]", "name of a header"),
    ({"url": URL, "headers": {"": "b"}}, "headers..[key]", "name of a header"),
    ({"url": URL, "headers": {"X" * 201: "b"}}, f"headers.{'X' * 201}.[key]", "longer than 200"),
    ({"url": URL, "headers": {"X": "{{" + "K" * 201 + "}}"}}, "", "'headers.X' has a placeholder"),
    ({"url": URL, "headers": {"x": "1", "X": "2"}}, "", "'x' and 'X', which are one header"),
    ({"url": URL, "oauth_headers": {"X": "a\nb"}}, "oauth_headers.X", "line break"),
    ({"url": URL, "oauth_headers": {"X": "{{USER_ID}}"}}, "oauth_headers.X", "not replaced here"),
    ({"url": URL, "oauth": {"headers": {"X": "{{KEY}}"}}}, "oauth.headers.X", "not replaced here"),
    ({"url": URL, "oauth": {"client_id": "{{KEY}}"}}, "oauth", "not replaced in 'client_id'"),
    (
        {"url": URL, "oauth": {"code_challenge_methods_supported": ["plain"]}},
        "oauth",
        "users sign in by 'S256'",
    ),
    ({"url": URL, "api_key": {}}, "api_key", "'key' is for 'source: admin', and needed there"),
    ({"url": URL, "api_key": {"source": "user", "key": "k"}}, "api_key", "each user fills it in"),
    ({"url": URL, "api_key": {"key": "k\n"}}, "api_key.key", "line break"),
    ({"url": URL, "api_key": {"key": "k", "custom_header": "X"}}, "api_key", "'custom_header' is"),
    (
        {"url": URL, "api_key": {"key": "k"}, "headers": {"authorization": "x"}},
        "",
        "both say what the header 'Authorization' is",
    ),
    ({"url": "wss://x.example.com", "api_key": {"key": "k"}}, "api_key", "a server over WebSocket"),
    ({"url": URL, "proxy": "socks5://p:1"}, "proxy", "is not an http:// or https:// URL"),
    ({"url": URL, "title": "<b>CRM</b>"}, "title", "only contain letters, numbers, and spaces"),
    ({"url": URL, "title": "x" * 201}, "title", "longer than 200"),
    ({"command": "x", "stderr": "log"}, "stderr", "'pipe', 'ignore' or 'inherit'"),
    ({"command": "x", "stderr": -1}, "stderr", "the number of an open file"),
    ({"command": "x", "stderr": True}, "stderr", "the number of an open file"),
    ({"url": URL, "server_instructions": 7}, "server_instructions", "true, false, or the text"),
    ({"command": "x", "args": ["a\0b"]}, "args.0", "NUL"),
    ({"command": "x", "env": {"A=B": "1"}}, "env.A=B.[key]", "name of an environment variable"),
    ({"command": "x", "env": {"A": "a\0b"}}, "env.A", "NUL"),
    ({"command": "{{USER_ID}}"}, "command", "placeholders are not replaced here"),
    ({"command": "x", "cwd": "/home/{{USER_ID}}"}, "cwd", "placeholders are not replaced here"),
    ({"url": "ftp://{{HOST}}/mcp"}, "url", "is not an http:// or https:// URL"),
    ({"url": "{HOST}/{{PATH}}"}, "url", "is not an http:// or https:// URL"),
    ({"url": "https://{{HOST}}:port/"}, "url", "is not a URL"),
    ({"url": "https:///{{PATH}}"}, "url", "is not an http:// or https:// URL"),
    ({"url": f"{URL}/{{{{}}}}"}, "url", "does not begin a placeholder"),
    ({"url": f"{URL}/{{{{USER_ID"}, "url", "does not begin a placeholder"),
    ({"url": f"{URL}/{{{{USER ID}}}}"}, "url", "does not begin a placeholder"),
]


@pytest.mark.parametrize(("written", "field", "problem"), MISTAKES, ids=repr)
def test_a_mistake_is_one_sentence_that_names_server_and_field(written, field, problem):
    with pytest.raises(ConfigurationError) as caught:
        parse_server("crm", written)
    text = str(caught.value)
    at = f" at {field!r}" if field else ""
    assert text.startswith(f"server 'crm': its configuration is wrong{at}: ")
    assert caught.value.field == (field or None)
    assert problem in text
    assert text.endswith(".")
    assert "Value error" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"url": URL, "requires_oauth": True}, "'requires_oauth' is true"),
        ({"url": URL, "obo": {"scopes": "a"}}, "it has 'obo'"),
        ({"url": URL, "custom_user_vars": {"KEY": {}}}, "it has 'custom_user_vars'"),
        ({"url": URL, "headers": {"X": "a {{USER_ID}}"}}, "'headers.X' has {{USER_ID}}"),
        ({"url": f"{URL}/{{{{BODY_X}}}}"}, "'url' has {{BODY_X}}"),
        ({"command": "x", "args": ["a", "{{OPENID_X}}"]}, "'args.1' has {{OPENID_X}}"),
        ({"command": "x", "env": {"A": "{{GRAPH_X}}"}}, "'env.A' has {{GRAPH_X}}"),
        ({"url": URL, "startup": False}, "'startup' is false"),
        ({"url": URL, "source": "user"}, "a user made it"),
        ({"url": URL, "db_id": "7"}, "a user made it"),
    ],
)
def test_what_needs_a_connection_for_each_user_cannot_be_the_applications(written, why):
    with pytest.raises(ConfigurationError) as caught:
        parse_server("crm", written | {"scope": "app"})
    assert str(caught.value) == (
        f"server 'crm': its configuration is wrong: 'scope' is 'app', but {why}."
    )
    assert parse_server("crm", written | {"scope": "user"}).scope == "user"


@pytest.mark.parametrize("maker", [{"source": "user"}, {"db_id": "7"}])
def test_a_user_cannot_have_us_start_a_command(maker):
    with pytest.raises(ConfigurationError, match="a user's own server cannot be a command"):
        parse_server("crm", {"command": "x", **maker})


@pytest.mark.parametrize("maker", [{"source": "user"}, {"db_id": "7"}])
def test_a_user_cannot_name_a_proxy(maker):
    with pytest.raises(ConfigurationError, match="a user's own server cannot name a proxy"):
        parse_server("crm", {"url": URL, "proxy": "http://p:1", **maker})


@pytest.mark.parametrize("change", ["clear", "popitem"])
def test_no_mapping_in_a_configuration_changes(change):
    config = parse_server("crm", {"url": URL, "headers": {"X": "1"}, "oauth_headers": {"X": "1"}})
    command = parse_server("files", {"command": "x", "env": {"X": "1"}})
    for values in (config.headers, config.oauth_headers, config.custom_user_vars, command.env):
        with pytest.raises(TypeError, match="do not change"):
            getattr(values, change)()
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301 - our own


@pytest.mark.parametrize("value", [None, "https://example.com", 7, ["npx"], object()])
def test_what_is_no_mapping_is_no_configuration(value):
    with pytest.raises(ConfigurationError) as caught:
        parse_server("crm", value)
    name = type(value).__name__
    assert str(caught.value) == (
        f"server 'crm': the configuration of server 'crm' is {name}, not a mapping."
    )


# -- secrets ---------------------------------------------------------------------------------------

SECRETIVE = [
    {"headers": {"Authorization": "Bearer s3cret"}},
    {"url": URL, "headers": {"Authorization": ["s3cret"]}},
    {"url": URL, "token": "s3cret"},
    {"url": "https://user:s3cret@/mcp"},
    {"url": "https://user:s3cret"},
    {"url": "ftp://user:s3cret@example.com"},
    {"url": "//example.com/mcp?key=s3cret"},
    {"url": "http://[::1?key=s3cret"},
    {"type": "stdio", "env": {"TOKEN": "s3cret"}},
    {"command": "x", "env": {"TOKEN": ["s3cret"]}},
    {"url": URL, "scope": "app", "obo": {"scopes": "x"}, "headers": {"X": "s3cret"}},
    {"url": URL, "oauth": ["s3cret"]},
    {"url": URL, "oauth": {"client_secret": "s3cret"}},
    {"url": URL, "oauth": {"any": "s3cret"}},
    {"url": "ftp://{{HOST}}?key=s3cret"},
    {"url": "https://u:s3cret@example.com/{{"},
]


@pytest.mark.parametrize("written", SECRETIVE, ids=json.dumps)
def test_a_mistake_shows_no_secret_not_even_in_its_causes(written, caplog):
    try:
        parse_server("crm", written)
    except MCPSyncError as error:
        logging.getLogger("test").exception("it failed")
        shown = "".join(traceback.format_exception(error))
        shown += str(error.__context__)
    assert "ConfigurationError" in shown
    assert "s3cret" not in shown
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("config", "target", "shown"),
    [
        (
            HttpServerConfig(
                url="https://user:s3cret@example.com:8443/mcp?key=s3cret#s3cret",
                headers={"Authorization": "Bearer s3cret"},
                oauth={
                    "client_id": "mcpsync",
                    "client_secret": "s3cret",
                    "issuer": "https://auth.example.com",
                },
            ),
            "https://example.com:8443/mcp",
            "HttpServerConfig(",
        ),
        (
            StdioServerConfig(command="npx", args=["-y", "server"], env={"TOKEN": "s3cret"}),
            "npx -y server",
            "StdioServerConfig(",
        ),
        (
            HttpServerConfig(url="https://u:s3cret@{{HOST}}/{{PATH}}?s3cret"),
            "https://{{HOST}}/{{PATH}}",
            "HttpServerConfig(",
        ),
        (HttpServerConfig(url="{{BASE}}/mcp?s3cret"), "{{BASE}}/mcp", "HttpServerConfig("),
        (HttpServerConfig(url="{{A}}://u:s3cret@h/mcp"), "h/mcp", "HttpServerConfig("),
        (StdioServerConfig(command="server"), "server", "StdioServerConfig("),
        (
            StdioServerConfig(command="server", args=["serve", "--token", "s3cret"]),
            "server serve",
            "StdioServerConfig(",
        ),
        (
            StdioServerConfig(command="server", args=["--token=s3cret", "s3cret"]),
            "server",
            "StdioServerConfig(",
        ),
    ],
)
def test_people_are_shown_a_target_without_secrets(config, target, shown):
    assert config.target == target
    for text in (repr(config), str(config), repr([config])):
        assert "s3cret" not in text
    assert repr(config).startswith(shown)


@pytest.mark.parametrize(
    "written",
    [
        {"url": "ftp://" + "a" * 100_000},
        {"url": "https://x.example.com", "k" * 100_000: 1},
        {"url": "https://x.example.com", "headers": {"k" * 100_000: "x"}},
        {"url": "https://x.example.com", "headers": {"k" * 100_000: "${NO_SUCH_VARIABLE}"}},
    ],
    ids=["url", "field", "header", "header with a variable"],
)
def test_what_is_too_long_is_not_shown_whole(written):
    with pytest.raises(ConfigurationError) as caught:
        load_servers({"crm": written})
    assert len(str(caught.value)) < 400
    assert len(caught.value.field or "") < 300


@pytest.mark.parametrize("url", [URL + "\r\nX-Evil: 1", "https://\tx.example.com", URL + "/\ud800"])
@pytest.mark.parametrize("rest", ["", "{{KEY}}"])
def test_a_url_has_no_line_break_and_no_half_of_a_character(url, rest):
    with pytest.raises(ConfigurationError, match="at 'url': it is not a URL"):
        parse_server("crm", {"url": url + rest})
    with pytest.raises(ConfigurationError, match="at 'url': it is not a URL"):
        parse_server("crm", {"url": "ws" + url[4:] + rest, "type": "websocket"})


@pytest.mark.parametrize("url", ["http://127.0.0.1:0/mcp", "https://x.example:00/mcp"])
def test_there_is_no_port_0(url):
    with pytest.raises(ConfigurationError, match="no port 0"):
        parse_server("crm", {"url": url})
