"""The table of connections, in controlled interleavings: no server, no luck."""

import math
import os
import select
import signal
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
from support.threads import PATIENCE, Gate, outcome, start, wait_until

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
        self.answer: Callable[[], bool] = lambda: True
        self.checks = 0
        self.made_from: Any = None

    def is_stale(self, options: Any) -> bool:
        return options is not self.made_from

    def check(self, scope: CallScope) -> bool:
        self.checks += 1
        return self.answer()

    def close(self, timeout: float = 0.0) -> None:
        self.closed += 1
        self.is_connected = False


class Maker:
    """Makes things, through a gate if there is one, and keeps them all."""

    def __init__(self) -> None:
        self.made: list[Thing] = []
        self.calls = 0
        self.scopes: list[CallScope] = []
        self.before: Callable[[], Any] = lambda: None
        self.lost_ones: list[Any] = []

    def create(self, key: Key, options: Any, scope: CallScope) -> Any:
        self.calls += 1
        self.scopes.append(scope)
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


# -- replacing ------------------------------------------------------------------------------------


def replace(table: ConnectionTable, key: Key = ADA) -> Any:
    return table.replace(key, OPTIONS, soon())


def test_replacements_of_one_key_are_made_one_after_the_other(
    table: ConnectionTable, make: Maker
) -> None:
    gate = make.before = Gate()
    first = start(replace, table)
    gate.wait_reached()
    others = [start(replace, table) for _ in range(3)]
    wait_until(lambda: table._flight.waited == 3)
    assert make.calls == 1
    gate.open()
    assert {outcome(each).number for each in [first, *others]} == {0, 1, 2, 3}, "one was shared"
    assert sum(not thing.closed for thing in make.made) == 1


def test_a_replacement_does_not_join_what_is_under_way(table: ConnectionTable, make: Maker) -> None:
    gate = make.before = Gate()
    ordinary = start(get, table)
    gate.wait_reached()
    forced = start(replace, table)
    wait_until(lambda: table._flight.waited == 1)
    gate.open()
    assert outcome(ordinary).number == 0
    assert outcome(forced).number == 1
    assert table._flight.joined == 0


def test_nobody_joins_a_replacement_nor_gets_its_error(table: ConnectionTable, make: Maker) -> None:
    gate = Gate()

    def fail() -> None:
        gate()
        make.before = lambda: None
        raise ConnectError("nobody listens there.")

    make.before = fail
    forced = start(replace, table)
    gate.wait_reached()
    ordinary = start(get, table)
    wait_until(lambda: table._flight.waited == 1)
    gate.open()
    assert isinstance(outcome(forced), ConnectError)
    assert outcome(ordinary).is_connected


def test_who_waited_for_a_replacement_uses_what_it_made(
    table: ConnectionTable, make: Maker
) -> None:
    gate = make.before = Gate()
    forced = start(replace, table)
    gate.wait_reached()
    ordinary = start(get, table)
    wait_until(lambda: table._flight.waited == 1)
    gate.open()
    assert outcome(ordinary) is outcome(forced)
    assert make.calls == 1


def test_replacements_for_two_keys_do_not_wait_for_each_other(
    table: ConnectionTable, make: Maker
) -> None:
    gate = make.before = Gate()
    ada = start(replace, table, ADA)
    gate.wait_reached()
    make.before = lambda: None
    assert replace(table, BOB).is_connected
    gate.open()
    assert outcome(ada).is_connected


def test_a_borrowed_connection_is_replaced_and_closed_by_its_borrower(
    table: ConnectionTable, make: Maker
) -> None:
    with table.lease(ADA, OPTIONS, soon()) as old:
        assert replace(table) is not old
        assert make.made[0].closed == 0
    assert make.made[0].closed == 1


def test_a_replacement_that_fails_leaves_nothing_and_closes_the_old_one(
    table: ConnectionTable, make: Maker
) -> None:
    old = get(table)
    make.before = lambda: pytest.fail("it is made") if not old.closed else 1 / 0
    with pytest.raises(ZeroDivisionError):
        replace(table)
    assert table.counts() == (0,) * 6


