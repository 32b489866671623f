"""Every order of what several threads do: one runs at a time, and only when it is told to.

An operation runs on a thread of its own (an actor). It stops wherever a test double calls
:meth:`Scheduler.stop`, and where it waits for another, and goes on when :meth:`Scheduler.step`
says so. A run is therefore a schedule: the list of who was let go on. :func:`explore` goes through
them all. Nothing depends on time; a limit of time ends only a run that is broken.
"""

import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from enum import Enum, auto
from types import FrameType
from typing import Any, Protocol

from mcpsync._runtime.cancel import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync._runtime.locks import assert_none_held

PATIENCE = 10.0  # seconds; only ever used up by a run that fails


class Status(Enum):
    """What becomes of an actor when it is let go on."""

    NEW = auto()  # it begins
    STOPPED = auto()  # it goes on
    BLOCKED = auto()  # nothing: it waits for another actor
    DONE = auto()  # nothing: it is over


class Actor:
    """One operation, on a thread of its own.

    Attributes:
        name: What it is called in a schedule.
        status: As the scheduler knows it.
        trail: Where it has stopped so far, for people.
        frame: Where it is, while it is stopped or blocked.
        waits_for: What will be set when it need not wait any longer, while it is blocked.
        result: What it returned, or the error it raised, once it is done.
        began, ended: The number of the step in which it did; 0 if it has not.
    """

    def __init__(self, name: str, call: Callable[[], Any]) -> None:
        self.name = name
        self.call = call
        self.status = self.reported = Status.NEW
        self.trail: list[tuple[Hashable, ...]] = []
        self.frame: FrameType | None = None
        self.waits_for: threading.Event | None = None
        self.result: Any = None
        self.began = self.ended = 0
        self._go, self._reports = _closed_gate(), _closed_gate()

    def go(self) -> None:
        """Let it go on."""
        self._go.release()

    def report(self, status: Status, frame: FrameType | None = None) -> None:
        """Tell the scheduler, on the actor's own thread, what has become of it."""
        self.reported, self.frame = status, frame
        self._reports.release()

    def await_go(self) -> None:
        """Wait, on the actor's own thread, to be let go on."""
        assert self._go.acquire(timeout=PATIENCE), f"{self.name} was never let go on"

    def await_report(self) -> None:
        """Wait until it has stopped, waits, or is done."""
        assert self._reports.acquire(timeout=PATIENCE), f"{self.name} never stopped: {self.trail}"
        self.status = self.reported

    def position(self, of: str, value: Callable[[Any], Hashable]) -> Hashable:
        """Return all that what it does next depends on: each line it is in, with its variables.

        Args:
            of: Only of modules whose name begins so.
            value: Makes something hashable of what a variable holds.
        """
        lines = []
        frame = self.frame
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith(of):
                held = tuple((name, value(held)) for name, held in frame.f_locals.items())
                lines.append((frame.f_code.co_name, frame.f_lasti, held))
            frame = frame.f_back
        return tuple(lines)

    @property
    def woken(self) -> bool:
        """Whether what it waits for has happened, so that it is about to stop."""
        return self.status is Status.BLOCKED and bool(self.waits_for and self.waits_for.is_set())


