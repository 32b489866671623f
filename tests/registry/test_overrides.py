"""What an administrator says of servers while the application runs."""

import threading
import time
from typing import Any

import pytest

from mcpsync import Cancellation, MCPManager
from mcpsync.errors import (
    ConfigurationError,
    ConnectError,
    MCPSyncError,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
    ServerNotFound,
)
from mcpsync.registry import Inspection, ServersRegistry
from mcpsync.registry.findings import RETRY_AFTER
from mcpsync.stores import SQLiteUserServers
from mcpsync.testing import FakeClock, Fault, LocalServer
from support.threads import outcome, start

URL = "https://crm.example.com/mcp"


class Said:
    """What an administrator says, for whom; it counts how often it is asked."""

    def __init__(self, **servers: Any) -> None:
        self.servers: dict[str, Any] = servers
        self.only_for: str | None = None
        self.asked = 0

    def __call__(self, user_id: str | None) -> dict[str, Any]:
        self.asked += 1
        return self.servers if self.only_for in (None, user_id) else {}


class Inspector:
    """An inspector that was told what it finds, and of what."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.looked_at: list[str] = []
        self.requires_oauth = False

    def inspect(self, name: str, config: Any, **how: Any) -> Inspection:
        self.looked_at.append(config.url)
        error = ConnectError("gone.") if config.url in self.failing else None
        return Inspection(name, self.requires_oauth, error=error)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inspector() -> Inspector:
    return Inspector()


def made(said: Said, clock: FakeClock, inspector: Inspector | None = None, **options: Any) -> Any:
    servers = options.pop("servers", {"crm": {"url": URL, "title": "CRM", "timeout": 5}})
    registry = ServersRegistry(servers, clock, overrides=said, **options)
    if inspector is not None:
        registry.inspect_with(inspector)  # type: ignore[arg-type]
    return registry


def test_an_override_is_laid_over_what_yaml_says_and_the_source_stays(clock: FakeClock) -> None:
    registry = made(Said(crm={"title": "Customers", "source": "user"}), clock)
    found = registry.get_server_config("crm")
    assert (found.url, found.title, found.timeout) == (URL, "Customers", 5)
    assert found.source == "yaml"
    assert registry.get_all_server_configs() == {"crm": found}


def test_what_nobody_overrides_is_as_it_is(clock: FakeClock) -> None:
    registry = made(Said(), clock)
    assert registry.get_server_config("crm") is registry._servers["crm"]
    assert registry.get_server_config("other") is None


def test_an_override_of_no_server_is_a_server(clock: FakeClock) -> None:
    registry = made(Said(wiki={"url": "https://wiki.example.com/mcp"}), clock)
    found = registry.get_server_config("wiki")
    assert (found.url, found.source) == ("https://wiki.example.com/mcp", "config")
    assert list(registry.get_all_server_configs()) == ["crm", "wiki"]


def test_what_is_said_for_one_user_is_said_for_no_other(clock: FakeClock) -> None:
    said = Said(crm={"title": "For Ada"})
    said.only_for = "ada"
    registry = made(said, clock)
    assert registry.get_server_config("crm", "ada").title == "For Ada"
    assert registry.get_server_config("crm", "bob").title == "CRM"
    assert registry.get_server_config("crm").title == "CRM"


def test_what_the_environment_says_is_put_in_place_once(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TITLE", "Customers")
    monkeypatch.setenv("KEY", "literally $TITLE")
    servers = {"crm": {"url": URL, "headers": {"X-Key": "${KEY}"}}}
    registry = made(Said(crm={"title": "${TITLE}"}), clock, servers=servers)
    found = registry.get_server_config("crm")
    assert (found.title, found.headers["X-Key"]) == ("Customers", "literally $TITLE")


def test_a_users_server_is_never_overlaid(clock: FakeClock, tmp_path: Any) -> None:
    database = SQLiteUserServers(tmp_path / "servers.db", clock=clock)
    database.add("notes", "ada", {"url": "https://ada.example.com/mcp"})
    said = Said(notes={"url": "https://admin.example.com/mcp"})
    registry = made(said, clock, user_servers=database)
    assert registry.get_server_config("notes", "ada").url == "https://ada.example.com/mcp"
    assert registry.get_all_server_configs("ada")["notes"].url == "https://ada.example.com/mcp"
    assert registry.get_server_config("notes", "bob").url == "https://admin.example.com/mcp"
    database.close()


def test_what_the_operator_wrote_down_for_a_user_is_not_overlaid_either(clock: FakeClock) -> None:
    servers = {"crm": {"url": URL, "source": "user"}}
    registry = made(Said(crm={"title": "Customers"}), clock, servers=servers)
    assert registry.get_server_config("crm") is registry._servers["crm"]


@pytest.mark.parametrize(
    "wrong",
    [{"url": "ftp://x"}, {"tiemout": 5}, {"command": "sh"}, {"title": "${NO_SUCH_VARIABLE}"}],
)
def test_an_override_that_is_wrong_is_not_used_and_said(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    registry = made(Said(crm=wrong), clock)
    assert registry.get_server_config("crm") is registry._servers["crm"]
    assert "the override is not used" in caplog.text


CYCLE: dict[str, Any] = {}
CYCLE["headers"] = CYCLE


@pytest.mark.parametrize("wrong", [{1: "x", "title": "CRM"}, {b"title": "CRM"}, CYCLE])
def test_an_override_that_is_no_json_is_not_used_and_hides_no_other_server(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    registry = made(Said(crm=wrong, wiki={"url": URL}), clock)
    assert registry.get_server_config("crm") is registry._servers["crm"]
    assert list(registry.get_all_server_configs()) == ["crm", "wiki"]
    assert "the override is not used" in caplog.text


@pytest.mark.parametrize("name", ["", 5, "a\nb", "x" * 201])
def test_an_override_of_what_cannot_be_a_name_is_not_used_and_said(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, name: Any
) -> None:
    said = Said()
    said.servers[name] = {"url": URL}
    registry = made(said, clock)
    assert list(registry.get_all_server_configs()) == ["crm"]
    (line,) = caplog.messages
    assert "an override is not used: a server's name" in line
    assert "\n" not in line


def test_an_override_may_spell_fields_as_other_programs_do(clock: FakeClock) -> None:
    servers = {"crm": {"url": URL, "icon_path": "/old.png", "apiKey": {"key": "old"}}}
    said = Said(crm={"iconPath": "/new.png", "apiKey": {"key": "new"}})
    found = made(said, clock, servers=servers).get_server_config("crm")
    assert (found.icon_path, found.api_key.key) == ("/new.png", "new")


def test_an_override_is_told_no_secret_of_the_application(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JWT_SECRET", "s3cret")
    registry = made(Said(crm={"headers": {"X-Key": "${JWT_SECRET}"}}), clock)
    assert registry.get_server_config("crm") is registry._servers["crm"]
    assert "JWT_SECRET" in caplog.text
    assert "s3cret" not in caplog.text


# -- looking at them -------------------------------------------------------------------------------

ELSEWHERE = "https://elsewhere.example.com/mcp"


def test_an_override_is_looked_at_once_before_it_is_used(
    clock: FakeClock, inspector: Inspector
) -> None:
    registry = made(Said(crm={"url": ELSEWHERE}), clock, inspector)
    assert inspector.looked_at == []
    for _ in range(3):
        assert registry.get_server_config("crm").url == ELSEWHERE
        clock.advance(60)
    registry.get_all_server_configs("ada")
    assert inspector.looked_at == [ELSEWHERE]


def test_one_that_fails_never_takes_the_place_of_one_that_works(
    clock: FakeClock, inspector: Inspector
) -> None:
    inspector.failing.add(ELSEWHERE)
    registry = made(Said(crm={"url": ELSEWHERE}), clock, inspector)
    assert registry.get_server_config("crm") is registry._servers["crm"]
    assert registry.get_all_server_configs()["crm"] is registry._servers["crm"]


def test_one_that_failed_is_looked_at_again_after_five_minutes(
    clock: FakeClock, inspector: Inspector
) -> None:
    inspector.failing.add(ELSEWHERE)
    registry = made(Said(crm={"url": ELSEWHERE}), clock, inspector)
    registry.get_server_config("crm")
    inspector.failing.clear()
    clock.advance(RETRY_AFTER - 6)
    assert registry.get_server_config("crm").url == URL
    assert inspector.looked_at == [ELSEWHERE]
    clock.advance(6)
    assert registry.get_server_config("crm").url == ELSEWHERE
    assert inspector.looked_at == [ELSEWHERE] * 2
    assert RETRY_AFTER == 300


def test_one_of_no_server_that_failed_is_shown_as_such(
    clock: FakeClock, inspector: Inspector
) -> None:
    inspector.failing.add(ELSEWHERE)
    registry = made(Said(wiki={"url": ELSEWHERE}), clock, inspector)
    found = registry.get_server_config("wiki")
    assert found.inspection_failed
    assert registry.get_all_server_configs()["wiki"] == found


def test_what_was_found_is_in_the_configuration(clock: FakeClock, inspector: Inspector) -> None:
    inspector.requires_oauth = True
    registry = made(Said(crm={"url": ELSEWHERE}), clock, inspector)
    assert registry.get_server_config("crm").requires_oauth
    assert registry.oauth_servers() == ["crm"]


def test_what_passed_under_one_allowlist_counts_for_nothing_under_another(
    clock: FakeClock, inspector: Inspector
) -> None:
    lists = {"allowed_domains": ["*.example.com"]}
    registry = made(Said(crm={"url": ELSEWHERE}), clock, inspector, allowlists=lambda: lists)
    assert registry.get_server_config("crm").url == ELSEWHERE
    lists["allowed_domains"] = ["crm.example.com"]
    inspector.failing.add(ELSEWHERE)
    clock.advance(5)
    assert registry.get_server_config("crm").url == URL
    assert inspector.looked_at == [ELSEWHERE] * 2


def test_a_base_that_changes_makes_another_override_of_it(
    clock: FakeClock, inspector: Inspector
) -> None:
    registry = made(Said(crm={"title": "Customers"}), clock, inspector)
    registry.get_server_config("crm")
    registry.update_server("crm", {"url": ELSEWHERE})
    found = registry.get_server_config("crm")
    assert (found.url, found.title) == (ELSEWHERE, "Customers")
    assert found.updated_at == clock.time()
    assert inspector.looked_at == [URL, ELSEWHERE]


def test_what_is_said_is_read_once_in_five_seconds(clock: FakeClock) -> None:
    said = Said(crm={"title": "Customers"})
    registry = made(said, clock)
    for _ in range(3):
        registry.get_server_config("crm")
        registry.get_all_server_configs()
    assert said.asked == 1
    said.servers = {}
    assert registry.get_server_config("crm").title == "Customers"
    clock.advance(5)
    assert registry.get_server_config("crm").title == "CRM"


def test_forgetting_tells_whose_overrides_were_in_use(
    clock: FakeClock, inspector: Inspector
) -> None:
    said = Said(crm={"title": "Customers"}, wiki={"url": ELSEWHERE})
    registry = made(said, clock, inspector)
    registry.get_all_server_configs()
    said.servers = {}
    assert sorted(registry.invalidate_overrides()) == ["crm", "wiki"]
    assert list(registry.get_all_server_configs()) == ["crm"]
    assert registry.invalidate_overrides() == []
    assert ServersRegistry({}, clock).invalidate_overrides() == []


def test_who_asks_at_the_same_time_has_a_server_looked_at_once(clock: FakeClock) -> None:
    gate, begun = threading.Event(), threading.Event()

    class Slow(Inspector):
        def inspect(self, name: str, config: Any, **how: Any) -> Inspection:
            begun.set()
            assert gate.wait(10)
            return super().inspect(name, config, **how)

    slow = Slow()
    registry = made(Said(crm={"url": ELSEWHERE}), clock, slow)
    asking = [start(registry.get_server_config, "crm", f"u{n}") for n in range(6)]
    assert begun.wait(10)
    gate.set()
    assert {outcome(each).url for each in asking} == {ELSEWHERE}
    assert slow.looked_at == [ELSEWHERE]


def test_no_server_is_looked_at_to_say_that_there_is_none_of_a_name(
    clock: FakeClock, inspector: Inspector
) -> None:
    registry = made(Said(wiki={"url": ELSEWHERE}), clock, inspector)
    with pytest.raises(ServerNotFound, match="Did you mean 'wiki'"):
        registry.require("wikis", "ada", timeout=1)
    assert inspector.looked_at == []


def test_over_a_manager_a_call_goes_where_the_override_leads() -> None:
    said = Said()
    with LocalServer() as base, LocalServer() as other:
        clock = FakeClock()
        with MCPManager({"crm": {"url": base.url}}, overrides=said, clock=clock) as manager:
            manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
            said.servers = {"crm": {"url": other.url}}
            clock.advance(5)
            manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
            manager.call_tool("crm", "add", {"a": 1, "b": 2})
        assert (base.executions, other.executions) == ({"add": 1}, {"add": 2})


def test_what_is_said_for_one_user_leads_no_connection_of_the_application_elsewhere() -> None:
    with LocalServer() as base, LocalServer() as other:
        said = Said(crm={"url": other.url}, wiki={"url": other.url, "scope": "app"})
        said.only_for = "ada"
        servers = {
            "crm": {"url": base.url, "scope": "app"},
            "wiki": {"url": base.url, "scope": "user"},
        }
        with MCPManager(servers, overrides=said) as manager:
            manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
            manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="bob")
            assert (base.executions, other.executions) == ({"add": 2}, {})
            with pytest.raises(ConfigurationError, match="No connection found"):
                manager.call_tool("wiki", "add", {"a": 1, "b": 2}, user="ada")
            assert other.executions == {}


def test_a_call_that_has_to_look_at_a_server_first_ends_in_its_time_and_blames_nobody() -> None:
    with LocalServer() as base, LocalServer() as slow:
        slow.inject(Fault.HANG, times=None)
        said = Said(crm={"url": slow.url, "requires_oauth": False})
        with MCPManager({"crm": {"url": base.url}}, overrides=said) as manager:
            began = time.monotonic()
            with pytest.raises(RequestTimeout) as caught:
                manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", timeout=0.3)
            assert time.monotonic() - began < 3
            assert not caught.value.maybe_executed
            cancel, asked = Cancellation(), len(slow.requests)
            call = start(
                lambda: manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", cancel=cancel)
            )
            assert slow.wait_for(lambda server: len(server.requests) > asked)
            cancel.cancel()
            assert isinstance(outcome(call), RequestCancelled)
            slow.clear_faults()
            slow.release()
            answer = manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", timeout=10)
            assert answer.structured_content == {"sum": 3}
        assert (base.executions, slow.executions) == ({}, {"add": 1})


def test_the_time_that_looking_took_is_part_of_the_call(clock: FakeClock) -> None:
    with LocalServer() as server:

        class Slow(Inspector):
            def inspect(self, name: str, config: Any, **how: Any) -> Inspection:
                assert how["deadline"].timeout == 1.2
                threading.Event().wait(1.0)
                return super().inspect(name, config, **how)

        with MCPManager({"crm": {"url": URL}}, overrides=Said(crm={"url": server.url})) as manager:
            manager.registry.inspect_with(Slow())  # type: ignore[arg-type]
            server.inject(Fault.HANG, times=None)
            began = time.monotonic()
            with pytest.raises(MCPSyncError):
                manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", timeout=1.2)
            assert time.monotonic() - began < 1.9
            server.clear_faults()


@pytest.mark.parametrize("wrong", [None, ["crm"], "crm"])
def test_overrides_that_make_no_sense_at_all_are_an_error_of_the_application(
    clock: FakeClock, wrong: Any
) -> None:
    registry = ServersRegistry({"crm": {"url": URL}}, clock, overrides=lambda _: wrong)
    with pytest.raises(ConfigurationError, match="overrides="):
        registry.get_server_config("crm")


def test_an_override_that_is_no_mapping_is_not_used(clock: FakeClock) -> None:
    registry = made(Said(crm="https://elsewhere.example.com"), clock)
    assert registry.get_server_config("crm") is registry._servers["crm"]


# -- the operator's, looked at ---------------------------------------------------------------------


@pytest.fixture
def nowhere() -> str:
    with LocalServer() as gone:
        return gone.url


def test_a_server_that_failed_is_shown_and_is_not_the_applications_for_five_minutes(
    nowhere: str, clock: FakeClock
) -> None:
    with LocalServer() as server:
        servers = {"crm": {"url": nowhere}, "wiki": {"url": server.url}}
        with MCPManager(servers, clock=clock, connect_attempts=1) as manager:
            found = manager.inspect_servers()
            assert [name for name, each in found.items() if each.error] == ["crm"]
            registry = manager.registry
            crm = registry.get_server_config("crm")
            assert crm is not None
            assert crm.inspection_failed
            assert registry.get_all_server_configs()["crm"] is crm
            assert manager._app.has("crm") is False
            assert manager._app.has("wiki") is True
            assert registry.inspection("wiki") is found["wiki"]
            clock.advance(RETRY_AFTER)
            assert manager._app.has("crm") is True  # the next call tries


def test_what_was_found_of_a_server_that_changed_meanwhile_counts_for_nothing(
    clock: FakeClock,
) -> None:
    with (
        LocalServer(auth_token="t") as server,
        MCPManager({"crm": {"url": server.url}}, clock=clock) as manager,
    ):
        registry = manager.registry
        manager.inspect_servers()
        assert registry.oauth_servers() == ["crm"]
        assert registry.inspection("crm") is not None
        registry.update_server("crm", {"url": URL})
        assert registry.oauth_servers() == []
        assert registry.inspection("crm") is None


def test_a_server_whose_users_must_sign_in_is_theirs_once_that_is_known() -> None:
    with LocalServer(auth_token="t") as server:
        servers: dict[str, Any] = {
            "crm": {"url": server.url},
            "ours": {"url": server.url, "scope": "app"},
        }
        with MCPManager(servers) as manager:
            found = manager.inspect_servers()
            assert found["crm"].requires_oauth
            assert found["ours"].requires_oauth
            configs = manager.registry.get_all_server_configs()
            assert configs["crm"].requires_oauth is True
            assert configs["ours"].requires_oauth is None  # it is the application's, as it says


def test_only_a_server_that_failed_is_looked_at_again_and_is_newer_then(
    nowhere: str, clock: FakeClock
) -> None:
    with LocalServer() as server:
        servers = {"crm": {"url": server.url, "inspection_failed": True}, "gone": {"url": nowhere}}
        with MCPManager(servers, clock=clock, connect_attempts=1) as manager:
            registry = manager.registry
            clock.advance(10)
            assert not registry.reinspect_server("crm").inspection_failed
            found = registry.get_server_config("crm")
            assert found is not None
            assert (found.updated_at, found.inspection_failed) == (clock.time(), False)
            with pytest.raises(Exception, match="only a server whose inspection failed"):
                registry.reinspect_server("crm")
            manager.inspect_servers()
            with pytest.raises(Exception, match='Failed to connect to MCP server "gone"'):
                registry.reinspect_server("gone")
            assert registry.require("gone").inspection_failed


def test_a_server_that_is_configured_anew_while_it_is_looked_at_stays_as_it_is(
    clock: FakeClock,
) -> None:
    class Updating(Inspector):
        def inspect(self, name: str, config: Any, **how: Any) -> Inspection:
            registry.update_server("crm", {"url": ELSEWHERE})
            return super().inspect(name, config, **how)

    servers = {"crm": {"url": URL, "inspection_failed": True}}
    registry = ServersRegistry(servers, clock)
    registry.inspect_with(Updating())  # type: ignore[arg-type]
    found: Any = registry.reinspect_server("crm")
    assert found.url == ELSEWHERE
    assert registry.require("crm") is found


def test_a_refusal_of_ours_is_raised_as_it_is(clock: FakeClock) -> None:
    class Refusing(Inspector):
        def inspect(self, name: str, config: Any, **how: Any) -> Inspection:
            return Inspection(name, error=RefusedError('Domain "x" is not allowed.'))

    registry = made(Said(), clock, Refusing())
    with pytest.raises(RefusedError, match="is not allowed"):
        registry.add_server("crm", {"url": ELSEWHERE}, inspect=True)
    assert registry.get_server_config("crm").url == URL
