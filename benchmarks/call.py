"""Measure mcpsync beside what people would use instead, in one run, and print the ratios.

    python benchmarks/call.py [--quick] [--json FILE] [--rounds N] [--no-sdk] [--only calls,connect]

See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from bare import BareServer
from calls import Size, measure_calls, measure_manager
from certificate import make_certificate
from connect import (
    CA_VARIABLES,
    https_ports_needed,
    measure_connect,
    measure_https,
    ports_needed,
)
from contenders import Contender, in_process
from report import Report
from sdk import SdkContender, ensure_environment
from table import render
from weight import measure_idle, measure_imports

MEASURES = ("calls", "manager", "connect", "https", "idle", "import")
PACKAGES = ("requests", "urllib3", "pydantic", "mcp-types", "certifi")


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
    options = _parse()
    plan = _plan(options)
    report = Report(environment=_environment())
    started = time.monotonic()
    with_sdk = not options.no_sdk and _has_sdk(report)
    _measure(report, plan, options.only, with_sdk=with_sdk)
    report.environment["took"] = f"{time.monotonic() - started:.0f} s"
    _say("")
    print(render(report))
    if options.json:
        text = json.dumps(report.to_json(), indent=1) + "\n"
        Path(options.json).write_text(text, encoding="utf-8")
    return 1 if report.failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a rough answer in about 20 seconds")
    parser.add_argument("--rounds", type=int, help="how many rounds of calls (default 15)")
    parser.add_argument("--json", metavar="FILE", help="write everything found to FILE")
    parser.add_argument("--no-sdk", action="store_true", help="leave the official SDK out")
    parser.add_argument(
        "--only",
        type=_measures,
        default=MEASURES,
        metavar="NAME[,NAME]",
        help=f"only these measures, of {', '.join(MEASURES)}",
    )
    return parser.parse_args()


def _measures(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in MEASURES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(MEASURES)}")
    return names


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
        "calls": lambda: measure_calls(report, server, contenders, plan.calls, _say),
        "manager": lambda: measure_manager(report, server, plan.calls),
        "connect": lambda: measure_connect(report, server, plan.connects, _say),
        "https": lambda: _https(report, plan.https, with_sdk=with_sdk),
        "idle": lambda: measure_idle(
            report, server, plan.connections, plan.idle_repeats, _say, with_sdk=with_sdk
        ),
        "import": lambda: measure_imports(report, plan.imports, _say, with_sdk=with_sdk),
    }


def _https(report: Report, rounds: int, *, with_sdk: bool) -> None:
    with (
        report.attempt("https connect", "", "all"),
        tempfile.TemporaryDirectory() as folder,
    ):
        certificate = make_certificate(Path(folder))
        with BareServer(https_ports_needed(rounds), certificate) as server:
            measure_https(report, server, certificate, rounds, _say, with_sdk=with_sdk)


def _environment() -> dict[str, str]:
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    # requests looks these up on every call unless trust_env is off, so it matters what is set.
    is_set = [name for name in CA_VARIABLES if name in os.environ]
    found["CA variables set"] = ", ".join(is_set) or "none"
    return found


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
