"""The reuse path: ``manager.call_tool`` over a connection that is there, beside the client's."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator

import wire
from bare import BareServer
from calls import VARIANTS, Size
from contenders import WARM_UP
from report import Report
from timing import run_block
from wire import Target

REUSE_GOAL = 1.05
CLIENT = "client.call_tool"
MANAGER = "manager.call_tool"
OTHERS = (f"{MANAGER}, user's id", f"{MANAGER}, on_event", "its connection.call_tool")

Arms = dict[str, Callable[[], object]]


def measure_reuse(
    report: Report, server: BareServer, size: Size, say: Callable[[str], None]
) -> None:
    """Compare the calls of a manager with those of a client, in turn, in every variant."""
    for era, answer in VARIANTS:
        variant = f"{era} {answer}"
        say(f"reuse: {variant}")
        with report.attempt("reuse", variant, MANAGER), _arms(server.target(era, answer)) as arms:
            _record(report, variant, medians_of(arms, size))


@contextlib.contextmanager
def _arms(target: Target) -> Iterator[Arms]:
    import mcpsync  # a benchmark of the others must run without it

    user = mcpsync.User(id="42")
    servers = {"bare": {"url": target.url}}
    with (
        mcpsync.Client(target.url) as client,
        mcpsync.MCPManager(servers) as manager,
        mcpsync.MCPManager(servers, on_event=lambda _: None) as watched,
        manager.connection("bare", user="43") as connection,
    ):

        def managed(which: mcpsync.MCPManager, user: object) -> Callable[[], object]:
            return lambda: which.call_tool("bare", wire.TOOL, wire.ARGUMENTS, user=user)

        yield {
            CLIENT: lambda: client.call_tool(wire.TOOL, wire.ARGUMENTS),
            MANAGER: managed(manager, user),
            OTHERS[0]: managed(manager, "42"),
            OTHERS[1]: managed(watched, user),
            OTHERS[2]: lambda: connection.call_tool(wire.TOOL, wire.ARGUMENTS),
        }


def medians_of(arms: Arms, size: Size) -> dict[str, list[float]]:
    """Return each arm's median of every round, in seconds."""
    names = list(arms)
    medians: dict[str, list[float]] = {name: [] for name in names}
    for call in arms.values():
        run_block(call, WARM_UP)
    for number in range(size.rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            medians[name].append(statistics.median(run_block(arms[name], size.calls).seconds))
    return medians


def record_added(
    report: Report,
    what: str,
    variant: str,
    medians: dict[str, list[float]],
    pair: tuple[str, str],
    goal: float | None = None,
) -> None:
    """Record how long a call takes by one way, and how much more by another.

    Args:
        report: Where to.
        what: What is compared.
        variant: The era and form of answers.
        medians: What :func:`medians_of` returned.
        pair: The way that takes more, and that which it is held against.
        goal: Microseconds that it may take more.
    """
    ours, theirs = medians[pair[0]], medians[pair[1]]
    report.add_figure(f"{what} p50", variant, pair[1], "µs", [1e6 * one for one in theirs])
    added = [1e6 * (mine - other) for mine, other in zip(ours, theirs, strict=True)]
    report.add_figure(f"{what} adds", variant, pair[0], "µs", added, goal)
    report.add_ratio(f"{what} p50", variant, pair, (ours, theirs))


def _record(report: Report, variant: str, medians: dict[str, list[float]]) -> None:
    direct = medians[CLIENT]
    report.add_figure("reuse p50", variant, CLIENT, "µs", [1e6 * one for one in direct])
    for who in (MANAGER, *OTHERS):
        added = [1e6 * (ours - theirs) for ours, theirs in zip(medians[who], direct, strict=True)]
        report.add_figure("reuse adds", variant, who, "µs", added)
        goal = REUSE_GOAL if who == MANAGER else None
        report.add_ratio("reuse p50", variant, (who, CLIENT), (medians[who], direct), goal=goal)
