"""What keeps a dead server from being stormed. (8.3)"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mcpsync import BreakerPolicy, CircuitOpen, MCPManager, MCPSyncError
from mcpsync.testing import FakeClock, Fault, LocalServer
from seed.things import count, kinds, manager_of, methods, ordered, port_of, raised
from support.threads import outcome, start

ADD = ("crm", "add", {"a": 1, "b": 2})
POLICY = BreakerPolicy()
OPEN = "Circuit breaker is open, connection attempt blocked"


class Dead:
    """A port that takes connections, says nothing and hangs up; it counts them."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        self.connects = 0

    def serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connects += 1
            with sock:
                while b"\r\n\r\n" not in (data := sock.recv(65536)) and data:
                    pass


@pytest.fixture
def dead() -> Iterator[Dead]:
    with dead_server() as dead:
        yield dead


@contextmanager
def dead_server() -> Iterator[Dead]:
    listener = socket.create_server(("127.0.0.1", 0))
    dead = Dead(listener)
    thread = threading.Thread(target=dead.serve, daemon=True)
    thread.start()
    try:
        yield dead
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


class Lossy:
    """A server whose connections are found dead whenever a test says so."""

    def __init__(self, server: LocalServer, clock: FakeClock, manager: MCPManager) -> None:
        self._server = server
        self._clock = clock
        self._manager = manager

    def lose(self, times: int, user: str = "ada") -> None:
        """Have the connection found dead, and made anew, so often."""
        for _ in range(times):
            self.lose_once(user)
            self._manager.call_tool(*ADD, user=user)

    def lose_once(self, user: str = "ada") -> None:
        """Let the connection be doubted, and the doubt be right."""
        self._manager.call_tool(*ADD, user=user)
        self._clock.advance(1)
        self._server.inject(Fault.HTTP_500, method="ping")

    def call(self, user: str = "ada") -> Any:
        return self._manager.call_tool(*ADD, user=user).structured_content["sum"]


@pytest.fixture
def unsteady(legacy: LocalServer, clock: FakeClock, told: list[Any]) -> Iterator[MCPManager]:
    with manager_of(legacy, clock=clock, on_event=told.append, trust_timeout=1) as manager:
        yield manager


@pytest.fixture
def lossy(legacy: LocalServer, clock: FakeClock, unsteady: MCPManager) -> Lossy:
    return Lossy(legacy, clock, unsteady)


# -- cycles -----------------------------------------------------------------------------------


def test_it_trips_after_max_cycles(
    unsteady: MCPManager, lossy: Lossy, legacy: LocalServer, told: list[Any]
) -> None:
    lossy.lose(POLICY.max_cycles - 1)
    assert count(told, "BreakerOpened") == 0
    lossy.lose_once()
    handshakes = methods(legacy).count("initialize")
    error = raised(lambda: unsteady.call_tool(*ADD, user="ada"))
    assert isinstance(error, CircuitOpen)
    assert error.message.startswith(OPEN)
    assert error.retry_after == POLICY.cycle_cooldown
    assert methods(legacy).count("initialize") == handshakes == POLICY.max_cycles
    assert count(told, "BreakerOpened") == 1


def test_cycles_further_apart_than_the_window_do_not_trip_it(
    lossy: Lossy, clock: FakeClock
) -> None:
    lossy.lose(POLICY.max_cycles - 1)
    clock.advance(POLICY.cycle_window)
    lossy.lose(POLICY.max_cycles - 1)
    assert lossy.call() == 3


def test_its_state_is_shared_by_the_connections_to_one_server(
    unsteady: MCPManager, lossy: Lossy
) -> None:
    """Here: by those of one user. Each cycle is of another connection object."""
    seen = []
    for _ in range(POLICY.max_cycles - 1):
        seen.append(unsteady.get_user_connection("crm", user="ada"))
        lossy.lose(1)
    assert len({id(connection) for connection in seen}) == POLICY.max_cycles - 1
    states = unsteady.stats()["breakers"]
    assert [state["cycles"] for state in states] == [POLICY.max_cycles - 1]


def test_it_cools_down(unsteady: MCPManager, lossy: Lossy, clock: FakeClock) -> None:
    lossy.lose(POLICY.max_cycles - 1)
    lossy.lose_once()
    raised(lossy.call)
    clock.advance(POLICY.cycle_cooldown - 0.01)
    assert isinstance(raised(lossy.call), CircuitOpen)
    clock.advance(0.01)
    assert lossy.call() == 3


def test_clear_cooldown_re_enables(unsteady: MCPManager, lossy: Lossy, told: list[Any]) -> None:
    lossy.lose(POLICY.max_cycles - 1)
    lossy.lose_once()
    raised(lossy.call)
    unsteady.clear_cooldown("crm", "ada")
    assert lossy.call() == 3
    assert count(told, "BreakerClosed") == 1


def test_disconnects_that_were_asked_for_are_no_cycles(unsteady: MCPManager) -> None:
    for _ in range(3 * POLICY.max_cycles):
        unsteady.call_tool(*ADD, user="ada")
        unsteady.disconnect_user_connection("ada", "crm")
    assert unsteady.stats()["breakers"] == []


# -- failed rounds ----------------------------------------------------------------------------


def test_a_dead_server_sees_exactly_max_failed_rounds_connects(
    dead: Dead, clock: FakeClock, told: list[Any]
) -> None:
    with MCPManager(
        {"crm": {"url": dead.url}}, clock=clock, connect_attempts=1, on_event=told.append
    ) as manager:
        for _ in range(POLICY.max_failed_rounds):
            assert not isinstance(raised(lambda: manager.call_tool(*ADD, user="ada")), CircuitOpen)
        for _ in range(20):
            error = raised(lambda: manager.call_tool(*ADD, user="ada"))
            assert isinstance(error, CircuitOpen)
            assert error.message.startswith(OPEN)
            assert error.retry_after == POLICY.base_backoff
            assert not error.maybe_executed
    assert dead.connects == POLICY.max_failed_rounds
    assert count(told, "BreakerOpened") == 1


