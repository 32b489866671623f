"""Which servers there are, what was found of them, and who may give them obo. (8.8, 8.10)"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcpsync import MCPManager
from mcpsync.config import parse_server
from mcpsync.errors import (
    InspectionFailed,
    MCPSyncError,
    NotPermitted,
    RefusedError,
    SecretRequired,
    StoreError,
)
from mcpsync.registry import (
    Roles,
    ServerInspector,
    ServersRegistry,
    redact_all_server_secrets,
    redact_server_secrets,
)
from mcpsync.registry.findings import RETRY_AFTER
from mcpsync.registry.permissions import OboGate
from mcpsync.stores import SQLiteUserServers
from mcpsync.testing import FakeClock, Fault, LocalServer
from seed.things import methods, raised
from support.threads import Gate, outcome, start, wait_until

URL = "https://graph.example.com/mcp"
OBO = {"url": URL, "obo": {"scopes": "api://graph/.default"}}
PERMISSION = "Insufficient permissions to configure OBO"


@pytest.fixture
def database(tmp_path: Path, clock: FakeClock) -> Iterator[SQLiteUserServers]:
    made = SQLiteUserServers(tmp_path / "servers.db", clock=clock)
    yield made
    made.close()


@pytest.fixture
def roles() -> dict[str, str]:
    """Who has which role: an administrator may configure obo, a user may not."""
    return {"root": "ADMIN", "ada": "USER"}


@pytest.fixture
def registry(
    database: SQLiteUserServers, clock: FakeClock, roles: dict[str, str]
) -> ServersRegistry:
    """One server by YAML, and a database of users'."""
    may = Roles({"ADMIN": {}, "USER": {}}).checker(roles.get)
    return ServersRegistry({"crm": {"url": URL}}, clock, database, None, may)


@pytest.fixture
def nowhere() -> str:
    with LocalServer() as gone:
        return gone.url


# -- trust (8.8) -----------------------------------------------------------------------------------


def test_a_server_of_yaml_or_config_is_trusted_with_obo(clock: FakeClock) -> None:
    registry = ServersRegistry(
        {"crm": OBO}, clock, overrides=lambda _: {"wiki": OBO}, may_configure_obo=None
    )
    for name in ("crm", "wiki"):
        assert registry.obo_gate.may_use_obo(name, registry.require(name))


def test_a_users_server_is_trusted_with_obo_while_its_author_has_the_permission(
    registry: ServersRegistry, roles: dict[str, str]
) -> None:
    config = registry.add_server("graph", OBO, user="root")
    assert registry.obo_gate.may_use_obo("graph", config)
    roles["root"] = "USER"
    assert not registry.obo_gate.may_use_obo("graph", config)


@pytest.mark.parametrize("missing", ["author", "role", "permission", "error", "error of a role"])
def test_a_users_server_is_not_trusted_if_anything_is_missing(
    registry: ServersRegistry, database: SQLiteUserServers, roles: dict[str, str], missing: str
) -> None:
    config = registry.add_server("graph", OBO, user="root")
    gate = registry.obo_gate
    if missing == "author":
        registry.remove_server("graph", user="root")
    elif missing == "role":
        del roles["root"]
    elif missing == "permission":
        roles["root"] = "a role that nobody knows"
    else:

        def fail(*_: Any) -> Any:
            raise StoreError("away.")

        is_role = missing == "error of a role"
        gate = OboGate(fail, database.author_of) if is_role else OboGate(lambda _: True, fail)
    assert gate.may_use_obo("graph", config) is False


# -- writing (8.8) ---------------------------------------------------------------------------------


def test_creating_or_updating_with_obo_is_refused_without_the_permission(
    registry: ServersRegistry,
) -> None:
    with pytest.raises(NotPermitted, match=PERMISSION):
        registry.add_server("graph", OBO, user="ada")
    registry.add_server("graph", {"url": URL}, user="ada")
    with pytest.raises(NotPermitted, match=PERMISSION):
        registry.update_server("graph", OBO, user="ada")
    assert registry.require("graph", "ada").obo is None


@pytest.fixture
def demoted(registry: ServersRegistry, roles: dict[str, str]) -> ServersRegistry:
    """A registry whose server with obo is of somebody who had the permission once."""
    registry.add_server("graph", {**OBO, "headers": {"X-Tenant": "1"}}, user="root")
    roles["root"] = "USER"
    return registry


