"""Connections that live and die with one request of the application."""

import contextvars
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import greenlet
import pytest

from mcpsync import MCPManager
from mcpsync.connections.request_scope import RequestScope
from mcpsync.errors import (
    ConfigurationError,
    ConnectionClosed,
    HTTPStatusError,
    MCPSyncError,
    PlaceholderError,
)
from mcpsync.testing import FakeClock, Fault, LocalServer
from support import processes
from support.threads import outcome, start, wait_until

SEVEN, EIGHT = {"messageId": "7"}, {"messageId": "8"}
PYTHONPATH = os.pathsep.join(entry for entry in sys.path if entry)
MISSING = "Request body field(s) required to resolve runtime MCP placeholders: messageId."


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer("legacy") as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def manager(server: LocalServer, clock: FakeClock, told: list[Any]) -> Iterator[MCPManager]:
    servers = {
        "crm": {"url": server.url, "headers": {"X-User": "{{BODY_MESSAGEID}}"}},
        "plain": {"url": server.url},
    }
    with MCPManager(servers, clock=clock, on_event=told.append, connect_backoff=0.01) as manager:
        yield manager


def seen(manager: MCPManager, user: Any = "ada", **options: Any) -> Any:
    """Return what the server was told of the request."""
    return manager.call_tool("crm", "whoami", user=user, **options).structured_content["user"]


def add(manager: MCPManager, **options: Any) -> Any:
    answer = manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada", **options)
    return answer.structured_content["sum"]


def error_of(call: Callable[[], Any]) -> MCPSyncError:
    with pytest.raises(MCPSyncError) as caught:
        call()
    return caught.value


def handshakes(server: LocalServer) -> int:
    return [request.rpc_method for request in server.requests].count("initialize")


def reasons(told: list[Any]) -> list[str]:
    return [event.reason for event in told if type(event).__name__ == "ConnectionClosed"]


# -- living and dying with the request -------------------------------------------------------------


def test_the_calls_of_a_request_share_a_connection_that_is_closed_with_it(
    manager: MCPManager, server: LocalServer, told: list[Any]
) -> None:
    with manager.request_scope(SEVEN) as scope:
        assert [seen(manager), seen(manager)] == ["7", "7"]
        assert len(server.open_sessions) == scope.get_connection_count() == 1
    assert server.open_sessions == []
    assert handshakes(server) == 1
    assert reasons(told) == ["request"]


def test_each_request_has_connections_of_its_own(manager: MCPManager, server: LocalServer) -> None:
    for body in (SEVEN, EIGHT):
        with manager.request_scope(body):
            assert seen(manager) == body["messageId"]
    assert handshakes(server) == 2


def test_so_has_each_user_in_it(manager: MCPManager, server: LocalServer) -> None:
    with manager.request_scope(SEVEN) as scope:
        seen(manager, "ada")
        seen(manager, "bob")
        assert len(server.open_sessions) == scope.get_connection_count() == 2
    assert server.open_sessions == []


def test_threads_of_the_request_that_are_given_it_share_its_connection(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN) as scope:
        calls = [start(lambda: seen(manager, request_scope=scope)) for _ in range(20)]
        assert [outcome(call) for call in calls] == ["7"] * 20
    assert handshakes(server) == 1
    assert server.open_sessions == []


def test_a_scope_may_be_given_and_closed_without_being_entered(
    manager: MCPManager, server: LocalServer
) -> None:
    scope = manager.request_scope(SEVEN)
    assert [seen(manager, request_scope=scope) for _ in range(2)] == ["7", "7"]
    assert handshakes(server) == 1
    scope.close()
    scope.close()
    assert server.open_sessions == []


def test_its_connections_can_be_borrowed_and_got(manager: MCPManager, server: LocalServer) -> None:
    with manager.request_scope(SEVEN):
        with manager.connection("crm", user="ada") as connection:
            assert connection.call_tool("whoami").structured_content["user"] == "7"
        assert manager.get_connection("crm", user="ada") is connection
        assert manager.get_user_connection("crm", user="ada") is connection
    assert not connection.is_connected
    assert handshakes(server) == 1


def test_servers_that_need_nothing_of_the_request_are_reached_as_ever(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN) as scope:
        manager.call_tool("plain", "whoami", user="ada")
        assert scope.get_connection_count() == 0
    assert len(server.open_sessions) == 1
    assert list(manager.get_user_connections("ada")) == ["plain"]


def test_a_request_without_a_call_connects_to_nothing(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN):
        pass
    assert server.requests == []


