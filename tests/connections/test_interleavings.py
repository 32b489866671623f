"""Every order of two and three operations on the table of connections, and what always holds.

The operations stop inside the seams that the table is given: where a caller looked and found
nothing, before and after a connection is made, while one is asked whether it is there, is closed
or is in use, where an event is told, and where somebody who waited for another was woken. Between
two stops one thread runs alone, so that a run depends on its schedule and on nothing else.

A failure names the operations and the schedule: give both to :func:`run_again`.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import pytest

from mcpsync import events
from mcpsync._runtime.deadline import Deadline
from mcpsync.connections import disposal
from mcpsync.connections.connection import Key
from mcpsync.connections.disposal import Entry, Removed
from mcpsync.connections.table import ConnectionTable
from mcpsync.errors import ConnectError, ConnectionClosed, RequestCancelled
from mcpsync.testing.clock import FakeClock
from mcpsync.transports.base import CallScope
from support.scheduler import (
    PATIENCE,
    Actor,
    Scheduler,
    SchedulersCancellation,
    SchedulersDeadline,
    SchedulersEvent,
    Status,
    Workers,
    explore,
    replay,
)

pytestmark = pytest.mark.once  # the scheduler says which thread runs, not Python

CRM = Key("ada", "crm")
WIKI = Key("ada", "wiki")
IDLE = 900.0
OLD, NEW = "old options", "new options"


class Thing:
    """Stands for a connection; closing it twice, or while it is in use, is remembered."""

    def __init__(self, world: "World", key: Key, options: Any, attempt: "Attempt") -> None:
        self.world = world
        self.key = key
        self.number = len(world.things)
        self.made_from = options
        self.maker = attempt.actor
        self.began = attempt.began
        self.is_connected = True
        self.must_check = False
        self.there = True
        self.users = 0  # who have a call under way on it
        self.closed = 0
        world.things.append(self)

    @property
    def busy(self) -> bool:
        return self.users > 0

    def is_stale(self, options: Any) -> bool:
        return bool(options != self.made_from)

    def check(self, scope: CallScope) -> bool:
        self.users += 1
        self.world.scheduler.stop("check", self.number)
        self.users -= 1
        return self.there and self.is_connected

    def close(self, timeout: float = 0.0) -> None:
        self.world.judge_closing(self)
        self.closed += 1
        self.is_connected = False
        self.world.scheduler.stop("close", self.number)

    def __repr__(self) -> str:
        return f"<{self.key.server_name} {self.number}>"


class Attempt:
    """A creation under way, as its maker sees it."""

    def __init__(self, world: "World", key: Key, scope: CallScope) -> None:
        self.key = key
        self.actor = world.scheduler.current()
        self.began = world.scheduler.now
        self.flight = world.table._flight.current(key)
        assert scope.cancel is not None
        self.cancel = scope.cancel

    @property
    def wanted(self) -> bool:
        return not self.cancel.cancelled


class Debts(NamedTuple):
    """How many were created, closed and lost without a word."""

    created: int
    closed: int
    lost: int


class World:
    """A table in the hands of a scheduler, and what must hold of it.

    Args:
        workers: Whose threads the operations run on.
        names: The operations.
        there: What there are connections to from the beginning.
        fine: Whether to stop where an event is told, and where somebody looked in vain, too.
        make_table: What is judged.
    """

    def __init__(
        self,
        workers: Workers,
        names: Sequence[str],
        there: Sequence[Key],
        *,
        fine: bool = True,
        make_table: type[ConnectionTable] = ConnectionTable,
    ) -> None:
        self.fine = fine
        self.clock = FakeClock()
        self.things: list[Thing] = []
        self.attempts: list[Attempt] = []
        self.told: list[Any] = []
        self.lost_ones: list[Thing] = []
        self.entries: dict[Thing, Entry] = {}  # all that were ever in the table
        self.waiting_since: dict[Entry, float] = {}
        self.offences: list[str] = []
        self.judged: set[Actor] = set()
        self.cut = False
        self.table = make_table(
            self, idle_timeout=IDLE, clock=self.clock, emit=self._emit, tell_reuse=False
        )
        operations = [(name, lambda do=OPERATIONS[name]: do(self)) for name in names]
        self.scheduler = Scheduler(workers, operations, self.note)
        self.table._disposal.drained = SchedulersEvent(self.scheduler)
        for key in there:
            self.table.get(key, OLD, self.scope())  # type: ignore[arg-type]
        self.note()
        self.check()

    # -- the seams --------------------------------------------------------------------------------

    def scope(self) -> CallScope:
        cancel = SchedulersCancellation(self.scheduler)
        if not self.fine:
            return CallScope(Deadline(PATIENCE), cancel)
        return CallScope(SchedulersDeadline(self.scheduler, after="close"), cancel)

    def create(self, key: Key, options: Any, scope: CallScope) -> Any:
        attempt = Attempt(self, key, scope)
        self.attempts.append(attempt)
        name = attempt.actor.name if attempt.actor else ""
        try:
            self.scheduler.stop("create", key.server_name)
            if name.startswith("fail"):
                raise ConnectError(f"{name} failed.")
            if name == "obedient get" and not attempt.wanted:
                raise RequestCancelled("cancelled.")
            return Thing(self, key, options, attempt)
        finally:
            self.attempts.remove(attempt)

    def lost(self, connection: Any) -> None:
        self.lost_ones.append(connection)

    def _emit(self, event: Any) -> None:
        self.told.append(event)
        if self.fine and not isinstance(event, events.ConnectionClosed):  # closing was a stop
            self.scheduler.stop("told", type(event).__name__)

    # -- what must hold ---------------------------------------------------------------------------

    def judge_closing(self, thing: Thing) -> None:
        """Remember it if a connection is closed that somebody has; the table would only log it."""
        entry = self.entries.get(thing)
        if self.cut or entry is None or not entry.leases:
            return
        since = self.waiting_since.get(entry, math.inf)
        if thing.busy or since + disposal.DRAIN_TIMEOUT > self.clock.monotonic():
            self.offences.append(f"{thing} is closed while it is lent")

    def note(self) -> None:
        """Remember which connections were in the table, and which wait to be closed."""
        self.entries.update((entry.connection, entry) for entry in self.table._entries.values())
        self.waiting_since.update(self.table._disposal._waiting)

    def check(self) -> None:
        """Judge what holds between any two steps."""
        table = self.table
        assert not self.offences
        wanted = Counter(attempt.key for attempt in self.attempts if attempt.wanted)
        assert all(count == 1 for count in wanted.values()), f"made twice at a time: {wanted}"
        for thing in self.things:
            assert thing.closed <= 1, f"{thing} was closed twice"
        for key, entry in table._entries.items():
            self._judge_entry(key, entry.connection)
        self._judge_counts(wanted)
        for actor in self.scheduler.actors:
            if actor.status is Status.DONE and actor not in self.judged:
                self.judged.add(actor)
                self._judge_result(actor)

    def _judge_entry(self, key: Key, thing: Any) -> None:
        assert not thing.closed, f"{thing} was closed and is kept"
        assert thing.key == key
        for actor in self.scheduler.actors:
            if actor.began and covers(actor.name, key):
                assert thing.began > actor.began, f"{thing} is there in spite of {actor.name}"

    def _judge_counts(self, wanted: Counter[Key]) -> None:
        table, counts = self.table, self.table.counts()
        entries = table._entries
        assert counts.users == len({key.user_id for key in entries}) == len(table._by_user)
        assert counts.connections == len(entries) == counts.activity
        assert {Key(u, s) for u, names in table._by_user.items() for s in names} == set(entries)
        assert {*table._idle._holds, *table._idle._idle_since} == set(entries)
        for key, entry in entries.items():
            assert table._idle._holds.get(key, 0) == entry.leases, f"{key} is held and not lent"
            assert table._by_user[key.user_id][key.server_name] is entry
        assert counts.leased == sum(1 for entry in entries.values() if entry.leases)
        assert counts.closing == len(table._disposal._waiting)
        assert all(entry.leases for entry in table._disposal._waiting), "it waits for nobody"
        replacing = sum(1 for a in self.scheduler.actors if is_forced(a.name) and not a.ended)
        assert wanted.total() <= counts.pending <= wanted.total() + replacing
        assert counts.pending <= len(table._flight), "a creation has no flight any more"

    def _judge_result(self, actor: Actor) -> None:
        """A caller has what he asked for, or an error that has a reason."""
        result = actor.result
        began = {a.name for a in self.scheduler.actors if a.began}
        if isinstance(result, Thing):
            assert result in self.entries, f"{actor.name} got {result}, which was never there"
            assert result.made_from == (NEW if actor.name == "update" else OLD)
            assert not is_forced(actor.name) or result.maker is actor, (
                f"{result} was made by others"
            )
            self._judge_freshness(actor, result)
        elif isinstance(result, ConnectionClosed):
            words = "manager is closed" if "close" in str(result) else "disconnected"
            assert words in str(result)
            assert began & ENDING, f"{actor.name}: {result!r}, and nobody ended anything"
        elif isinstance(result, ConnectError):
            self._judge_failure(actor, result)
        else:
            assert isinstance(result, int), f"{actor.name} got {result!r}"

    def _judge_freshness(self, actor: Actor, thing: Thing) -> None:
        for other in self.scheduler.actors:
            if other.ended and other.ended < actor.began and covers(other.name, thing.key):
                assert thing.began > other.began, f"{thing} is older than {other.name}"

    def _judge_failure(self, actor: Actor, error: ConnectError) -> None:
        failing = str(error.args[0]).removesuffix(" failed.")
        assert failing.startswith("fail"), f"{actor.name} got {error!r}"
        if is_forced(failing) or is_forced(actor.name):
            assert actor.name == failing, f"{actor.name} got the error of {failing}"
        others = [a.result for a in self.scheduler.actors if a is not actor]
        assert all(error is not other for other in others), "two callers share an error"

    def end(self) -> None:
        """Judge what holds when everybody is done, and then that closing leaves nothing."""
        counts, table = self.table.counts(), self.table
        assert (counts.pending, counts.leased, counts.closing) == (0, 0, 0)
        assert not self.attempts
        assert len(table._flight) == len(table._checks) == 0, "a flight is left behind"
        kept = {entry.connection for entry in table._entries.values()}
        assert {thing for thing in self.things if not thing.closed} == kept, "nobody has it"
        table.close(Deadline(10.0))
        assert table.counts() == (0,) * 6
        assert all(thing.closed == 1 for thing in self.things)
        self._judge_story()

    def _judge_story(self) -> None:
        """Whoever only heard the events knows what happened."""
        assert self.debts() == Debts(0, 0, 0)
        assert len(self.lost_ones) == len(set(self.lost_ones)), "lost twice"

    def debts(self) -> "Debts":
        """Return how much more happened than was told."""
        told = Counter(type(event).__name__ for event in self.told)
        dead = sum(getattr(event, "reason", "") == "dead" for event in self.told)
        return Debts(
            len(self.entries) - told["ConnectionCreated"],
            sum(thing.closed for thing in self.entries) - told["ConnectionClosed"],
            len(self.lost_ones) - dead,
        )

    # -- where it is ------------------------------------------------------------------------------

    def state(self) -> Hashable:
        """Return where everybody is, what everything is like, and what is judged later.

        What is closed is only counted, and of times only differences matter.
        """
        table, now = self.table, self.clock.monotonic()
        actors = self.scheduler.actors
        endings = [actor for actor in actors if actor.name in ENDING]
        self.ranks = {
            thing: rank for rank, thing in enumerate(t for t in self.things if not t.closed)
        }
        flights = {id(flight): n for n, flight in enumerate(table._flight._flights.values())}
        return (
            tuple(self._state_of(actor) for actor in actors),
            tuple(
                (key, *self._state_of_entry(entry, table._idle._idle_since.get(key, now) - now))
                for key, entry in sorted(table._entries.items())
            ),
            tuple(
                self._state_of_entry(entry, since - now)
                for entry, since in table._disposal._waiting.items()
            ),
            tuple(sorted(table._creations)),
            tuple(
                (
                    actors.index(a.actor),
                    a.wanted,
                    id(a.flight) in flights,
                    tuple(e.began > a.began for e in endings),
                )
                for a in self.attempts
            ),
            tuple(
                (
                    t.key,
                    t.made_from,
                    t.is_connected,
                    t.must_check,
                    t.there,
                    t.users,
                    tuple(e.began > t.began for e in endings),
                )
                for t in self.ranks
            ),
            tuple(
                (flight.alone, flight.gone is not None)
                for flight in table._flight._flights.values()
            ),
            (len(table._checks), table._closed, table._disposal.drained.is_set(), self.debts()),
        )

    def _state_of(self, actor: Actor) -> Hashable:
        if actor.status in {Status.NEW, Status.DONE}:
            return actor.status
        older = tuple(actor.began > each.ended > 0 for each in self.scheduler.actors)
        return actor.woken, tuple(actor.trail[-1:]), older, actor.position("mcpsync", self._value)

    def _state_of_entry(self, entry: Entry, since: float) -> tuple[Hashable, ...]:
        return self._value(entry.connection), entry.leases, entry.doomed, since

    def _value(self, held: Any) -> Hashable:
        """Return what stands for what a variable holds."""
        if isinstance(held, Thing):
            return self.ranks.get(held, -1)
        if isinstance(held, Entry):
            return self._value(held.connection), held.doomed
        if isinstance(held, list | tuple):
            return tuple(map(self._value, held))
        if isinstance(held, Future):
            return self._value(held.exception(0)) if held.done() else "under way"
        if isinstance(held, BaseException | str | bool | int):
            return repr(held)
        return None if held is None else type(held).__name__


# -- the operations -------------------------------------------------------------------------------


def get(world: World, options: str = OLD) -> Any:
    return world.table.get(CRM, options, world.scope())  # type: ignore[arg-type]


def update(world: World) -> Any:
    return get(world, NEW)


def lease(world: World) -> Any:
    with world.table.lease(CRM, OLD, world.scope()) as thing:  # type: ignore[arg-type]
        thing.users += 1  # type: ignore[attr-defined]
        world.scheduler.stop("use", thing.number)  # type: ignore[attr-defined]
        thing.users -= 1  # type: ignore[attr-defined]
    return thing


def force(world: World) -> Any:
    return world.table.replace(CRM, OLD, world.scope())  # type: ignore[arg-type]


def disconnect(world: World) -> int:
    return world.table.remove([CRM], "disconnected")


def disconnect_user(world: World) -> int:
    return world.table.remove_user("ada", "disconnected")


def sweep(world: World) -> int:
    world.clock.advance(IDLE)
    world.scheduler.stop("late")
    return world.table.sweep()


def die(world: World) -> Any:
    """The server of every connection there is has gone; somebody wants one."""
    for thing in world.things:
        thing.is_connected = False
    return get(world)


def doubt(world: World) -> Any:
    """Nothing was heard of the server for a while, and it is not there; somebody wants it."""
    for thing in world.things:
        thing.must_check, thing.there = True, False
    return get(world)


def close(world: World) -> int:
    world.table.close(Deadline(60.0))
    return 0


def close_at_once(world: World) -> int:
    world.cut = True
    world.table.close(Deadline(0.0))
    return 0


OPERATIONS: dict[str, Callable[[World], Any]] = {
    "get": get,
    "lease": lease,
    "force": force,
    "disconnect": disconnect,
    "sweep": sweep,
    "update": update,
    "fail": get,
    "die": die,
    "doubt": doubt,
    "close": close,
    "disconnect user": disconnect_user,
    "close at once": close_at_once,
    "obedient get": get,
    "fail by force": force,
}
ENDING = {"disconnect", "disconnect user", "close", "close at once"}
BEGINNINGS: dict[str, list[Key]] = {"nothing": [], "crm": [CRM], "crm and wiki": [CRM, WIKI]}
PAIRS = list(combinations_with_replacement(OPERATIONS, 2))
TRIPLES = list(combinations_with_replacement(list(OPERATIONS)[1:10], 3))


def is_forced(name: str) -> bool:
    return name.endswith("force")


def covers(name: str, key: Key) -> bool:
    """Whether what is older must be gone when this operation has made its first step."""
    return name in ENDING and (name != "disconnect" or key == CRM)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.end()


@pytest.fixture(autouse=True)
def _one_is_closed_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing on helping threads would be out of the scheduler's hands."""
    monkeypatch.setattr(disposal, "AT_ONCE", 1)
    monkeypatch.setattr(disposal, "GENTLY", 1)
    monkeypatch.setattr(disposal, "PAUSE", 0.0)