def test_of_a_server_with_obo_title_and_description_may_change(demoted: ServersRegistry) -> None:
    written = {**OBO, "headers": {"X-Tenant": "1"}, "title": "Graph", "description": "All of it"}
    after = demoted.update_server("graph", written, user="root")
    assert (after.title, after.description) == ("Graph", "All of it")


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://attacker.example.com/mcp"},
        {"headers": {"X-Tenant": "2"}},
        {"headers": {}},
        {"type": "sse"},
        {"obo": {"scopes": "api://payroll/.default"}},
        {"obo": None},
        {"oauth": {"client_id": "c"}},
    ],
)
def test_of_a_server_with_obo_no_other_field_may_change(
    demoted: ServersRegistry, change: dict[str, Any]
) -> None:
    before = demoted.require("graph", "root")
    with pytest.raises(NotPermitted, match=PERMISSION):
        demoted.update_server(
            "graph", {**OBO, "headers": {"X-Tenant": "1"}, "title": "N", **change}, user="root"
        )
    assert demoted.require("graph", "root") == before


def test_of_a_server_with_obo_fields_that_do_not_change_pass(demoted: ServersRegistry) -> None:
    demoted.update_server("graph", {**OBO, "headers": {"X-Tenant": "1"}}, user="root")


def test_who_has_the_permission_changes_everything(registry: ServersRegistry) -> None:
    registry.add_server("graph", OBO, user="root")
    moved = {"url": "https://other.example.com/mcp", "obo": {"scopes": "s"}}
    after: Any = registry.update_server("graph", moved, user="root")
    assert (after.url, after.obo.scopes) == (moved["url"], "s")


def test_existing_roles_get_the_permission_by_default_and_keep_what_was_set() -> None:
    roles = Roles({"ADMIN": {"create": True}, "USER": {}, "EDITOR": {"configure_obo": True}})
    assert roles.allows("ADMIN")
    assert not roles.allows("USER")
    assert roles.allows("EDITOR")
    assert not Roles({"ADMIN": {"configure_obo": False}}).allows("ADMIN")


# -- the inspector (8.8, 8.10) ---------------------------------------------------------------------


def test_no_connection_is_made_to_look_at_a_server_with_obo(server: LocalServer) -> None:
    with MCPManager({"graph": {**OBO, "url": server.url}}) as manager:
        found = manager.inspect_servers()["graph"]
        assert (found.error, found.connected, found.tools) == (None, False, None)
        assert server.connections_opened == 0


def test_a_users_server_is_looked_at_before_it_is_added(
    database: SQLiteUserServers, nowhere: str, server: LocalServer
) -> None:
    here = {"allowed_addresses": ["127.0.0.0/8"], "connect_attempts": 1}
    with MCPManager({}, user_servers=database, **here) as manager:
        with pytest.raises(InspectionFailed, match='Failed to connect to MCP server "notes"'):
            manager.registry.add_server("notes", {"url": nowhere}, user="ada")
        assert manager.registry.get_server_config("notes", "ada") is None
        manager.registry.add_server("notes", {"url": server.url}, user="ada")
        assert "tools/list" in methods(server)


def test_a_domain_that_is_not_allowed_is_said_as_it_is_and_nothing_is_sent(
    server: LocalServer,
) -> None:
    with MCPManager({}, allowed_domains=["*.example.com"], guard="all") as manager:
        add = manager.registry.add_server
        error = raised(lambda: add("wiki", {"url": server.url}, inspect=True))
    assert isinstance(error, RefusedError)
    assert error.rule == "domain"
    assert server.connections_opened == 0


def test_the_time_for_each_server_is_limited_and_a_slow_one_blocks_no_start(
    legacy: LocalServer,
) -> None:
    with LocalServer() as slow:
        slow.inject(Fault.HANG, times=None)
        servers: dict[str, Any] = {"slow": {"url": slow.url, "requires_oauth": False}}
        servers["quick"] = {"url": legacy.url}
        with MCPManager(servers) as manager:
            began = time.monotonic()
            found = manager.inspect_servers(timeout=0.5)
            assert time.monotonic() - began < 5
            assert found["quick"].connected
            assert found["quick"].error is None
            assert isinstance(found["slow"].error, MCPSyncError)
            assert manager.call_tool("quick", "add", {"a": 1, "b": 2}).structured_content
        slow.clear_faults()


