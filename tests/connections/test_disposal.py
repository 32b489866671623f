"""Closing what was removed: after its last borrower, not never, and all of it in time."""

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mcpsync._runtime.deadline import Deadline
from mcpsync.connections import disposal as disposal_module
from mcpsync.connections.connection import Key
from mcpsync.connections.disposal import (
    AT_ONCE,
    DRAIN_TIMEOUT,
    GENTLY,
    PAUSE,
    Disposal,
    Entry,
    Lease,
    Removed,
)
from mcpsync.connections.table import ConnectionTable
from mcpsync.errors import ConnectError, RequestTimeout
from mcpsync.events import ConnectionClosed
from mcpsync.testing.clock import FakeClock
from mcpsync.transports.base import CallScope
from support.threads import Gate, outcome, start, wait_until

OPTIONS: Any = object()
ADA = Key("ada", "crm")
BOB = Key("bob", "crm")


class Thing:
    """Stands for a connection, and remembers how long its closing might have taken."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.is_connected = True
        self.must_check = False
        self.busy = False
        self.timeouts: list[float] = []
        self.closing: Callable[[], Any] = lambda: None

    def is_stale(self, options: Any) -> bool:
        return False

    def close(self, timeout: float = -1.0) -> None:
        self.timeouts.append(timeout)
        self.is_connected = False
        self.closing()

    @property
    def closed(self) -> int:
        return len(self.timeouts)


class Maker:
    """Makes things at once."""

    def create(self, key: Key, options: Any, scope: CallScope) -> Any:
        return Thing(key)

    def lost(self, connection: Any) -> None:
        raise AssertionError("nothing is lost here")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def table(clock: FakeClock, told: list[Any]) -> Iterator[ConnectionTable]:
    table = ConnectionTable(Maker(), idle_timeout=900, clock=clock, emit=told.append)
    yield table
    table.close(Deadline(10))


@pytest.fixture
def disposal(clock: FakeClock, told: list[Any]) -> Disposal:
    return Disposal(clock, told.append)


def scope() -> CallScope:
    return CallScope(Deadline(10))


def lend(table: ConnectionTable, key: Key = ADA) -> Lease:
    return table.lease(key, OPTIONS, scope())


def removed(*keys: Key) -> list[Removed]:
    things: list[Any] = [Thing(key) for key in keys]
    return [Removed(Entry(thing.key, thing), "disconnected") for thing in things]


# -- overdue --------------------------------------------------------------------------------------


def test_a_borrower_without_calls_does_not_keep_it_open_for_ever(
    table: ConnectionTable, clock: FakeClock
) -> None:
    with lend(table) as thing:
        table.remove([ADA], "disconnected")
        clock.advance(DRAIN_TIMEOUT - 1)
        table.sweep()
        assert thing.is_connected
        clock.advance(1)
        table.sweep()
        assert not thing.is_connected
        assert table.counts().closing == 0
    assert thing.closed == 1, "whoever gives it back late does not close it again"  # type: ignore[attr-defined]


def test_a_call_under_way_keeps_it_open_however_long_it_takes(
    table: ConnectionTable, clock: FakeClock
) -> None:
    with lend(table) as thing:
        table.remove([ADA], "disconnected")
        thing.busy = True  # type: ignore[misc]
        clock.advance(100 * DRAIN_TIMEOUT)
        table.sweep()
        assert thing.is_connected
        thing.busy = False  # type: ignore[misc]
        table.sweep()
        assert not thing.is_connected


def test_the_time_of_each_begins_when_it_was_removed(
    table: ConnectionTable, clock: FakeClock
) -> None:
    with lend(table, ADA) as ada, lend(table, BOB) as bob:
        table.remove([ADA], "disconnected")
        clock.advance(1)
        table.remove([BOB], "disconnected")
        clock.advance(DRAIN_TIMEOUT - 1)
        table.sweep()
        assert (ada.is_connected, bob.is_connected) == (False, True)


def test_one_that_is_busy_does_not_keep_the_others_from_being_overdue(
    table: ConnectionTable, clock: FakeClock
) -> None:
    with lend(table, ADA) as ada, lend(table, BOB) as bob:
        ada.busy = True  # type: ignore[misc]
        table.remove([ADA, BOB], "disconnected")
        clock.advance(DRAIN_TIMEOUT)
        table.sweep()
        assert (ada.is_connected, bob.is_connected) == (True, False)


def test_an_overdue_one_is_told_with_the_reason_it_was_removed_for(
    table: ConnectionTable, clock: FakeClock, told: list[Any]
) -> None:
    with lend(table):
        table.remove([ADA], "disconnected")
        clock.advance(DRAIN_TIMEOUT)
        assert table.sweep() == 0, "a sweep counts what was idle"
    assert told[-1] == ConnectionClosed("crm", "ada", "disconnected")
    assert told.count(told[-1]) == 1


def test_the_sweeper_is_told_when_something_may_be_overdue(
    table: ConnectionTable, clock: FakeClock
) -> None:
    assert table.until_next_expiry() is None
    with lend(table) as thing:
        table.remove([ADA], "disconnected")
        assert table.until_next_expiry() == DRAIN_TIMEOUT
        clock.advance(100.0)
        assert table.until_next_expiry() == DRAIN_TIMEOUT - 100.0
        thing.busy = True  # type: ignore[misc]
        clock.advance(DRAIN_TIMEOUT)
        assert table.until_next_expiry() == 1.0, "it is busy: look again soon, not all the time"
    assert table.until_next_expiry() is None


# -- closing the table ----------------------------------------------------------------------------


def test_close_ends_with_the_last_borrower(table: ConnectionTable) -> None:
    with lend(table) as thing:
        closing = start(table.close, Deadline(60))
        wait_until(lambda: table.counts().closing == 1)
        assert not closing.done()
        assert thing.is_connected, "a call under way may end"
    assert outcome(closing) is None
    assert thing.closed == 1  # type: ignore[attr-defined]


def test_close_waits_three_quarters_of_its_time_and_cuts_in_the_rest(
    table: ConnectionTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    monkeypatch.setattr(table._disposal.drained, "wait", lambda timeout: waits.append(timeout))
    with lend(table) as thing:
        thing.busy = True  # type: ignore[misc]
        table.close(Deadline(100.0))
        assert waits == [pytest.approx(75.0, abs=1.0)]
        assert not thing.is_connected
    assert thing.timeouts == [pytest.approx(100.0, abs=1.0)]  # type: ignore[attr-defined]


def test_what_is_cut_has_the_time_that_remains_to_be_closed(table: ConnectionTable) -> None:
    with lend(table) as thing:
        table.close(Deadline(0.2))
    assert thing.timeouts == [pytest.approx(0.05, abs=0.05)]  # type: ignore[attr-defined]


def test_close_does_not_wait_if_nothing_is_lent(
    table: ConnectionTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table._disposal.drained, "wait", lambda timeout: pytest.fail("it waits"))
    table.get(ADA, OPTIONS, scope())
    table.close(Deadline(60))


def test_close_waits_for_what_was_removed_before(table: ConnectionTable) -> None:
    with lend(table) as thing:
        table.remove([ADA], "disconnected")
        closing = start(table.close, Deadline(60))
        wait_until(lambda: table._closed)
        assert not closing.done()
        assert thing.is_connected
    assert outcome(closing) is None


def test_close_does_not_wait_for_what_a_sweep_has_closed_meanwhile(
    table: ConnectionTable, clock: FakeClock
) -> None:
    with lend(table) as thing:
        closing = start(table.close, Deadline(60))
        wait_until(lambda: table.counts().closing == 1)
        clock.advance(DRAIN_TIMEOUT)
        table.sweep()
        assert outcome(closing) is None
        assert not thing.is_connected


def test_of_two_who_close_neither_waits_for_what_the_other_has_cut(table: ConnectionTable) -> None:
    with lend(table):
        patient = start(table.close, Deadline(60))
        wait_until(lambda: table.counts().closing == 1)
        table.close(Deadline(0.0))
        assert outcome(patient) is None


def test_close_without_a_limit_waits_for_the_last_borrower(table: ConnectionTable) -> None:
    with lend(table):
        closing = start(table.close, Deadline(math.inf))
        wait_until(lambda: table.counts().closing == 1)
    assert outcome(closing) is None


# -- closing several ------------------------------------------------------------------------------


@pytest.mark.parametrize(("gently", "at_once"), [(False, AT_ONCE), (True, GENTLY)])
def test_several_are_closed_at_a_time_and_not_too_many(
    disposal: Disposal, gently: bool, at_once: int
) -> None:
    gate, keys = Gate(), [Key("ada", f"server {n}") for n in range(2 * AT_ONCE)]
    batch = removed(*keys)
    inside, most, lock = 0, 0, threading.Lock()

    def closing() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        gate()
        with lock:
            inside -= 1

    for each in batch:
        each.entry.connection.closing = closing  # type: ignore[attr-defined]
    disposing = start(lambda: disposal.dispose(batch, gently=gently))
    wait_until(lambda: inside == at_once)
    gate.open()
    assert outcome(disposing) == 2 * AT_ONCE
    assert most == at_once


def test_a_sweep_makes_way_for_calls(
    table: ConnectionTable, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(disposal_module, "pause", lambda seconds, _: pauses.append(seconds))
    for user in ("ada", "bob"):
        table.get(Key(user, "crm"), OPTIONS, CallScope(Deadline(10)))
    clock.advance(900)
    assert table.sweep() == 2
    assert pauses == [PAUSE, PAUSE]


def test_one_that_cannot_be_closed_is_logged_and_told_and_the_others_are_closed(
    disposal: Disposal, told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    batch = removed(ADA, BOB)
    batch[0].entry.connection.closing = lambda: 1 / 0  # type: ignore[attr-defined]
    assert disposal.dispose(batch) == 2
    assert [each.entry.connection.closed for each in batch] == [1, 1]  # type: ignore[attr-defined]
    assert "closing the connection to crm failed" in caplog.text
    assert {event.user_id for event in told} == {"ada", "bob"}


def test_to_close_nothing_costs_nothing(disposal: Disposal, told: list[Any]) -> None:
    assert disposal.dispose([]) == 0
    assert told == []


# -- a loan ---------------------------------------------------------------------------------------


class Lender:
    """Lends one entry, or raises what it was given."""

    def __init__(self, log: list[str], error: BaseException | None = None) -> None:
        self.log = log
        self.error = error
        thing: Any = Thing(ADA)
        self.entry = Entry(ADA, thing)

    def borrow(self, key: Key, options: Any, scope: CallScope) -> Entry:
        self.log.append("borrowed")
        if self.error is not None:
            raise self.error
        return self.entry

    def give_back(self, key: Key, entry: Entry) -> None:
        assert entry is self.entry
        self.log.append("given back")


def loan(log: list[str], error: BaseException | None = None) -> Lease:
    return Lease(Lender(log, error), ADA, OPTIONS, scope(), lambda: log.append("afterwards"))


def test_a_loan_is_given_back_and_then_comes_what_comes_afterwards() -> None:
    log: list[str] = []
    with loan(log):
        log.append("used")
    assert log == ["borrowed", "used", "given back", "afterwards"]


def test_a_loan_is_given_back_whatever_its_use_raises() -> None:
    log: list[str] = []
    with pytest.raises(RequestTimeout), loan(log):
        raise RequestTimeout("too long.")
    assert log == ["borrowed", "given back", "afterwards"]


def test_a_loan_that_was_refused_is_not_given_back() -> None:
    log: list[str] = []
    with pytest.raises(ConnectError) as found, loan(log, ConnectError("nobody listens there.")):
        pytest.fail("it was entered")
    assert log == ["borrowed", "afterwards"]
    assert (found.value.server_name, found.value.user_id) == ("crm", "ada")


def test_a_loan_is_given_back_once() -> None:
    log: list[str] = []
    lease = loan(log)
    with lease:
        lease.__exit__(None, None, None)
    assert log == ["borrowed", "given back", "afterwards"]


def test_nothing_is_borrowed_before_a_loan_is_entered() -> None:
    log: list[str] = []
    loan(log)
    assert log == []
