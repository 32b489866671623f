"""What may be shown of a URL."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpsync.config import parse_server
from mcpsync.security.redaction import redact_server_secrets, safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/mcp", "https://example.com/mcp"),
        ("https://example.com", "https://example.com"),
        ("https://example.com:8443/a/b", "https://example.com:8443/a/b"),
        ("http://[::1]:8000/mcp", "http://[::1]:8000/mcp"),
        ("https://user@example.com/mcp", "https://example.com/mcp"),
        ("https://user:s3cret@example.com/mcp", "https://example.com/mcp"),
        ("https://user:s3@cret@example.com/mcp", "https://example.com/mcp"),
        ("https://example.com/mcp?key=s3cret", "https://example.com/mcp"),
        ("https://example.com/mcp#s3cret", "https://example.com/mcp"),
        ("https://example.com?key=s3cret", "https://example.com"),
        ("//user:s3cret@example.com/mcp", "/mcp"),
        ("/relative/path?key=s3cret", "/relative/path"),
        ("relative", "relative"),
        ("", ""),
    ],
)
def test_a_url_is_shown_as_scheme_host_and_path(url, shown):
    assert safe_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "https://[s3cret]/",
        "user:s3cret@example.com/mcp",
        "http:/user:s3cret@example.com/mcp",
        "s3cret@example.com/mcp",
        "mailto:s3cret@example.com",
        "data:text/plain,s3cret",
    ],
)
def test_what_cannot_be_taken_apart_for_sure_is_not_shown(url):
    assert safe_url(url) == "<unreadable URL>"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://as.example/<script>", "https://as.example/%3Cscript%3E"),
        ("https://as.example/\x1b[31m", "https://as.example/%1B[31m"),
        ("https://as.example/a b", "https://as.example/a%20b"),
        ("https://as.example/\u202egpj", "https://as.example/%E2%80%AEgpj"),
        ("https://as.example/\udc80", "https://as.example/%3F"),
        ("https://as.example/a\nERROR all is lost", "https://as.example/aERROR%20all%20is%20lost"),
        ('"><img/onerror=x>', "%22%3E%3Cimg/onerror=x%3E"),
        ("https://grüße.example/ü", "https://grüße.example/ü"),
    ],
)
def test_what_would_be_markup_or_obeyed_by_a_terminal_is_encoded(url, shown):
    assert safe_url(url) == shown


def test_a_long_url_is_cut():
    assert len(safe_url(f"https://as.example/{'x' * 1_000_000}")) < 400


text = st.text("abc-._~", min_size=1, max_size=50)


@settings(deadline=None)
@given(text, text, text, text, text)
def test_no_secret_of_any_url_is_shown(user, password, host, path, query):
    url = f"https://{user}:{password}@{host}/{path}?{query}"
    assert safe_url(url) == f"https://{host}/{path}"


# -- configurations -------------------------------------------------------------------------------

SECRETS = {
    "headers": {"Authorization": "Bearer s3cret", "X-s3cret": "1"},
    "url": "https://ada:s3cret@crm.example:8443/s/{{ROOM}}?key=s3cret#s3cret",
    "custom_user_vars": {"ROOM": {"title": "Your room", "sensitive": True}},
    "oauth": {
        "client_id": "app",
        "client_secret": "s3cret",
        "issuer": "https://as.example",
        "authorization_url": "https://as.example/authorize?tenant=s3cret",
        "token_url": "https://as.example/token",
        "headers": {"X-Key": "s3cret"},
    },
}
HTTP = {"title": "CRM", "requires_oauth": True, "db_id": "7", "source": "yaml", **SECRETS}
MACHINE = {
    "grant": "workload_identity",
    "client_id": "app",
    "assertion": "s3cret",
    "issuer": "https://as.example",
}
KEYED = {"client_id": "app", "private_key": "s3cret", "issuer": "https://as.example"}


@pytest.mark.parametrize("can_edit", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        HTTP,
        {**HTTP, "oauth": MACHINE},
        {**HTTP, "oauth": KEYED},
        {"command": "s3cret", "args": ["--key", "s3cret"], "env": {"KEY": "s3cret"}},
        {"url": "wss://crm.example/mcp?key=s3cret"},
    ],
)
def test_no_secret_of_a_configuration_is_shown_to_anybody(fields, can_edit):
    config = parse_server("crm", fields)
    before = config.model_dump()
    shown = redact_server_secrets(config, can_edit=can_edit)
    assert "s3cret" not in json.dumps(shown)
    assert not {"headers", "env", "command", "args", "cwd"} & set(shown)
    assert config.model_dump() == before


def test_no_secret_of_a_configuration_is_in_its_repr():
    for fields in (HTTP, {**HTTP, "oauth": MACHINE}, {**HTTP, "oauth": KEYED}):
        config = parse_server("crm", fields)
        assert "s3cret" not in repr(config) + str(config) + repr(config.oauth) + config.target


def test_who_may_edit_sees_urls_without_secrets_and_others_none():
    config = parse_server("crm", HTTP)
    shown = redact_server_secrets(config, can_edit=True)
    assert shown["url"] == "https://crm.example:8443/s/{{ROOM}}"
    assert shown["oauth"]["authorization_url"] == "https://as.example/authorize"
    others = redact_server_secrets(config)
    assert "example" not in json.dumps(others)
    assert others["oauth"]["client_id"] == shown["oauth"]["client_id"] == "app"
    assert others["custom_user_vars"] == {
        "ROOM": {"title": "Your room", "description": "", "sensitive": True}
    }
    assert (others["title"], others["source"], others["db_id"]) == ("CRM", "yaml", "7")


def test_what_is_not_known_is_left_out():
    shown = redact_server_secrets(
        {
            "type": "http",
            "url": 7,
            "api_key": {"key": "s3cret", "source": "admin", "more": "s3cret"},
            "obo": {"scopes": "api://crm/.default", "secret": "s3cret"},
            "oauth": "s3cret",
            "proxy": "http://ada:s3cret@proxy",
            "custom_user_vars": {"A": {"title": "a", "value": "s3cret"}, "B": "s3cret"},
            "more": "s3cret",
        },
        can_edit=True,
    )
    assert shown == {
        "type": "http",
        "api_key": {"source": "admin"},
        "obo": {"scopes": "api://crm/.default"},
        "custom_user_vars": {"A": {"title": "a"}},
    }


def test_what_is_shown_is_a_copy():
    config = {"tools": [{"name": "add"}]}
    redact_server_secrets(config)["tools"][0]["name"] = "other"
    assert config == {"tools": [{"name": "add"}]}
