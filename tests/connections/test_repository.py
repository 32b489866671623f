"""The application's own connections: who may have one, when it is made anew, when it is closed."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcpsync import events
from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.connections.connection import ConnectionOptions, Key
from mcpsync.connections.repository import ConnectionsRepository
from mcpsync.errors import (
    ConnectError,
    ConnectionClosed,
    MCPSyncError,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.registry import ServersRegistry
from mcpsync.testing import FakeClock
from mcpsync.transports.base import CallScope
from support.threads import Gate, outcome, start, wait_until

URL = "http://127.0.0.1:9/mcp"
CRM = Key(None, "crm")
NOT_ALLOWED: dict[str, dict[str, Any]] = {
    "startup is false": {"startup": False},
    "users have their own": {"scope": "user"},
    "users sign in": {"requires_oauth": True},
    "users' variables": {"custom_user_vars": {"KEY": {"title": "Key"}}},
    "a user's value in a header": {"headers": {"X-User": "{{USER_ID}}"}},
    "a request's value in a header": {"headers": {"X-Chat": "{{BODY_CONVERSATIONID}}"}},
    "on behalf of": {"obo": {"scopes": "api://crm/.default"}},
    "it could not be inspected": {"inspection_failed": True},
    "a user made it": {"source": "user"},
}


class Thing:
    """Stands for a connection: what a repository asks of one."""

    def __init__(
        self, key: Key, options: ConnectionOptions, number: int, created_at: float
    ) -> None:
        self.key = key
        self.server_name = key.server_name
        self.number = number
        self.config: Any = options.config
        self.created_at = created_at
        self.is_connected = True
        self.busy = False
        self.must_check = False
        self.closed = 0
        self.on_close: Callable[[], Any] = lambda: None

    def is_stale(self, options: ConnectionOptions) -> bool:
        return (options.config.updated_at or 0.0) > self.created_at

    def close(self, timeout: float = 0.0) -> None:
        self.closed += 1
        self.is_connected = False
        self.on_close()


class Maker:
    """Makes things, doing first what the test wants, and keeps them all."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.made: list[Thing] = []
        self.before: Callable[[Key], Any] = lambda key: None
        self.lost_ones: list[Any] = []

    def create(self, key: Key, options: ConnectionOptions, scope: CallScope) -> Any:
        created_at = self._clock.time()
        self.before(key)
        scope.deadline.check("making it")
        thing = Thing(key, options, len(self.made), created_at)
        self.made.append(thing)
        return thing

    def lost(self, connection: Any) -> None:
        self.lost_ones.append(connection)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def maker(clock: FakeClock) -> Maker:
    return Maker(clock)


@pytest.fixture
def registry(clock: FakeClock) -> ServersRegistry:
    return ServersRegistry({"crm": {"url": URL}, "wiki": {"url": URL}}, clock)


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def repository(
    maker: Maker, registry: ServersRegistry, clock: FakeClock, told: list[Any]
) -> Iterator[ConnectionsRepository]:
    repository = ConnectionsRepository(
        maker,
        registry.get_server_config,
        registry.get_all_server_configs,
        clock=clock,
        emit=told.append,
    )
    yield repository
    repository.close(Deadline(10))
    assert all(thing.closed == 1 for thing in maker.made), "made, and not closed exactly once"


def soon(seconds: float = 10.0, cancel: Cancellation | None = None) -> CallScope:
    return CallScope(Deadline(seconds), cancel)


def get(repository: ConnectionsRepository, name: str = "crm", scope: Any = None) -> Any:
    return repository.get(name, scope or soon())


def update(registry: ServersRegistry, clock: FakeClock, **fields: Any) -> None:
    """Change the configuration of crm, a second later."""
    clock.advance(1)
    registry.update_server("crm", {"url": URL, **fields})


# Getting one.


def test_one_that_is_connected_is_reused(repository: ConnectionsRepository, maker: Maker) -> None:
    assert get(repository) is get(repository)
    assert len(maker.made) == 1


def test_one_that_is_stale_is_closed_and_made_anew(
    repository: ConnectionsRepository,
    maker: Maker,
    registry: ServersRegistry,
    clock: FakeClock,
    told: list[Any],
) -> None:
    old = get(repository)
    update(registry, clock)
    maker.before = lambda key: pytest.fail("the old one is open") if not old.closed else None
    new = get(repository)
    assert (new.number, old.closed) == (1, 1)
    assert events.ConnectionClosed("crm", None, "stale") in told


