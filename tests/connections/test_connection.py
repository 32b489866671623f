"""One connection: is its server there, is it what is wanted, and does it keep to itself?"""

from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import Cancellation, MCPManager, User
from mcpsync._runtime.deadline import Deadline
from mcpsync.config import ServerConfig, parse_server
from mcpsync.config.fingerprint import fingerprint
from mcpsync.connections import connection as module
from mcpsync.connections.connection import Connection, ConnectionOptions, Key, fill_in
from mcpsync.errors import (
    AuthorizationRequired,
    CircuitOpen,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    MCPError,
    RateLimited,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.testing import FakeClock, Fault, LocalServer
from mcpsync.transports.base import CallScope
from support.threads import outcome, start, wait_until

URL = "http://127.0.0.1:9/mcp"
ADA = User(id="ada")
SUM = {"a": 1, "b": 2}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer("legacy") as server:
        yield server


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def manager(server: LocalServer, clock: FakeClock, told: list[Any]) -> Iterator[MCPManager]:
    servers = {"crm": {"url": server.url}}
    with MCPManager(servers, clock=clock, on_event=told.append, connect_backoff=0.01) as manager:
        yield manager


def add(manager: MCPManager, **options: Any) -> Any:
    return manager.call_tool("crm", "add", SUM, user="ada", **options).structured_content


def pings(server: LocalServer) -> int:
    return [request.rpc_method for request in server.requests].count("ping")


def handshakes(server: LocalServer) -> int:
    return [request.rpc_method for request in server.requests].count("initialize")


def reasons(told: list[Any]) -> list[str]:
    return [event.reason for event in told if type(event).__name__ == "ConnectionClosed"]


# -- is the server there? --------------------------------------------------------------------------


def test_a_server_is_believed_to_be_there_for_a_minute(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    add(manager)
    clock.advance(59.9)
    assert add(manager) == {"sum": 3}
    assert pings(server) == 0


def test_after_a_minute_it_is_asked_once_and_then_believed_again(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    add(manager)
    clock.advance(60)
    assert add(manager) == {"sum": 3}
    assert add(manager) == {"sum": 3}
    assert pings(server) == 1
    assert handshakes(server) == 1


def test_every_answer_begins_the_minute_anew(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    for _ in range(4):
        add(manager)
        clock.advance(40)
    assert pings(server) == 0


def test_an_answer_that_is_a_failure_does_not(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    add(manager)
    clock.advance(59)
    server.inject(Fault.HTTP_500, method="tools/call")
    assert outcome(start(add, manager)).status == 500
    clock.advance(1)
    add(manager)
    assert pings(server) == 1


@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE_ANSWER, Fault.DIE_MID_ANSWER])
def test_after_a_call_that_was_cut_the_server_is_asked_at_once(
    manager: MCPManager, server: LocalServer, fault: Fault
) -> None:
    add(manager)
    server.inject(fault, method="tools/call")
    assert isinstance(outcome(start(add, manager)), ConnectionLost)
    assert add(manager) == {"sum": 3}
    assert (pings(server), handshakes(server)) == (1, 1)


def test_callers_of_a_server_that_went_away_share_the_attempts_to_reach_it_again(
    manager: MCPManager, server: LocalServer, told: list[Any]
) -> None:
    add(manager)
    server.close()
    calls = [start(add, manager) for _ in range(8)]
    assert all(isinstance(outcome(call), ConnectError | CircuitOpen) for call in calls)
    told.clear()
    calls = [start(add, manager) for _ in range(50)]
    errors = [outcome(call) for call in calls]
    assert {type(error) for error in errors} <= {ConnectError, CircuitOpen}
    assert not any(error.maybe_executed for error in errors)
    assert [type(event).__name__ for event in told].count("ConnectionRetried") <= 2


def test_a_modern_server_is_never_asked(clock: FakeClock) -> None:
    with (
        LocalServer("modern") as server,
        MCPManager({"crm": {"url": server.url}}, clock=clock) as manager,
    ):
        add(manager)
        clock.advance(800)
        add(manager)
        assert pings(server) == 0


def test_concurrent_borrowers_share_one_question(
    manager: MCPManager, server: LocalServer, clock: FakeClock
) -> None:
    add(manager)
    clock.advance(60)
    server.inject(Fault.HANG, method="ping")
    calls = [start(add, manager) for _ in range(8)]
    wait_until(lambda: manager._users._table._checks.joined == 7)
    server.release()
    assert [outcome(call) for call in calls] == [{"sum": 3}] * 8
    assert pings(server) == 1


@pytest.mark.parametrize("code", [-32601, -32602])
def test_a_server_that_knows_no_ping_is_there(
    manager: MCPManager,
    server: LocalServer,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    add(manager)
    clock.advance(60)
    refuse_pings(monkeypatch, manager, MCPError("Method not found", code=code))
    add(manager)
    add(manager)
    assert handshakes(server) == 1


@pytest.mark.parametrize(
    "answer",
    [
        AuthorizationRequired("the server wants (other) credentials (401)."),
        RateLimited("the server asks us to slow down (429).", status=429),
        MCPError("what?", code=-32000),
    ],
)
def test_any_answer_of_the_server_itself_says_that_it_is_there(
    manager: MCPManager,
    server: LocalServer,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    answer: Exception,
) -> None:
    add(manager)
    clock.advance(60)
    refuse_pings(monkeypatch, manager, answer)
    assert add(manager) == {"sum": 3}
    assert handshakes(server) == 1


def refuse_pings(monkeypatch: pytest.MonkeyPatch, manager: MCPManager, error: Exception) -> None:
    """Have pings answered with *error*: what the test server never does."""
    keeper = manager.get_user_connections("ada")["crm"]._keeper
    request = keeper.request

    def refuse(method: str, *arguments: Any) -> Any:
        if method == "ping":
            raise error
        return request(method, *arguments)

    monkeypatch.setattr(keeper, "request", refuse)


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (Fault.HTTP_500, 1),
        (Fault.HTTP_503, 1),
        (Fault.GARBAGE, 1),
        (Fault.HTML, 1),
        (Fault.DIE_BEFORE_ANSWER, 2),
        (Fault.DIE_MID_ANSWER, 1),
    ],
)
def test_a_connection_that_fails_the_question_is_closed_and_made_anew_and_the_call_succeeds(
    manager: MCPManager,
    server: LocalServer,
    clock: FakeClock,
    told: list[Any],
    fault: Fault,
    times: int,
) -> None:
    add(manager)
    old = manager.get_user_connections("ada")["crm"]
    (session,) = server.open_sessions
    clock.advance(60)
    server.inject(fault, method="ping", times=times)
    assert add(manager) == {"sum": 3}
    assert manager.get_user_connections("ada")["crm"] is not old
    assert not old.is_connected
    assert reasons(told) == ["dead"]
    assert server.deleted_sessions == [session]
    assert manager.stats()["breakers"][0]["cycles"] == 1


def test_so_is_one_whose_session_the_server_turns_down_with_an_error_of_its_own(
    manager: MCPManager, server: LocalServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(manager)
    clock.advance(60)
    turned_down = MCPError("Bad Request: Server not initialized", code=-32000, status=400)
    refuse_pings(monkeypatch, manager, turned_down)
    assert add(manager) == {"sum": 3}
    assert handshakes(server) == 2


def test_so_is_one_whose_server_does_not_answer_the_question_at_all(
    manager: MCPManager,
    server: LocalServer,
    clock: FakeClock,
    told: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PROBE_TIMEOUT", 0.1)
    add(manager)
    clock.advance(60)
    server.inject(Fault.HANG, method="ping")
    assert add(manager, timeout=9) == {"sum": 3}
    assert reasons(told) == ["dead"]
    server.release()


def test_a_failed_question_does_not_count_as_an_answer(
    server: LocalServer, clock: FakeClock
) -> None:
    connection = connected(server, clock)
    clock.advance(60)
    server.inject(Fault.HTTP_503, method="ping")
    assert connection.check(CallScope(Deadline(5))) is False
    assert connection.must_check
    assert connection.check(CallScope(Deadline(5))) is True
    assert not connection.must_check
    connection.close()


def test_the_callers_own_time_says_nothing_of_the_server(
    manager: MCPManager, server: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    add(manager)
    connection = manager.get_user_connections("ada")["crm"]
    clock.advance(60)
    server.inject(Fault.HANG, method="ping")
    error = outcome(start(lambda: add(manager, timeout=0.2)))
    assert isinstance(error, RequestTimeout)
    assert not error.maybe_executed
    server.release()
    assert manager.get_user_connections("ada") == {"crm": connection}
    assert add(manager) == {"sum": 3}
    assert (handshakes(server), reasons(told), manager.stats()["breakers"]) == (1, [], [])


def test_nor_does_his_cancelling(
    manager: MCPManager, server: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    add(manager)
    clock.advance(60)
    server.inject(Fault.HANG, method="ping")
    cancel = Cancellation()
    call = start(lambda: add(manager, cancel=cancel))
    assert server.wait_for(lambda server: server.hanging == 1)
    cancel.cancel("enough")
    error = outcome(call)
    assert isinstance(error, RequestCancelled)
    assert not error.maybe_executed
    server.release()
    assert add(manager) == {"sum": 3}
    assert (handshakes(server), reasons(told)) == (1, [])


def test_nor_do_headers_of_his_that_cannot_be_sent(
    manager: MCPManager, server: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    add(manager)
    clock.advance(60)
    error = outcome(start(lambda: add(manager, headers={"X-User": "a\nb"})))
    assert isinstance(error, ConfigurationError)
    assert add(manager) == {"sum": 3}
    assert (handshakes(server), reasons(told)) == (1, [])


def test_the_question_brings_the_headers_of_the_call(clock: FakeClock) -> None:
    with (
        LocalServer("legacy", auth_token="s3cret") as server,
        MCPManager({"crm": {"url": server.url}}, clock=clock) as manager,
    ):
        good = {"Authorization": "Bearer s3cret"}
        add(manager, headers=good)
        clock.advance(60)
        add(manager, headers=good)
        (ping,) = [request for request in server.requests if request.rpc_method == "ping"]
        assert ping.headers["authorization"] == "Bearer s3cret"


def connected(server: LocalServer, clock: FakeClock, **options: Any) -> Connection:
    config = parse_server("crm", {"url": server.url})
    made_from = ConnectionOptions(config, ADA)
    connection = Connection(
        Key("ada", "crm"),
        config,
        made_from,
        fingerprint=fingerprint(config),
        clock=clock,
        **options,
    )
    connection.connect()
    return connection


# -- is it what is wanted? -------------------------------------------------------------------------


def config_of(**fields: Any) -> ServerConfig:
    return parse_server("crm", {"url": URL, **fields})


def made(options: ConnectionOptions, clock: FakeClock) -> Connection:
    """Return a connection as the factory makes it; nothing is connected."""
    config = fill_in(options)
    return Connection(
        Key("ada", "crm"), config, options, fingerprint=fingerprint(config), clock=clock
    )


@pytest.mark.parametrize(
    ("difference", "is_stale"),
    [(-100.0, False), (-0.001, False), (0.0, False), (0.001, True), (100.0, True)],
)
def test_only_a_configuration_updated_after_it_was_made_makes_it_stale(
    clock: FakeClock, difference: float, is_stale: bool
) -> None:
    connection = made(ConnectionOptions(config_of(), ADA), clock)
    updated = config_of(updated_at=connection.created_at + difference)
    assert connection.is_stale(ConnectionOptions(updated, ADA)) is is_stale


def test_one_that_is_newer_than_what_it_was_made_from_does_too(clock: FakeClock) -> None:
    before = config_of(updated_at=clock.time() - 100)
    connection = made(ConnectionOptions(before, ADA), clock)  # it had been read; then it changed
    between = config_of(updated_at=clock.time() - 50)
    assert connection.is_stale(ConnectionOptions(between, ADA))


def test_an_older_one_that_leads_to_the_same_place_does_not(clock: FakeClock) -> None:
    older = config_of(updated_at=clock.time() - 100)
    newer = config_of(updated_at=clock.time() - 50)
    connection = made(ConnectionOptions(newer, ADA), clock)
    for config in (older, newer, older, newer):
        assert not connection.is_stale(ConnectionOptions(config, ADA))


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "http://127.0.0.1:9/other"},
        {"headers": {"X-Team": "b"}},
        {"oauth": {"client_id": "a"}},
    ],
)
def test_one_that_leads_elsewhere_or_as_somebody_else_does(
    clock: FakeClock, fields: dict[str, Any]
) -> None:
    connection = made(ConnectionOptions(config_of(), ADA), clock)
    assert connection.is_stale(ConnectionOptions(config_of(**fields), ADA))


def test_one_that_leads_elsewhere_does_even_if_it_says_it_is_older(clock: FakeClock) -> None:
    connection = made(ConnectionOptions(config_of(updated_at=clock.time()), ADA), clock)
    other = config_of(headers={"X-Team": "b"}, updated_at=clock.time() - 100)
    assert connection.is_stale(ConnectionOptions(other, ADA))


@pytest.mark.parametrize("fields", [{}, {"title": "CRM"}, {"timeout": 5}, {"startup": False}])
def test_one_that_says_the_same_in_other_words_does_not(
    clock: FakeClock, fields: dict[str, Any]
) -> None:
    connection = made(ConnectionOptions(config_of(), ADA), clock)
    assert not connection.is_stale(ConnectionOptions(config_of(**fields), ADA))


def test_a_configuration_that_is_loaded_again_keeps_the_connections(
    manager: MCPManager, server: LocalServer
) -> None:
    add(manager)
    manager._registry._servers = {"crm": parse_server("crm", {"url": server.url})}
    add(manager)
    assert handshakes(server) == 1


def test_one_that_is_updated_replaces_them_with_the_next_call(
    manager: MCPManager, server: LocalServer, clock: FakeClock, told: list[Any]
) -> None:
    add(manager)
    clock.advance(1)
    manager.registry.update_server("crm", {"url": server.url})
    add(manager)
    add(manager)
    assert handshakes(server) == 2
    assert reasons(told) == ["stale"]


KEYED: dict[str, Any] = {
    "headers": {"X-Key": "{{KEY}}", "X-Role": "{{USER_ROLE}}"},
    "custom_user_vars": {"KEY": {}},
}


def test_a_users_other_values_make_it_stale_and_the_same_ones_do_not(clock: FakeClock) -> None:
    config, user = config_of(**KEYED), User(id="ada", role="admin")
    connection = made(ConnectionOptions(config, user, {"KEY": "k1"}), clock)
    for same in ({"KEY": "k1"}, {"KEY": "k1", "OTHER": "x"}):
        assert not connection.is_stale(ConnectionOptions(config, user, same))
    assert connection.is_stale(ConnectionOptions(config, user, {"KEY": "k2"}))
    assert connection.is_stale(
        ConnectionOptions(config, User(id="ada", role="guest"), {"KEY": "k1"})
    )


def test_values_that_nothing_asks_for_do_not_make_it_stale(clock: FakeClock) -> None:
    config = config_of()
    connection = made(ConnectionOptions(config, ADA), clock)
    ada = User(id="ada", role="admin")
    assert not connection.is_stale(ConnectionOptions(config, ada, {"KEY": "k"}))


def test_a_users_other_values_are_seen_beside_a_configuration_that_was_loaded_again(
    clock: FakeClock,
) -> None:
    user = User(id="ada", role="admin")
    connection = made(ConnectionOptions(config_of(**KEYED), user, {"KEY": "k1"}), clock)
    again = config_of(**KEYED)
    assert not connection.is_stale(ConnectionOptions(again, user, {"KEY": "k1"}))
    assert connection.is_stale(ConnectionOptions(config_of(**KEYED), user, {"KEY": "k2"}))


# -- what it keeps, and whom it tells --------------------------------------------------------------


def test_it_keeps_nothing_of_the_call_that_made_it(clock: FakeClock) -> None:
    body, flow = {"messageId": "7"}, object()
    options = ConnectionOptions(config_of(), ADA, {"KEY": "k"}, body, 3.0, flow)
    connection = made(options, clock)
    assert connection._made_from == ConnectionOptions(options.config, ADA, {"KEY": "k"})
    connection.is_stale(options._replace(config=config_of()))
    assert connection._made_from[3:] == (None, None, None)


def test_a_longer_time_for_connecting_replaces_the_configurations(clock: FakeClock) -> None:
    config = config_of(connect_timeout=5, headers={"X-Odd": "{{USER_ID}}"})
    options = ConnectionOptions(config, ADA)
    filled_in = fill_in(options)
    for given, used in ((0.0, 5.0), (1.0, 5.0), (60.0, 60.0)):
        connection = Connection(
            Key("ada", "crm"),
            filled_in,
            options,
            fingerprint="x",
            clock=clock,
            connect_timeout=given,
        )
        assert connection._keeper._connect_timeout == used


def test_a_notification_reaches_the_handler_with_its_connection(clock: FakeClock) -> None:
    heard: list[Any] = []
    with LocalServer("legacy", answer="sse") as server:
        connection = connected(server, clock, on_notification=lambda *told: heard.append(told))
        connection.call_tool("log", {"level": "info", "message": "hello"})
        connection.close()
    ((source, notification),) = heard
    assert source is connection
    assert (notification.method, notification.params.data) == ("notifications/message", "hello")


def test_it_is_busy_for_as_long_as_a_call_is_under_way_on_it(
    server: LocalServer, clock: FakeClock
) -> None:
    connection = connected(server, clock)
    server.inject(Fault.HANG, method="tools/call")
    call = start(connection.call_tool, "add", SUM)
    assert server.wait_for(lambda server: server.hanging == 1)
    assert connection.busy
    server.release()
    outcome(call)
    assert not connection.busy
    server.inject(Fault.DIE_MID_ANSWER, method="tools/call")
    with pytest.raises(ConnectionLost):
        connection.call_tool("add", SUM)
    assert not connection.busy
    connection.close()
