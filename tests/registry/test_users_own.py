"""Servers that users have added themselves."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpsync import MCPManager
from mcpsync.config import is_user_sourced, server_of_key
from mcpsync.errors import (
    ConfigurationError,
    InspectionFailed,
    MCPSyncError,
    NotPermitted,
    SecretRequired,
    ServerNotFound,
    StoreError,
)
from mcpsync.registry import Roles, ServersRegistry
from mcpsync.registry.permissions import OF_THE_REGISTRY
from mcpsync.stores import SQLiteUserServers
from mcpsync.stores.user_servers import EVERYBODY
from mcpsync.testing import FakeClock, LocalServer
from support.workers import Worker

URL = "https://notes.example.com/mcp"
OBO = {"obo": {"scopes": "api://notes/.default"}}
ROLES = Roles({"admin": {}, "user": {}})


def serve(path: str) -> None:
    """Be another process of the application."""
    import json
    import sys

    from mcpsync._runtime.clock import SystemClock

    registry = ServersRegistry({}, SystemClock(), SQLiteUserServers(path))
    for line in sys.stdin:
        print(json.dumps(eval(line, {"registry": registry}), default=str), flush=True)  # noqa: S307


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "servers.db"


@pytest.fixture
def database(path: Path, clock: FakeClock) -> Iterator[SQLiteUserServers]:
    made = SQLiteUserServers(path, clock=clock)
    yield made
    made.close()


@pytest.fixture
def roles() -> dict[str, str]:
    return {"root": "admin", "ada": "user", "bob": "user"}


@pytest.fixture
def registry(
    database: SQLiteUserServers, clock: FakeClock, roles: dict[str, str]
) -> ServersRegistry:
    may = ROLES.checker(roles.get)
    return ServersRegistry({"crm": {"url": URL, "title": "CRM"}}, clock, database, None, may)


def url_of(registry: ServersRegistry, name: str, user: str | None) -> str | None:
    config = registry.get_server_config(name, user)
    return None if config is None else config.url  # type: ignore[union-attr]


def share(database: SQLiteUserServers, name: str, author: str, user: str = EVERYBODY) -> None:
    """Share a server of an author's."""
    entry = database.find(name, author)
    assert entry is not None
    database.share(entry, user)


# -- reading ---------------------------------------------------------------------------------------


def test_a_users_server_is_found_for_him_alone(registry: ServersRegistry) -> None:
    added = registry.add_server("notes", {"url": URL}, user="ada")
    assert registry.get_server_config("notes", "ada") == added
    assert registry.get_server_config("notes", "bob") is None
    assert registry.get_server_config("notes") is None
    assert list(registry.get_all_server_configs("ada")) == ["crm", "notes"]
    assert list(registry.get_all_server_configs("bob")) == ["crm"]
    assert list(registry.get_all_server_configs()) == registry.server_names == ["crm"]
    with pytest.raises(ServerNotFound):
        registry.require("notes", "bob")
    assert registry.require("notes", "ada") == added


def test_what_a_user_has_added_is_not_trusted(
    registry: ServersRegistry, database: SQLiteUserServers, clock: FakeClock
) -> None:
    added = registry.add_server("notes", {"url": URL}, user="ada")
    entry = database.find("notes", "ada")
    assert entry is not None
    assert (added.source, added.db_id, added.updated_at) == ("user", entry.db_id, clock.time())
    assert is_user_sourced(added)


def test_the_nearest_name_is_one_that_the_user_may_see(registry: ServersRegistry) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    with pytest.raises(ServerNotFound, match="Did you mean 'notes'"):
        registry.require("note", "ada")
    with pytest.raises(ServerNotFound) as caught:
        registry.require("note", "bob")
    assert "notes" not in str(caught.value)


def test_of_one_name_the_operators_wins(
    registry: ServersRegistry, database: SQLiteUserServers
) -> None:
    database.add("crm", "ada", {"url": "https://attacker.example.com/mcp"})
    assert url_of(registry, "crm", "ada") == URL
    assert registry.get_all_server_configs("ada")["crm"].source is None
    registry.remove_server("crm")
    assert url_of(registry, "crm", "ada") == "https://attacker.example.com/mcp"


def test_it_is_the_same_object_as_long_as_it_does_not_change(
    registry: ServersRegistry, clock: FakeClock
) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    first = registry.get_server_config("notes", "ada")
    clock.advance(60)
    assert registry.get_server_config("notes", "ada") is first
    assert registry.get_all_server_configs("ada")["notes"] is first


