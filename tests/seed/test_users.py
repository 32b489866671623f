"""Users' own connections: coalescing, force_new, staleness, idleness, teardown. (8.1)"""

from typing import Any

import pytest

from mcpsync import (
    ConfigurationError,
    ConnectionLost,
    MCPManager,
    ServerNotFound,
    User,
)
from mcpsync.errors import CircuitOpen, ConnectError
from mcpsync.testing import FakeClock, Fault, LocalServer
from seed.things import (
    closed,
    count,
    manager_of,
    methods,
    port_of,
    raised,
    wait_for_hanging,
    wait_for_joiners,
)
from support.threads import outcome, start, wait_until

ADD = ("crm", "add", {"a": 1, "b": 2})


def test_three_concurrent_callers_are_one_factory_call_and_get_the_same_object(
    manager: MCPManager, server: LocalServer, told: list[Any]
) -> None:
    server.inject(Fault.HANG)
    callers = [start(lambda: manager.get_user_connection("crm", user="ada")) for _ in range(3)]
    wait_for_hanging(server)
    wait_for_joiners(told, 2)
    server.release()
    first, *others = [outcome(caller) for caller in callers]
    assert all(other is first for other in others)
    assert count(told, "ConnectionCreated") == 1
    assert methods(server).count("server/discover") == 1


def test_a_failing_creation_fails_all_joiners_and_the_next_call_tries_again(
    clock: FakeClock, told: list[Any]
) -> None:
    with LocalServer() as server:
        manager = manager_of(server, clock=clock, on_event=told.append, connect_attempts=1)
        server.inject(Fault.HANG)
        callers = [start(lambda: manager.get_user_connection("crm", user="ada")) for _ in range(4)]
        wait_for_hanging(server)
        wait_for_joiners(told, 3)
        port = port_of(server)
    errors = [outcome(caller) for caller in callers]
    assert [type(error) for error in errors] == [ConnectionLost] * 4
    assert len({id(error) for error in errors}) == 4, "each has his own"
    assert count(told, "ConnectionFailed") == 1
    assert manager.get_connection_stats()["pending_connections"] == 0
    with LocalServer(port=port), manager:
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_force_new_joins_nobody(manager: MCPManager, server: LocalServer, told: list[Any]) -> None:
    server.inject(Fault.HANG)
    first = start(lambda: manager.get_user_connection("crm", user="ada"))
    wait_for_hanging(server)
    forced = start(lambda: manager.get_user_connection("crm", user="ada", force_new=True))
    wait_until(lambda: manager._users._table._flight.waited == 1)
    server.release()
    assert outcome(forced) is not outcome(first)
    assert count(told, "ConnectionJoined") == 0
    assert count(told, "ConnectionCreated") == 2


def test_nobody_joins_force_new(manager: MCPManager, server: LocalServer, told: list[Any]) -> None:
    server.inject(Fault.HANG)
    forced = start(lambda: manager.get_user_connection("crm", user="ada", force_new=True))
    wait_for_hanging(server)
    another = start(lambda: manager.get_user_connection("crm", user="ada", force_new=True))
    ordinary = start(lambda: manager.get_user_connection("crm", user="ada"))
    wait_until(lambda: manager._users._table._flight.waited >= 2)
    server.release()
    assert outcome(forced) is not outcome(another)
    assert outcome(ordinary) in (outcome(forced), outcome(another))
    assert count(told, "ConnectionJoined") == 0


def test_force_new_clears_the_cooldown_and_an_ordinary_call_does_not(clock: FakeClock) -> None:
    with LocalServer() as server:
        port = port_of(server)
        manager = manager_of(server, clock=clock)
    assert isinstance(raised(lambda: manager.call_tool(*ADD, user="ada")), ConnectError)
    with LocalServer(port=port) as server, manager:
        for _ in range(2):
            error = raised(lambda: manager.get_user_connection("crm", user="ada"))
            assert isinstance(error, CircuitOpen)
        assert server.requests == []
        manager.get_user_connection("crm", user="ada", force_new=True)
        assert manager.stats()["breakers"] == []
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


@pytest.mark.parametrize("user", [object(), User(id=""), ""], ids=["object", "User", "text"])
def test_a_user_without_id_is_an_invalid_request(manager: MCPManager, user: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"\[MCP\] User object missing id property"):
        manager.get_user_connection("crm", user=user)


def test_an_unknown_server_is_not_found(manager: MCPManager) -> None:
    with pytest.raises(ServerNotFound, match='Configuration for server "crn" not found'):
        manager.get_user_connection("crn", user="ada")


def test_an_app_level_server_has_no_connections_of_users(server: LocalServer) -> None:
    with manager_of(server, {"scope": "app"}) as manager:
        with pytest.raises(ConfigurationError) as caught:
            manager.get_user_connection("crm", user="ada")
        assert (
            '[MCP][User: ada] Trying to create user-specific connection for app-level server "crm"'
            in str(caught.value)
        )
    assert server.requests == []


