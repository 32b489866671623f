"""A crowd at a cold start: every thread wants the connection of the same user and server at once.

The time until all of them have it is set beside one handshake alone. What many threads cost
whatever they wait for is told by a control: they join one bare ``Future``, and the first of them
makes a client's handshake before it sets it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from bare import BareServer
from report import Report
from wire import Target

CROWD_TIMEOUT = 120.0
HANDSHAKE = {"legacy": "initialize", "modern": "server/discover"}
ALONE = "one handshake alone"
CROWD = "get_user_connection"
CONTROL = "bare Future, one handshake"

Join = Callable[[], object]
Arm = Callable[[Target], contextlib.AbstractContextManager[Join]]


def origins_needed(rounds: int) -> int:
    """Return how many origins nobody has seen :func:`measure_crowd` uses up."""
    return 2 * 3 * rounds


def measure_crowd(
    report: Report, server: BareServer, threads: int, rounds: int, say: Callable[[str], None]
) -> None:
    """Have *threads* threads begin at once, on an origin that nobody has seen, *rounds* times."""
    arms: dict[str, tuple[Arm, int]] = {
        ALONE: (_managed, 1),
        CROWD: (_managed, threads),
        CONTROL: (_bare_future, threads),
    }
    for era in ("legacy", "modern"):
        variant = f"{era}, {threads:,} threads"
        with report.attempt("crowd", variant, CROWD):
            seconds: dict[str, list[float]] = {name: [] for name in arms}
            counts: dict[str, list[float]] = {name: [] for name in arms}
            for number in range(rounds):
                say(f"crowd: {variant}: round {number + 1} of {rounds}")
                for name in _rotated(list(arms), number):
                    arm, size = arms[name]
                    server.take_counts()
                    with arm(server.fresh(era, "json")) as join:
                        seconds[name].append(_all_at_once(join, size))
                        counts[name].append(server.take_counts().get(HANDSHAKE[era], 0))
            _record(report, variant, seconds, counts)


def _rotated(names: list[str], number: int) -> list[str]:
    start = number % len(names)
    return names[start:] + names[:start]


@contextlib.contextmanager
def _managed(target: Target) -> Iterator[Join]:
    import mcpsync

    with mcpsync.MCPManager({"bare": {"url": target.url}}) as manager:
        yield lambda: manager.get_user_connection("bare", user="42")


@contextlib.contextmanager
def _bare_future(target: Target) -> Iterator[Join]:
    import mcpsync

    future: Future[object] = Future()
    first = threading.Lock()
    with mcpsync.Client(target.url) as client:

        def join() -> object:
            if first.acquire(blocking=False):
                future.set_result(client.connect())
            return future.result(CROWD_TIMEOUT)

        yield join


def _all_at_once(join: Join, threads: int) -> float:
    """Return the seconds from letting all threads go until the last one has what it wants."""
    gate = threading.Barrier(threads + 1)
    ended: list[float] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            gate.wait(CROWD_TIMEOUT)
            join()
            ended.append(time.perf_counter())
        except BaseException as error:  # noqa: BLE001 - carried to the thread that measures
            errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    while gate.n_waiting < threads and not errors:
        time.sleep(0.001)
    started = time.perf_counter()
    gate.wait(CROWD_TIMEOUT)
    for worker in workers:
        worker.join(CROWD_TIMEOUT)
    if errors:
        raise errors[0]
    if len(ended) < threads:
        raise TimeoutError(f"{threads - len(ended)} of {threads} threads got nothing")
    return max(ended) - started


def _record(
    report: Report, variant: str, seconds: dict[str, list[float]], counts: dict[str, list[float]]
) -> None:
    for who, taken in seconds.items():
        report.add_figure("crowd, all have it", variant, who, "ms", [1e3 * one for one in taken])
    report.add_figure("crowd: handshakes, most", variant, CROWD, "", [max(counts[CROWD])], 1.0)
    for who, to in ((CROWD, ALONE), (CONTROL, ALONE), (CROWD, CONTROL)):
        report.add_ratio("crowd", variant, (who, to), (seconds[who], seconds[to]))
