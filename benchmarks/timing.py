"""Stopwatches: calls one after the other, and calls from many threads. Standard library only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

STORM_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Block:
    """A run of sequential calls: seconds per call, and seconds of CPU for all of them."""

    seconds: list[float]
    cpu: float


@dataclass(frozen=True, slots=True)
class Storm:
    """A run of calls from many threads at once: how many, and how long all of them took."""

    calls: int
    seconds: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


def run_block(call: Callable[[], object], calls: int) -> Block:
    """Time each of *calls* calls."""
    clock = time.perf_counter
    seconds = []
    cpu = time.process_time()
    for _ in range(calls):
        started = clock()
        call()
        seconds.append(clock() - started)
    return Block(seconds, time.process_time() - cpu)


def run_storm(call: Callable[[], object], threads: int, each: int) -> Storm:
    """Let *threads* threads, all ready before the clock starts, make *each* calls."""
    barrier = threading.Barrier(threads + 1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            barrier.wait(STORM_TIMEOUT)
            for _ in range(each):
                call()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that measures
            errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait(STORM_TIMEOUT)
    started = time.perf_counter()
    for worker in workers:
        worker.join(STORM_TIMEOUT)
    elapsed = time.perf_counter() - started
    if errors:
        raise errors[0]
    if any(worker.is_alive() for worker in workers):
        raise TimeoutError(f"{threads} threads did not end in {STORM_TIMEOUT:.0f} s")
    return Storm(threads * each, elapsed)
