"""Measure mcpsync beside what people would use instead, in one run, and print the ratios.

    python benchmarks/call.py [--quick] [--json FILE] [--rounds N] [--no-sdk] [--only calls,connect]

See README.md in this folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from bare import BareServer
from calls import Size, measure_calls
from certificate import make_certificate
from connect import https_ports_needed, measure_connect, measure_https, ports_needed
from contenders import Contender, in_process
from report import Report
from reuse import measure_reuse
from running import environment, finish, parser_of, say
from sdk import SdkContender, ensure_environment
from weight import measure_idle, measure_imports

MEASURES = ("calls", "manager", "connect", "https", "idle", "import")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    calls: Size
    connects: int
    https: int
    connections: int
    idle_repeats: int
    imports: int


FULL = Plan(Size(rounds=15, calls=150, threads=16, each=30), 15, 15, 200, 3, 15)
QUICK = Plan(Size(rounds=3, calls=50, threads=16, each=8), 5, 5, 200, 1, 3)


def main() -> int:
    """Run what the options ask for; return 1 if a contender could not be measured."""
    parser = parser_of(__doc__, MEASURES, "20 seconds")
    parser.add_argument("--no-sdk", action="store_true", help="leave the official SDK out")
    options = parser.parse_args()
    report = Report(environment=environment())
    started = time.monotonic()
    with_sdk = not options.no_sdk and _has_sdk(report)
    _measure(report, _plan(options), options.only, with_sdk=with_sdk)
    return finish(report, started, options.json)


def _plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    if not options.rounds:
        return plan
    size = Size(options.rounds, plan.calls.calls, plan.calls.threads, plan.calls.each)
    return Plan(size, plan.connects, plan.https, plan.connections, plan.idle_repeats, plan.imports)


def _has_sdk(report: Report) -> bool:
    try:
        ensure_environment()
    except RuntimeError as error:
        report.fail("all", "", SdkContender.name, error)
        return False
    return True


def _measure(report: Report, plan: Plan, only: tuple[str, ...], *, with_sdk: bool) -> None:
    with BareServer(ports_needed(plan.connects)) as server:
        for name, step in _steps(report, server, plan, with_sdk=with_sdk).items():
            if name in only:
                step()


def _steps(
    report: Report, server: BareServer, plan: Plan, *, with_sdk: bool
) -> dict[str, Callable[[], None]]:
    contenders: list[Contender] = [*in_process(plan.calls.threads)]
    if with_sdk:
        contenders.append(SdkContender())
    return {
        "calls": lambda: measure_calls(report, server, contenders, plan.calls, say),
        "manager": lambda: measure_reuse(report, server, plan.calls, say),
        "connect": lambda: measure_connect(report, server, plan.connects, say),
        "https": lambda: _https(report, plan.https, with_sdk=with_sdk),
        "idle": lambda: measure_idle(
            report, server, plan.connections, plan.idle_repeats, say, with_sdk=with_sdk
        ),
        "import": lambda: measure_imports(report, plan.imports, say, with_sdk=with_sdk),
    }


def _https(report: Report, rounds: int, *, with_sdk: bool) -> None:
    with (
        report.attempt("https connect", "", "all"),
        tempfile.TemporaryDirectory() as folder,
    ):
        certificate = make_certificate(Path(folder))
        with BareServer(https_ports_needed(rounds), certificate) as server:
            measure_https(report, server, certificate, rounds, say, with_sdk=with_sdk)


if __name__ == "__main__":
    sys.exit(main())
