"""The configured servers, while they change."""

import threading
from typing import Any

import pytest

from mcpsync import MCPManager
from mcpsync.config import HttpServerConfig, parse_server
from mcpsync.errors import ConfigurationError, PlaceholderError, ServerNotFound
from mcpsync.registry import ServersRegistry
from mcpsync.registry import registry as module
from mcpsync.testing import FakeClock, Fault, LocalServer
from support.processes import forget_as_forked
from support.threads import outcome, start

URL = "http://127.0.0.1:9/mcp"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> ServersRegistry:
    return ServersRegistry({"crm": {"url": URL}, "files": {"command": "files"}}, clock)


def test_what_was_written_is_there_by_name(registry: ServersRegistry) -> None:
    assert registry.server_names == ["crm", "files"]
    assert registry.get_server_config("crm") == parse_server("crm", {"url": URL})
    assert registry.get_server_config("other") is None
    assert list(registry.get_all_server_configs()) == ["crm", "files"]


def test_a_configuration_that_was_made_already_is_taken_as_it_is(clock: FakeClock) -> None:
    config = HttpServerConfig(url=URL)
    assert ServersRegistry({"crm": config}, clock).get_server_config("crm") is config


def test_a_server_that_is_needed_and_not_there_is_an_error_with_the_nearest_name(
    registry: ServersRegistry,
) -> None:
    assert registry.require("crm") is registry.get_server_config("crm")
    with pytest.raises(ServerNotFound) as caught:
        registry.require("cmr")
    error = caught.value
    assert error.message == "Configuration for server \"cmr\" not found. Did you mean 'crm'?"
    assert error.server_name == "cmr"
    with pytest.raises(ServerNotFound, match=r'Configuration for server "xyz" not found\.$'):
        registry.require("xyz")


def test_what_is_added_is_there_from_then_on_and_says_since_when(
    registry: ServersRegistry, clock: FakeClock
) -> None:
    added = registry.add_server("notes", {"url": URL, "timeout": 5})
    assert registry.get_server_config("notes") is added
    assert (added.timeout, added.updated_at) == (5, clock.time())
    assert registry.server_names == ["crm", "files", "notes"]


def test_what_is_updated_is_another_configuration_that_says_since_when(
    registry: ServersRegistry, clock: FakeClock
) -> None:
    before = registry.get_server_config("crm")
    clock.advance(10)
    updated = registry.update_server("crm", {"url": URL})
    assert registry.get_server_config("crm") is updated
    assert updated is not before
    assert updated.updated_at == clock.time()
    assert before is not None
    assert before.updated_at is None


def test_the_time_of_an_update_is_our_own_whatever_it_says(
    registry: ServersRegistry, clock: FakeClock
) -> None:
    updated = registry.update_server("crm", {"url": URL, "updated_at": 7.0})
    assert updated.updated_at == clock.time()


def test_a_server_that_is_not_there_is_not_updated(registry: ServersRegistry) -> None:
    with pytest.raises(ServerNotFound):
        registry.update_server("cmr", {"url": URL})
    assert registry.server_names == ["crm", "files"]


def test_one_that_is_removed_while_it_is_updated_does_not_come_back(
    registry: ServersRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = module.load_servers

    def remove_and_load(servers: Any) -> Any:
        registry.remove_server("crm")
        return load(servers)

    monkeypatch.setattr(module, "load_servers", remove_and_load)
    with pytest.raises(ServerNotFound):
        registry.update_server("crm", {"url": URL})
    assert registry.server_names == ["files"]


def test_what_is_removed_is_gone_and_removing_it_again_is_no_matter(
    registry: ServersRegistry,
) -> None:
    for _ in range(2):
        registry.remove_server("crm")
    assert registry.server_names == ["files"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.com"},
        {"url": URL, "tiemout": 5},
        {"url": URL, "scope": "app", "requires_oauth": True},
        {"url": "${NO_SUCH_VARIABLE}"},
        "crm",
    ],
)
@pytest.mark.parametrize("name", ["crm", "notes"])
def test_a_wrong_configuration_changes_nothing(
    registry: ServersRegistry, name: str, wrong: Any
) -> None:
    before = registry.get_all_server_configs()
    for change in (registry.add_server, registry.update_server):
        with pytest.raises((ConfigurationError, PlaceholderError, ServerNotFound)):
            change(name, wrong)
    assert registry.get_all_server_configs() == before
    with pytest.raises(ConfigurationError):
        registry.add_server("", {"url": URL})


def test_who_changes_the_answer_does_not_change_the_servers(registry: ServersRegistry) -> None:
    registry.get_all_server_configs().clear()
    registry.server_names.clear()
    assert registry.server_names == ["crm", "files"]