@pytest.mark.parametrize("end", ["remove", "close"])
def test_a_teardown_while_the_old_one_is_closed_ends_the_replacement(
    table: ConnectionTable, make: Maker, end: str
) -> None:
    """Otherwise the user would be connected again after he had left."""
    old, gate = get(table), Gate()
    close = old.close
    old.close = lambda timeout=0.0: (gate(), close())
    forced = start(replace, table)
    gate.wait_reached()
    if end == "close":
        table.close(Deadline(10))
    else:
        table.remove([ADA], "disconnected")
    gate.open()
    assert isinstance(outcome(forced), ConnectionClosed)
    assert table.counts().connections == 0


# -- idle, stale, dead ----------------------------------------------------------------------------


def test_the_other_expired_connections_of_an_idle_user_go_too(
    table: ConnectionTable, make: Maker, clock: FakeClock
) -> None:
    wiki, mail = Key("ada", "wiki"), Key("ada", "mail")
    for key in (ADA, wiki, BOB):
        get(table, key)
    clock.advance(1)
    get(table, mail)
    clock.advance(899)
    assert get(table).number == 4
    assert [thing.closed for thing in make.made] == [1, 1, 0, 0, 0]
    assert set(table.of_user("ada")) == {"crm", "mail"}
    assert "bob" in {thing.key.user_id for thing in make.made if not thing.closed}


def test_a_stale_connection_is_made_anew(
    table: ConnectionTable, make: Maker, told: list[Any]
) -> None:
    get(table)
    new: Any = object()
    assert make.made[table.get(ADA, new, soon()).number].made_from is new  # type: ignore[attr-defined]
    assert events.ConnectionClosed("crm", "ada", "stale") in told


def test_a_stale_connection_is_closed_by_its_last_borrower_and_not_before(
    table: ConnectionTable, make: Maker
) -> None:
    new: Any = object()
    with table.lease(ADA, OPTIONS, soon()), table.lease(ADA, OPTIONS, soon()):
        with table.lease(ADA, OPTIONS, soon()):
            assert table.get(ADA, new, soon()) is make.made[1]
        assert make.made[0].closed == 0
        assert table.counts().closing == 1
    assert [thing.closed for thing in make.made] == [1, 0]


def test_a_caller_who_lacks_a_value_leaves_the_connection_as_it_was(
    table: ConnectionTable, make: Maker, clock: FakeClock
) -> None:
    """Whether it is stale cannot be said without the value; it must not be held for ever."""
    get(table)
    make.made[0].is_stale = lambda options: 1 / 0  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        get(table)
    del make.made[0].is_stale
    assert table.counts().leased == 0
    clock.advance(900)
    assert table.sweep() == 1


def test_a_borrowed_connection_that_is_being_opened_anew_is_not_taken_for_dead(
    table: ConnectionTable, make: Maker
) -> None:
    with table.lease(ADA, OPTIONS, soon()) as thing:
        make.made[0].is_connected = False
        assert get(table) is thing
        make.made[0].is_connected = True
    assert make.lost_ones == []


def test_a_dead_connection_counts_as_lost_once(table: ConnectionTable, make: Maker) -> None:
    dead = get(table)
    dead.is_connected = False
    get(table)
    get(table)
    assert make.lost_ones == [dead]


def test_what_is_idle_stale_replaced_or_disconnected_was_not_lost(
    table: ConnectionTable, make: Maker, clock: FakeClock
) -> None:
    get(table)
    replace(table)
    table.get(ADA, "new", soon())  # type: ignore[arg-type]
    clock.advance(900)
    table.sweep()
    get(table)
    table.remove([ADA], "disconnected")
    assert [thing.closed for thing in make.made] == [1, 1, 1, 1]
    assert make.lost_ones == []


# -- asking whether it is there -------------------------------------------------------------------


def doubtful(table: ConnectionTable, key: Key = ADA) -> Any:
    thing = get(table, key)
    thing.must_check = True
    return thing


def test_a_connection_that_answers_is_reused(table: ConnectionTable) -> None:
    thing = doubtful(table)
    assert get(table) is thing
    assert thing.checks == 1


def test_one_who_asks_asks_for_all(table: ConnectionTable) -> None:
    thing, gate = doubtful(table), Gate()
    thing.answer = lambda: gate() is None
    callers = [start(get, table) for _ in range(8)]
    wait_until(lambda: table._checks.joined == 7)
    gate.open()
    assert {outcome(caller) for caller in callers} == {thing}
    assert thing.checks == 1


