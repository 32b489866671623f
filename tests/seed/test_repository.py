"""The application's own connections. (8.2)"""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import MCPManager
from mcpsync.connections import ConnectionsRepository
from mcpsync.testing import FakeClock, Fault, LocalServer
from seed.things import closed, count, manager_of, methods, raised, soon
from support.threads import PATIENCE, outcome, start

NOT_ALLOWED: dict[str, dict[str, Any]] = {
    "startup is false": {"startup": False},
    "user-scoped: OAuth": {"requires_oauth": True},
    "user-scoped: variables": {"custom_user_vars": {"KEY": {}}},
    "user-scoped: placeholder": {"headers": {"X-User": "{{USER_ID}}"}},
    "OBO": {"obo": {"scopes": "s"}},
    "inspection failed": {"inspection_failed": True},
    "a user's": {"source": "user"},
}
not_allowed = pytest.mark.parametrize("config", NOT_ALLOWED.values(), ids=NOT_ALLOWED)


@pytest.fixture
def pool(manager: MCPManager) -> ConnectionsRepository:
    return manager._app


@pytest.fixture
def several(
    server: LocalServer, clock: FakeClock, told: list[Any], nowhere: str
) -> Iterator[MCPManager]:
    """Six servers that are there, and one in their middle that is not."""
    servers = {f"s{number}": {"url": server.url} for number in range(6)}
    servers["s3"] = {"url": nowhere}
    with MCPManager(
        servers, clock=clock, on_event=told.append, connect_attempts=1, connect_backoff=0.01
    ) as manager:
        yield manager


@pytest.fixture
def nowhere() -> str:
    with LocalServer() as server:
        return server.url


def test_get_reuses_what_is_connected(pool: ConnectionsRepository, told: list[Any]) -> None:
    connection = pool.get("crm", soon())
    assert pool.get("crm", soon()) is connection
    assert count(told, "ConnectionCreated") == 1
    assert dict(pool.get_loaded()) == {"crm": connection}


def test_get_recreates_what_is_stale(
    manager: MCPManager, pool: ConnectionsRepository, server: LocalServer, clock: FakeClock
) -> None:
    old = pool.get("crm", soon())
    clock.advance(1)
    manager.registry.update_server("crm", {"url": server.url})
    new = pool.get("crm", soon())
    assert old is not None
    assert new is not old
    assert not old.is_connected


def test_get_recreates_what_is_disconnected(pool: ConnectionsRepository, told: list[Any]) -> None:
    old = pool.get("crm", soon())
    assert old is not None
    old.close()
    new = pool.get("crm", soon())
    assert new is not None
    assert new is not old
    assert new.is_connected
    assert closed(told) == [(None, "crm", "dead")]


@not_allowed
def test_get_is_null_for_what_is_not_allowed(server: LocalServer, config: dict[str, Any]) -> None:
    with manager_of(server, config) as manager:
        assert manager._app.get("crm", soon()) is None
        assert not manager._app.has("crm")
        assert manager._app.get_all(soon()) == {}
    assert server.requests == []


@not_allowed
@pytest.mark.parametrize("ask", ["get", "has"])
def test_what_is_left_over_of_a_server_no_longer_allowed_is_disconnected(
    manager: MCPManager,
    pool: ConnectionsRepository,
    server: LocalServer,
    config: dict[str, Any],
    ask: str,
) -> None:
    left_over = pool.get("crm", soon())
    assert left_over is not None
    manager.registry.update_server("crm", {"url": server.url, **config})
    assert not (pool.get("crm", soon()) if ask == "get" else pool.has("crm"))
    assert not left_over.is_connected
    assert pool.get_connection_count() == 0


def test_has_is_false_and_cleans_up_for_a_server_that_was_removed(
    manager: MCPManager, pool: ConnectionsRepository
) -> None:
    left_over = pool.get("crm", soon())
    assert left_over is not None
    assert pool.has("crm")
    manager.registry.remove_server("crm")
    assert not pool.has("crm")
    assert not left_over.is_connected
    assert pool.get("crm", soon()) is None


def test_get_many_makes_three_at_a_time(
    several: MCPManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, three, four = threading.Lock(), threading.Event(), threading.Event()
    inside = 0
    make = several._factory.create

    def create(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        with lock:
            inside += 1
            (four if inside > 3 else three if inside == 3 else threading.Event()).set()
        assert three.wait(PATIENCE)
        four.wait(0.1)  # room for a fourth to come, if anything lets it
        try:
            return make(*args, **kwargs)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(several._factory, "create", create)
    names = ["s0", "s1", "s2", "s4", "s5"]
    assert sorted(several._app.get_many(names, soon())) == names
    assert three.is_set()
    assert not four.is_set()


def test_get_many_continues_on_error_if_told_to(
    several: MCPManager, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"s{number}" for number in range(6)]
    found = several._app.get_many(names, soon(), continue_on_error=True)
    assert sorted(found) == ["s0", "s1", "s2", "s4", "s5"]
    assert "[MCP][s3]" in caplog.text


def test_get_many_raises_the_error_otherwise(several: MCPManager) -> None:
    names = [f"s{number}" for number in range(6)]
    assert raised(lambda: several._app.get_many(names, soon())).server_name == "s3"


def test_get_all_is_all_that_are_allowed(several: MCPManager, server: LocalServer) -> None:
    several.registry.update_server("s0", {"url": server.url, "startup": False})
    assert sorted(several._app.get_all(soon())) == ["s1", "s2", "s4", "s5"]


def test_an_error_of_disconnecting_is_logged(
    pool: ConnectionsRepository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = pool.get("crm", soon())
    assert connection is not None
    close = connection.close

    def fail(**_: Any) -> None:
        raise RuntimeError("the goodbye failed")

    monkeypatch.setattr(connection, "close", fail)
    pool.disconnect("crm")
    assert "the goodbye failed" in caplog.text
    assert pool.get_connection_count() == 0
    close()


def test_disconnect_all_disconnects_all(several: MCPManager, server: LocalServer) -> None:
    found = several._app.get_all(soon())
    several._app.disconnect_all()
    assert not any(connection.is_connected for connection in found.values())
    assert server.open_sessions == []


def test_what_is_done_to_one_server_is_done_one_after_the_other(
    pool: ConnectionsRepository, server: LocalServer, told: list[Any]
) -> None:
    server.inject(Fault.HANG)
    callers = [start(pool.get, "crm", soon()) for _ in range(3)]
    assert server.wait_for(lambda server: server.hanging == 1)
    server.release()
    assert len({id(outcome(caller)) for caller in callers}) == 1
    assert count(told, "ConnectionCreated") == 1


def test_while_shutting_down_there_are_no_connections_to_be_had(
    manager: MCPManager, pool: ConnectionsRepository, server: LocalServer
) -> None:
    manager.close()
    assert pool.shutting_down
    assert pool.get("crm", soon()) is None
    assert methods(server) == []


def test_a_configuration_that_keeps_changing_during_checkout_is_an_error(
    manager: MCPManager, pool: ConnectionsRepository, server: LocalServer, clock: FakeClock
) -> None:
    make = manager._factory.create

    def create(*args: Any, **kwargs: Any) -> Any:
        connection = make(*args, **kwargs)
        clock.advance(1)
        manager.registry.update_server("crm", {"url": server.url})
        return connection

    manager._factory.create = create  # type: ignore[method-assign]
    error = raised(lambda: pool.get("crm", soon()))
    assert error.message == 'Configuration for server "crm" changed during connection checkout.'
    assert error.retryable
