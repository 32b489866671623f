"""Connecting: a new client with its first call, beside the same exchanges made by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import requests
import urllib3

import fresh
import sdk
import wire
from bare import BareServer
from certificate import Certificate
from contenders import HandClient, McpsyncClient, RequestsByHand, Urllib3ByHand
from report import Report
from running import CA_VARIABLES
from wire import Target

CONNECT_GOAL = 1.2
HTTPS_GOAL = 4.0


@dataclass(frozen=True, slots=True)
class Manner:
    """One way to connect: which era answers, what ``mode=`` says, whether the origin is new."""

    era: str
    mode: str
    new_origin: bool

    @property
    def probe(self) -> bool:
        """Whether the same exchanges by hand include the probe for the era."""
        return self.mode == "auto"

    @property
    def variant(self) -> str:
        """What the tables call it."""
        return f"{self.era}, mode={self.mode}, {'new' if self.new_origin else 'kept-alive'} socket"


# On a known origin mode="auto" need not probe, so by hand there is nothing to compare with.
MANNERS = [
    Manner("legacy", "legacy", True),
    Manner("legacy", "legacy", False),
    Manner("legacy", "auto", True),
    Manner("modern", wire.MODERN, True),
    Manner("modern", wire.MODERN, False),
    Manner("modern", "auto", True),
]


def ports_needed(rounds: int) -> int:
    """Return how many origins nobody has seen the measures of this module use up."""
    return (rounds + 1) * sum(manner.new_origin for manner in MANNERS)


def measure_connect(
    report: Report, server: BareServer, rounds: int, say: Callable[[str], None]
) -> None:
    """Measure every manner of connecting, all contenders in turn, *rounds* times."""
    session = requests.Session()
    session.headers.update(wire.FIXED_HEADERS)
    manager = urllib3.PoolManager()
    for manner in MANNERS:
        say(f"connect: {manner.variant}")
        new = manner.new_origin
        arms: dict[str, Callable[[Target], HandClient]] = {
            "requests by hand": partial(RequestsByHand, session=None if new else session),
            "urllib3 by hand": partial(Urllib3ByHand, manager=None if new else manager),
            "mcpsync": partial(McpsyncClient, mode=manner.mode),
        }
        _measure_manner(report, server, manner, arms, rounds)
    session.close()
    manager.clear()


def _measure_manner(
    report: Report,
    server: BareServer,
    manner: Manner,
    arms: dict[str, Callable[[Target], HandClient]],
    rounds: int,
) -> None:
    seconds: dict[str, list[float]] = {who: [] for who in arms}
    exchanges: dict[str, str] = {}
    for number in range(rounds + 1):  # the first one is for warmth and for counting
        if manner.new_origin:
            target = server.fresh(manner.era, "json")
        else:
            target = server.target(manner.era, "json")
        names = list(seconds)
        for who in names[number % len(names) :] + names[: number % len(names)]:
            with report.attempt("connect", manner.variant, who):
                if not number:
                    server.take_counts()
                took, client = _connect_once(arms[who], target, probe=manner.probe)
                if number:
                    seconds[who].append(took)
                else:
                    exchanges[who] = _spelled(server.take_counts())
                client.close()
                continue
            del seconds[who]
    _record(report, manner, seconds, exchanges)


def _connect_once(
    make: Callable[[Target], HandClient], target: Target, *, probe: bool
) -> tuple[float, HandClient]:
    started = time.perf_counter()
    client = make(target)
    client.connect(probe=probe)
    client.call()
    return time.perf_counter() - started, client


def _record(
    report: Report, manner: Manner, seconds: dict[str, list[float]], exchanges: dict[str, str]
) -> None:
    for who, taken in seconds.items():
        report.add_figure("connect", manner.variant, who, "ms", [1e3 * one for one in taken])
    if len(set(exchanges.values())) > 1:
        told = "; ".join(f"{who}: {what}" for who, what in exchanges.items())
        report.notes.append(f"connect, {manner.variant}: not the same exchanges: {told}")
    ours = seconds.get("mcpsync")
    for who in ("requests by hand", "urllib3 by hand"):
        if ours and seconds.get(who):
            goal = CONNECT_GOAL if who.startswith("requests") else None
            pair = ("mcpsync", who)
            report.add_ratio("connect", manner.variant, pair, (ours, seconds[who]), goal=goal)


def _spelled(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {method}" for method, count in sorted(counts.items()))


def measure_https(
    report: Report,
    server: BareServer,
    certificate: Certificate,
    rounds: int,
    say: Callable[[str], None],
    *,
    with_sdk: bool,
) -> None:
    """Measure new clients over TLS, each contender in a process of its own that trusts our CA."""
    environment = dict.fromkeys(CA_VARIABLES, str(certificate.bundle))
    for era in ("legacy", "modern"):
        new = [server.fresh(era, "json", "https").url for _ in range(rounds)]
        known = server.target(era, "json", "https")
        task = {"era": era, "mode": known.mode, "known": [known.url] * rounds}
        for who in ("requests", "mcpsync"):
            say(f"https: {era}, {who}")
            with report.attempt("https connect", era, who):
                found = fresh.run("https", environment, who=who, new=new, **task)
                _record_https(report, era, who, found)
        if with_sdk:
            say(f"https: {era}, SDK")
            with report.attempt("https connect", era, sdk.SdkContender.name):
                found = _sdk_https(environment, new, task)
                _record_https(report, era, sdk.SdkContender.name, found)


def https_ports_needed(rounds: int) -> int:
    """Return how many TLS origins nobody has seen :func:`measure_https` uses up."""
    return 2 * rounds


def _sdk_https(environment: dict[str, str], new: list[str], task: dict[str, Any]) -> dict[str, Any]:
    worker = sdk.Worker({**os.environ, **environment})
    try:
        return {
            "new": worker.ask("connect", urls=new, mode=task["mode"])["seconds"],
            "known": worker.ask("connect", urls=task["known"], mode=task["mode"])["seconds"],
        }
    finally:
        worker.stop()


def _record_https(report: Report, era: str, who: str, found: dict[str, Any]) -> None:
    first, *later = [1e3 * one for one in found["new"]]
    known = [1e3 * one for one in found["known"][1:]]
    goal = HTTPS_GOAL if who == "mcpsync" else None
    report.add_figure("https connect", f"{era}, first of the process", who, "ms", [first])
    report.add_figure("https connect", f"{era}, later, new origin", who, "ms", later, goal)
    report.add_figure("https connect", f"{era}, later, same origin", who, "ms", known, goal)
