"""The life of a connection: sockets, goodbyes, disposal, probes, refusals. (8.4)"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import (
    AuthorizationRequired,
    Cancellation,
    CircuitOpen,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    HTTPStatusError,
    MCPManager,
    MCPSyncError,
    MessageInvalid,
    RateLimited,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.testing import FakeClock, Fault, LocalServer
from mcpsync.transports import streamable_http_legacy
from seed.servers import answer_delete, hang_up_at_the_first_delete, without_ping
from seed.things import (
    closed,
    count,
    manager_of,
    methods,
    ordered,
    raised,
    wait_for_hanging,
)
from support.threads import Gate, outcome, start

ADD = ("crm", "add", {"a": 1, "b": 2})


@pytest.fixture
def legacy_manager(legacy: LocalServer, clock: FakeClock, told: list[Any]) -> Iterator[MCPManager]:
    with manager_of(legacy, clock=clock, on_event=told.append) as manager:
        yield manager


# -- sockets ----------------------------------------------------------------------------------


def test_a_socket_is_reused_across_requests_and_users(
    manager: MCPManager, server: LocalServer
) -> None:
    for user in ("ada", "bob", None):
        for _ in range(10):
            manager.call_tool(*ADD, user=user)
    assert server.connections_opened == 1


def test_connecting_again_and_again_opens_no_more_sockets(
    manager: MCPManager, server: LocalServer
) -> None:
    for _ in range(20):
        manager.get_user_connection("crm", user="ada", force_new=True)
        manager.call_tool(*ADD, user="ada")
        manager.disconnect_user_connection("ada", "crm")
    assert server.connections_opened <= 2


# -- sessions ---------------------------------------------------------------------------------


def test_disconnecting_deletes_the_session(legacy_manager: MCPManager, legacy: LocalServer) -> None:
    legacy_manager.get_user_connection("crm", user="ada")
    (session,) = legacy.open_sessions
    legacy_manager.disconnect_user_connection("ada", "crm")
    assert legacy.deleted_sessions == [session]
    assert methods(legacy).count("DELETE") == 1
    assert legacy.requests[-1].session_id == session


def test_the_session_is_deleted_before_the_swap(
    legacy_manager: MCPManager, legacy: LocalServer
) -> None:
    legacy_manager.get_user_connection("crm", user="ada")
    (old,) = legacy.open_sessions
    legacy_manager.get_user_connection("crm", user="ada", force_new=True)
    assert ordered(legacy, "initialize", "DELETE") == ["initialize", "DELETE", "initialize"]
    assert legacy.deleted_sessions == [old]
    assert len(legacy.open_sessions) == 1


@pytest.mark.parametrize("status", [404, 405, 500])
def test_a_refused_goodbye_is_tolerated_and_causes_no_reconnection(
    legacy_manager: MCPManager, legacy: LocalServer, told: list[Any], status: int
) -> None:
    answer_delete(legacy, status)
    legacy_manager.get_user_connection("crm", user="ada")
    legacy_manager.disconnect_user_connection("ada", "crm")
    assert methods(legacy)[-1] == "DELETE"
    assert methods(legacy).count("initialize") == 1
    assert closed(told) == [("ada", "crm", "disconnected")]
    assert legacy_manager.stats()["breakers"] == []


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE_ANSWER, Fault.DIE_MID_HEADERS])
def test_a_goodbye_that_is_cut_is_tolerated(
    legacy_manager: MCPManager, legacy: LocalServer, told: list[Any], fault: Fault
) -> None:
    legacy_manager.get_user_connection("crm", user="ada")
    legacy.inject(fault, method="DELETE", times=None)
    legacy_manager.disconnect_user_connection("ada", "crm")
    assert closed(told) == [("ada", "crm", "disconnected")]


def test_a_goodbye_that_meets_a_socket_closed_meanwhile_is_said_again(
    legacy_manager: MCPManager, legacy: LocalServer
) -> None:
    hang_up_at_the_first_delete(legacy)
    legacy_manager.get_user_connection("crm", user="ada")
    legacy_manager.disconnect_user_connection("ada", "crm")
    assert legacy.open_sessions == []
    assert len(legacy.deleted_sessions) == 1


@pytest.mark.parametrize("kind", ["modern", "legacy without sessions"])
def test_without_a_session_there_is_no_goodbye(kind: str) -> None:
    with (
        LocalServer(era="modern" if kind == "modern" else "legacy", sessions=False) as server,
        manager_of(server) as manager,
    ):
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
        manager.disconnect_user_connection("ada", "crm")
        assert "DELETE" not in methods(server)


def test_over_http_sse_there_is_no_goodbye() -> None:
    with LocalServer(transport="sse") as server, manager_of(server) as manager:
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
        manager.disconnect_user_connection("ada", "crm")
        assert server.wait_for(lambda server: not server.open_sessions)  # the stream has ended
        assert "DELETE" not in [request.http_method for request in server.requests]
        assert server.violations == []


def test_a_stream_on_which_nothing_comes_is_not_cut() -> None:
    with LocalServer(transport="sse") as server, manager_of(server, timeout=0.2) as manager:
        manager.call_tool(*ADD, user="ada")
        assert not server.wait_for(lambda server: not server.open_sessions, timeout=0.5)
        manager.call_tool(*ADD, user="ada")
        assert [request.http_method for request in server.requests].count("GET") == 1


def test_the_sweeper_ends_an_idle_stream_and_its_thread(clock: FakeClock) -> None:
    with LocalServer(transport="sse") as server, manager_of(server, clock=clock) as manager:
        manager.call_tool(*ADD, user="ada")
        assert len(server.open_sessions) == 1
        clock.advance(3600)
        manager.check_idle_connections()
        assert server.wait_for(lambda server: not server.open_sessions)


def test_a_goodbye_is_bounded_in_time(
    legacy_manager: MCPManager, legacy: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streamable_http_legacy.DELETE_TIMEOUT == 2.0
    monkeypatch.setattr(streamable_http_legacy, "DELETE_TIMEOUT", 0.2)
    legacy_manager.get_user_connection("crm", user="ada")
    legacy.inject(Fault.HANG, method="DELETE")
    began = time.monotonic()
    legacy_manager.disconnect_user_connection("ada", "crm")
    assert time.monotonic() - began < 1.5


# -- disposal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["disconnect", "disconnect all", "close"])
def test_disposal_while_connecting_leaves_nothing_live(
    legacy: LocalServer, clock: FakeClock, told: list[Any], how: str
) -> None:
    manager = manager_of(legacy, clock=clock, on_event=told.append)
    legacy.inject(Fault.HANG, method="notifications/initialized")  # there is a session by then
    caller = start(lambda: manager.call_tool(*ADD, user="ada"))
    wait_for_hanging(legacy)
    assert len(legacy.open_sessions) == 1
    if how == "disconnect":
        manager.disconnect_user_connection("ada", "crm")
    elif how == "disconnect all":
        manager.disconnect_user_connections("ada")
    else:
        manager.close()
    error = outcome(caller)
    legacy.release()
    assert isinstance(error, ConnectionClosed)
    assert not error.maybe_executed
    assert legacy.wait_for(lambda server: server.open_sessions == [])
    assert set(manager.get_connection_stats().values()) == {0}
    assert count(told, "ConnectionCreated") == 0
    manager.close()
    assert legacy.executions == {}


def test_a_connection_that_was_made_when_its_disposal_came_does_not_appear(
    manager: MCPManager, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = manager._factory.create, Gate()

    def create(*args: Any, **kwargs: Any) -> Any:
        connection = make(*args, **kwargs)
        made()
        return connection

    monkeypatch.setattr(manager._factory, "create", create)
    caller = start(lambda: manager.call_tool(*ADD, user="ada"))
    made.wait_reached()
    manager.disconnect_user_connections("ada")
    made.open()
    assert isinstance(outcome(caller), ConnectionClosed)
    assert manager.get_user_connections("ada") == {}
    assert server.open_sessions == []
    assert server.executions == {}


def test_a_disposed_connection_never_connects_again(
    manager: MCPManager, server: LocalServer
) -> None:
    connection = manager.get_user_connection("crm", user="ada")
    manager.disconnect_user_connection("ada", "crm")
    sent = len(server.requests)
    for call in (connection.connect, connection.send_ping, connection.list_tools):
        assert isinstance(raised(call), ConnectionClosed)
    assert len(server.requests) == sent
    assert server.open_sessions == []


# -- probes -----------------------------------------------------------------------------------


def test_a_probe_that_its_caller_cancels_leaves_the_state(
    legacy_manager: MCPManager, legacy: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    connection = legacy_manager.get_user_connection("crm", user="ada")
    clock.advance(61)
    legacy.inject(Fault.HANG, method="ping")
    cancel = Cancellation()
    caller = start(lambda: legacy_manager.call_tool(*ADD, user="ada", cancel=cancel))
    wait_for_hanging(legacy)
    cancel.cancel()
    error = outcome(caller)
    assert isinstance(error, RequestCancelled)
    assert not error.maybe_executed
    assert legacy_manager.get_user_connections("ada") == {"crm": connection}
    assert connection.is_connected
    assert legacy_manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
    assert closed(told) == []
    assert legacy_manager.stats()["breakers"] == []


def test_a_probe_that_its_callers_time_ends_leaves_the_state(
    legacy_manager: MCPManager, legacy: LocalServer, clock: FakeClock
) -> None:
    connection = legacy_manager.get_user_connection("crm", user="ada")
    clock.advance(61)
    legacy.inject(Fault.HANG, method="ping")
    error = raised(lambda: legacy_manager.call_tool(*ADD, user="ada", timeout=0.2))
    assert isinstance(error, RequestTimeout)
    assert not error.maybe_executed
    assert legacy_manager.get_user_connections("ada") == {"crm": connection}


def test_a_server_that_does_not_know_ping_is_alive(
    legacy_manager: MCPManager, legacy: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    without_ping(legacy)
    connection = legacy_manager.get_user_connection("crm", user="ada")
    clock.advance(61)
    assert legacy_manager.get_user_connection("crm", user="ada") is connection
    assert methods(legacy).count("ping") == 1
    assert count(told, "ConnectionCreated") == 1


def test_a_server_is_trusted_for_a_minute_after_it_answered(
    legacy_manager: MCPManager, legacy: LocalServer, clock: FakeClock
) -> None:
    legacy_manager.call_tool(*ADD, user="ada")
    clock.advance(59)
    legacy_manager.call_tool(*ADD, user="ada")
    clock.advance(59)
    legacy_manager.call_tool(*ADD, user="ada")
    assert "ping" not in methods(legacy)
    clock.advance(61)
    legacy_manager.call_tool(*ADD, user="ada")
    assert methods(legacy).count("ping") == 1


def test_a_failed_probe_is_not_forgotten(
    legacy_manager: MCPManager, legacy: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    """The seed stamps before it pings: who comes next is told "connected". A gap, reversed."""
    connection = legacy_manager.get_user_connection("crm", user="ada")
    clock.advance(61)
    legacy.inject(Fault.HTTP_500, method="ping")
    assert legacy_manager.get_user_connection("crm", user="ada") is not connection
    assert not connection.is_connected
    assert closed(told) == [("ada", "crm", "dead")]


def test_a_modern_server_is_never_probed(clock: FakeClock) -> None:
    with LocalServer(era="modern") as server, manager_of(server, clock=clock) as manager:
        for _ in range(3):
            manager.call_tool(*ADD, user="ada")
            clock.advance(61)
        assert methods(server) == ["server/discover", *["tools/call"] * 3]


# -- refusals ---------------------------------------------------------------------------------


def test_a_429_stops_connecting_until_the_server_will_have_us(
    legacy_manager: MCPManager, legacy: LocalServer, clock: FakeClock
) -> None:
    legacy.inject(Fault.RATE_LIMITED, method="initialize", times=None)
    first = raised(lambda: legacy_manager.call_tool(*ADD, user="ada"))
    assert isinstance(first, RateLimited)
    assert first.retry_after == 7
    for _ in range(5):
        error = raised(lambda: legacy_manager.call_tool(*ADD, user="ada"))
        assert isinstance(error, CircuitOpen)
        assert error.retry_after == 7
    assert methods(legacy).count("initialize") == 1
    legacy.clear_faults()
    clock.advance(7)
    assert legacy_manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_a_429_to_a_call_is_not_repeated_and_ends_no_connection(
    manager: MCPManager, server: LocalServer
) -> None:
    connection = manager.get_user_connection("crm", user="ada")
    server.inject(Fault.RATE_LIMITED, method="tools/call", times=None)
    error = raised(lambda: manager.call_tool(*ADD, user="ada"))
    assert isinstance(error, RateLimited)
    assert not error.maybe_executed
    assert methods(server).count("tools/call") == 1
    assert manager.get_user_connections("ada") == {"crm": connection}


TRANSIENT: dict[Fault, type[MCPSyncError]] = {
    Fault.DIE_MID_ANSWER: ConnectionLost,
    Fault.DIE_MID_HEADERS: ConnectionLost,
    Fault.DIE_MID_STREAM: ConnectionLost,
    Fault.HTTP_503: HTTPStatusError,
}
PERMANENT: dict[Fault, type[MCPSyncError]] = {
    Fault.GARBAGE: MessageInvalid,
    Fault.HTML: MessageInvalid,
    Fault.EMPTY_202: MessageInvalid,
    Fault.WRONG_ID: MessageInvalid,
    Fault.HTML_404: HTTPStatusError,
    Fault.HTTP_500: HTTPStatusError,
    Fault.REDIRECT_302: HTTPStatusError,
}


@pytest.fixture
def failing(clock: FakeClock, told: list[Any]) -> Iterator[tuple[LocalServer, MCPManager]]:
    """A server whose handshakes fail: nobody knows which version the last one agreed on."""
    with (
        LocalServer(era="legacy") as server,
        manager_of(server, clock=clock, on_event=told.append) as manager,
    ):
        yield server, manager


@pytest.mark.parametrize("fault", TRANSIENT)
def test_connecting_is_tried_again_after_a_transient_error(
    failing: tuple[LocalServer, MCPManager], told: list[Any], fault: Fault
) -> None:
    server, manager = failing
    server.inject(fault, method="initialize", times=2)
    assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
    assert [event.error for event in told if type(event).__name__ == "ConnectionRetried"] == [
        TRANSIENT[fault].__name__
    ] * 2
    assert methods(server).count("initialize") == 3


@pytest.mark.parametrize("fault", PERMANENT)
def test_connecting_is_not_tried_again_after_a_permanent_error(
    failing: tuple[LocalServer, MCPManager], told: list[Any], fault: Fault
) -> None:
    server, manager = failing
    server.inject(fault, method="initialize", times=None)
    error = raised(lambda: manager.call_tool(*ADD, user="ada"))
    assert type(error) is PERMANENT[fault]
    assert not error.retryable
    assert count(told, "ConnectionRetried") == 0
    assert methods(server).count("initialize") == 1


def test_a_refused_connection_is_tried_again(clock: FakeClock, told: list[Any]) -> None:
    with LocalServer() as server:
        manager = manager_of(server, clock=clock, on_event=told.append)
    with manager:
        error = raised(lambda: manager.call_tool(*ADD, user="ada"))
    assert isinstance(error, ConnectError)
    assert not error.maybe_executed
    assert count(told, "ConnectionRetried") == 2


def test_a_name_that_nobody_knows_is_an_error_of_connecting() -> None:
    url = "http://no-such-host.invalid/mcp"
    with MCPManager({"crm": {"url": url}}, connect_attempts=1) as manager:
        error = raised(lambda: manager.call_tool(*ADD, user="ada"))
    assert isinstance(error, ConnectError)
    assert not error.maybe_executed


def test_a_server_that_says_nothing_is_a_timeout_of_connecting(
    legacy: LocalServer, told: list[Any]
) -> None:
    with manager_of(legacy, {"connect_timeout": 0.2}, on_event=told.append) as manager:
        legacy.inject(Fault.HANG, method="initialize")
        error = raised(lambda: manager.call_tool(*ADD, user="ada"))
    assert isinstance(error, ConnectTimeout)
    assert count(told, "ConnectionRetried") == 0, "there is no time left for it"


def test_an_error_of_signing_in_stops_connecting(told: list[Any]) -> None:
    with (
        LocalServer(auth_token="s3cret") as server,
        manager_of(server, on_event=told.append) as manager,
    ):
        error = raised(lambda: manager.call_tool(*ADD, user="ada"))
        assert isinstance(error, AuthorizationRequired)
        assert len(server.requests) == 1
    assert count(told, "ConnectionRetried") == 0


def test_no_log_line_has_a_payload_or_a_secret(
    legacy_manager: MCPManager, legacy: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    headers = {"Authorization": "Bearer hush-hush"}
    arguments = {"text": "the payload"}
    said = []
    for fault in (Fault.SSE_BOM, Fault.HTTP_500, Fault.SESSION_404, Fault.DIE_MID_ANSWER):
        legacy.inject(fault, method="tools/call")
        try:
            legacy_manager.call_tool("crm", "echo", arguments, user="ada", headers=headers)
        except MCPSyncError as error:
            said.append(str(error))
    text = caplog.text + "".join(said)
    assert len(said) == 2
    assert "hush-hush" not in text
    assert "the payload" not in text