def test_a_failed_server_is_shown_and_retried(
    nowhere: str, clock: FakeClock, server: LocalServer
) -> None:
    with MCPManager({"crm": {"url": nowhere}}, clock=clock, connect_attempts=1) as manager:
        manager.inspect_servers()
        registry = manager.registry
        assert registry.require("crm").inspection_failed
        assert list(registry.get_all_server_configs()) == ["crm"]
        with pytest.raises(InspectionFailed):
            registry.reinspect_server("crm")
        clock.advance(RETRY_AFTER)
        assert not registry.require("crm").inspection_failed


# -- precedence and caching (8.10) -----------------------------------------------------------------


def test_yaml_beats_the_database_and_an_override_overlays_yaml_only(
    database: SQLiteUserServers, clock: FakeClock
) -> None:
    for name in ("crm", "notes"):
        database.add(name, "ada", {"url": "https://ada.example.com/mcp", "title": "Hers"})
    said = {"crm": {"title": "Laid over"}, "notes": {"title": "Laid over", "url": URL}}
    registry = ServersRegistry({"crm": {"url": URL}}, clock, database, lambda _: said)
    crm: Any = registry.require("crm", "ada")
    notes: Any = registry.require("notes", "ada")
    assert (crm.url, crm.title, crm.source) == (URL, "Laid over", "yaml")
    assert (notes.url, notes.title, notes.source) == (
        "https://ada.example.com/mcp",
        "Hers",
        "user",
    )
    assert registry.get_all_server_configs("ada") == {"crm": crm, "notes": notes}


def test_an_override_that_fails_never_replaces_a_healthy_base(
    manager: MCPManager, server: LocalServer, nowhere: str, clock: FakeClock
) -> None:
    said = {"crm": {"url": nowhere}}
    with MCPManager(
        {"crm": {"url": server.url}}, overrides=lambda _: said, clock=clock, connect_attempts=1
    ) as overridden:
        config: Any = overridden.registry.require("crm")
        assert config.url == server.url
        assert overridden.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")


def test_an_override_that_failed_is_tried_again_after_five_minutes(
    server: LocalServer, clock: FakeClock
) -> None:
    with LocalServer() as other:
        other.inject(Fault.HTTP_500, times=None)
        said = {"crm": {"url": other.url}}
        with MCPManager(
            {"crm": {"url": server.url}}, overrides=lambda _: said, clock=clock, connect_attempts=1
        ) as manager:
            before: Any = manager.registry.require("crm")
            assert before.url == server.url
            other.clear_faults()
            clock.advance(RETRY_AFTER)
            after: Any = manager.registry.require("crm")
            assert after.url == other.url


def test_what_was_read_is_good_for_five_seconds_and_a_write_clears_it(
    registry: ServersRegistry, database: SQLiteUserServers, clock: FakeClock
) -> None:
    assert registry.get_server_config("notes", "ada") is None
    assert list(registry.get_all_server_configs("ada")) == ["crm"]
    database.add("notes", "ada", {"url": URL})  # as another process does
    assert registry.get_server_config("notes", "ada") is None
    assert list(registry.get_all_server_configs("ada")) == ["crm"]
    clock.advance(5)
    assert registry.get_server_config("notes", "ada") is not None
    assert list(registry.get_all_server_configs("ada")) == ["crm", "notes"]
    registry.remove_server("notes", user="ada")
    assert registry.get_server_config("notes", "ada") is None
    assert list(registry.get_all_server_configs("ada")) == ["crm"]


