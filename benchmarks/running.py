"""What the programs in this folder have in common: options, the machine, what is printed last."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from report import Report
from table import render

PACKAGES = ("requests", "urllib3", "pydantic", "mcp-types", "certifi")
# requests looks these up on every call unless trust_env is off, so it matters what is set.
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def parser_of(doc: str | None, measures: Sequence[str], quick: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every program takes.

    Args:
        doc: The program's docstring; its first line is the description.
        measures: The names that ``--only`` takes.
        quick: How long ``--quick`` takes.
    """

    def chosen(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in measures:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(measures)}")
        return names

    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("--quick", action="store_true", help=f"a rough answer in about {quick}")
    parser.add_argument("--rounds", type=int, help="how many rounds of calls (default 15)")
    parser.add_argument("--json", metavar="FILE", help="write everything found to FILE")
    parser.add_argument(
        "--only",
        type=chosen,
        default=tuple(measures),
        metavar="NAME[,NAME]",
        help=f"only these measures, of {', '.join(measures)}",
    )
    return parser


def environment() -> dict[str, str]:
    """Return what a reader of the figures has to know of this machine."""
    found = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    if hasattr(os, "getloadavg"):
        found["load before"] = f"{os.getloadavg()[0]:.2f}"
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    is_set = [name for name in CA_VARIABLES if name in os.environ]
    found["CA variables set"] = ", ".join(is_set) or "none"
    return found


def finish(report: Report, started: float, file: str | None) -> int:
    """Print the report, write it to *file*, and return the exit code of the program.

    Args:
        report: What was found.
        started: ``time.monotonic()`` of the beginning.
        file: Where to write the JSON, if anywhere.
    """
    report.environment["took"] = f"{time.monotonic() - started:.0f} s"
    say("")
    print(render(report))
    if file:
        Path(file).write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    return 1 if report.failures else 0


def say(text: str) -> None:
    """Tell somebody who watches what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