class Workers:
    """Threads that live as long as a test, since a run is shorter than starting a thread."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, job: Callable[[], None], at_once: int) -> None:
        """Run *job*; there will be *at_once* of them at a time."""
        while len(self._threads) < at_once:
            thread = threading.Thread(target=self._work, name="actor", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def end(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Scheduler:
    """Runs several operations, one step of one of them at a time.

    Args:
        workers: Whose threads they run on.
        operations: What to run; by name.
        note: Called after each step, so that what is seen can be remembered.
    """

    def __init__(
        self,
        workers: Workers,
        operations: Sequence[tuple[str, Callable[[], Any]]],
        note: Callable[[], None],
    ) -> None:
        self.actors = [Actor(name, call) for name, call in operations]
        self.schedule: list[int] = []
        self._note = note
        self._plan: deque[int] = deque()
        self._workers = workers
        self._by_thread: dict[int, Actor] = {}
        self._released = False

    @property
    def now(self) -> int:
        """The number of the step that is under way, or was last."""
        return len(self.schedule)

    # -- on the actors' threads -------------------------------------------------------------------

    def current(self) -> Actor | None:
        """Return whose thread this is; None on any other."""
        return self._by_thread.get(threading.get_ident())

    def stop(self, *where: Hashable) -> None:
        """Stop here until it is this actor's turn again. Does nothing on other threads."""
        assert_none_held(f"stopping at {where}")
        actor = self.current()
        if actor is None or self._released:
            return
        actor.trail.append(where)
        goes_on = bool(self._plan) and self.actors[self._plan[0]] is actor
        if goes_on and actor.status is not Status.BLOCKED:  # no need to change threads
            self._settle()
            self.schedule.append(self._plan.popleft())
            return
        actor.report(Status.STOPPED, sys._getframe(1))
        actor.await_go()

    def waits(self, event: threading.Event) -> None:
        """Say that this actor is about to wait for *event*; :meth:`stop` comes when it is set."""
        actor = self.current()
        if actor is None or self._released or event.is_set():
            return
        actor.waits_for = event
        actor.report(Status.BLOCKED, sys._getframe(1))

    def _live(self, actor: Actor) -> None:
        self._by_thread[threading.get_ident()] = actor
        try:
            actor.result = actor.call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test judges it
            actor.result = error
        actor.ended = self.now
        del self._by_thread[threading.get_ident()]
        actor.report(Status.DONE)

    # -- on the test's thread ---------------------------------------------------------------------

    def choices(self) -> list[int]:
        """Return who can go on. Of several that have not begun and are the same, the first."""
        names: set[str] = set()
        found = []
        for index, actor in enumerate(self.actors):
            if actor.status is Status.NEW and actor.name not in names:
                names.add(actor.name)
                found.append(index)
            elif actor.status is Status.STOPPED:
                found.append(index)
        return found

    def step(self, index: int) -> None:
        """Let one actor go on until it stops, waits for another or is done."""
        actor = self.actors[index]
        self.schedule.append(index)
        if actor.status is Status.NEW:
            actor.began = self.now
            self._workers.run(lambda: self._live(actor), len(self.actors))
        else:
            actor.go()
        actor.await_report()
        self._settle()

    def follow(self, schedule: Sequence[int]) -> None:
        """Make several steps."""
        self._plan.extend(schedule)
        while self._plan:
            self.step(self._plan.popleft())

    def _settle(self) -> None:
        """End a step: whoever was woken by it stops at once."""
        for each in self.actors:
            if each.woken:
                each.await_report()
        self._note()

    @property
    def over(self) -> bool:
        """Whether every operation is done."""
        return all(actor.status is Status.DONE for actor in self.actors)

    def release(self) -> None:
        """Let whoever has begun run to its end, without stopping or waiting any more."""
        self._released = True
        for actor in self.actors:
            if actor.status is Status.STOPPED:
                actor.go()
            elif actor.status is Status.BLOCKED and actor.waits_for is not None:
                actor.waits_for.set()
        for actor in self.actors:
            if actor.status in {Status.STOPPED, Status.BLOCKED}:
                actor.await_report()

    def __str__(self) -> str:
        lines = [f"schedule {self.schedule}"]
        for index, actor in enumerate(self.actors):
            lines.append(f"  {index} {actor.name}: {actor.status.name.lower()}, {actor.trail}")
            if actor.status is Status.DONE:
                lines[-1] += f" -> {actor.result!r}"
        return "\n".join(lines)


