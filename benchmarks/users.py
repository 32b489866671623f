"""Many users who are idle: what they keep, and what a sweep costs that finds nothing to close."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import fresh
from bare import BareServer
from footprint import footprint, growth
from report import Report
from signed_in import manager_of, sign_in

MEMORY_GOAL = 10.0
SWEEP_GOAL = 50.0
SOCKETS_GOAL = 64.0  # what the process keeps for one origin at most, whoever used them
THREADS_GOAL = 1.0  # the sweeper
CATALOGUES_GOAL = 1.0
WARM_USERS = 5
SWEEPS = 1000
CLOSE_TIMEOUT = 120.0
MANAGER = "mcpsync manager"


def measure_users(
    report: Report, server: BareServer, users: int, say: Callable[[str], None]
) -> None:
    """Measure *users* idle users in fresh processes: once as they are, once with tracemalloc."""
    for era, signed_in in (("legacy", False), ("modern", False), ("modern", True)):
        variant = f"{era}{', signed in' if signed_in else ''}, {users:,}"
        how = {"url": server.target(era, "json").url, "users": users, "signed_in": signed_in}
        with report.attempt("users", variant, MANAGER):
            say(f"users: {variant}")
            found = fresh.run("users", {}, **how, traced=False)
            say(f"users: {variant}, traced")
            traced = fresh.run("users", {}, **how, traced=True)
            _record(report, variant, users, found, traced["bytes"])


def _record(report: Report, variant: str, users: int, found: dict[str, Any], traced: float) -> None:
    def add(measure: str, unit: str, values: list[float], goal: float | None = None) -> None:
        report.add_figure(measure, variant, MANAGER, unit, values, goal)

    add("user resident each", "KiB", [found["bytes"] / 1024 / users], MEMORY_GOAL)
    add("user tracemalloc each", "KiB", [traced / 1024 / users], MEMORY_GOAL)
    add("users: catalogues", "", [found["catalogues"]], CATALOGUES_GOAL)
    add("users: sockets in all", "", [found["sockets"]], SOCKETS_GOAL)
    add("users: threads in all", "", [found["threads"]], THREADS_GOAL)
    add("user connects, lists", "ms", [1e3 * found["seconds"] / users])
    sweeps = sorted(1e6 * one for one in found["sweeps"])
    add("sweep of nothing p50", "µs", sweeps, SWEEP_GOAL)
    add("sweep of nothing p99", "µs", [sweeps[int(len(sweeps) * 0.99)]])
    report.notes.append(f"users, {variant}: the threads are {', '.join(found['names'])}")


def keep_users(url: str, users: int, traced: bool, signed_in: bool) -> dict[str, Any]:
    """Be the child: connect *users* users, list each one's tools, and tell what they keep."""
    import mcpsync

    before = footprint()
    plain = {"bare": {"url": url}}
    with manager_of(url) if signed_in else mcpsync.MCPManager(plain) as manager:

        def use(user: str) -> None:
            if signed_in:
                sign_in(manager, user, url)
            _use(manager, user)

        for number in range(WARM_USERS):
            use(f"warm {number}")
        warm = _traced() if traced else footprint()["bytes"]
        started = time.perf_counter()
        for number in range(users):
            use(str(number))
        seconds = time.perf_counter() - started
        grown = growth(before)
        found = {
            "bytes": (_traced() if traced else footprint()["bytes"]) - warm,
            "sockets": grown["sockets"],
            "threads": grown["threads"],
            "names": [each.name for each in threading.enumerate() if each.daemon],
            "catalogues": _catalogues(manager, users),
            "seconds": seconds,
            "sweeps": _sweeps(manager),
        }
        manager.close(timeout=CLOSE_TIMEOUT)
    return found


def _use(manager: Any, user: str) -> None:
    manager.get_user_connection("bare", user=user)
    if not manager.get_server_tool_functions(user, "bare"):
        raise AssertionError("the bare server has a tool")


def _traced() -> int:
    if not tracemalloc.is_tracing():
        tracemalloc.start()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _catalogues(manager: Any, users: int) -> int:
    """Return how many different catalogues the users have."""
    kept = {
        id(connection.catalogue)
        for number in range(users)
        for connection in manager.get_user_connections(str(number)).values()
    }
    return len(kept)


def _sweeps(manager: Any) -> list[float]:
    seconds = []
    for _ in range(SWEEPS):
        started = time.perf_counter()
        closed = manager.check_idle_connections()
        seconds.append(time.perf_counter() - started)
        if closed:
            raise AssertionError(f"{closed} users were not idle for so long")
    return seconds