def run_again(names: str, beginning: str, schedule: Sequence[int]) -> None:
    """Make one run again: what to call with what a failure says."""
    workers = Workers()
    try:
        replay(World(workers, names.split(", "), BEGINNINGS[beginning]), schedule)
    finally:
        workers.end()


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("names", PAIRS, ids=", ".join)
def test_every_order_of_two_operations(
    workers: Workers, names: tuple[str, ...], beginning: str
) -> None:
    explore(lambda: World(workers, names, BEGINNINGS[beginning]))


@pytest.mark.parametrize("beginning", ["nothing", "crm"])
@pytest.mark.parametrize("names", TRIPLES, ids=", ".join)
def test_every_order_of_three_operations(
    workers: Workers, names: tuple[str, ...], beginning: str
) -> None:
    """They stop in fewer places: see ``fine``."""
    explore(lambda: World(workers, names, BEGINNINGS[beginning], fine=False))


def test_a_schedule_can_be_run_again() -> None:
    run_again("get, lease, disconnect", "nothing", [0, 0, 1, 2, 0, 1])


class Keeping(ConnectionTable):
    """A table that lends on what a disconnect has doomed."""

    def _doom_locked(self, keys: Iterable[Key]) -> list[Any]:
        return []


class Careless(ConnectionTable):
    """A table that closes what somebody has."""

    def _pop_locked(self, key: Key, reason: str) -> Removed | None:
        entry = self._entries.get(key)
        super()._pop_locked(key, reason)
        return None if entry is None else Removed(entry, reason)