def test_another_process_is_heard_of_within_five_seconds(
    registry: ServersRegistry, path: Path, clock: FakeClock
) -> None:
    other = Worker("registry.test_users_own", str(path))
    try:
        assert registry.get_server_config("notes", "ada") is None
        assert other.ask(
            "registry.add_server('notes', {'url': 'https://a.example.com'}, user='ada').url"
        )
        assert registry.get_server_config("notes", "ada") is None  # it has just been looked up
        clock.advance(5)
        assert url_of(registry, "notes", "ada") == "https://a.example.com"
        other.ask("registry.update_server('notes', {'url': 'https://b.example.com'}, user='ada')")
        clock.advance(5)
        assert url_of(registry, "notes", "ada") == "https://b.example.com"
        assert other.ask("registry.remove_server('notes', user='ada')") is None
        clock.advance(5)
        assert registry.get_server_config("notes", "ada") is None
        assert registry.get_all_server_configs("ada").keys() == {"crm"}
    finally:
        other.close()


def test_who_writes_sees_it_at_once(registry: ServersRegistry) -> None:
    for look in (
        registry.get_server_config,
        lambda name, user: registry.get_all_server_configs(user).get(name),
    ):
        assert look("notes", "ada") is None
        registry.add_server("notes", {"url": URL}, user="ada")
        assert look("notes", "ada") is not None
        registry.update_server("notes", {"url": f"{URL}/2"}, user="ada")
        assert look("notes", "ada").url == f"{URL}/2"  # type: ignore[union-attr]
        registry.remove_server("notes", user="ada")
        assert look("notes", "ada") is None


class Counting:
    """A database of users' servers that counts how often it is read."""

    def __init__(self, database: SQLiteUserServers) -> None:
        self._database = database
        self.reads: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.reads.append(name)
        return getattr(self._database, name)


def test_the_database_is_read_once_in_five_seconds_and_not_for_the_operators(
    database: SQLiteUserServers, clock: FakeClock
) -> None:
    counting: Any = Counting(database)
    registry = ServersRegistry({"crm": {"url": URL}}, clock, counting)
    counting.reads.clear()
    for _ in range(3):
        registry.get_server_config("notes", "ada")
        registry.get_server_config("crm", "ada")
        registry.get_all_server_configs("ada")
        registry.get_all_server_configs()
        registry.get_server_config("notes")
    assert sorted(counting.reads) == ["find", "find_all"]
    registry.get_server_config("notes", "bob")
    assert sorted(counting.reads) == ["find", "find", "find_all"]