def test_concurrent_readers_of_all_share_one_reading(
    database: SQLiteUserServers, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, reads = Gate(), []
    find_all = database.find_all

    def slowly(user_id: str) -> Any:
        reads.append(user_id)
        gate()
        return find_all(user_id)

    monkeypatch.setattr(database, "find_all", slowly)
    registry = ServersRegistry({"crm": {"url": URL}}, clock, database)
    readers = [start(registry.get_all_server_configs, "ada") for _ in range(8)]
    wait_until(lambda: registry._all._flight.joined == 7, "seven share the reading of one")
    gate.open()
    assert [list(outcome(each)) for each in readers] == [["crm"]] * 8
    assert reads == ["ada"]


def test_what_passed_under_one_allowlist_is_looked_at_again_under_another(
    server: LocalServer, clock: FakeClock
) -> None:
    allowed = ["127.0.0.1"]
    said = {"wiki": {"url": server.url}}
    registry = ServersRegistry({}, clock, overrides=lambda _: said, allowlists=lambda: allowed)
    with MCPManager({}) as first, MCPManager({}, allowed_domains=[], guard="all") as then:
        registry.inspect_with(ServerInspector(first._factory))
        assert not registry.require("wiki").inspection_failed
        registry.inspect_with(ServerInspector(then._factory))
        clock.advance(5)
        assert not registry.require("wiki").inspection_failed  # it was looked at
        allowed.clear()
        clock.advance(5)
        assert registry.require("wiki").inspection_failed


def test_an_update_keeps_secrets_that_are_not_mentioned_unless_the_target_changes(
    registry: ServersRegistry,
) -> None:
    shown = {"client_id": "c", "issuer": "https://as.example.com"}
    written = {"url": URL, "oauth": {**shown, "client_secret": "s3cret"}}
    registry.add_server("notes", written, user="ada")
    kept: Any = registry.update_server("notes", {"url": URL, "oauth": shown}, user="ada")
    assert kept.oauth.client_secret == "s3cret"
    elsewhere = {"url": "https://elsewhere.example.com/mcp", "oauth": shown}
    with pytest.raises(SecretRequired):
        registry.update_server("notes", elsewhere, user="ada")


# -- redaction (8.8, 8.9) --------------------------------------------------------------------------

SECRET = {
    "headers": {"Authorization": "Bearer s3cret"},
    "oauth_headers": {"X-Key": "s3cret"},
    "oauth": {
        "client_id": "app",
        "client_secret": "s3cret",
        "authorization_url": "https://as.example.com/authorize",
        "token_url": "https://as.example.com/token",
    },
}
KEYED = {"api_key": {"source": "admin", "key": "s3cret", "authorization_type": "custom"}}
STDIO = {"command": "s3cret", "args": ["s3cret"], "env": {"KEY": "s3cret"}}


@pytest.mark.parametrize("can_edit", [False, True])
@pytest.mark.parametrize("written", [{"url": URL, **SECRET}, {"url": URL, **KEYED}, STDIO])
def test_every_secret_is_removed_and_the_original_stays(
    written: dict[str, Any], can_edit: bool
) -> None:
    config = parse_server("crm", written)
    before = config.model_dump()
    assert "s3cret" not in json.dumps(redact_server_secrets(config, can_edit=can_edit))
    assert config.model_dump() == before
    assert "s3cret" in json.dumps(before)


def test_a_field_that_nobody_knows_is_dropped() -> None:
    assert redact_server_secrets({"title": "CRM", "new": "s3cret"}) == {"title": "CRM"}


def test_urls_are_for_who_can_edit() -> None:
    config = parse_server("crm", {"url": URL, **SECRET})
    shown = redact_server_secrets(config, can_edit=True)
    assert (shown["url"], shown["oauth"]["client_id"]) == (URL, "app")
    assert "as.example.com" in json.dumps(shown)
    assert "example.com" not in json.dumps(redact_server_secrets(config))


def test_all_servers_are_redacted_each_for_who_can_edit_it(database: SQLiteUserServers) -> None:
    with MCPManager({"crm": {"url": URL, **SECRET}}, user_servers=database) as manager:
        database.add("notes", "ada", {"url": "https://notes.example.com/mcp", **KEYED})
        shown = redact_all_server_secrets(
            manager.registry.get_all_server_configs("ada"),
            can_edit=lambda config: config.author == "ada",
        )
    assert list(shown) == ["crm", "notes"]
    assert ("url" in shown["crm"], "url" in shown["notes"]) == (False, True)
    assert "s3cret" not in json.dumps(shown)


def test_what_is_on_behalf_of_users_is_shown() -> None:
    config = parse_server("graph", OBO)
    assert redact_server_secrets(config)["obo"] == OBO["obo"]
