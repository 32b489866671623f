"""``mcpServers`` as other programs write it: LibreChat's YAML, the ``mcp.json`` of desktops."""

from pathlib import Path
from typing import Any

import pytest

from mcpsync.config import (
    HttpServerConfig,
    StdioServerConfig,
    WebSocketServerConfig,
    load_servers,
    load_yaml,
    read_settings,
    scope_of_server,
)
from mcpsync.config.dialects import from_foreign
from mcpsync.errors import ConfigurationError

FILES = Path(__file__).parent / "files"
URL = "https://crm.example.com/mcp"
ENVIRONMENT = {
    "FILES_TOKEN": "f",
    "CRM_URL": "https://crm.example.com",
    "GIT_CLIENT": "me",
    "GIT_SECRET": "s",
    "SEARCH_KEY": "k",
    "API_KEY": "a",
}


@pytest.fixture(scope="module")
def librechat() -> dict[str, Any]:
    return dict(load_yaml(FILES / "librechat.yaml", environment=ENVIRONMENT))


@pytest.fixture(scope="module")
def desktop() -> dict[str, Any]:
    return dict(load_yaml(FILES / "mcp.json", environment=ENVIRONMENT))


# -- LibreChat -------------------------------------------------------------------------------------


def test_a_file_of_librechats_is_loaded_as_it_is(librechat: dict[str, Any]) -> None:
    kinds = {name: type(config) for name, config in librechat.items()}
    assert kinds.pop("filesystem") is StdioServerConfig
    assert kinds.pop("live") is WebSocketServerConfig
    assert set(kinds.values()) == {HttpServerConfig}
    assert len(kinds) == 6


def test_its_durations_are_milliseconds(librechat: dict[str, Any]) -> None:
    assert librechat["everything"].timeout == 60
    assert (librechat["crm"].timeout, librechat["crm"].connect_timeout) == (30, 10)


def test_its_fields_are_what_they_say(librechat: dict[str, Any]) -> None:
    files, crm = librechat["filesystem"], librechat["crm"]
    assert files.env == {"LOG_LEVEL": "debug", "TOKEN": "f"}
    assert (files.stderr, files.icon_path) == ("inherit", "/assets/files.svg")
    assert files.server_instructions == "Files are below /srv/shared.\n"
    assert (crm.url, crm.title) == (URL, "CRM")
    assert (crm.chat_menu, crm.server_instructions, crm.startup) == (False, True, False)
    assert librechat["notes"].type == "sse"
    assert [var.sensitive for var in librechat["notes"].custom_user_vars.values()] == [True, False]
    assert librechat["search"].all_headers == {"X-Search-Key": "k"}
    assert librechat["search"].proxy == "http://proxy.example.com:3128"
    assert librechat["graph"].obo.scopes == "api://graph-mcp/.default"


def test_its_oauth_is_ours(librechat: dict[str, Any]) -> None:
    oauth = librechat["github"].said_of_oauth
    assert (oauth.client_id, oauth.client_secret) == ("me", "s")
    assert oauth.scope == ("repo", "read:org")
    assert oauth.token_endpoint_auth_method == "client_secret_post"
    assert oauth.revocation_url == "https://git.example.com/login/oauth/revoke"
    assert oauth.headers == {"X-Tenant": "ours"}


def test_whose_its_connections_are(librechat: dict[str, Any]) -> None:
    whose = {name: scope_of_server(config) for name, config in librechat.items()}
    assert {name for name, scope in whose.items() if scope == "user"} == {
        "crm",
        "notes",
        "github",
        "graph",
    }
    assert "request" not in whose.values()


def test_its_settings_are_read() -> None:
    assert read_settings(FILES / "librechat.yaml") == {
        "allowed_domains": ("*.example.com", "https://tools.example.org:8443"),
        "allowed_addresses": ("10.0.0.7:3000",),
    }


# -- desktops --------------------------------------------------------------------------------------


def test_an_mcp_json_is_loaded_as_it_is(desktop: dict[str, Any]) -> None:
    assert list(desktop) == ["filesystem", "git", "remote", "streamed", "events", "elsewhere"]
    assert desktop["filesystem"].env == {"API_KEY": "a"}
    assert desktop["git"].args == ("mcp-server-git", "--repository", "/srv/repo")
    assert desktop["remote"].headers == {"Authorization": "Bearer a"}
    assert (desktop["streamed"].type, desktop["streamed"].timeout) == ("streamable-http", 60)
    assert desktop["events"].type == "sse"
    assert desktop["elsewhere"].url == "https://tools.example.com/mcp"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "field", "problem"),
    [
        ({"url": URL, "timeout": 60}, "timeout", "60 are too few to be meant"),
        ({"url": URL, "timeout": -1}, "timeout", "too few"),
        ({"url": URL, "timeout": True}, "timeout", "no number of milliseconds"),
        ({"url": URL, "timeout": "60s"}, "timeout", "no number of milliseconds"),
        ({"url": URL, "timeout": 10**400}, "timeout", "no number of milliseconds"),
        ({"url": URL, "initTimeout": 5}, "initTimeout", "too few"),
        ({"url": URL, "sseReadTimeout": 0}, "sseReadTimeout", "no positive number"),
        ({"url": URL, "serverUrl": URL}, "serverUrl", "'url' is said twice"),
        ({"url": URL, "disabled": "yes"}, "disabled", "neither true nor false"),
    ],
)
def test_what_cannot_be_meant_is_refused(written: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_foreign({"crm": written})
    assert (caught.value.server_name, caught.value.field) == ("crm", field)
    assert problem in caught.value.message


def test_no_time_at_all_is_ours() -> None:
    assert from_foreign({"crm": {"url": URL, "timeout": 0}}) == {"crm": {"url": URL}}


@pytest.mark.parametrize("field", ["disabled", "autoApprove", "sseReadTimeout", "initTimeout"])
def test_what_only_means_something_there_is_no_field_of_ours(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{field}': it is not permitted"):
        load_servers({"crm": {"url": URL, field: 5000}})


def test_fields_may_be_spelt_as_there_wherever_they_are_written() -> None:
    written = {"url": URL, "iconPath": "i.png", "requiresOAuth": True, "dbId": "7"}
    loaded = load_servers({"crm": written})["crm"]
    assert (loaded.icon_path, loaded.requires_oauth, loaded.db_id) == ("i.png", True, "7")


def test_a_field_in_two_spellings_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'icon_path': it is there twice"):
        load_servers({"crm": {"url": URL, "iconPath": "a", "icon_path": "b"}})


def test_what_a_user_made_is_so_in_either_spelling() -> None:
    written = {"url": URL, "headers": {"X": "${TOKEN}"}, "dbId": "7"}
    loaded = load_servers({"crm": written}, environment={"TOKEN": "s3cret"})["crm"]
    assert loaded.headers == {"X": "${TOKEN}"}
