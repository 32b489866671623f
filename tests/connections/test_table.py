"""The table of connections, in controlled interleavings: no server, no luck."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcpsync import events
from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.connections.connection import Key
from mcpsync.connections.table import ConnectionTable
from mcpsync.errors import ConnectError, ConnectionClosed, RequestCancelled, RequestTimeout
from mcpsync.testing.clock import FakeClock
from mcpsync.transports.base import CallScope
from support.threads import Gate, outcome, start, wait_until

OPTIONS: Any = object()
ADA = Key("ada", "crm")
BOB = Key("bob", "crm")


class Thing:
    """Stands for a connection: what the table asks of one, and nothing else."""

    def __init__(self, key: Key, number: int) -> None:
        self.key = key
        self.number = number
        self.is_connected = True
        self.closed = 0
        self.busy = False
        self.must_check = False
        self.made_from: Any = None

    def is_stale(self, options: Any) -> bool:
        return options is not self.made_from

    def check(self, scope: CallScope) -> bool:
        return True

    def close(self, timeout: float = 0.0) -> None:
        self.closed += 1
        self.is_connected = False


class Maker:
    """Makes things, through a gate if there is one, and keeps them all."""

    def __init__(self) -> None:
        self.made: list[Thing] = []
        self.calls = 0
        self.before: Callable[[], Any] = lambda: None
        self.lost_ones: list[Any] = []

    def create(self, key: Key, options: Any, scope: CallScope) -> Any:
        self.calls += 1
        self.before()
        thing = Thing(key, len(self.made))
        thing.made_from = options
        self.made.append(thing)
        return thing

    def lost(self, connection: Any) -> None:
        self.lost_ones.append(connection)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def table(make: Maker, clock: FakeClock, told: list[Any]) -> Iterator[ConnectionTable]:
    table = ConnectionTable(make, idle_timeout=900, clock=clock, emit=told.append)
    yield table
    table.close(Deadline(10))
    assert all(thing.closed == 1 for thing in make.made), "made, and not closed exactly once"


def soon(seconds: float = 10.0, cancel: Cancellation | None = None) -> CallScope:
    return CallScope(Deadline(seconds), cancel)


def get(table: ConnectionTable, key: Key = ADA, scope: CallScope | None = None) -> Any:
    return table.get(key, OPTIONS, scope or soon())


def names(told: list[Any]) -> list[str]:
    return [type(event).__name__ for event in told]


def test_thirty_two_callers_share_one_creation(table: ConnectionTable, make: Maker) -> None:
    gate = make.before = Gate()
    callers = [start(get, table) for _ in range(32)]
    wait_until(lambda: table._flight.joined == 31)
    gate.open()
    assert {outcome(caller).number for caller in callers} == {0}
    assert make.calls == 1


def test_they_share_its_error_each_with_a_copy(table: ConnectionTable, make: Maker) -> None:
    gate = Gate()

    def fail() -> None:
        gate()
        raise ConnectError("nobody listens there.")

    make.before = fail
    callers = [start(get, table) for _ in range(8)]
    wait_until(lambda: table._flight.joined == 7)
    gate.open()
    errors = [outcome(caller) for caller in callers]
    assert [error.message for error in errors] == ["nobody listens there."] * 8
    assert len({id(error) for error in errors}) == 8
    assert make.calls == 1


def test_the_next_caller_after_a_failure_tries_again(table: ConnectionTable, make: Maker) -> None:
    def fail() -> None:
        raise ConnectError("not yet.")

    make.before = fail
    with pytest.raises(ConnectError):
        get(table)
    make.before = lambda: None
    assert get(table).number == 0
    assert table.counts().pending == 0


def test_two_users_never_share(table: ConnectionTable) -> None:
    assert get(table, ADA) is not get(table, BOB)
    assert get(table, ADA) is get(table, ADA)


def test_a_connection_that_is_there_is_reused(table: ConnectionTable, told: list[Any]) -> None:
    get(table)
    get(table)
    assert names(told) == ["ConnectionCreated", "ConnectionReused"]


def test_a_joiner_waits_by_his_own_deadline(table: ConnectionTable, make: Maker) -> None:
    gate = make.before = Gate()
    leader = start(get, table)
    gate.wait_reached()
    with pytest.raises(RequestTimeout):
        get(table, ADA, soon(0.05))
    gate.open()
    assert outcome(leader).number == 0


def test_a_joiner_is_cancelled_alone(table: ConnectionTable, make: Maker) -> None:
    gate = make.before = Gate()
    leader = start(get, table)
    gate.wait_reached()
    cancel = Cancellation()
    joiner = start(table.get, ADA, OPTIONS, soon(cancel=cancel))
    wait_until(lambda: table._flight.joined == 1)
    cancel.cancel()
    assert isinstance(outcome(joiner), RequestCancelled)
    gate.open()
    assert outcome(leader).number == 0


def test_what_is_idle_for_too_long_is_swept(
    table: ConnectionTable, make: Maker, clock: FakeClock
) -> None:
    get(table)
    clock.advance(899)
    assert table.sweep() == 0
    clock.advance(1)
    assert table.sweep() == 1
    assert make.made[0].closed == 1
    assert table.counts().activity == 0


def test_use_begins_the_idleness_anew(table: ConnectionTable, clock: FakeClock) -> None:
    get(table)
    clock.advance(899)
    get(table)
    clock.advance(899)
    assert table.sweep() == 0


def test_a_leased_connection_is_never_swept(table: ConnectionTable, clock: FakeClock) -> None:
    with table.lease(ADA, OPTIONS, soon()) as thing:
        clock.advance(10_000)
        assert table.sweep() == 0
        assert thing.is_connected
    assert table.sweep() == 0, "its idleness begins when it is given back"
    clock.advance(900)
    assert table.sweep() == 1


def test_the_sweep_leaves_the_current_user_alone(table: ConnectionTable, clock: FakeClock) -> None:
    get(table, ADA)
    get(table, BOB)
    clock.advance(900)
    assert table.sweep(except_user="ada") == 1
    assert set(table.of_user("ada")) == {"crm"}
    assert table.of_user("bob") == {}


def test_a_disconnect_waits_for_the_last_borrower(table: ConnectionTable, make: Maker) -> None:
    with table.lease(ADA, OPTIONS, soon()):
        with table.lease(ADA, OPTIONS, soon()):
            table.remove([ADA], "disconnected")
            assert table.counts().connections == 0
        assert make.made[0].closed == 0
    assert make.made[0].closed == 1


def test_after_a_disconnect_the_next_caller_gets_another(
    table: ConnectionTable, make: Maker
) -> None:
    with table.lease(ADA, OPTIONS, soon()) as old:
        table.remove([ADA], "disconnected")
        assert get(table) is not old
    assert [thing.closed for thing in make.made] == [1, 0]


def test_a_disconnect_dooms_a_creation_under_way(table: ConnectionTable, make: Maker) -> None:
    gate = make.before = Gate()
    leader = start(get, table)
    gate.wait_reached()
    table.remove_user("ada", "disconnected")
    gate.open()
    assert isinstance(outcome(leader), ConnectionClosed)
    assert make.made[0].closed == 1
    assert table.counts().connections == 0


def test_callers_of_a_newer_creation_are_not_harmed(table: ConnectionTable, make: Maker) -> None:
    old = make.before = Gate()
    doomed = start(get, table)
    old.wait_reached()
    table.remove([ADA], "disconnected")
    new = make.before = Gate()
    newcomer = start(get, table)
    new.wait_reached()
    old.open()
    assert isinstance(outcome(doomed), ConnectionClosed)
    assert table.counts().pending == 1, "the newer one is still on its way"
    new.open()
    assert outcome(newcomer).is_connected
    assert table.of_user("ada")["crm"] is outcome(newcomer)


def test_a_dead_connection_is_replaced_and_closed(
    table: ConnectionTable, make: Maker, told: list[Any]
) -> None:
    dead = get(table)
    dead.is_connected = False
    assert get(table).number == 1
    assert dead.closed == 1
    assert told[1] == events.ConnectionClosed("crm", "ada", "dead")


def test_replacing_closes_the_old_one_before_the_new_is_made(
    table: ConnectionTable, make: Maker
) -> None:
    old = get(table)
    make.before = lambda: pytest.fail("the old one is open") if not old.closed else None
    assert table.replace(ADA, OPTIONS, soon()).number == 1


def test_removing_one_of_two_keeps_the_user(table: ConnectionTable) -> None:
    get(table, ADA)
    get(table, Key("ada", "wiki"))
    table.remove([ADA], "disconnected")
    assert set(table.of_user("ada")) == {"wiki"}
    assert table.counts().users == 1


def test_a_user_who_disconnects_leaves_no_entry_behind(table: ConnectionTable) -> None:
    get(table)
    table.remove_user("ada", "disconnected")
    table.remove_user("ada", "disconnected")
    counts = table.counts()
    assert (counts.users, counts.connections, counts.activity) == (0, 0, 0)


def test_close_waits_for_borrowers_not_for_ever(table: ConnectionTable, make: Maker) -> None:
    with table.lease(ADA, OPTIONS, soon()):
        table.close(Deadline(0.1))
        assert make.made[0].closed == 1
    assert make.made[0].closed == 1


def test_nothing_is_made_after_close(table: ConnectionTable, make: Maker) -> None:
    table.close(Deadline(10))
    with pytest.raises(ConnectionClosed, match="manager is closed"):
        get(table)
    assert make.calls == 0


def test_close_dooms_a_creation_under_way(table: ConnectionTable, make: Maker) -> None:
    gate = make.before = Gate()
    leader = start(get, table)
    gate.wait_reached()
    table.close(Deadline(10))
    gate.open()
    assert isinstance(outcome(leader), ConnectionClosed)
    assert make.made[0].closed == 1


def test_a_disconnect_inside_the_connecting_wins(table: ConnectionTable, make: Maker) -> None:
    make.before = lambda: table.remove([ADA], "disconnected")
    with pytest.raises(ConnectionClosed):
        get(table)
    assert table.counts().connections == 0


def test_what_landed_between_the_look_and_the_flight_is_used(
    table: ConnectionTable, make: Maker
) -> None:
    class Gap(Deadline):
        """Somebody else gets there first, exactly in between."""

        def check(self, doing: str, *, maybe_executed: bool = False) -> None:
            get(table)

    assert get(table, ADA, CallScope(Gap(10.0))).number == 0
    assert make.calls == 1


def test_a_leader_who_is_cancelled_leaves_his_place_to_a_joiner(
    table: ConnectionTable, make: Maker
) -> None:
    gate = Gate()

    def give_up() -> None:
        gate()
        make.before = lambda: None
        raise RequestCancelled("cancelled.")

    make.before = give_up
    leader = start(get, table)
    gate.wait_reached()
    joiner = start(get, table)
    wait_until(lambda: table._flight.joined == 1)
    gate.open()
    assert isinstance(outcome(leader), RequestCancelled)
    assert outcome(joiner).is_connected


def test_counts_tell_what_is_there(table: ConnectionTable, make: Maker) -> None:
    get(table, BOB)
    with table.lease(ADA, OPTIONS, soon()):
        counts = table.counts()
        assert (counts.users, counts.connections, counts.leased) == (2, 2, 1)
        assert counts.activity == 2


def test_a_table_without_idle_rule_sweeps_nothing(make: Maker, clock: FakeClock) -> None:
    table = ConnectionTable(make, idle_timeout=math.inf, clock=clock, emit=lambda _: None)
    get(table)
    clock.advance(1e9)
    assert table.sweep() == 0
    table.close(Deadline(10))


OPERATIONS: dict[str, Callable[[ConnectionTable, FakeClock], Any]] = {
    "get": lambda table, clock: get(table),
    "replace": lambda table, clock: table.replace(ADA, OPTIONS, soon()),
    "remove": lambda table, clock: table.remove([ADA], "disconnected"),
    "remove_user": lambda table, clock: table.remove_user("ada", "disconnected"),
    "sweep": lambda table, clock: (clock.advance(900), table.sweep()),
    "other": lambda table, clock: get(table, BOB),
}


@pytest.mark.parametrize("third", OPERATIONS)
@pytest.mark.parametrize("second", OPERATIONS)
@pytest.mark.parametrize("there", [False, True], ids=["empty", "there"])
def test_whatever_happens_while_a_connection_is_made_the_invariants_hold(
    table: ConnectionTable, make: Maker, clock: FakeClock, there: bool, second: str, third: str
) -> None:
    """Every pair of operations, inside the gap in which a creation is under way."""
    if there:
        get(table)
        make.made[0].is_connected = False
    inside = [second, third]
    others = []

    def meanwhile() -> None:
        while inside:
            before, calls = table._flight.joined + table._flight.waited, make.calls
            others.append(start(OPERATIONS[inside.pop(0)], table, clock))
            wait_until(
                lambda: (
                    others[-1].done()
                    or table._flight.joined + table._flight.waited > before
                    or make.calls > calls
                )
            )

    make.before = meanwhile
    first = outcome(start(get, table))
    results = [outcome(other) for other in others]
    for result in [first, *results]:
        assert not isinstance(result, Exception) or isinstance(result, ConnectionClosed), result
    counts = table.counts()
    held = [*table.of_user("ada").values(), *table.of_user("bob").values()]
    assert (counts.pending, counts.leased) == (0, 0)
    assert counts.connections == counts.activity == len(held)
    assert {id(thing) for thing in make.made if not thing.closed} == {id(thing) for thing in held}


def test_a_connection_that_cannot_be_closed_does_not_keep_the_others_open(
    table: ConnectionTable, make: Maker, clock: FakeClock, told: list[Any]
) -> None:
    bad = get(table, ADA)
    get(table, BOB)
    close, bad.close = bad.close, lambda timeout=0.0: 1 / 0
    clock.advance(900)
    assert table.sweep() == 2
    assert make.made[1].closed == 1
    assert names(told).count("ConnectionClosed") == 2
    close()
