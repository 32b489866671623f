"""Calls: one after the other, from many threads on one client, and through the manager."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bare import BareServer
from contenders import Contender
from report import Report
from wire import Target

VARIANTS = [(era, answer) for era in ("legacy", "modern") for answer in ("json", "sse")]
# Enough calls for a number, not more: the raw socket is over too soon, the SDK keeps all waiting.
STORM_WEIGHTS = {"raw socket": 4.0, "mcp 2.3 + loop thread": 0.4}
P50_GOALS = {"requests": 0.55, "urllib3": 1.0}
THREADS_GOAL = 2.0


@dataclass
class Samples:
    """What one contender did in one variant; one entry a round, but all seconds in one list."""

    p50: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Size:
    """How much to do."""

    rounds: int
    calls: int
    threads: int
    each: int


def measure_calls(
    report: Report,
    server: BareServer,
    contenders: Sequence[Contender],
    size: Size,
    say: Callable[[str], None],
) -> None:
    """Measure every contender in every variant."""
    for era, answer in VARIANTS:
        variant = f"{era} {answer}"
        samples = _variant(report, contenders, server.target(era, answer), size, say)
        for who, found in samples.items():
            _record(report, variant, who, found)
        if "mcpsync" in samples:
            _compare(report, variant, samples)


def _variant(
    report: Report,
    contenders: Sequence[Contender],
    target: Target,
    size: Size,
    say: Callable[[str], None],
) -> dict[str, Samples]:
    variant = f"{target.era} {target.answer}"
    alive = []
    for contender in contenders:
        with report.attempt("calls", variant, contender.name):
            contender.open(target)
            alive.append(contender)
    samples = {contender.name: Samples() for contender in alive}
    for number in range(size.rounds):
        say(f"calls, {variant}: round {number + 1} of {size.rounds}")
        for contender in _rotated(alive, number):
            with report.attempt("calls", variant, contender.name):
                _round(contender, samples[contender.name], size)
                continue
            alive.remove(contender)
    for contender in contenders:
        with report.attempt("close", variant, contender.name):
            contender.close()
    return {name: found for name, found in samples.items() if found.p50}


def _rotated(contenders: Sequence[Contender], number: int) -> list[Contender]:
    start = number % len(contenders) if contenders else 0
    return [*contenders[start:], *contenders[:start]]


def _round(contender: Contender, samples: Samples, size: Size) -> None:
    block = contender.block(size.calls)
    weight = STORM_WEIGHTS.get(contender.name, 1.0)
    storm = contender.storm(size.threads, max(2, round(size.each * weight)))
    samples.p50.append(statistics.median(block.seconds))
    samples.cpu.append(block.cpu / len(block.seconds))
    samples.seconds.extend(block.seconds)
    samples.rate.append(storm.rate)


def _record(report: Report, variant: str, who: str, samples: Samples) -> None:
    ordered = sorted(samples.seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    report.add_figure("call p50", variant, who, "ms", [1e3 * one for one in samples.p50])
    report.add_figure("call p99", variant, who, "ms", [1e3 * p99])
    report.add_figure("call CPU", variant, who, "ms", [1e3 * one for one in samples.cpu])
    report.add_figure("call threads", variant, who, "calls/s", samples.rate)


def _compare(report: Report, variant: str, samples: dict[str, Samples]) -> None:
    ours = samples["mcpsync"]
    for who, theirs in samples.items():
        pair = ("mcpsync", who)
        if who in ("mcpsync", "raw socket"):
            continue
        if who != "requests, pool fits":  # a bigger pool changes nothing for one thread
            goal = P50_GOALS.get(who)
            report.add_ratio("call p50", variant, pair, (ours.p50, theirs.p50), goal=goal)
        threads_goal = THREADS_GOAL if who == "requests" else None
        rates = (ours.rate, theirs.rate)
        report.add_ratio("threads", variant, pair, rates, goal=threads_goal, at_least=True)
    _server_is_not_the_limit(report, variant, samples)


def _server_is_not_the_limit(report: Report, variant: str, samples: dict[str, Samples]) -> None:
    """Set the raw socket beside the fastest client: far above 1, the server had time to spare."""
    raw = samples.get("raw socket")
    clients = {who: found for who, found in samples.items() if who != "raw socket"}
    if raw is None or not clients:
        return
    fastest = max(clients, key=lambda who: statistics.median(clients[who].rate))
    rates = (raw.rate, clients[fastest].rate)
    report.add_ratio("server head room", variant, ("raw socket", fastest), rates)
