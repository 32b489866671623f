"""Measure calls on behalf of users whose token is kept, beside calls with a token that is fixed.

    python benchmarks/obo.py [--quick] [--json FILE] [--rounds N]

See README.md in this folder.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import wire
from bare import BareServer
from calls import VARIANTS, Size
from report import Report
from reuse import Arms, medians_of, record_added
from running import environment, finish, parser_of, say
from wire import Target

GOAL = 30.0  # µs more than a call with a fixed token
STATIC = "a static bearer token"
ON_BEHALF = "on behalf of a user"
EXCHANGE = "exchange(), kept"
TOKEN = "t" * 1800  # characters; what Entra ID gives has about as many
SCOPES = "api://bare/.default"
FULL = Size(rounds=40, calls=100, threads=0, each=0)
QUICK = Size(rounds=5, calls=50, threads=0, each=0)


def main() -> int:
    """Run what the options ask for; return 1 if something could not be measured."""
    options = parser_of(__doc__, ("obo",), "5 seconds").parse_args()
    report = Report(environment=environment())
    started = time.monotonic()
    size = QUICK if options.quick else FULL
    if options.rounds:
        size = replace(size, rounds=options.rounds)
    with BareServer() as server:
        measure_obo(report, server, size, say)
    return finish(report, started, options.json)


def measure_obo(report: Report, server: BareServer, size: Size, say: Callable[[str], None]) -> None:
    """Compare the calls of a manager with both, in turn, in every variant."""
    for era, answer in VARIANTS:
        variant = f"{era} {answer}"
        say(f"on behalf: {variant}")
        with (
            report.attempt("on behalf", variant, ON_BEHALF),
            _arms(server.target(era, answer)) as arms,
        ):
            medians = medians_of(arms, size)
            record_added(report, "on behalf", variant, medians, (ON_BEHALF, STATIC), GOAL)
            alone = [1e6 * one for one in medians[EXCHANGE]]
            report.add_figure("on behalf, by itself", variant, EXCHANGE, "µs", alone)


@contextlib.contextmanager
def _arms(target: Target) -> Iterator[Arms]:
    import mcpsync  # a benchmark of the others must run without it
    from mcpsync.auth import OboTokenService, OpenIDToken
    from mcpsync.testing import LocalServer, Page

    answer = Page.json({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 24 * 3600})
    static = {"url": target.url, "headers": {"Authorization": f"Bearer {TOKEN}"}}
    with LocalServer(front=lambda _: answer) as idp:
        service = OboTokenService(idp.url.replace("/mcp", "/token"), "app", "secret")
        token = OpenIDToken("u" * 1800, "42")
        service.exchange(token, SCOPES)
        with (
            mcpsync.MCPManager({"bare": {**static, "requires_oauth": False}}) as plain,
            mcpsync.MCPManager(
                {"bare": {"url": target.url, "obo": {"scopes": SCOPES}}},
                obo=service,
                access_token_of=lambda _: token,
            ) as on_behalf,
        ):
            user = mcpsync.User(id="42")

            def call(which: Any) -> Callable[[], object]:
                return lambda: which.call_tool("bare", wire.TOOL, wire.ARGUMENTS, user=user)

            yield {
                STATIC: call(plain),
                ON_BEHALF: call(on_behalf),
                EXCHANGE: lambda: service.exchange(token, SCOPES),
            }


if __name__ == "__main__":
    sys.exit(main())
