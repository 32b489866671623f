"""Weight: what an idle connection keeps, and how long the import takes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import fresh
import sdk
from bare import BareServer
from report import Report
from wire import Target

IDLE_GOAL = 10.0
IMPORT_GOAL = 1.15
OURS, FLOOR = "import mcpsync", "import requests, pydantic"
# `import pydantic` is lazy, and so may `import mcpsync` be: what is used is told beside it.
FLOOR_USED = "import requests; from pydantic import BaseModel"
OURS_USED = "from mcpsync import Client"
IMPORTS = [FLOOR, FLOOR_USED, OURS, OURS_USED]


def measure_idle(
    report: Report,
    server: BareServer,
    connections: int,
    repeats: int,
    say: Callable[[str], None],
    *,
    with_sdk: bool,
) -> None:
    """Count what *connections* connections keep after one call each, in fresh processes."""
    for era in ("legacy", "modern"):
        target = server.target(era, "json")
        for who in ("requests", "mcpsync", "mcpsync manager"):
            say(f"idle: {era}, {who}")
            with report.attempt("idle", era, who):
                task: dict[str, Any] = {
                    "who": who,
                    "url": target.url,
                    "era": era,
                    "connections": connections,
                }
                found = [fresh.run("idle", {}, **task) for _ in range(repeats)]
                _record_idle(report, era, who, connections, found)
        if with_sdk:
            say(f"idle: {era}, SDK")
            name = sdk.SdkContender.name
            with report.attempt("idle", era, name):
                # A fourth is enough to divide by, and 200 of these take 20 seconds to open.
                some = max(10, connections // 4)
                _record_idle(report, era, name, some, [_sdk_idle(target, some)])


def _sdk_idle(target: Target, connections: int) -> dict[str, int]:
    worker = sdk.Worker()
    try:
        return worker.ask("idle", url=target.url, mode=target.mode, connections=connections)
    finally:
        worker.stop()


def _record_idle(
    report: Report, era: str, who: str, connections: int, found: list[dict[str, int]]
) -> None:
    ours = who == "mcpsync"
    variant = f"{era}, {connections}"
    each = [one["bytes"] / 1024 / connections for one in found]
    report.add_figure("idle memory each", variant, who, "KiB", each, IDLE_GOAL if ours else None)
    for key in ("threads", "sockets"):
        values = [one[key] / connections for one in found]
        report.add_figure(f"idle {key} each", variant, who, "", values, 0.0 if ours else None)


def measure_imports(
    report: Report, rounds: int, say: Callable[[str], None], *, with_sdk: bool
) -> None:
    """Time imports in fresh interpreters, in turn, with bytecode that is warm for all of them."""
    seconds: dict[str, list[float]] = {statement: [] for statement in IMPORTS}
    with tempfile.TemporaryDirectory() as bytecode:
        for number in range(-1, rounds):
            say(f"import: round {max(number, 0) + 1} of {rounds}")
            for statement in list(seconds):
                with report.attempt("import", "", statement):
                    if statement == OURS:  # an empty folder of that name can be imported too
                        fresh.import_seconds(OURS_USED, bytecode)
                    took = fresh.import_seconds(statement, bytecode)
                    if number >= 0:
                        seconds[statement].append(took)
                    continue
                del seconds[statement]
        for statement, taken in seconds.items():
            report.add_figure("import", "", statement, "ms", [1e3 * one for one in taken])
        if with_sdk:
            _sdk_import(report, bytecode)
    for ours, floor in ((OURS, FLOOR), (OURS_USED, FLOOR_USED)):
        taken_by = (seconds.get(ours, []), seconds.get(floor, []))
        report.add_ratio("import", "", (ours, floor), taken_by, goal=IMPORT_GOAL)


def _sdk_import(report: Report, bytecode: str) -> None:
    statement = "from mcp import Client"
    with report.attempt("import", "", statement):
        python = str(sdk.ensure_environment())
        taken = [fresh.import_seconds(statement, bytecode, python) for _ in range(4)]
        report.add_figure("import", "", statement, "ms", [1e3 * one for one in taken[1:]])