def test_a_reader_never_waits(registry: ServersRegistry) -> None:
    def read() -> list[Any]:
        return [
            registry.get_server_config("crm"),
            registry.require("crm"),
            registry.server_names,
            registry.get_all_server_configs(),
        ]

    with registry._lock:  # as if somebody were in the midst of a change
        assert len(outcome(start(read))) == 4


def test_changes_at_the_same_time_are_all_made(registry: ServersRegistry) -> None:
    together = threading.Barrier(8, timeout=10)

    def change(number: int) -> None:
        together.wait()
        for turn in range(50):
            registry.add_server(f"s{number}-{turn}", {"url": URL})
        for turn in range(25):
            registry.remove_server(f"s{number}-{turn}")

    changes = [start(change, number) for number in range(8)]
    assert [outcome(each) for each in changes] == [None] * 8
    assert len(registry.server_names) == 2 + 8 * 25


def test_a_reader_sees_every_state_whole(registry: ServersRegistry) -> None:
    done = threading.Event()

    def watch() -> int:
        looks = 0
        while not done.is_set() or not looks:
            configs = registry.get_all_server_configs()
            assert all(config is not None for config in configs.values())
            assert "crm" in configs
            looks += 1
        return looks

    watching = [start(watch) for _ in range(3)]
    for turn in range(200):
        registry.update_server("crm", {"url": URL, "timeout": turn + 1})
        registry.add_server("notes", {"url": URL})
        registry.remove_server("notes")
    done.set()
    assert all(outcome(each) > 0 for each in watching)


def test_a_change_leaves_the_old_table_to_those_who_read_it(registry: ServersRegistry) -> None:
    table = registry._servers
    before = dict(table)
    registry.update_server("crm", {"url": URL, "timeout": 5})
    registry.add_server("notes", {"url": URL})
    registry.remove_server("files")
    assert table == before
    assert table["crm"] is before["crm"]


def test_a_forked_child_has_a_lock_of_its_own(registry: ServersRegistry) -> None:
    lock = registry._lock
    with lock:
        forget_as_forked(registry)
    assert registry._lock is not lock
    registry.add_server("notes", {"url": URL})


# -- while calls go on -----------------------------------------------------------------------------


def add(manager: MCPManager, **options: Any) -> Any:
    answer = manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", **options)
    return answer.structured_content["sum"]


def test_a_call_under_way_ends_where_it_began_and_the_next_one_goes_where_it_leads_now() -> None:
    with LocalServer("legacy") as old, LocalServer("legacy") as new:
        with MCPManager({"crm": {"url": old.url}}) as manager:
            old.inject(Fault.HANG, method="tools/call")
            call = start(add, manager)
            assert old.wait_for(lambda server: server.hanging == 1)
            manager.registry.update_server("crm", {"url": new.url})
            assert add(manager) == 3
            assert len(old.open_sessions) == len(new.open_sessions) == 1
            old.release()
            assert outcome(call) == 3
            assert old.wait_for(lambda server: server.open_sessions == [])
        assert (old.executions, new.executions) == ({"add": 1}, {"add": 1})


def test_no_call_fails_because_the_configuration_changes(clock: FakeClock) -> None:
    with (
        LocalServer("legacy") as server,
        MCPManager({"crm": {"url": server.url}}, clock=clock) as manager,
    ):
        done = threading.Event()

        def call_on() -> int:
            calls = 0
            while not done.is_set() or not calls:
                assert add(manager) == 3
                calls += 1
            return calls

        calling = [start(call_on) for _ in range(6)]
        for turn in range(20):
            clock.advance(1)
            manager.registry.update_server("crm", {"url": server.url, "timeout": 30 + turn})
            add(manager)
        done.set()
        counts = [outcome(each) for each in calling]
        assert all(isinstance(count, int) for count in counts), counts
        assert len(server.open_sessions) == 1


def test_a_time_that_was_changed_holds_from_the_next_call_on() -> None:
    with LocalServer("legacy") as server, MCPManager({"crm": {"url": server.url}}) as manager:
        add(manager)
        manager.registry.update_server("crm", {"url": server.url, "timeout": 0.2})
        server.inject(Fault.HANG, method="tools/call")
        with pytest.raises(TimeoutError) as caught:
            add(manager)
        assert caught.value.timeout == 0.2  # type: ignore[attr-defined]
        server.release()


def test_a_server_that_is_added_can_be_called_and_one_that_is_removed_cannot() -> None:
    with LocalServer() as server, MCPManager({}) as manager:
        manager.registry.add_server("crm", {"url": server.url})
        assert add(manager) == 3
        manager.registry.remove_server("crm")
        with pytest.raises(ServerNotFound):
            add(manager)
