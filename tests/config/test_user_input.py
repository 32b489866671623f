"""What a user may send to have a server of their own, and what is not for users to say."""

from typing import Any

import pytest

from mcpsync.config import (
    HttpServerConfig,
    StdioServerConfig,
    WebSocketServerConfig,
    is_user_sourced,
    parse_user_server,
    user_fields,
)
from mcpsync.config.oauth import OAuthConfig
from mcpsync.config.user_input import user_oauth_fields
from mcpsync.errors import ConfigurationError

URL = "https://crm.example.com/mcp"
LOGIN = "https://login.example.com"
URLS = {"authorization_url": f"{LOGIN}/authorize", "token_url": f"{LOGIN}/token"}


@pytest.mark.parametrize(
    "sent",
    [
        {"url": URL},
        {"url": URL, "type": "sse", "title": "CRM", "description": "x", "iconPath": "i.png"},
        {"url": "wss://crm.example.com/mcp", "type": "websocket"},
        {"url": URL, "headers": {"X-Key": "{{KEY}}"}, "customUserVars": {"KEY": {"title": "K"}}},
        {"url": URL, "obo": {"scopes": "api://x/.default"}},
        {"url": URL, "apiKey": {"source": "user", "authorization_type": "basic"}},
        {"url": URL, "api_key": {"key": "mine"}},
        {"url": URL, "oauth": {**URLS, "client_id": "me", "client_secret": "s", "scope": "a b"}},
        {"url": URL, "description": "costs ${5} or {{USER_ID}}"},
    ],
)
def test_a_user_may_say_where_it_is_and_how_it_is_signed_in_to(sent: dict[str, Any]) -> None:
    config = parse_user_server("mine", sent, author="ada")
    assert is_user_sourced(config)
    assert (config.source, config.author) == ("user", "ada")


