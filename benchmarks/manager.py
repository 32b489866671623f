"""Measure a manager of many users: reuse, memory, sweeping, and a crowd at a cold start.

    python benchmarks/manager.py [--quick] [--json FILE] [--rounds N] [--only reuse,users]

See README.md in this folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from bare import BareServer
from calls import Size
from crowd import measure_crowd, origins_needed
from report import Report
from reuse import measure_reuse
from running import environment, finish, parser_of, say
from signed_in import measure_signed_in
from sweeping import measure_sweeping
from users import measure_users

MEASURES = ("reuse", "signed", "users", "sweep", "crowd")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    calls: Size
    users: int
    swept: int
    sweeps: int
    threads: int
    crowds: int


FULL = Plan(Size(rounds=40, calls=100, threads=0, each=0), 10_000, 1_000, 10, 1_000, 10)
QUICK = Plan(Size(rounds=5, calls=50, threads=0, each=0), 1_000, 200, 2, 1_000, 2)


def main() -> int:
    """Run what the options ask for; return 1 if something could not be measured."""
    options = parser_of(__doc__, MEASURES, "15 seconds").parse_args()
    report = Report(environment=environment())
    started = time.monotonic()
    plan = _plan(options)
    with BareServer(origins_needed(plan.crowds)) as server:
        for name, step in _steps(report, server, plan).items():
            if name in options.only:
                step()
    return finish(report, started, options.json)


def _plan(options: argparse.Namespace) -> Plan:
    plan = QUICK if options.quick else FULL
    if not options.rounds:
        return plan
    return replace(plan, calls=replace(plan.calls, rounds=options.rounds))


def _steps(report: Report, server: BareServer, plan: Plan) -> dict[str, Callable[[], None]]:
    return {
        "reuse": lambda: measure_reuse(report, server, plan.calls, say),
        "signed": lambda: measure_signed_in(report, server, plan.calls, say),
        "users": lambda: measure_users(report, server, plan.users, say),
        "sweep": lambda: measure_sweeping(report, server, plan.swept, plan.sweeps, say),
        "crowd": lambda: measure_crowd(report, server, plan.threads, plan.crowds, say),
    }


if __name__ == "__main__":
    sys.exit(main())
