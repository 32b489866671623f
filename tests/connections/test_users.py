"""Users' own connections, over a real server."""

from collections.abc import Iterator
from typing import Any

import pytest

import mcpsync
from mcpsync import MCPManager, User
from mcpsync.testing import FakeClock, Fault, LocalServer
from support.threads import outcome, start, wait_until


@pytest.fixture(params=["legacy", "modern"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(era=request.param) as server:
        yield server
        assert server.violations == []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def manager(server: LocalServer, clock: FakeClock, told: list[Any]) -> Iterator[MCPManager]:
    with MCPManager({"crm": {"url": server.url}}, clock=clock, on_event=told.append) as manager:
        yield manager


def kinds(told: list[Any]) -> list[str]:
    return [type(event).__name__ for event in told]


def test_a_hundred_threads_of_one_user_make_one_connection(
    manager: MCPManager, told: list[Any]
) -> None:
    calls = [
        start(lambda n: manager.call_tool("crm", "add", {"a": n, "b": 1}, user="ada"), n)
        for n in range(100)
    ]
    assert [outcome(call).structured_content["sum"] for call in calls] == list(range(1, 101))
    assert kinds(told).count("ConnectionCreated") == 1


def test_users_share_neither_session_nor_cookies(clock: FakeClock) -> None:
    with (
        LocalServer(era="legacy", set_cookie="node=n{n}") as server,
        MCPManager({"crm": {"url": server.url}}, clock=clock) as manager,
    ):
        seen = {}
        for user in ("ada", "bob"):
            manager.call_tool("crm", "echo", {"text": "hello"}, user=user)
            told = manager.call_tool("crm", "whoami", user=user).structured_content
            seen[user] = (told["session"], told["cookie"])
        assert seen["ada"] != seen["bob"]
        assert len(server.open_sessions) == 2


def test_headers_belong_to_the_call_and_not_to_the_connection(manager: MCPManager) -> None:
    first = manager.call_tool("crm", "whoami", user="ada", headers={"X-User": "ada"})
    second = manager.call_tool("crm", "whoami", user="ada")
    assert "ada" in str(first.structured_content)
    assert "ada" not in str(second.structured_content)


def test_the_headers_of_a_call_are_good_for_connecting_too(clock: FakeClock) -> None:
    with (
        LocalServer(auth_token="s3cret") as server,
        MCPManager({"crm": {"url": server.url}}, clock=clock) as manager,
    ):
        good = {"Authorization": "Bearer s3cret"}
        assert manager.call_tool("crm", "echo", {"text": "hi"}, user="ada", headers=good).content


def test_an_idle_user_is_swept_by_the_managers_own_thread(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url}}, idle_timeout=0.05) as manager:
        manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
        wait_until(lambda: manager.get_connection_stats()["total_connections"] == 0)
        assert manager.get_connection_stats()["tracked_users"] == 0
    assert server.open_sessions == []


def test_a_call_in_flight_is_never_swept(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    server.inject(Fault.HANG, method="tools/call")
    call = start(lambda: manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", timeout=9))
    assert server.wait_for(lambda server: server.hanging == 1)
    clock.advance(10_000)
    assert manager.check_idle_connections() == 0
    assert manager.get_connection_stats()["leased_connections"] == 1
    server.release()
    assert outcome(call).structured_content == {"sum": 3}


def test_a_disconnect_does_not_cut_a_call_in_flight(
    manager: MCPManager, server: LocalServer
) -> None:
    server.inject(Fault.HANG, method="tools/call")
    call = start(lambda: manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", timeout=9))
    assert server.wait_for(lambda server: server.hanging == 1)
    manager.disconnect_user_connections("ada")
    assert manager.get_user_connections("ada") == {}
    server.release()
    assert outcome(call).structured_content == {"sum": 3}
    assert server.wait_for(lambda server: server.open_sessions == [])


def test_a_lease_is_the_users_connection(manager: MCPManager) -> None:
    with manager.connection("crm", user=User(id="ada")) as connection:
        assert {"add", "echo"} <= {tool.name for tool in connection.tools()}
        assert connection.user_id == "ada"
        assert manager.get_user_connections("ada")["crm"] is connection


def test_force_new_replaces_the_connection(manager: MCPManager) -> None:
    old = manager.get_user_connection("crm", user="ada")
    new = manager.get_user_connection("crm", user="ada", force_new=True)
    assert old is not new
    assert not old.is_connected
    assert manager.get_user_connection("crm", user="ada") is new


def test_a_call_without_user_goes_over_the_applications_connection(manager: MCPManager) -> None:
    manager.call_tool("crm", "add", {"a": 1, "b": 2})
    stats = manager.get_connection_stats()
    assert (stats["app_connection_count"], stats["total_connections"]) == (1, 0)


def test_close_ends_calls_under_way_and_all_later_ones(
    manager: MCPManager, server: LocalServer
) -> None:
    server.inject(Fault.HANG, method="tools/call")
    call = start(lambda: manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada"))
    assert server.wait_for(lambda server: server.hanging == 1)
    manager.close(timeout=1)  # a call under way may go on for three quarters of it
    error = outcome(call)
    assert isinstance(error, mcpsync.ConnectionClosed)
    assert error.maybe_executed
    with pytest.raises(mcpsync.ConnectionClosed):
        manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")


def test_an_error_names_server_user_and_tool(manager: MCPManager) -> None:
    with pytest.raises(mcpsync.MCPError) as caught:
        manager.call_tool("crm", "nonsense", user="ada")
    error = caught.value
    assert (error.server_name, error.user_id, error.tool_name) == ("crm", "ada", "nonsense")
    assert not error.maybe_executed


def test_each_joiner_of_a_failure_has_his_own_context(server: LocalServer) -> None:
    server.close()
    with MCPManager({"crm": {"url": server.url}}, connect_backoff=0.05) as manager:
        calls = [
            start(lambda n: manager.call_tool("crm", f"tool{n}", user="ada"), n) for n in range(8)
        ]
        errors = [outcome(call) for call in calls]
    assert {error.tool_name for error in errors} == {f"tool{n}" for n in range(8)}
    assert all(isinstance(error, mcpsync.ConnectError) for error in errors)
    assert not any(error.maybe_executed for error in errors)


def test_the_timeout_bounds_waiting_for_the_connection_too(
    manager: MCPManager, server: LocalServer
) -> None:
    server.inject(Fault.HANG, times=None)
    with pytest.raises(mcpsync.RequestTimeout) as caught:
        manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", timeout=0.2)
    assert not caught.value.maybe_executed
    server.clear_faults()
    server.release()
    assert manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada").structured_content


def test_the_life_of_a_connection_is_told(
    manager: MCPManager, clock: FakeClock, told: list[Any]
) -> None:
    manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
    manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
    clock.advance(900)
    manager.check_idle_connections()
    assert kinds(told) == [
        "ConnectionCreated",
        "CallFinished",
        "ConnectionReused",
        "CallFinished",
        "ConnectionClosed",
        "SweepFinished",
    ]


def test_an_event_sink_that_fails_fails_no_call(server: LocalServer) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("the sink is broken")

    with MCPManager({"crm": {"url": server.url}}, on_event=fail) as manager:
        assert manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")


def test_no_thread_starts_before_the_first_call(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url}}) as manager:
        assert not manager._users._sweeper.running
        manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
        assert manager._users._sweeper.running
    assert not manager._users._sweeper.running