class SchedulersCancellation(Cancellation):
    """A cancellation that is never used: whoever waits hands it what will wake him."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def add_waker(self, wake: Callable[[], None]) -> None:
        """See :class:`Cancellation`. Whoever adds an event's ``set`` waits for it next."""
        super().add_waker(wake)
        event = getattr(wake, "__self__", None)
        if isinstance(event, threading.Event):
            self._scheduler.waits(event)

    def remove_waker(self, wake: Callable[[], None]) -> None:
        """See :class:`Cancellation`. Whoever removes an event's ``set`` has been woken."""
        super().remove_waker(wake)
        if isinstance(getattr(wake, "__self__", None), threading.Event):
            self._scheduler.stop("woken")


class SchedulersEvent(threading.Event):
    """An event that an actor may wait for."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; for no time at all if *timeout* is 0."""
        if timeout == 0:
            return self.is_set()
        self._scheduler.waits(self)
        was_set = super().wait(PATIENCE)
        self._scheduler.stop("woken")
        return was_set


class SchedulersDeadline(Deadline):
    """A deadline at whose every check its actor stops, unless he has just stopped for *after*."""

    __slots__ = ("_after", "_scheduler")

    def __init__(self, scheduler: Scheduler, after: str) -> None:
        super().__init__(6 * PATIENCE)
        self._scheduler = scheduler
        self._after = after

    def check(self, doing: str, *, maybe_executed: bool = False) -> None:
        """See :class:`Deadline`."""
        actor = self._scheduler.current()
        if actor is not None and (not actor.trail or actor.trail[-1][0] != self._after):
            self._scheduler.stop("looked")
        super().check(doing, maybe_executed=maybe_executed)


class World(Protocol):
    """What is explored: a scheduler, and what must hold."""

    scheduler: Scheduler

    def state(self) -> Hashable:
        """Return all that what happens next may depend on, and all that is judged later."""

    def check(self) -> None:
        """Raise AssertionError if something does not hold that must hold after each step."""

    def end(self) -> None:
        """Raise AssertionError if something does not hold that must hold when all is done."""


def explore(begin: Callable[[], World]) -> int:
    """Go through every schedule; return how many runs that took.

    Schedules that lead to the same state are equivalent from there on: only the first is
    followed, the others end there. So each step that can be made in each state that can be
    reached is made once.

    Raises:
        AssertionError: It names the schedule, for :func:`replay`.
    """
    seen: set[Hashable] = set()
    prefixes: list[tuple[int, ...]] = [()]
    runs = 0
    while prefixes:
        prefix = prefixes.pop()
        runs += 1
        world = begin()
        with _Telling(world):
            world.scheduler.follow(prefix)
            world.check()
            while choices := world.scheduler.choices():
                state = world.state()
                if state in seen:
                    break
                seen.add(state)
                made = tuple(world.scheduler.schedule)
                prefixes += [(*made, other) for other in reversed(choices[1:])]
                world.scheduler.step(choices[0])
                world.check()
            else:
                assert world.scheduler.over, "nobody can go on"
                world.end()
    return runs


def replay(world: World, schedule: Sequence[int]) -> None:
    """Make one run again; what *schedule* leaves open is done in order."""
    with _Telling(world):
        for index in schedule:
            world.scheduler.step(index)
            world.check()
        while choices := world.scheduler.choices():
            world.scheduler.step(choices[0])
            world.check()
        assert world.scheduler.over, "nobody can go on"
        world.end()


class _Telling:
    """Ends a run, and adds to what went wrong in which schedule that was."""

    def __init__(self, world: World) -> None:
        self._scheduler = world.scheduler

    def __enter__(self) -> None:
        return

    def __exit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        story = str(self._scheduler)
        self._scheduler.release()
        if exc is not None:
            exc.add_note(story)


def _closed_gate() -> threading.Lock:
    gate = threading.Lock()
    gate.acquire()  # noqa: SIM115, RUF100 - it is let go by another thread
    return gate