def test_a_failed_check_makes_one_new_connection_and_counts_once(
    table: ConnectionTable, make: Maker, told: list[Any]
) -> None:
    thing, gate = doubtful(table), Gate()
    thing.answer = lambda: gate() is not None
    callers = [start(get, table) for _ in range(8)]
    wait_until(lambda: table._checks.joined == 7)
    gate.open()
    assert {outcome(caller).number for caller in callers} == {1}
    assert make.lost_ones == [thing]
    assert thing.closed == 1
    assert told.count(events.ConnectionClosed("crm", "ada", "dead")) == 1


def test_a_failed_check_does_not_touch_what_came_in_its_place(
    table: ConnectionTable, make: Maker
) -> None:
    thing, gate = doubtful(table), Gate()
    thing.answer = lambda: gate() is not None
    caller = start(get, table)
    gate.wait_reached()
    newer = replace(table)
    gate.open()
    assert outcome(caller) is newer
    assert newer.is_connected
    assert make.lost_ones == [], "it was replaced before it was found dead"


def test_what_came_in_its_place_is_asked_for_itself(table: ConnectionTable, make: Maker) -> None:
    old, gate = doubtful(table), Gate()
    old.answer = lambda: gate() is not None
    caller = start(get, table)
    gate.wait_reached()
    newer = replace(table)
    newer.must_check = True
    assert get(table) is newer
    assert newer.checks == 1
    gate.open()
    assert outcome(caller) is newer


def test_a_connection_that_is_asked_is_borrowed_meanwhile(
    table: ConnectionTable, clock: FakeClock
) -> None:
    thing, gate = doubtful(table), Gate()
    thing.answer = lambda: gate() is None
    caller = start(get, table)
    gate.wait_reached()
    clock.advance(10_000)
    assert table.sweep() == 0
    table.remove([ADA], "disconnected")
    assert thing.closed == 0
    gate.open()
    outcome(caller)
    assert thing.closed == 1


def test_a_check_that_raises_gives_the_connection_back(table: ConnectionTable) -> None:
    thing = doubtful(table)
    thing.answer = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        get(table)
    assert table.counts().leased == 0
    assert table.of_user("ada") == {"crm": thing}


# -- tearing down what is on its way --------------------------------------------------------------


@pytest.mark.parametrize("end", ["remove", "remove_user", "close"])
def test_a_doomed_creation_is_cancelled_at_once_and_its_joiners_told(
    table: ConnectionTable, make: Maker, end: str
) -> None:
    gate = Gate()

    def until_cancelled() -> None:
        cancel = make.scopes[-1].cancel
        assert cancel is not None
        cancel.add_waker(gate.open)
        gate()
        raise RequestCancelled("cancelled.")

    make.before = until_cancelled
    callers = [start(get, table) for _ in range(4)]
    wait_until(lambda: table._flight.joined == 3)
    gate.wait_reached()
    if end == "close":
        table.close(Deadline(10))
    elif end == "remove":
        table.remove([ADA], "disconnected")
    else:
        table.remove_user("ada", "disconnected")
    errors = [outcome(caller) for caller in callers]
    assert all(isinstance(error, ConnectionClosed) for error in errors)
    assert len({id(error) for error in errors}) == 4
    assert make.calls == 1


def test_the_callers_own_cancellation_reaches_the_maker(
    table: ConnectionTable, make: Maker
) -> None:
    gate = make.before = Gate()
    cancel = Cancellation()
    caller = start(table.get, ADA, OPTIONS, soon(cancel=cancel))
    gate.wait_reached()
    inner = make.scopes[0].cancel
    assert inner is not None
    cancel.cancel("he left")
    assert (inner.cancelled, inner.reason) == (True, "he left")
    gate.open()
    assert outcome(caller).is_connected, "it was there before the maker looked"


def test_a_teardown_of_one_server_leaves_the_others_on_their_way(
    table: ConnectionTable, make: Maker
) -> None:
    gate = make.before = Gate()
    caller = start(get, table, Key("ada", "wiki"))
    gate.wait_reached()
    table.remove([ADA], "disconnected")
    table.remove_user("bob", "disconnected")
    gate.open()
    assert outcome(caller).is_connected