def test_the_end_by_an_exception_is_an_end_and_the_exception_goes_on(
    manager: MCPManager, server: LocalServer
) -> None:
    def request() -> None:
        with manager.request_scope(SEVEN):
            seen(manager)
            raise KeyError

    with pytest.raises(KeyError):
        request()
    assert server.open_sessions == []
    assert manager._router._current.get() is None


def test_the_body_is_as_it_was_when_the_request_began(manager: MCPManager) -> None:
    body = dict(SEVEN)
    with manager.request_scope(body):
        body["messageId"] = "8"
        assert seen(manager) == "7"


def test_its_connections_are_closed_too_if_nobody_ends_it(
    manager: MCPManager, server: LocalServer
) -> None:
    scope = manager.request_scope(SEVEN)
    seen(manager, request_scope=scope)
    gone = weakref.ref(scope)
    del scope
    gc.collect()
    assert gone() is None
    assert seen(manager, request_body=EIGHT) == "8"  # whoever connects next says goodbye for it
    assert server.wait_for(lambda server: server.open_sessions == [])


# -- nobody else's ---------------------------------------------------------------------------------


def test_its_connections_are_in_no_statistics_and_no_idle_rule(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    with manager.request_scope(SEVEN):
        seen(manager)
        assert set(manager.get_connection_stats().values()) == {0}
        assert manager.get_user_connections("ada") == {}
        assert not manager._users._sweeper.running
        clock.advance(100_000)
        assert manager.check_idle_connections() == 0
        seen(manager)
    assert handshakes(server) == 1


def test_disconnecting_the_user_does_not_touch_them(manager: MCPManager) -> None:
    with manager.request_scope(SEVEN):
        connection = manager.get_connection("crm", user="ada")
        manager.disconnect_user_connections("ada")
        assert connection.is_connected


def test_requests_at_the_same_time_do_not_see_each_other(
    manager: MCPManager, server: LocalServer
) -> None:
    together = threading.Barrier(8, timeout=10)

    def request(number: int) -> list[str]:
        with manager.request_scope({"messageId": str(number)}):
            together.wait()
            found = [seen(manager) for _ in range(3)]
            together.wait()
            return found

    requests = [start(request, number) for number in range(8)]
    assert [outcome(each) for each in requests] == [[str(number)] * 3 for number in range(8)]
    assert handshakes(server) == 8
    assert server.open_sessions == []


def test_another_thread_is_not_in_the_request_unless_it_is_told(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN):
        error = outcome(start(seen, manager))
    assert isinstance(error, PlaceholderError)
    assert error.message == MISSING
    assert server.requests == []


def test_after_the_request_its_thread_is_in_none(manager: MCPManager) -> None:
    for _ in range(3):
        with manager.request_scope(SEVEN):
            seen(manager)
        assert error_of(lambda: seen(manager)).message == MISSING


def test_another_manager_is_not_in_the_request(manager: MCPManager, server: LocalServer) -> None:
    config = {"url": server.url, "headers": {"X-User": "{{BODY_MESSAGEID}}"}}
    with MCPManager({"crm": config}) as other, manager.request_scope(SEVEN) as scope:
        assert error_of(lambda: seen(other)).message == MISSING
        error = error_of(lambda: seen(other, request_scope=scope))
        assert isinstance(error, ConfigurationError)
        assert "manager's request_scope()" in error.message


def test_greenlets_do_not_see_each_others_requests(manager: MCPManager) -> None:
    def request(number: int) -> list[str]:
        with manager.request_scope({"messageId": str(number)}):
            found = [seen(manager)]
            greenlet.getcurrent().parent.switch()
            return [*found, seen(manager)]

    greenlets = [greenlet.greenlet(request) for _ in range(3)]
    for number, each in enumerate(greenlets):
        each.switch(number)
    assert manager._router._current.get() is None
    assert [each.switch() for each in greenlets] == [[str(n)] * 2 for n in range(3)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_in_the_midst_of_a_request_has_connections_of_its_own(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN) as scope:
        seen(manager)
        (ours,) = server.open_sessions
        child = os.fork()
        if child == 0:
            code = 1
            try:
                before = scope.get_connection_count()
                went_well = before == 0 and [seen(manager), add(manager)] == ["7", 3]
                scope.__exit__(None, None, None)
                code = 0 if went_well else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert server.wait_for(lambda server: server.open_sessions == [ours])
        assert seen(manager) == "7"
    assert handshakes(server) == 2
    assert server.open_sessions == []


# -- one request in another ------------------------------------------------------------------------


def test_within_another_request_the_inner_one_counts_and_then_the_outer_one_again(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN):
        assert seen(manager) == "7"
        with manager.request_scope(EIGHT):
            assert seen(manager) == "8"
        assert len(server.open_sessions) == 1
        assert seen(manager) == "7"
    assert handshakes(server) == 2


def test_a_scope_that_is_given_counts_more_than_the_one_the_thread_is_in(
    manager: MCPManager,
) -> None:
    other = manager.request_scope(EIGHT)
    with manager.request_scope(SEVEN):
        assert seen(manager, request_scope=other) == "8"
    other.close()


def test_requests_that_end_in_the_wrong_order_leave_the_thread_in_none(
    manager: MCPManager, server: LocalServer
) -> None:
    outer, inner = manager.request_scope(SEVEN), manager.request_scope(EIGHT)
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert manager._router._current.get() is None
    assert server.open_sessions == []


def test_one_that_is_left_in_another_context_is_closed_all_the_same(
    manager: MCPManager, server: LocalServer
) -> None:
    scope = manager.request_scope(SEVEN)
    contextvars.copy_context().run(scope.__enter__)
    seen(manager, request_scope=scope)
    scope.__exit__(None, None, None)
    assert scope.closed
    assert server.open_sessions == []


def test_a_scope_is_entered_once(manager: MCPManager) -> None:
    with manager.request_scope(SEVEN) as scope:
        error = error_of(scope.__enter__)
        assert isinstance(error, ConfigurationError)
        assert "request_scope=" in error.message
        assert seen(manager) == "7"
    assert manager._router._current.get() is None
    assert isinstance(error_of(scope.__enter__), ConnectionClosed)


# -- for one call alone ----------------------------------------------------------------------------


def test_a_body_that_is_given_to_a_call_is_for_that_call_alone(
    manager: MCPManager, server: LocalServer
) -> None:
    assert seen(manager, request_body=SEVEN) == "7"
    assert server.open_sessions == []
    assert seen(manager, request_body=EIGHT) == "8"
    assert server.open_sessions == []
    assert handshakes(server) == 2


def test_also_in_the_midst_of_a_request(manager: MCPManager, server: LocalServer) -> None:
    with manager.request_scope(SEVEN):
        assert [seen(manager), seen(manager, request_body=EIGHT), seen(manager)] == ["7", "8", "7"]
        assert len(server.open_sessions) == 1


def test_its_connection_is_closed_if_the_call_fails_too(
    manager: MCPManager, server: LocalServer
) -> None:
    server.inject(Fault.HTTP_500, method="tools/call")
    assert isinstance(error_of(lambda: seen(manager, request_body=SEVEN)), HTTPStatusError)
    assert handshakes(server) == 1
    assert server.open_sessions == []


def test_a_borrowed_one_lives_until_it_is_given_back(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.connection("crm", user="ada", request_body=SEVEN) as connection:
        assert connection.is_connected
    assert not connection.is_connected
    assert server.open_sessions == []


def test_one_that_would_be_closed_before_it_can_be_used_is_not_given_out(
    manager: MCPManager, server: LocalServer
) -> None:
    for get in (manager.get_connection, manager.get_user_connection):
        error = error_of(lambda get=get: get("crm", user="ada", request_body=SEVEN))
        assert isinstance(error, ConfigurationError)
        assert "request_scope" in error.message
    assert server.requests == []


@pytest.mark.parametrize("inside", [False, True])
def test_tools_are_discovered_with_the_body_of_the_request(
    manager: MCPManager, server: LocalServer, inside: bool
) -> None:
    if inside:
        with manager.request_scope(SEVEN):
            found = manager.discover_server_tools("crm", user="ada")
    else:
        found = manager.discover_server_tools("crm", user="ada", request_body=SEVEN)
    assert found.tools
    assert {request.headers["x-user"] for request in server.requests} == {"7"}
    assert server.open_sessions == []


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, {}, {"messageId": None}, {"messageId": " "}, {"id": "7"}])
def test_without_the_field_nothing_is_sent(
    manager: MCPManager, server: LocalServer, body: Any
) -> None:
    with manager.request_scope(body):
        error = error_of(lambda: seen(manager))
    assert isinstance(error, PlaceholderError)
    assert (error.message, error.server_name, error.user_id) == (MISSING, "crm", "ada")
    assert not error.maybe_executed
    assert server.requests == []


@pytest.mark.parametrize("body", [[], "messageId", 7])
def test_a_body_is_a_mapping(manager: MCPManager, body: Any) -> None:
    assert isinstance(error_of(lambda: manager.request_scope(body)), ConfigurationError)
    assert isinstance(error_of(lambda: seen(manager, request_body=body)), ConfigurationError)


@pytest.mark.parametrize("scope", ["scope", {"messageId": "7"}, 7])
def test_a_scope_is_a_scope(manager: MCPManager, scope: Any) -> None:
    assert isinstance(error_of(lambda: seen(manager, request_scope=scope)), ConfigurationError)


def test_a_connection_that_cannot_be_made_leaves_nothing_and_counts_for_nobody(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN) as scope:
        server.inject(Fault.HTTP_500, method="notifications/initialized", times=3)
        for _ in range(3):
            assert isinstance(error_of(lambda: seen(manager)), HTTPStatusError)
            assert scope.get_connection_count() == 0
            assert server.wait_for(lambda server: server.open_sessions == [])
        assert manager.stats()["breakers"] == []
        assert seen(manager) == "7"


def test_one_that_is_lost_is_made_anew_and_counts_for_nobody(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    with manager.request_scope(SEVEN):
        seen(manager)
        clock.advance(60)
        server.inject(Fault.HTTP_503, method="ping")
        assert seen(manager) == "7"
    assert handshakes(server) == 2
    assert manager.stats()["breakers"] == []


def test_a_child_process_ends_with_the_request() -> None:
    config = {
        "command": sys.executable,
        "args": ["-m", "mcpsync.testing", "--stdio"],
        "env": {"MESSAGE": "{{BODY_MESSAGEID}}", "PYTHONPATH": PYTHONPATH},
    }
    before = processes.children()
    with MCPManager({"crm": config}) as manager:
        with manager.request_scope(SEVEN):
            found = manager.call_tool("crm", "environment", user="ada").structured_content
            assert "MESSAGE" in found["keys"]
            assert len(processes.children() - before) == 1
        assert processes.children() == before


# -- its end ---------------------------------------------------------------------------------------


def test_after_its_end_it_gives_out_nothing(manager: MCPManager, server: LocalServer) -> None:
    with manager.request_scope(SEVEN) as scope:
        seen(manager)
        inside = contextvars.copy_context()
    sent = len(server.requests)
    for late in (
        lambda: seen(manager, request_scope=scope),
        lambda: inside.run(seen, manager),
    ):
        error = error_of(late)
        assert isinstance(error, ConnectionClosed)
        assert error.message == "the request is over: its scope was closed."
        assert (error.server_name, error.user_id) == ("crm", "ada")
        assert not error.maybe_executed
    assert len(server.requests) == sent


def test_its_end_waits_for_the_calls_under_way(manager: MCPManager, server: LocalServer) -> None:
    with manager.request_scope(SEVEN) as scope:
        add(manager)
        server.inject(Fault.HANG, method="tools/call")
        call = start(lambda: add(manager, request_scope=scope))
        assert server.wait_for(lambda server: server.hanging == 1)
        ending = start(lambda: scope.close(timeout=20))
        wait_until(lambda: scope.closed)
        assert not ending.done()
        server.release()
        assert outcome(call) == 3
        outcome(ending)
    assert server.open_sessions == []


def test_but_not_for_ever(manager: MCPManager, server: LocalServer) -> None:
    with manager.request_scope(SEVEN) as scope:
        add(manager)
        server.inject(Fault.HANG, method="tools/call")
        call = start(lambda: add(manager, request_scope=scope))
        assert server.wait_for(lambda server: server.hanging == 1)
        scope.close(timeout=0.3)
        error = outcome(call)
        assert isinstance(error, ConnectionClosed)
        assert error.maybe_executed
        server.release()


def test_a_call_that_waits_for_its_connection_when_it_ends_is_told_so(
    manager: MCPManager, server: LocalServer
) -> None:
    server.inject(Fault.HANG)
    with manager.request_scope(SEVEN) as scope:
        call = start(lambda: add(manager, request_scope=scope))
        assert server.wait_for(lambda server: server.hanging == 1)
    error = outcome(call)
    assert isinstance(error, ConnectionClosed)
    assert error.message == "the request is over: its scope was closed."
    assert not error.maybe_executed
    server.release()
    assert server.wait_for(lambda server: server.open_sessions == [])


def test_closing_the_manager_ends_the_connections_of_requests_too(
    manager: MCPManager, server: LocalServer
) -> None:
    with manager.request_scope(SEVEN) as scope:
        seen(manager)
        manager.close()
        assert scope.closed
        assert server.open_sessions == []
        assert isinstance(error_of(lambda: seen(manager)), ConnectionClosed)
    assert isinstance(error_of(lambda: seen(manager, request_body=SEVEN)), ConnectionClosed)
    assert isinstance(manager.request_scope(SEVEN), RequestScope)
