"""``mcpsync demo``: many users in many threads through one manager, and what becomes of it."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from dataclasses import dataclass

import click

from .._runtime.clock import SystemClock
from .._runtime.deadline import Deadline
from ..manager import MCPManager
from . import exits
from .demo_crowd import SERVER, Crowd
from .demo_report import Report
from .demo_server import DemoServer
from .demo_tally import Tally
from .demo_view import View, open_view
from .exits import Exit
from .text import as_json

IDLE_TIMEOUT = 1.0
SWEPT_WITHIN = 10.0
FRAME = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the demo is; *seconds* is how long they call."""

    seconds: float
    users: int
    threads: int
    era: str


@click.command(epilog=f"\b\nExit codes:\n{exits.table()}")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=5.0, show_default=True)
@click.option("--users", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--threads", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option(
    "--era",
    type=click.Choice(("legacy", "both")),
    default="legacy",
    show_default=True,
    help="What the server speaks: with sessions, or without them, too.",
)
@click.option("--json", "as_object", is_flag=True, help="Print only the numbers, as JSON.")
def demo(seconds: float, users: int, threads: int, era: str, as_object: bool) -> None:
    """See users, threads and the sweeper at work, in about ten seconds.

    Starts an MCP server in a process of its own, calls its tools for many users from many threads
    through one MCPManager, lets the users go idle, and says what held. Exit code 1 if not all did.
    """
    if threads < users:
        raise click.UsageError(f"{users} users need at least {users} threads, not {threads}.")
    with open_view(quiet=as_object) as view:
        report = perform(Plan(seconds, users, threads, era), view)
        view.finish(report.rows(), report.failures())
    if as_object:
        click.echo(as_json(report.to_json()))
    if report.failures():
        raise click.exceptions.Exit(Exit.TOOL_ERROR)


def perform(plan: Plan, view: View) -> Report:
    """Run the demo and return what came of it.

    Raises:
        ConnectError: The server does not start.
    """
    view.say("Starting an MCP server in a process of its own ...")
    with DemoServer(plan.era) as server:
        tally = Tally()
        servers = {SERVER: {"url": server.url}}
        with MCPManager(servers, idle_timeout=IDLE_TIMEOUT, on_event=tally) as manager:
            return _perform(plan, manager, tally, view)


def _perform(plan: Plan, manager: MCPManager, tally: Tally, view: View) -> Report:
    threads_before, sockets_before = library_threads(), open_sockets()
    view.say(
        f"{plan.users} users in {plan.threads} threads call tools through one MCPManager. "
        "Each call runs on its caller's own thread: there is no event loop."
    )
    seconds, swept_early = _call(plan, manager, tally, view)
    idle_threads = library_threads() - threads_before
    sockets = open_sockets() - sockets_before
    view.say(
        f"Everybody has left. After {IDLE_TIMEOUT:g} s (15 minutes by default) the sweeper closes "
        "the idle connections."
    )
    _wait_for_sweep(plan, tally, view, seconds)
    return Report(
        users=plan.users,
        threads=plan.threads,
        seconds=seconds,
        count=tally.count(),
        swept_early=swept_early,
        strangers=tally.strangers,
        run_twice=tally.run_twice,
        idle_threads=tuple(thread.name for thread in idle_threads),
        sockets=sockets,
        connections_left=manager.get_connection_stats()["total_connections"],
        trouble=tally.trouble,
    )


def _call(plan: Plan, manager: MCPManager, tally: Tally, view: View) -> tuple[float, int]:
    """Have the crowd call; return the seconds it took, and how many were swept already."""
    clock = SystemClock()
    pause = threading.Event()  # nobody sets it: waiting for it is how a frame lasts
    with Crowd(manager, tally, plan.users, plan.threads).at_work():
        began = clock.monotonic()
        deadline = Deadline(plan.seconds)
        while not deadline.expired:
            pause.wait(min(FRAME, deadline.remaining()))
            view.show(tally.count(), clock.monotonic() - began, plan.users)
    return clock.monotonic() - began, tally.count().swept


def _wait_for_sweep(plan: Plan, tally: Tally, view: View, called: float) -> None:
    """Show how the connections are closed, until none is left or it takes too long."""
    deadline = Deadline(SWEPT_WITHIN)
    while True:
        tally.closed.clear()
        count = tally.count()
        over = not count.connected or deadline.expired
        view.show(count, called, plan.users, last=over)
        if over:
            return
        tally.closed.wait(FRAME)


def library_threads() -> set[threading.Thread]:
    """Return the threads that the library has started: it names them all."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("mcpsync-")}


def open_sockets() -> int:
    """Return how many sockets this process has open; 0 where the system does not tell."""
    found = 0
    with contextlib.suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):  # the one the listing itself was read through
                found += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return found