def test_one_that_is_disconnected_is_closed_and_made_anew(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    old = get(repository)
    old.is_connected = False
    assert get(repository).number == 1
    assert old.closed == 1
    assert maker.lost_ones == [old]


def test_it_is_never_idle_for_too_long(
    repository: ConnectionsRepository, clock: FakeClock, maker: Maker
) -> None:
    get(repository)
    clock.advance(10**9)
    get(repository)
    assert len(maker.made) == 1


@pytest.mark.parametrize("fields", NOT_ALLOWED.values(), ids=NOT_ALLOWED)
def test_there_is_none_of_a_server_that_is_not_the_applications(
    repository: ConnectionsRepository,
    maker: Maker,
    registry: ServersRegistry,
    clock: FakeClock,
    fields: dict[str, Any],
) -> None:
    update(registry, clock, **fields)
    assert get(repository) is None
    assert not repository.has("crm")
    assert maker.made == []


def test_there_is_none_of_a_server_that_is_not_configured(
    repository: ConnectionsRepository,
) -> None:
    assert get(repository, "nothing") is None
    assert not repository.has("nothing")


@pytest.mark.parametrize("fields", NOT_ALLOWED.values(), ids=NOT_ALLOWED)
@pytest.mark.parametrize("ask", ["get", "has", "borrow_existing", "get_many"])
def test_one_that_is_left_over_is_closed(
    repository: ConnectionsRepository,
    registry: ServersRegistry,
    clock: FakeClock,
    fields: dict[str, Any],
    ask: str,
) -> None:
    left_over = get(repository)
    assert repository.has("crm")
    update(registry, clock, **fields)
    arguments: dict[str, Any] = {
        "get": ("crm", soon()),
        "has": ("crm",),
        "borrow_existing": (CRM,),
        "get_many": (["crm"], soon()),
    }
    assert not getattr(repository, ask)(*arguments[ask])
    assert left_over.closed == 1
    assert repository.get_connection_count() == 0


def test_one_of_a_server_that_was_removed_is_closed(
    repository: ConnectionsRepository, registry: ServersRegistry
) -> None:
    left_over = get(repository)
    registry.remove_server("crm")
    assert get(repository) is None
    assert left_over.closed == 1


def test_one_that_is_left_over_and_lent_is_closed_when_it_is_given_back(
    repository: ConnectionsRepository, registry: ServersRegistry, clock: FakeClock
) -> None:
    entry = repository.borrow_existing(CRM) or repository.borrow(
        CRM, ConnectionOptions(registry.require("crm")), soon()
    )
    thing: Any = entry.connection
    update(registry, clock, startup=False)
    assert not repository.has("crm")
    assert thing.closed == 0
    repository.give_back(CRM, entry)
    assert thing.closed == 1


def test_one_that_is_there_is_lent_and_none_is_made_for_that(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    assert repository.borrow_existing(CRM) is None
    assert maker.made == []
    there = get(repository)
    entry = repository.borrow_existing(CRM)
    assert entry is not None
    assert entry.connection is there
    repository.give_back(CRM, entry)


def test_one_that_is_stale_is_not_lent_as_one_that_is_there(
    repository: ConnectionsRepository, registry: ServersRegistry, clock: FakeClock
) -> None:
    get(repository)
    update(registry, clock)
    assert repository.borrow_existing(CRM) is None
    assert repository._table.counts().leased == 0


# When the configuration changes meanwhile.


def changing(
    maker: Maker, registry: ServersRegistry, clock: FakeClock, times: int, **fields: Any
) -> None:
    """Have the configuration change while a connection is made, so many times."""
    left = [None] * times

    def before(key: Key) -> None:
        if left:
            left.pop()
            update(registry, clock, **fields)

    maker.before = before


@pytest.mark.parametrize("times", [1, 2])
def test_one_whose_configuration_changed_meanwhile_is_made_anew(
    repository: ConnectionsRepository,
    maker: Maker,
    registry: ServersRegistry,
    clock: FakeClock,
    times: int,
) -> None:
    changing(maker, registry, clock, times)
    got = get(repository)
    assert got.config is registry.get_server_config("crm")
    assert [thing.closed for thing in maker.made] == [1] * times + [0]


def test_a_call_gets_one_of_the_configuration_as_it_is_now(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry, clock: FakeClock
) -> None:
    changing(maker, registry, clock, 1)
    entry = repository.borrow(CRM, ConnectionOptions(registry.require("crm")), soon())
    assert entry.connection is maker.made[1]
    repository.give_back(CRM, entry)


def test_one_whose_configuration_changes_for_ever_is_an_error_that_can_be_tried_again(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry, clock: FakeClock
) -> None:
    changing(maker, registry, clock, 99)
    with pytest.raises(ConnectionClosed) as caught:
        get(repository)
    expected = 'Configuration for server "crm" changed during connection checkout.'
    assert (caught.value.message, caught.value.retryable) == (expected, True)
    assert len(maker.made) == 3


@pytest.mark.parametrize("at_once", [True, False], ids=["in the same instant", "later"])
def test_one_that_stops_being_allowed_meanwhile_is_closed(
    repository: ConnectionsRepository,
    maker: Maker,
    registry: ServersRegistry,
    clock: FakeClock,
    at_once: bool,
) -> None:
    def before(key: Key) -> None:
        clock.advance(0 if at_once else 1)
        registry.update_server("crm", {"url": URL, "startup": False})

    maker.before = before
    assert get(repository) is None
    assert [thing.closed for thing in maker.made] == [1]


def test_a_call_whose_server_stops_being_allowed_meanwhile_is_told_so(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry
) -> None:
    maker.before = lambda key: registry.remove_server("crm")
    with pytest.raises(ConnectionClosed, match="changed during connection checkout"):
        repository.borrow(CRM, ConnectionOptions(registry.require("crm")), soon())
    assert [thing.closed for thing in maker.made] == [1]


def test_a_change_that_leads_to_the_same_place_keeps_the_connection(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry
) -> None:
    get(repository)
    registry.update_server("crm", {"url": URL, "title": "CRM"})  # in the same instant
    get(repository)
    assert len(maker.made) == 1


# Several at once.


class Counting:
    """Counts how many are made at a time; each waits until the test lets it go on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.gates: dict[str, Gate] = {}
        self.now = self.most = 0

    def __call__(self, key: Key) -> None:
        with self.lock:
            gate = self.gates[key.server_name] = Gate()
            self.now += 1
            self.most = max(self.most, self.now)
        gate()
        with self.lock:
            self.now -= 1


def test_several_are_made_three_at_a_time(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry
) -> None:
    names = [f"s{number}" for number in range(10)]
    for name in names:
        registry.add_server(name, {"url": URL})
    maker.before = counting = Counting()
    getting = start(repository.get_many, names, soon())
    for begun in range(3, 11):
        wait_until(lambda begun=begun: len(counting.gates) == begun)  # type: ignore[misc]
        assert counting.now == 3
        counting.gates[names[begun - 3]].open()
    for gate in counting.gates.values():
        gate.open()
    assert list(outcome(getting)) == names
    assert counting.most == 3


def failing(*names: str) -> Callable[[Key], None]:
    def before(key: Key) -> None:
        if key.server_name in names:
            raise ConnectError(f"nobody is at {key.server_name}.")

    return before


def test_what_fails_is_left_out_and_logged_if_that_is_wished(
    repository: ConnectionsRepository, maker: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    maker.before = failing("crm")
    assert list(repository.get_many(["crm", "wiki"], soon(), continue_on_error=True)) == ["wiki"]
    assert caplog.messages == ["[MCP][crm] no connection: nobody is at crm."]


def test_otherwise_the_first_that_failed_is_raised(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry
) -> None:
    registry.add_server("mail", {"url": URL})
    maker.before = failing("wiki", "mail")
    with pytest.raises(ConnectError, match="nobody is at wiki"):
        repository.get_many(["crm", "wiki", "mail"], soon())


def test_what_is_not_the_librarys_error_is_raised_in_any_case(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    def before(key: Key) -> None:
        raise ZeroDivisionError

    maker.before = before
    with pytest.raises(ZeroDivisionError):
        repository.get_many(["crm"], soon(), continue_on_error=True)


def test_all_are_those_that_are_allowed(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry
) -> None:
    registry.add_server("own", {"url": URL, "scope": "user"})
    registry.add_server("bad", {"url": URL})
    maker.before = failing("bad")
    assert repository.get_loaded() == {}
    assert sorted(repository.get_all(soon())) == ["crm", "wiki"]
    assert sorted(repository.get_loaded()) == ["crm", "wiki"]


def test_what_is_done_to_one_server_is_done_once_for_all_who_want_it(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    maker.before = counting = Counting()
    callers = [start(get, repository) for _ in range(8)]
    callers.append(start(lambda: repository.get_many(["crm"], soon())["crm"]))
    wait_until(lambda: repository._table._flight.joined == 8)
    counting.gates["crm"].open()
    assert {outcome(caller).number for caller in callers} == {0}
    assert counting.most == 1


def test_who_waits_does_so_by_his_own_deadline(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    maker.before = counting = Counting()
    leader = start(get, repository)
    wait_until(lambda: "crm" in counting.gates)
    with pytest.raises(RequestTimeout):
        get(repository, "crm", soon(0.05))
    counting.gates["crm"].open()
    assert outcome(leader).number == 0


def test_who_is_cancelled_leaves_the_others_theirs(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    maker.before = counting = Counting()
    leader = start(get, repository)
    wait_until(lambda: "crm" in counting.gates)
    cancel = Cancellation()
    joiner, other = start(get, repository, "crm", soon(cancel=cancel)), start(get, repository)
    wait_until(lambda: repository._table._flight.joined == 2)
    cancel.cancel()
    assert isinstance(outcome(joiner), RequestCancelled)
    counting.gates["crm"].open()
    assert outcome(leader) is outcome(other)


# Closing.


def test_a_disconnect_that_fails_is_only_logged(
    repository: ConnectionsRepository, caplog: pytest.LogCaptureFixture
) -> None:
    thing = get(repository)

    def fail() -> None:
        raise OSError("the goodbye was not heard")

    thing.on_close = fail
    repository.disconnect("crm")
    assert repository.get_connection_count() == 0
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "closing the connection to crm failed")
    ]


def test_what_is_not_there_is_disconnected_without_a_word(
    repository: ConnectionsRepository,
) -> None:
    repository.disconnect("crm")
    repository.disconnect("nothing")


def test_all_are_disconnected_at_the_same_time(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    together = threading.Barrier(2)
    for name in ("crm", "wiki"):
        get(repository, name).on_close = lambda: together.wait(10)
    repository.disconnect_all()
    assert repository.get_connection_count() == 0


@pytest.mark.parametrize("disconnect", ["disconnect", "disconnect_all"])
def test_one_on_its_way_that_is_disconnected_does_not_appear(
    repository: ConnectionsRepository, maker: Maker, disconnect: str
) -> None:
    maker.before = counting = Counting()
    getting = start(get, repository)
    wait_until(lambda: "crm" in counting.gates)
    getattr(repository, disconnect)(*["crm"][: disconnect == "disconnect"])
    counting.gates["crm"].open()
    assert isinstance(outcome(getting), ConnectionClosed)
    assert repository.get_connection_count() == 0


def test_after_close_there_are_none_to_be_had(
    repository: ConnectionsRepository, maker: Maker, registry: ServersRegistry
) -> None:
    thing = get(repository)
    assert not repository.shutting_down
    repository.close(Deadline(10))
    repository.close(Deadline(10))
    assert repository.shutting_down
    assert thing.closed == 1
    assert get(repository) is None
    assert not repository.has("crm")
    assert repository.get_many(["crm", "wiki"], soon()) == repository.get_all(soon()) == {}
    assert repository.borrow_existing(CRM) is None
    with pytest.raises(MCPSyncError, match="the manager is closed"):
        repository.borrow(CRM, ConnectionOptions(registry.require("crm")), soon())
    assert len(maker.made) == 1


def test_one_on_its_way_at_close_does_not_appear(
    repository: ConnectionsRepository, maker: Maker
) -> None:
    maker.before = counting = Counting()
    getting = start(get, repository)
    wait_until(lambda: "crm" in counting.gates)
    repository.close(Deadline(10))
    counting.gates["crm"].open()
    assert isinstance(outcome(getting), ConnectionClosed)
    assert repository.get_loaded() == {}
