"""Sweeping many expired users, and what a call of somebody else notices of it.

One thread calls a tool for one user all the time. It is timed alone, while a sweep closes the
connections of all the others, and, for comparison, while as many threads as the sweep has call
tools for other users: Python runs one thread at a time, so anything at all that is done besides
costs a call something.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import wire
from bare import BareServer
from report import Report

IDLE_TIMEOUT = 900.0
TIMEOUT = 120.0
FIRST_WAIT = 0.2  # seconds of calls alone, before it is known how long a sweep takes
OTHERS = 4  # how many threads close connections during a sweep
ALONE = "a call, alone"
SWEPT = "a call, during a sweep"
BESIDE = f"a call, beside {OTHERS} callers"
SWEEP = "the sweep"


@dataclass
class Samples:
    """Seconds: of the calls in each situation, of the sweeps, of the longest hold of each."""

    calls: dict[str, list[float]] = field(default_factory=dict)
    sweeps: list[float] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)


class _TimedLock:
    """In place of a lock: remembers how long the thread that is watched held it at most."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._since = 0.0
        self.watched: int | None = None
        self.longest = 0.0

    def __enter__(self) -> bool:
        self._lock.acquire()
        if threading.get_ident() == self.watched:
            self._since = time.perf_counter()
        return True

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() == self.watched:
            self.longest = max(self.longest, time.perf_counter() - self._since)
        self._lock.release()

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return bool(self._lock.locked())


def measure_sweeping(
    report: Report, server: BareServer, users: int, rounds: int, say: Callable[[str], None]
) -> None:
    """Sweep *users* expired users, *rounds* times, each beside a caller who is timed."""
    for era in ("legacy", "modern"):
        variant = f"{era}, {users:,}"
        with report.attempt("sweep", variant, SWEEP):
            samples = Samples({ALONE: [], SWEPT: [], BESIDE: []})
            url = server.target(era, "json").url
            for number in range(rounds):
                say(f"sweep: {variant}: round {number + 1} of {rounds}")
                _round(url, users, samples)
            _record(report, variant, samples)


def _round(url: str, users: int, samples: Samples) -> None:
    import mcpsync
    from mcpsync.testing import FakeClock

    clock = FakeClock()
    servers = {"bare": {"url": url}}
    with mcpsync.MCPManager(servers, clock=clock, idle_timeout=IDLE_TIMEOUT) as manager:
        for number in range(users):
            manager.get_user_connection("bare", user=str(number))
        clock.advance(IDLE_TIMEOUT + 1)

        def call(user: str) -> None:
            manager.call_tool("bare", wire.TOOL, wire.ARGUMENTS, user=user)

        call("caller")
        with _caller(partial(call, "caller")) as taken:
            time.sleep(samples.sweeps[-1] if samples.sweeps else FIRST_WAIT)
        samples.calls[ALONE] += taken
        lock = manager._users._table._lock = _TimedLock(manager._users._table._lock)
        with _caller(partial(call, "caller")) as taken:
            started = time.perf_counter()
            lock.watched = threading.get_ident()
            closed = manager.check_idle_connections()
            seconds = time.perf_counter() - started
        if closed != users:
            raise AssertionError(f"{closed} of {users} users were swept")
        samples.calls[SWEPT] += taken
        samples.sweeps.append(seconds)
        samples.holds.append(lock.longest)
        with contextlib.ExitStack() as others:
            for number in range(OTHERS):
                others.enter_context(_caller(partial(call, f"other {number}")))
            taken = others.enter_context(_caller(partial(call, "caller")))
            time.sleep(seconds)
        samples.calls[BESIDE] += taken


@contextlib.contextmanager
def _caller(call: Callable[[], None]) -> Iterator[list[float]]:
    """Make calls on a thread of its own, from before the block begins until it ends."""
    seconds: list[float] = []
    errors: list[BaseException] = []
    going, enough = threading.Event(), threading.Event()

    def work() -> None:
        try:
            call()
            going.set()
            while not enough.is_set():
                started = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - started)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that measures
            errors.append(error)
            going.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        going.wait(TIMEOUT)
        yield seconds
    finally:
        enough.set()
        thread.join(TIMEOUT)
    if errors:
        raise errors[0]


def _record(report: Report, variant: str, samples: Samples) -> None:
    milliseconds = [1e3 * one for one in samples.sweeps]
    report.add_figure("sweep of all", variant, SWEEP, "ms", milliseconds)
    report.add_figure("longest hold", variant, SWEEP, "µs", [1e6 * one for one in samples.holds])
    found: dict[str, list[float]] = {}
    for who, seconds in samples.calls.items():
        ordered = sorted(1e3 * one for one in seconds)
        found[who] = [ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]]
        report.add_figure("sweep p50", variant, who, "ms", found[who][:1])
        report.add_figure("sweep p99", variant, who, "ms", found[who][1:])
        report.notes.append(f"{who}, {variant}: {len(ordered):,} calls")
    for who, to in ((SWEPT, ALONE), (BESIDE, ALONE), (SWEPT, BESIDE)):
        for at, name in enumerate(("sweep p50", "sweep p99")):
            report.add_ratio(name, variant, (who, to), (found[who][at:][:1], found[to][at:][:1]))
