"""The command line of the test server: how to write it and how to read it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Literal

from .faults import HTTP_FAULTS, STDIO_FAULTS, Fault, Injection

Era = Literal["both", "legacy", "modern"]

_DEFAULT_METHODS = {
    Fault.SILENT_PROBE: "server/discover",
    Fault.EXIT_MID_CALL: "tools/call",
    Fault.DIE_MID_ANSWER: "tools/call",
    Fault.HANG: "tools/call",
    Fault.GARBAGE: "tools/call",
    Fault.WRONG_ID: "tools/call",
    Fault.HUGE: "tools/call",
    Fault.HUGE_LINE: "tools/call",
    Fault.BATCH: "tools/call",
    Fault.PING_FIRST: "tools/call",
    Fault.UNKNOWN_REQUEST_FIRST: "tools/call",
}


def stdio_command(
    era: Era = "both",
    fault: Fault | str | Sequence[Fault | str] | None = None,
    *,
    tasks: bool = False,
    skills: bool = False,
    asks: bool = False,
) -> list[str]:
    """Return the command that runs the test server over stdio with this Python.

    Args:
        era: As for :class:`LocalServer`.
        fault: One or several faults, as ``Fault`` or as ``"name[:method[:times]]"``. Without a
            method it strikes where it makes sense (``tools/call`` mostly), without times always.
        tasks: Offer tools that run as tasks.
        skills: Offer skills.
        asks: As for :class:`LocalServer`.
    """
    faults = [fault] if isinstance(fault, str) else fault or []
    options = [part for name in faults for part in ("--fault", str(name))]
    options += ["--tasks"] * tasks + ["--skills"] * skills + ["--asks"] * asks
    return [sys.executable, "-m", "mcpsync.testing", "--stdio", "--era", era, *options]


def parse_fault(text: str) -> Injection:
    """Read ``name[:method[:times]]``.

    Raises:
        ValueError: There is no such fault, or times is no number.
    """
    name, _, rest = text.partition(":")
    method, _, times = rest.partition(":")
    fault = Fault(name.lower().replace("_", "-"))
    return Injection(fault, method or _DEFAULT_METHODS.get(fault), int(times) if times else None)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ends the process when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m mcpsync.testing", description="An MCP server for tests of MCP clients."
    )
    transport = parser.add_mutually_exclusive_group(required=True)
    transport.add_argument("--http", action="store_true", help="serve until stdin ends")
    transport.add_argument("--stdio", action="store_true", help="serve on stdin and stdout")
    parser.add_argument("--era", choices=("both", "legacy", "modern"), default="both")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME[:METHOD[:TIMES]]")
    parser.add_argument("--page-size", type=int)
    parser.add_argument("--omit-result-type", action="store_true")
    parser.add_argument("--tasks", action="store_true", help="offer tools that run as tasks")
    parser.add_argument("--skills", action="store_true", help="offer skills")
    parser.add_argument("--asks", action="store_true", help="have tools that ask the client")
    over_http = parser.add_argument_group("with --http")
    over_http.add_argument("--port", type=int, default=0)
    over_http.add_argument("--answer", choices=("json", "sse"), default="json")
    over_http.add_argument("--no-sessions", dest="sessions", action="store_false")
    over_http.add_argument("--auth-token")
    over_http.add_argument("--set-cookie", metavar="NAME=VALUE")
    namespace = parser.parse_args(arguments)
    try:
        namespace.faults = [parse_fault(text) for text in namespace.fault]
    except ValueError as error:
        parser.error(str(error))
    known = HTTP_FAULTS if namespace.http else STDIO_FAULTS
    for injection in namespace.faults:
        if injection.fault not in known:
            parser.error(f"{injection.fault} is not a fault of this transport")
    return namespace
