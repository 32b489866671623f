"""Run the test server: ``python -m mcpsync.testing --http`` or ``--stdio``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from io import FileIO

from . import process_faults
from .call import Options
from .catalogue import GRANDCHILD_TOOL, STDIO_TOOLS
from .command import parse
from .faults import Fault, FaultPlan
from .local_server import LocalServer
from .stdio import StdioServer


def serve_http(arguments: argparse.Namespace) -> None:
    """Serve over HTTP, saying where on the first line, until stdin ends."""
    server = LocalServer(
        arguments.era,
        arguments.answer,
        page_size=arguments.page_size,
        sessions=arguments.sessions,
        auth_token=arguments.auth_token,
        set_cookie=arguments.set_cookie,
        omit_result_type=arguments.omit_result_type,
        tasks=arguments.tasks,
        skills=arguments.skills,
        asks=arguments.asks,
        port=arguments.port,
    )
    for injection in arguments.faults:
        server.inject(injection.fault, injection.method, injection.times)
    with server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        _wait_for_the_end_of_stdin()


def _wait_for_the_end_of_stdin() -> None:
    """Wait on this thread, looking up now and then.

    A signal that comes just before a thread blocks for good is noticed only when it wakes; so
    another thread does the reading, and this one never waits for longer than a moment.
    """
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 65536):
                pass
        ended.set()

    threading.Thread(target=read, name="mcpsync-testing-stdin", daemon=True).start()
    while not ended.wait(0.2):
        pass


def serve_stdio(arguments: argparse.Namespace) -> None:
    """Serve on stdin and stdout until stdin ends."""
    plan = FaultPlan()
    for injection in arguments.faults:
        plan.add(injection)
    tools = STDIO_TOOLS
    if plan.has(Fault.GRANDCHILD):
        tools = (*tools, GRANDCHILD_TOOL)
    options = Options(
        era=arguments.era,
        page_size=arguments.page_size,
        omit_result_type=arguments.omit_result_type,
        extra_tools=tools,
        tasks=arguments.tasks,
        skills=arguments.skills,
        asks=arguments.asks,
    )
    stdout = FileIO(sys.stdout.fileno(), "wb", closefd=False)
    server = StdioServer(options, plan, sys.stdin.buffer, stdout)
    if plan.has(Fault.STUBBORN):
        process_faults.ignore_termination()
    if plan.has(Fault.GRANDCHILD):
        server.dispatcher.tools.grandchild_pid = process_faults.spawn_grandchild()
    if plan.has(Fault.NOISY_STDERR):
        process_faults.flood_stderr()
    server.run()
    if plan.has(Fault.STUBBORN):
        process_faults.outlive_stdin()


def main() -> None:
    """Read the command line and serve."""
    arguments = parse()
    if arguments.http:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        serve_http(arguments)
    else:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C
        serve_stdio(arguments)


if __name__ == "__main__":
    main()