def test_a_configuration_updated_after_the_connection_was_made_makes_a_new_one(
    manager: MCPManager, server: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    old = manager.get_user_connection("crm", user="ada")
    clock.advance(0.001)
    manager.registry.update_server("crm", {"url": server.url})
    new = manager.get_user_connection("crm", user="ada")
    assert new is not old
    assert not old.is_connected
    assert closed(told) == [("ada", "crm", "stale")]
    assert manager.get_user_connections("ada") == {"crm": new}


@pytest.mark.parametrize("seconds", [0, 5], ids=["equal", "older"])
def test_a_configuration_that_is_not_newer_leaves_the_connection(
    manager: MCPManager, server: LocalServer, clock: FakeClock, seconds: float
) -> None:
    updated = manager.registry.update_server("crm", {"url": server.url}).updated_at
    clock.advance(seconds)
    connection = manager.get_user_connection("crm", user="ada")
    assert updated is not None
    assert updated <= connection.created_at
    manager.registry._servers = dict(manager.registry._servers)  # as another source may give it
    manager.registry._servers["crm"] = manager.registry.require("crm").model_copy()
    assert manager.get_user_connection("crm", user="ada") is connection


@pytest.fixture
def two(server: LocalServer, clock: FakeClock, told: list[Any]) -> Any:
    servers = {name: {"url": server.url} for name in ("crm", "mail")}
    with MCPManager(servers, clock=clock, on_event=told.append) as manager:
        yield manager


def test_a_user_who_was_idle_is_disconnected_from_everything_and_then_connected_anew(
    two: MCPManager, clock: FakeClock, told: list[Any]
) -> None:
    old = [two.get_user_connection(name, user="ada") for name in ("crm", "mail")]
    clock.advance(901)
    new = two.get_user_connection("crm", user="ada")
    assert new not in old
    assert [connection.is_connected for connection in old] == [False, False]
    assert sorted(closed(told)) == [("ada", "crm", "idle"), ("ada", "mail", "idle")]
    assert two.get_user_connections("ada") == {"crm": new}


def test_the_sweep_skips_the_current_user(two: MCPManager, clock: FakeClock) -> None:
    for user in ("ada", "bob"):
        two.get_user_connection("crm", user=user)
    clock.advance(901)
    assert two.check_idle_connections("ada") == 1
    assert list(two.get_user_connections("ada")) == ["crm"]
    assert two.get_user_connections("bob") == {}


def test_an_error_of_disconnecting_is_logged_and_the_others_are_disconnected(
    two: MCPManager,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crm, mail = (two.get_user_connection(name, user="ada") for name in ("crm", "mail"))
    close = crm.close

    def fail(**_: Any) -> None:
        raise RuntimeError("the goodbye failed")

    monkeypatch.setattr(crm, "close", fail)
    clock.advance(901)
    assert two.check_idle_connections() == 2
    assert "the goodbye failed" in caplog.text
    assert not mail.is_connected
    assert two.get_user_connections("ada") == {}
    close()


def test_no_activity_is_left_of_a_user_without_connections(clock: FakeClock) -> None:
    with LocalServer() as server:
        manager = manager_of(server, clock=clock, connect_attempts=1)
    with manager:
        raised(lambda: manager.call_tool(*ADD, user="ada"))
        manager.disconnect_user_connections("ada")
        manager.disconnect_user_connections("nobody")
        assert set(manager.get_connection_stats().values()) == {0}


def test_activity_goes_with_the_last_connection_of_a_user(two: MCPManager) -> None:
    for name in ("crm", "mail"):
        two.get_user_connection(name, user="ada")
    two.disconnect_user_connection("ada", "mail")
    assert two.get_connection_stats()["activity_entries"] == 1
    two.disconnect_user_connections("ada")
    stats = two.get_connection_stats()
    assert (stats["activity_entries"], stats["tracked_users"]) == (0, 0)


@pytest.mark.parametrize(
    "config",
    [
        {"requires_oauth": True},
        {"obo": {"scopes": "api://crm/.default"}},
        {"obo": {"scopes": "api://crm/.default"}, "requires_oauth": False},
    ],
    ids=["oauth", "obo", "obo, no oauth"],
)
def test_a_server_that_needs_oauth_machinery_requires_a_flow_manager(
    server: LocalServer, config: dict[str, Any]
) -> None:
    with manager_of(server, config) as manager:
        with pytest.raises(ConfigurationError) as caught:
            manager.get_user_connection("crm", user="ada")
        text = '[MCP][User: ada] OAuth server "crm" requires a flow_manager'
        assert text in str(caught.value)
        assert text in str(raised(lambda: manager.call_tool(*ADD, user="ada")))
    assert server.requests == []


def test_a_server_without_oauth_machinery_requires_no_flow_manager(server: LocalServer) -> None:
    with manager_of(server, {"requires_oauth": False}) as manager:
        assert manager.get_user_connection("crm", user="ada").is_connected


def test_a_server_that_became_obo_bypasses_the_connection_of_the_application(
    server: LocalServer,
) -> None:
    with manager_of(server) as manager:
        shared = manager.get_connection("crm")
        manager.registry.update_server("crm", {"url": server.url, "obo": {"scopes": "s"}})
        sent = len(server.requests)
        for user in ("ada", None):
            assert isinstance(
                raised(lambda user=user: manager.call_tool(*ADD, user=user)), ConfigurationError
            )
        assert shared.server_name == "crm"
        assert len(server.requests) == sent, "nothing went over the shared connection"


def test_a_plain_server_of_the_application_is_used_by_all_users(
    server: LocalServer, told: list[Any]
) -> None:
    with manager_of(server, {"scope": "app"}, on_event=told.append) as manager:
        used = [manager.get_connection("crm", user=user) for user in ("ada", "bob", None)]
        assert len({id(connection) for connection in used}) == 1
        assert manager.get_connection_stats()["total_connections"] == 0
    assert count(told, "ConnectionCreated") == 1