def test_a_database_that_is_away_harms_the_operators_servers_not(
    registry: ServersRegistry, database: SQLiteUserServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise StoreError("away.")

    monkeypatch.setattr(database, "find", fail)
    monkeypatch.setattr(database, "find_all", fail)
    assert url_of(registry, "crm", "ada") == URL
    with pytest.raises(StoreError):
        registry.require("notes", "ada")


def test_an_entry_that_makes_no_sense_is_left_out_and_said(
    registry: ServersRegistry, database: SQLiteUserServers, caplog: pytest.LogCaptureFixture
) -> None:
    database.add("broken", "ada", {"url": "ftp://s3cret.example.com"})
    database.add("notes", "ada", {"url": URL})
    assert list(registry.get_all_server_configs("ada")) == ["crm", "notes"]
    assert registry.get_server_config("broken", "ada") is None
    assert "what is kept of it is wrong" in caplog.text


def test_what_is_in_the_database_cannot_make_itself_trusted(
    registry: ServersRegistry, database: SQLiteUserServers
) -> None:
    database.add("notes", "ada", {"url": URL, "source": "yaml", "db_id": "another"})
    database.add("shell", "ada", {"command": "sh", "source": "yaml"})
    found = registry.get_server_config("notes", "ada")
    assert found is not None
    assert found.source == "user"
    assert registry.get_server_config("shell", "ada") is None


# -- adding ----------------------------------------------------------------------------------------


OPERATORS = {
    *("cwd", "env", "args", "command", "stderr", "scope", "startup", "proxy", "timeout"),
    *("connect_timeout", "server_instructions", "chat_menu", "requires_oauth", "oauth_headers"),
}


@pytest.mark.parametrize(
    "field", sorted(OPERATORS | OF_THE_REGISTRY | {"tiemout", "requiresOAuth"})
)
def test_what_is_not_a_users_to_say_is_refused_by_name(
    registry: ServersRegistry, field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        registry.add_server("notes", {"url": URL, field: "x"}, user="ada")
    assert caught.value.field == {"requiresOAuth": "requires_oauth"}.get(field, field)
    assert registry.get_server_config("notes", "ada") is None


@pytest.mark.parametrize(
    "written",
    [
        {"url": "https://x.example.com/${HOME}"},
        {"url": "https://x.example.com/{{USER_EMAIL}}"},
        {"url": URL, "headers": {"X-Key": "${SECRET_KEY}"}},
        {"url": URL, "headers": {"X-Key": "{{LIBRECHAT_OPENID_ACCESS_TOKEN}}"}},
        {"url": URL, "headers": {"{{USER_ID}}": "x"}},
        {"url": URL, "oauth": {"client_id": "${SECRET_KEY}"}},
        {"url": "file:///etc/passwd"},
        {"command": "sh"},
        {1: "sh", "url": URL},
        {None: "sh"},
        {"url": URL, "apiKey": {"source": "admin"}},
        "https://x.example.com",
        None,
    ],
)
def test_what_would_tell_a_secret_or_start_something_is_refused(
    registry: ServersRegistry, written: Any
) -> None:
    with pytest.raises(ConfigurationError):
        registry.add_server("notes", written, user="ada")
    assert registry.get_server_config("notes", "ada") is None


def test_what_a_page_sends_in_other_spellings_is_the_same(
    registry: ServersRegistry, database: SQLiteUserServers
) -> None:
    sent = {"url": URL, "iconPath": "/n.png", "apiKey": {"source": "admin", "key": "s3cret"}}
    registry.add_server("notes", sent, user="ada")
    edited = {"url": URL, "iconPath": "/m.png", "apiKey": {"source": "admin"}}
    config = registry.update_server("notes", edited, user="ada")
    assert (config.icon_path, config.all_headers) == (  # type: ignore[union-attr]
        "/m.png",
        {"Authorization": "Bearer s3cret"},
    )
    elsewhere = {**edited, "url": "https://elsewhere.example.com/mcp"}
    with pytest.raises(SecretRequired):
        registry.update_server("notes", elsewhere, user="ada")
    entry = database.find("notes", "ada")
    assert entry is not None
    assert set(entry.config) == {"url", "icon_path", "api_key"}


def test_whose_it_is_and_who_may_only_use_it_is_in_the_configuration(
    registry: ServersRegistry, database: SQLiteUserServers
) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    share(database, "notes", "ada", "bob")
    mine, shared = (registry.require("notes", each) for each in ("ada", "bob"))
    assert (mine.author, mine.consume_only) == ("ada", False)
    assert (shared.author, shared.consume_only) == ("ada", True)


def test_whom_it_is_shared_with_fills_in_a_key_of_his_own(
    registry: ServersRegistry,
) -> None:
    added = registry.add_server("notes", {"url": URL, "api_key": {"source": "user"}}, user="ada")
    assert list(added.custom_user_vars) == ["MCP_API_KEY"]


@pytest.mark.parametrize("name", ["crm", "", "my notes", "x" * 201, "a_mcp_crm", "no/tes"])
def test_a_name_that_is_taken_or_would_be_confused_is_refused(
    registry: ServersRegistry, name: str
) -> None:
    with pytest.raises(ConfigurationError):
        registry.add_server(name, {"url": URL}, user="ada")


def test_a_name_that_would_be_confused_with_another_of_the_users_own_is_refused(
    registry: ServersRegistry,
) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    with pytest.raises(ConfigurationError, match="would be taken for those of the other"):
        registry.add_server("my_mcp_notes", {"url": URL}, user="ada")
    registry.add_server("my_mcp_notes", {"url": URL}, user="bob")


def test_a_name_is_taken_for_everybody(registry: ServersRegistry) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    with pytest.raises(ConfigurationError, match="there is a server of that name"):
        registry.add_server("notes", {"url": URL}, user="bob")


def test_what_is_kept_and_wrong_is_updated_by_whoever_may_write_it_anew(
    registry: ServersRegistry, database: SQLiteUserServers
) -> None:
    database.add("notes", "ada", {"url": URL, "forgotten": 1, **OBO})
    assert registry.get_server_config("notes", "ada") is None
    with pytest.raises(NotPermitted):
        registry.update_server("notes", {"url": URL, **OBO}, user="ada")
    registry.update_server("notes", {"url": URL}, user="ada")
    assert url_of(registry, "notes", "ada") == URL


def test_a_name_that_is_too_long_is_nobodys_and_is_neither_kept_nor_shown_whole(
    registry: ServersRegistry,
) -> None:
    with pytest.raises(ServerNotFound) as caught:
        registry.require("x" * 100_000, "ada")
    assert len(str(caught.value)) < 600
    assert registry._one._kept == {}


def test_nobody_has_a_server_whose_name_is_no_text(registry: ServersRegistry) -> None:
    assert registry.get_server_config("\ud800", "ada") is None
    with pytest.raises(ServerNotFound):
        registry.require("\ud800", "ada")
    with pytest.raises(ServerNotFound):
        registry.update_server("\ud800", {"url": URL}, user="ada")
    with pytest.raises(StoreError, match="halves of characters"):
        registry.add_server("notes", {"url": URL}, user="\ud800")


def test_without_a_database_users_have_no_servers(clock: FakeClock) -> None:
    registry = ServersRegistry({"crm": {"url": URL}}, clock)
    for change in (registry.add_server, registry.update_server):
        with pytest.raises(ConfigurationError, match="user_servers="):
            change("notes", {"url": URL}, user="ada")
    with pytest.raises(ConfigurationError, match="user_servers="):
        registry.remove_server("notes", user="ada")
    assert registry.get_server_config("crm", "ada") is registry.get_server_config("crm")


# -- changing --------------------------------------------------------------------------------------


def test_a_user_changes_his_own(registry: ServersRegistry) -> None:
    before = registry.add_server("notes", {"url": URL}, user="ada")
    after = registry.update_server("notes", {"url": URL, "title": "Notes"}, user="ada")
    assert after.title == "Notes"
    assert after.updated_at is not None
    assert before.updated_at is not None
    assert after.updated_at > before.updated_at
    assert after.db_id == before.db_id


def test_whom_it_is_shared_with_uses_it_and_does_not_change_it(
    registry: ServersRegistry, database: SQLiteUserServers
) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    share(database, "notes", "ada", "bob")
    assert url_of(registry, "notes", "bob") == URL
    with pytest.raises(NotPermitted):
        registry.update_server("notes", {"url": "https://b.example.com"}, user="bob")
    with pytest.raises(NotPermitted):
        registry.remove_server("notes", user="bob")
    assert url_of(registry, "notes", "ada") == URL


def test_what_is_not_a_users_he_does_not_find(registry: ServersRegistry) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    for name in ("notes", "crm", "other"):
        with pytest.raises(ServerNotFound):
            registry.update_server(name, {"url": URL}, user="bob")
        registry.remove_server(name, user="bob")
    assert url_of(registry, "notes", "ada") == URL
    assert url_of(registry, "crm", None) == URL


def test_a_secret_is_kept_when_it_is_not_mentioned_and_asked_for_when_it_leads_elsewhere(
    registry: ServersRegistry,
) -> None:
    oauth = {"client_id": "c", "issuer": "https://as.example.com"}
    secret = {**oauth, "client_secret": "s3cret"}
    registry.add_server("notes", {"url": URL, "oauth": secret}, user="ada")
    kept: Any = registry.update_server("notes", {"url": URL, "oauth": oauth}, user="ada")
    assert kept.oauth.client_secret == "s3cret"
    with pytest.raises(SecretRequired):
        registry.update_server(
            "notes", {"url": "https://b.example.com", "oauth": oauth}, user="ada"
        )
    assert url_of(registry, "notes", "ada") == URL


def test_an_operators_secret_is_kept_too(registry: ServersRegistry) -> None:
    oauth = {"client_id": "c", "issuer": "https://as.example.com"}
    registry.add_server("crm", {"url": URL, "oauth": {**oauth, "client_secret": "s3cret"}})
    kept: Any = registry.update_server("crm", {"url": URL, "oauth": oauth, "title": "CRM"})
    assert kept.oauth.client_secret == "s3cret"
    with pytest.raises(SecretRequired):
        registry.update_server("crm", {"url": "https://b.example.com", "oauth": oauth})


def test_who_is_slower_is_told(
    registry: ServersRegistry, database: SQLiteUserServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    find = database.find

    def find_and_be_slow(name: str, user_id: str) -> Any:
        entry = find(name, user_id)
        assert entry is not None
        database.replace(entry, {"url": "https://faster.example.com"})
        return entry

    monkeypatch.setattr(database, "find", find_and_be_slow)
    with pytest.raises(StoreError, match="changed the server meanwhile") as caught:
        registry.update_server("notes", {"url": "https://slower.example.com"}, user="ada")
    assert caught.value.retryable
    monkeypatch.undo()
    assert url_of(registry, "notes", "ada") == "https://faster.example.com"


# -- the permission --------------------------------------------------------------------------------


def test_obo_is_for_who_has_the_permission(
    registry: ServersRegistry, roles: dict[str, str]
) -> None:
    with pytest.raises(NotPermitted):
        registry.add_server("notes", {"url": URL, **OBO}, user="ada")
    added = registry.add_server("notes", {"url": URL, **OBO}, user="root")
    assert added.obo is not None
    registry.add_server("plain", {"url": URL}, user="ada")
    with pytest.raises(NotPermitted):
        registry.update_server("plain", {"url": URL, **OBO}, user="ada")


def test_who_lost_the_permission_changes_what_is_there_for_people_only(
    registry: ServersRegistry, roles: dict[str, str]
) -> None:
    registry.add_server("notes", {"url": URL, **OBO}, user="root")
    roles["root"] = "user"
    renamed = registry.update_server("notes", {"url": URL, **OBO, "title": "N"}, user="root")
    assert renamed.title == "N"
    for written in ({"url": "https://b.example.com", **OBO}, {"url": URL}):
        with pytest.raises(NotPermitted):
            registry.update_server("notes", written, user="root")
    assert url_of(registry, "notes", "root") == URL


def test_a_server_is_sent_tokens_as_long_as_its_author_may_say_so(
    registry: ServersRegistry, database: SQLiteUserServers, roles: dict[str, str]
) -> None:
    config = registry.add_server("notes", {"url": URL, **OBO}, user="root")
    share(database, "notes", "root")
    gate = registry.obo_gate
    assert gate.may_use_obo("notes", config)
    assert not gate.may_use_obo("crm", config)
    roles["root"] = "user"
    assert not gate.may_use_obo("notes", config)
    roles["root"] = "admin"
    assert gate.may_use_obo("notes", config)
    registry.remove_server("notes", user="root")
    assert not gate.may_use_obo("notes", config)  # whoever still has the configuration


# -- over a manager --------------------------------------------------------------------------------


@pytest.fixture
def manager_with(
    database: SQLiteUserServers, clock: FakeClock
) -> Iterator[Callable[..., MCPManager]]:
    made: list[MCPManager] = []

    def make(servers: dict[str, Any] | None = None, **options: Any) -> MCPManager:
        options = {"allowed_addresses": ["127.0.0.0/8"], "connect_attempts": 1, **options}
        made.append(MCPManager(servers or {}, user_servers=database, **options))
        return made[-1]

    yield make
    for manager in made:
        manager.close()


def test_a_user_calls_his_own_server_and_nobody_else_does(
    manager_with: Callable[..., MCPManager],
) -> None:
    with LocalServer() as server:
        manager = manager_with()
        manager.registry.add_server("notes", {"url": server.url}, user="ada")
        answer = manager.call_tool("notes", "add", {"a": 1, "b": 2}, user="ada")
        assert answer.structured_content == {"sum": 3}
        for user in ("bob", None):
            with pytest.raises(ServerNotFound):
                manager.call_tool("notes", "add", {"a": 1, "b": 2}, user=user)
        assert manager.discover_server_tools("notes", user="ada").tools
        assert manager.discover_server_tools("notes", user="bob").tools is None
        assert server.executions == {"add": 1}
        assert manager.get_connection_stats()["app_connection_count"] == 0


@pytest.mark.parametrize(("own", "later"), [("my_mcp_crm", "crm"), ("Gr__e", "Größe")])
def test_a_users_tools_have_no_keys_that_are_those_of_an_operators_later_server(
    manager_with: Callable[..., MCPManager], own: str, later: str
) -> None:
    with LocalServer() as server:
        manager = manager_with()
        manager.registry.add_server(own, {"url": server.url}, user="ada")
        with manager.connection(own, user="ada"):
            assert manager.get_server_tool_functions("ada", own)
            manager.registry.add_server(later, {"url": server.url})
            assert not manager.get_server_tool_functions("ada", own)


@pytest.mark.parametrize(("own", "later"), [("b", "a_mcp_b"), ("b", "b")])
def test_a_users_server_that_is_in_the_way_of_an_operators_later_one_is_left_out(
    manager_with: Callable[..., MCPManager],
    database: SQLiteUserServers,
    own: str,
    later: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else what is meant for the operator's would be sent to the user's."""
    with LocalServer() as theirs, LocalServer() as ours:
        manager = manager_with()
        registry = manager.registry
        registry.add_server(own, {"url": theirs.url}, user="ada")
        share(database, own, "ada")
        registry.add_server(later, {"url": ours.url, "scope": "app"})
        with manager.connection(later):
            keys = manager.get_server_tool_functions("bob", later)
        assert keys
        configs = registry.get_all_server_configs("bob")
        assert {server_of_key(key, configs) for key in keys} == {later}
        assert url_of(registry, later, "bob") == ours.url
        assert own == later or registry.get_server_config(own, "bob") is None
        assert "is left out" in caplog.text or own == later
        registry.remove_server(own, user="ada")  # whose it is may still remove it
        assert database.find(own, "ada") is None


def test_of_two_users_servers_that_meet_the_keys_of_one_lead_to_it_and_the_other_has_none(
    manager_with: Callable[..., MCPManager], database: SQLiteUserServers
) -> None:
    with LocalServer() as server:
        manager = manager_with()
        for name, author in (("b", "ada"), ("a_mcp_b", "eve")):
            manager.registry.add_server(name, {"url": server.url}, user=author)
            share(database, name, author, "bob")
        with manager.connection("b", user="bob"), manager.connection("a_mcp_b", user="bob"):
            keys = manager.get_server_tool_functions("bob", "b")
            assert keys
            assert manager.get_server_tool_functions("bob", "a_mcp_b") == {}
        with manager.connection("a_mcp_b", user="eve"):
            assert manager.get_server_tool_functions("eve", "a_mcp_b")


def test_the_names_of_servers_are_had_without_looking_at_any(
    registry: ServersRegistry, database: SQLiteUserServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_server("notes", {"url": URL}, user="ada")
    assert registry.names_for() == registry.names_for("bob") == ["crm"]
    assert registry.names_for("ada") == ["crm", "notes"]
    registry.remove_server("notes", user="ada")
    assert registry.names_for("ada") == ["crm"]

    def fail(*args: Any) -> Any:
        raise StoreError("away.")

    monkeypatch.setattr(database, "find_all", fail)
    assert registry.names_for("eve") == ["crm"]


def test_who_removes_a_server_calls_it_no_more(manager_with: Callable[..., MCPManager]) -> None:
    with LocalServer() as server:
        manager = manager_with()
        manager.registry.add_server("notes", {"url": server.url}, user="ada")
        manager.call_tool("notes", "add", {"a": 1, "b": 2}, user="ada")
        manager.registry.remove_server("notes", user="ada")
        with pytest.raises(ServerNotFound):
            manager.call_tool("notes", "add", {"a": 1, "b": 2}, user="ada")
        assert manager.get_user_connections("ada") == {}


def test_who_updates_a_server_calls_the_new_one(manager_with: Callable[..., MCPManager]) -> None:
    with LocalServer() as old, LocalServer() as new:
        manager = manager_with()
        manager.registry.add_server("notes", {"url": old.url}, user="ada")
        manager.call_tool("notes", "add", {"a": 1, "b": 2}, user="ada")
        manager.registry.update_server("notes", {"url": new.url}, user="ada")
        manager.call_tool("notes", "add", {"a": 1, "b": 2}, user="ada")
        assert (old.executions, new.executions) == ({"add": 1}, {"add": 1})


def test_a_server_is_looked_at_before_it_is_added(manager_with: Callable[..., MCPManager]) -> None:
    with LocalServer() as gone:
        url = gone.url
    manager = manager_with()
    with pytest.raises(InspectionFailed, match='Failed to connect to MCP server "notes"') as caught:
        manager.registry.add_server("notes", {"url": url}, user="ada")
    assert isinstance(caught.value.__cause__, MCPSyncError)
    assert manager.registry.get_server_config("notes", "ada") is None
    with LocalServer() as server:
        manager.registry.add_server("notes", {"url": server.url}, user="ada")
        with pytest.raises(InspectionFailed):
            manager.registry.update_server("notes", {"url": url}, user="ada")
        assert url_of(manager.registry, "notes", "ada") == server.url
        asked = len(server.requests)
        manager.registry.update_server("notes", {"url": server.url, "title": "N"}, user="ada")
        assert len(server.requests) == asked  # it leads where it led