@pytest.mark.parametrize(
    ("sent", "field", "problem"),
    [
        ({"command": "sh"}, "type", "cannot be a command"),
        ({"type": "stdio", "command": "sh", "args": []}, "type", "cannot be a command"),
        ({"url": URL, "command": "sh"}, "command", "not permitted"),
        ({"url": URL, "source": "yaml"}, "source", "not for users to say"),
        ({"url": URL, "db_id": "7"}, "db_id", "not for users to say"),
        ({"url": URL, "author": "bob"}, "author", "not for users to say"),
        ({"url": URL, "scope": "app"}, "scope", "not for users to say"),
        ({"url": URL, "startup": True}, "startup", "not for users to say"),
        ({"url": URL, "timeout": 5}, "timeout", "not for users to say"),
        ({"url": URL, "connect_timeout": 5}, "connect_timeout", "not for users to say"),
        ({"url": URL, "chatMenu": True}, "chat_menu", "not for users to say"),
        ({"url": URL, "serverInstructions": "obey"}, "server_instructions", "not for users"),
        ({"url": URL, "requiresOAuth": False}, "requires_oauth", "not for users to say"),
        ({"url": URL, "oauth_headers": {"X": "1"}}, "oauth_headers", "not for users to say"),
        ({"url": URL, "proxy": "http://p:1"}, "proxy", "not for users to say"),
        ({"url": URL, "titel": "x"}, "titel", "the nearest is 'title'"),
        ({"url": "wss://x.example.com", "headers": {"X": "1"}}, "headers", "not for users to say"),
        ({"url": "file:///etc/passwd"}, "url", "is not an http:// or https:// URL"),
        ({"url": "gopher://x"}, "url", "is not an http:// or https:// URL"),
        ({"url": "ws://x", "type": "sse"}, "url", "is not an http:// or https:// URL"),
        ({"url": f"{URL}/${{MONGO_URI}}"}, "url", "not allowed in URLs"),
        ({"url": "${A}"}, "url", "environment variable references are not allowed in URLs"),
        ({"url": URL, "headers": {"X": "a ${A} b"}}, "headers.X", "not allowed"),
        ({"url": URL, "api_key": {"key": "${A}"}}, "api_key.key", "not allowed"),
        (
            {"url": URL, "oauth": {**URLS, "token_url": f"{LOGIN}/${{A}}"}},
            "oauth.token_url",
            "not allowed in URLs",
        ),
        ({"url": URL, "oauth": {"scope": ["a", "${A}"]}}, "oauth.scope.1", "not allowed"),
        (
            {"url": URL, "oauth": {**URLS, "token_url": f"{LOGIN}/t?audience=x"}},
            None,
            "'oauth.token_url' says for whom tokens are",
        ),
        (
            {"url": URL, "oauth": {"grant": "workload_identity", "assertion_file": "/etc/passwd"}},
            "oauth.assertion_file",
            "not for users to say",
        ),
        ({"url": URL, "oauth": {"redirect_uri": URL}}, "oauth.redirect_uri", "not for users"),
        ({"url": URL, "headers": {"X": "{{LIBRECHAT_USER_EMAIL}}"}}, "headers.X", "not resolved"),
        ({"url": URL, "headers": {"X": "{{USER_ID}}"}}, "headers.X", "not resolved in what a user"),
        ({"url": URL, "headers": {"X": "{{OPENID_ACCESS_TOKEN}}"}}, "headers.X", "not resolved"),
        ({"url": URL, "headers": {"X": "{{GRAPH_ACCESS_TOKEN}}"}}, "headers.X", "not resolved"),
        ({"url": f"{URL}/{{{{BODY_MESSAGEID}}}}"}, "url", "not resolved"),
        ({"url": URL, "headers": {"X": "{{KEY}}"}}, "headers.X", "{{KEY}} is not declared"),
        ({"url": URL, "headers": {"X": "a\r\nY: b"}}, "headers.X", "line break"),
    ],
)
def test_what_is_not_for_users_is_refused_with_its_field(
    sent: dict[str, Any], field: str | None, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_user_server("mine", sent)
    assert (caught.value.server_name, caught.value.field) == ("mine", field)
    assert problem in caught.value.message


def test_a_variable_that_is_declared_may_have_any_name() -> None:
    sent = {"url": URL, "headers": {"X": "{{USER_ID}}"}, "custom_user_vars": {"USER_ID": {}}}
    assert parse_user_server("mine", sent).headers == {"X": "{{USER_ID}}"}


@pytest.mark.parametrize("sent", [None, [], "https://example.com"])
def test_what_is_no_mapping_is_refused(sent: Any) -> None:
    with pytest.raises(ConfigurationError, match="not a mapping"):
        parse_user_server("mine", sent)


def test_a_field_is_for_users_only_if_it_says_so() -> None:
    """A new field is not theirs until somebody thought of it."""
    over_http = {"title", "description", "icon_path", "type", "url", "headers", "api_key", "obo"}
    assert set(user_fields(HttpServerConfig)) == {*over_http, "oauth", "custom_user_vars"}
    assert set(user_fields(WebSocketServerConfig)) == {
        *{"title", "description", "icon_path", "type", "url", "oauth", "custom_user_vars"}
    }
    assert not {"command", "args", "env", "cwd"} & set(user_fields(StdioServerConfig))
    assert set(OAuthConfig.model_fields) - set(user_oauth_fields()) == {
        "assertion_file",
        "redirect_uri",
    }


def test_what_is_in_itself_is_refused() -> None:
    sent: dict[str, Any] = {"url": URL}
    sent["headers"] = sent
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        parse_user_server("mine", sent)


@pytest.mark.parametrize(
    "said",
    [
        {"headers": {"X": b"{{USER_EMAIL}}"}},
        {"url": b"https://crm.example.com/${HOME}"},
        {"oauth": OAuthConfig(redirect_uri=f"{LOGIN}/callback")},
        {"oauth": {"scope": {"{{USER_ID}}"}}},
    ],
    ids=["bytes", "bytes of a URL", "a model", "a set"],
)
def test_what_json_does_not_have_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="which JSON does not have"):
        parse_user_server("mine", {"url": URL, **said})


def test_a_small_thing_that_comes_to_a_huge_one_is_refused_at_once() -> None:
    laughs: list[Any] = []
    for _ in range(28):
        laughs = [laughs, laughs]
    with pytest.raises(ConfigurationError, match="more than 10000 values"):
        parse_user_server("mine", {"url": URL, "headers": {"X": laughs}})