def test_a_doomed_connection_that_cannot_be_closed_is_logged_and_its_joiners_told(
    table: ConnectionTable, make: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    gate = make.before = Gate()
    made: list[Any] = []
    create = make.create

    def unclosable(*args: Any) -> Any:
        thing = create(*args)
        made.append(thing.close)
        thing.close = lambda timeout=0.0: 1 / 0
        return thing

    make.create = unclosable  # type: ignore[method-assign]
    callers = [start(get, table) for _ in range(2)]
    wait_until(lambda: table._flight.joined == 1)
    table.remove([ADA], "disconnected")
    gate.open()
    assert all(isinstance(outcome(caller), ConnectionClosed) for caller in callers)
    assert "closing the connection to crm failed" in caplog.text
    made[0]()


def test_nothing_is_told_of_a_connection_that_never_was(
    table: ConnectionTable, make: Maker, told: list[Any]
) -> None:
    make.before = lambda: table.remove([ADA], "disconnected")
    with pytest.raises(ConnectionClosed):
        get(table)
    assert told == []


# -- forking in the midst of it -------------------------------------------------------------------


def child_says(look: Callable[[], object]) -> str:
    """Fork, and return what *look* returns in the child, as text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = repr(look())
        except BaseException as error:  # noqa: BLE001 - the parent wants to see it
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], PATIENCE)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        return os.read(reading, 65536).decode() if ready else "nothing"
    finally:
        os.close(reading)
        os.waitpid(pid, 0)


def being_created(table: ConnectionTable, make: Maker) -> tuple[Gate, Any]:
    gate = make.before = Gate()
    return gate, start(get, table)


def being_replaced(table: ConnectionTable, make: Maker) -> tuple[Gate, Any]:
    get(table)
    gate = make.before = Gate()
    return gate, start(replace, table)


def being_asked(table: ConnectionTable, make: Maker) -> tuple[Gate, Any]:
    thing, gate = doubtful(table), Gate()
    thing.answer = lambda: gate() is None
    return gate, start(get, table)


def being_closed(table: ConnectionTable, make: Maker) -> tuple[Gate, Any]:
    thing, gate = get(table), Gate()
    close = thing.close
    thing.close = lambda timeout=0.0: (gate(), close())
    return gate, start(table.remove, [ADA], "disconnected")


def being_borrowed(table: ConnectionTable, make: Maker) -> tuple[Gate, Any]:
    gate = Gate()

    def use() -> None:
        with table.lease(ADA, OPTIONS, soon()):
            table.remove([ADA], "disconnected")
            gate()

    return gate, start(use)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "midst", [being_created, being_replaced, being_asked, being_closed, being_borrowed]
)
def test_a_child_forked_in_the_midst_begins_with_nothing_and_works(
    table: ConnectionTable, make: Maker, clock: FakeClock, midst: Callable[..., tuple[Gate, Any]]
) -> None:
    gate, caller = midst(table, make)
    gate.wait_reached()
    known, before = len(make.made), table.counts()

    def look() -> object:
        empty, make.before = table.counts() == (0,) * 6, lambda: None
        thing = get(table)
        anew = thing.number == known and get(table) is thing
        forced = replace(table)
        clock.advance(10_000)
        swept = table.sweep()
        table.close(Deadline(10))
        untouched = [other.closed for other in make.made[:known]] == closed
        return empty, anew, forced.closed, swept, table.counts() == (0,) * 6, untouched

    closed = [thing.closed for thing in make.made]
    assert child_says(look) == "(True, True, 1, 1, True, True)"
    assert table.counts() == before
    gate.open()
    assert not isinstance(outcome(caller), Exception)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_in_the_midst_of_a_section_keeps_nothing_of_it(
    table: ConnectionTable,
) -> None:
    """Another thread holds the lock; an entry is out of the table, and the idle rule has it."""
    thing, gate = get(table), Gate()

    def hold() -> None:
        with table._lock:
            entry = table._entries.pop(ADA)
            gate()
            table._entries[ADA] = entry

    holder = start(hold)
    gate.wait_reached()
    said = child_says(lambda: (table.counts() == (0,) * 6, table.until_next_expiry()))
    gate.open()
    outcome(holder)
    assert said == "(True, None)"
    assert get(table) is thing


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_loan_of_the_parent_given_back_in_the_child_closes_nothing(
    table: ConnectionTable, make: Maker
) -> None:
    def look() -> object:
        lease.__exit__(None, None, None)
        return make.made[0].closed, table.counts() == (0,) * 6

    lease = table.lease(ADA, OPTIONS, soon())
    with lease:
        table.remove([ADA], "disconnected")
        assert child_says(look) == "(0, True)"
    assert make.made[0].closed == 1