def test_the_attempts_of_one_call_are_rounds_too(dead: Dead, clock: FakeClock) -> None:
    with MCPManager({"crm": {"url": dead.url}}, clock=clock, connect_backoff=0.01) as manager:
        assert not isinstance(raised(lambda: manager.call_tool(*ADD, user="ada")), CircuitOpen)
        assert isinstance(raised(lambda: manager.call_tool(*ADD, user="ada")), CircuitOpen)
    assert dead.connects == POLICY.max_failed_rounds


def test_a_storm_of_threads_is_no_storm_of_connects(dead: Dead, clock: FakeClock) -> None:
    def insist() -> list[MCPSyncError]:
        return [raised(lambda: manager.call_tool(*ADD, user="ada")) for _ in range(10)]

    with MCPManager({"crm": {"url": dead.url}}, clock=clock, connect_backoff=0.01) as manager:
        threads = [start(insist) for _ in range(20)]
        assert [len(outcome(thread)) for thread in threads] == [10] * 20
    assert dead.connects == POLICY.max_failed_rounds


def test_each_further_failure_opens_it_for_twice_as_long(dead: Dead, clock: FakeClock) -> None:
    waits = []
    with MCPManager({"crm": {"url": dead.url}}, clock=clock, connect_attempts=1) as manager:
        for _ in range(POLICY.max_failed_rounds - 1):
            raised(lambda: manager.call_tool(*ADD, user="ada"))
        for _ in range(6):
            raised(lambda: manager.call_tool(*ADD, user="ada"))
            waits.append(raised(lambda: manager.call_tool(*ADD, user="ada")).retry_after)
            clock.advance(waits[-1])
    assert waits == [30, 60, 120, 240, 300, 300]


def test_a_success_forgets_the_failed_rounds(legacy: LocalServer, clock: FakeClock) -> None:
    with manager_of(legacy, clock=clock, connect_attempts=1) as manager:
        for _ in range(4):
            legacy.inject(Fault.HTTP_503, times=POLICY.max_failed_rounds - 1)
            for _ in range(POLICY.max_failed_rounds - 1):
                raised(lambda: manager.call_tool(*ADD, user="ada"))
            assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}
            manager.disconnect_user_connection("ada", "crm")
        assert manager.stats()["breakers"] == []


def test_user_b_is_not_blocked_by_the_breaker_of_a(dead: Dead, clock: FakeClock) -> None:
    """The seed blocks B, for its breaker knows the server's name only: a gap, reversed here."""
    with MCPManager({"crm": {"url": dead.url}}, clock=clock, connect_attempts=1) as manager:
        for _ in range(POLICY.max_failed_rounds + 1):
            error = raised(lambda: manager.call_tool(*ADD, user="ada"))
        assert isinstance(error, CircuitOpen)
        assert not isinstance(raised(lambda: manager.call_tool(*ADD, user="bob")), CircuitOpen)
        assert dead.connects == POLICY.max_failed_rounds + 1
        assert isinstance(raised(lambda: manager.call_tool(*ADD, user="ada")), CircuitOpen)


def test_another_configuration_of_the_server_is_not_blocked(
    dead: Dead, server: LocalServer, clock: FakeClock
) -> None:
    with MCPManager({"crm": {"url": dead.url}}, clock=clock, connect_attempts=1) as manager:
        for _ in range(POLICY.max_failed_rounds + 1):
            error = raised(lambda: manager.call_tool(*ADD, user="ada"))
        assert isinstance(error, CircuitOpen)
        manager.registry.update_server("crm", {"url": server.url})
        assert manager.call_tool(*ADD, user="ada").structured_content == {"sum": 3}


def test_clear_cooldown_of_everybody_reaches_everybody(clock: FakeClock) -> None:
    with LocalServer() as server:
        port = port_of(server)
        manager = manager_of(server, clock=clock)
    for user in ("ada", "bob"):
        raised(lambda user=user: manager.call_tool(*ADD, user=user))
    with LocalServer(port=port), manager:
        manager.clear_cooldown("crm")
        for user in ("ada", "bob"):
            assert manager.call_tool(*ADD, user=user).structured_content == {"sum": 3}


# -- connecting -------------------------------------------------------------------------------


def test_connecting_anew_first_disconnects_what_there_was(
    lossy: Lossy, unsteady: MCPManager, legacy: LocalServer
) -> None:
    """And does not reset what was counted: the seed's ``disconnect(false)``."""
    old = unsteady.get_user_connection("crm", user="ada")
    lossy.lose_once()
    assert lossy.call() == 3
    assert not old.is_connected
    assert ordered(legacy, "initialize", "DELETE") == ["initialize", "DELETE", "initialize"]
    assert [state["cycles"] for state in unsteady.stats()["breakers"]] == [1]


def test_one_line_of_the_log_a_change_of_state(
    dead: Dead, clock: FakeClock, caplog: pytest.LogCaptureFixture, told: list[Any]
) -> None:
    caplog.set_level("INFO", "mcpsync")
    with MCPManager(
        {"crm": {"url": dead.url}}, clock=clock, connect_attempts=1, on_event=told.append
    ) as manager:
        for _ in range(100):
            raised(lambda: manager.call_tool(*ADD, user="ada"))
    lines = [record for record in caplog.records if record.name.startswith("mcpsync")]
    assert len(lines) == 1, [record.getMessage() for record in lines]
    assert kinds(told).count("BreakerOpened") == 1
