"""Calls of users who have signed in, beside calls with a bearer token that never changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import wire
from bare import BareServer
from calls import VARIANTS, Size
from report import Report
from reuse import Arms, medians_of, record_added
from wire import Target

STATIC = "a static bearer token"
SIGNED_IN = "signed in"
CALLBACK = "https://app.example/callback"
TOKEN = "t" * 43
LIFETIME = 24 * 3600.0  # seconds; longer than any run


def measure_signed_in(
    report: Report, server: BareServer, size: Size, say: Callable[[str], None]
) -> None:
    """Compare the calls of a manager with both, in turn, in every variant."""
    for era, answer in VARIANTS:
        variant = f"{era} {answer}"
        say(f"signed in: {variant}")
        with (
            report.attempt("signed in", variant, SIGNED_IN),
            _arms(server.target(era, answer)) as arms,
        ):
            medians = medians_of(arms, size)
            record_added(report, "signed in", variant, medians, (SIGNED_IN, STATIC))


@contextlib.contextmanager
def _arms(target: Target) -> Iterator[Arms]:
    import mcpsync  # a benchmark of the others must run without it

    user = mcpsync.User(id="42")
    static = {"url": target.url, "headers": {"Authorization": f"Bearer {TOKEN}"}}
    with (
        mcpsync.MCPManager({"bare": {**static, "requires_oauth": False}}) as plain,
        manager_of(target.url) as signed_in,
    ):
        sign_in(signed_in, user.id, target.url)

        def call(which: Any) -> Callable[[], object]:
            return lambda: which.call_tool("bare", wire.TOOL, wire.ARGUMENTS, user=user)

        yield {STATIC: call(plain), SIGNED_IN: call(signed_in)}


def manager_of(url: str) -> Any:
    """Return a manager whose users sign in to the bare server, which wants nobody's token."""
    import mcpsync

    server = {"url": url, "requires_oauth": True}
    return mcpsync.MCPManager({"bare": server}, oauth_redirect_uri=CALLBACK)


def sign_in(manager: Any, user_id: str, url: str) -> None:
    """Put into the manager's store what a sign-in brings."""
    import time

    from mcpsync.auth.clients import ClientCredentials
    from mcpsync.auth.token_endpoint import Tokens
    from mcpsync.auth.tokens import Grant
    from mcpsync.connections.connection import Key
    from mcpsync.connections.signing_in import owner_of

    issuer = "https://login.example"
    grant = Grant(
        tokens=Tokens(TOKEN, "r" * 43, time.time() + LIFETIME, ("read",)),
        client=ClientCredentials("me", issuer=issuer, redirect_uri=CALLBACK),
        issuer=issuer,
        token_endpoint=f"{issuer}/token",
        resource=url,
        scopes=("read",),
        server_url=url,
    )
    manager._sign_ins.storage.keep(owner_of(Key(user_id, "bare")), grant)