class Forgetful(ConnectionTable):
    """A table that leaves the idle rule an entry of what was closed."""

    def give_back(self, key: Key, entry: Entry) -> None:
        super().give_back(key, entry)
        self._idle.touch(key)


@pytest.mark.parametrize(
    ("broken", "names", "what"),
    [
        (Keeping, ("get", "disconnect"), "there in spite of disconnect"),
        (Careless, ("lease", "disconnect"), "is closed while it is lent"),
        (Forgetful, ("lease", "disconnect"), "activity=1"),
    ],
)
def test_a_broken_table_is_found_out_and_the_schedule_told(
    workers: Workers, broken: type[ConnectionTable], names: tuple[str, ...], what: str
) -> None:
    with pytest.raises(AssertionError, match=what) as found:
        explore(lambda: World(workers, names, [], make_table=broken))
    assert "schedule [0" in found.value.__notes__[0]


def test_nobody_who_can_go_on_is_overlooked(workers: Workers) -> None:
    """Without equivalent schedules left out, three steps and three steps have 20 orders."""
    seen = set()

    class Counting:
        def __init__(self) -> None:
            self.scheduler = Scheduler(workers, [("a", self.run), ("b", self.run)], lambda: None)

        def run(self) -> None:
            self.scheduler.stop("one")
            self.scheduler.stop("two")

        def state(self) -> Hashable:
            return tuple(self.scheduler.schedule)

        def check(self) -> None:
            """Nothing need hold."""

        def end(self) -> None:
            seen.add(tuple(self.scheduler.schedule))

    assert explore(Counting) == len(seen) == 20
