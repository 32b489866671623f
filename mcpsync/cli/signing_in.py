"""``mcpsync login``, ``logout`` and ``whoami``."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, Final

import click

from .._runtime.cancel import Cancellation
from .._runtime.clock import SystemClock
from .._runtime.deadline import Deadline
from ..auth.id_tokens import unverified_claims
from ..auth.tokens import Grant
from ..errors import StoreError
from .exits import Exit
from .kept import (
    REDIRECT,
    STORE_KEY,
    grant_of,
    http_config,
    oauth_of,
    opened_store,
    store_if_there,
    store_keys,
    store_path,
    why_nobody_signs_in,
)
from .login import PATIENCE, Login, Outcome, Plan
from .loopback import HOST, PORT
from .options import Settings, TargetCommand, command_after_dashes, some_options
from .running import logging_on_stderr, watched
from .show import show_rows
from .target import Target, find_target, timeout_of
from .text import as_json, one_line, printable
from .waiting import Waiting

ABOUT: Final = "TARGET is a URL or the name of a configured server."
CLAIMS: Final = ("sub", "name", "preferred_username", "email")  # of an id token, as they are shown


@click.command(cls=TargetCommand, usages=("TARGET",), about=ABOUT)
@click.argument("target", required=False)
@click.option(
    "--no-browser",
    is_flag=True,
    help="Open none: print where to go, and take the address that it ends at from standard input.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="Ask for this scope; may be repeated. [default: what the server says]",
)
@click.option("--client-id", metavar="ID", help="A client that was registered by hand.")
@click.option(
    "--client-secret-env", metavar="VARIABLE", help="Its secret is in this environment variable."
)
@click.option("--client-secret-prompt", is_flag=True, help="Ask for its secret.")
@click.option("--issuer", metavar="URL", help="The authorization server that knows it.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help=f"Come back to this port of {HOST} and to no other. [default: {PORT}, or a free one]",
)
@click.option("--again", "--force", is_flag=True, help="Sign in anew, even if there is no need.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help=f"Time to sign in. [default: {PATIENCE:g}]",
)
@some_options("json", "header", "config", "verbose")
def login(target: str | None, scopes: tuple[str, ...], again: bool, **options: Any) -> None:
    """Sign in to a server.

    The browser goes to the server's authorization server, and comes back to a port of this
    machine. The tokens are kept for the other commands, which send and refresh them by themselves.
    """
    opens_browser, port = not options.pop("no_browser"), options.pop("port")
    client = {name: options.pop(name) for name in _CLIENT}
    settings, found = _found(target, options)
    config = http_config(found)
    why = why_nobody_signs_in(config)
    if why is not None:
        raise click.UsageError(f"nobody signs in to {found.name}: its configuration {why}.")
    given = _client(**client, known=config.oauth.issuer if config.oauth is not None else None)
    if scopes:
        given["scopes"] = tuple(" ".join(scopes).split())
    plan = Plan(found, config, settings, opens_browser, port, again, given)
    cancel = Cancellation()
    waiting = Waiting("signing in", found.name, quiet=True)
    with logging_on_stderr(settings.verbose), opened_store() as store:
        outcome = watched(lambda: Login(plan, store, cancel).run(), waiting, cancel)
        grant = grant_of(config, store)
    if outcome is Outcome.SIGNED_IN and not store_keys():
        click.echo(
            f"The tokens are kept in {printable(str(store_path()))}: only you may read it, but it "
            f"is not encrypted. ({STORE_KEY} encrypts it.)",
            err=True,
        )
    if settings.as_json:
        click.echo(as_json(_facts(found, grant)))
    else:
        click.echo(outcome.value.format(one_line(found.name)))


@click.command(cls=TargetCommand, usages=("TARGET",), about=ABOUT)
@click.argument("target", required=False)
@some_options("json", "timeout", "config", "verbose")
def logout(target: str | None, **options: Any) -> None:
    """Sign out of a server: revoke the tokens, and forget them.

    They are forgotten in any case; what the authorization server did is said.
    """
    settings, found = _found(target, options)
    config = http_config(found)
    cancel = Cancellation()
    waiting = Waiting("signing out", found.name, quiet=settings.verbose)
    signed_out, revoked = False, False
    grant: Grant | None = None
    with logging_on_stderr(settings.verbose), store_if_there() as store:
        if store is not None:
            try:
                grant = grant_of(config, store)
                signed_out = grant is not None
            except StoreError:  # unreadable; it goes all the same
                signed_out = True
            oauth = oauth_of(config, store, REDIRECT)
            ceremony, owner = oauth.ceremony(config.url), oauth.owner_at(config.url)
            deadline = Deadline(timeout_of(found, settings))
            revoked = watched(lambda: ceremony.revoke(owner, deadline, cancel), waiting, cancel)
    if settings.as_json:
        said = {"server": found.name, "signed_out": signed_out, "revoked": revoked}
        click.echo(as_json(said))
    elif signed_out:
        click.echo(f"Signed out of {one_line(found.name)}. {_revocation(grant, revoked)}")
    else:
        click.echo(f"Nobody is signed in to {one_line(found.name)}.")


@click.command(cls=TargetCommand, usages=("TARGET",), about=ABOUT)
@click.argument("target", required=False)
@some_options("json", "config", "verbose")
def whoami(target: str | None, **options: Any) -> None:
    """Say what is kept of a sign-in, without asking anybody. Exit code 1 if there is none.

    What an id token says of the user is shown as it is; nobody has verified it.
    """
    settings, found = _found(target, options)
    config = http_config(found)
    with logging_on_stderr(settings.verbose), store_if_there() as store:
        grant = None if store is None else grant_of(config, store)
    facts = _facts(found, grant)
    if settings.as_json:
        click.echo(as_json(facts))
    elif facts["signed_in"]:
        show_rows(("", ""), _rows(facts), "")
    else:
        click.echo(f"Nobody is signed in to {one_line(found.name)}.")
    if not facts["signed_in"]:
        raise click.exceptions.Exit(Exit.TOOL_ERROR)


_CLIENT: Final = ("client_id", "client_secret_env", "client_secret_prompt", "issuer")


def _found(word: str | None, options: dict[str, Any]) -> tuple[Settings, Target]:
    settings = Settings(**options)
    return settings, find_target(word, command_after_dashes(), settings.config)


def _client(
    client_id: str | None,
    client_secret_env: str | None,
    client_secret_prompt: bool,
    issuer: str | None,
    known: str | None,
) -> dict[str, Any]:
    """Return what the options say of a client that was registered by hand.

    Args:
        client_id: Its id.
        client_secret_env: The variable that has its secret.
        client_secret_prompt: Whether to ask for it.
        issuer: Who knows it.
        known: Who does, as configured.

    Raises:
        click.UsageError: They contradict each other.
    """
    given: dict[str, Any] = {} if issuer is None else {"issuer": issuer}
    has_secret = client_secret_env is not None or client_secret_prompt
    if client_id is None:
        if has_secret:
            raise click.UsageError("a client secret is that of a --client-id.")
        return given
    if has_secret and issuer is None and known is None:
        raise click.UsageError(
            "--issuer says whom the client secret is for: it is sent to nobody who was merely "
            "found."
        )
    # Nothing of a configured client is mixed with this one.
    given |= {"client_id": client_id, "client_key": None, "token_endpoint_auth_method": None}
    given["client_secret"] = _secret(client_secret_env) if has_secret else None
    return given


def _secret(variable: str | None) -> str:
    if variable is None:
        try:
            return str(click.prompt("Client secret", hide_input=True, err=True))
        except click.Abort:
            raise KeyboardInterrupt from None
    secret = os.environ.get(variable, "").strip()
    if not secret:
        raise click.UsageError(
            f"--client-secret-env: the environment variable {variable} is not set."
        )
    return secret


def _revocation(grant: Grant | None, revoked: bool) -> str:
    if grant is None:
        return "What was kept could not be read, so the tokens were not revoked."
    if revoked:
        return f"{one_line(grant.issuer)} has revoked the tokens."
    if grant.revocation_endpoint is None:
        return f"{one_line(grant.issuer)} cannot revoke tokens: they are good until they are over."
    return (
        f"{one_line(grant.issuer)} has not revoked the tokens: they are good until they are over."
    )


def _facts(target: Target, grant: Grant | None) -> dict[str, Any]:
    """Return what is known of a sign-in, without anything secret."""
    if grant is None:
        return {"server": target.name, "signed_in": False}
    tokens, now = grant.tokens, SystemClock().time()
    refreshes = tokens.refresh_token is not None
    claims = {} if tokens.id_token is None else unverified_claims(tokens.id_token)
    return {
        "server": target.name,
        "signed_in": refreshes or grant.is_good(now),
        "issuer": grant.issuer,
        "client_id": grant.client.client_id,
        "scopes": list(tokens.scopes or grant.scopes),
        "expires_at": None if tokens.expires_at is None else _moment(tokens.expires_at).isoformat(),
        "refreshes": refreshes,
        "unverified_claims": {name: claims[name] for name in CLAIMS if name in claims},
    }


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("server", facts["server"]),
        ("issuer", facts["issuer"]),
        ("client", facts["client_id"]),
        ("scopes", " ".join(facts["scopes"]) or "none were named"),
        ("until", _until(facts)),
    ]
    claims = [f"{name} {value}" for name, value in facts["unverified_claims"].items()]
    if claims:
        rows.append(("user", f"{', '.join(claims)} (as the id token says; nobody verified it)"))
    return rows


def _until(facts: dict[str, Any]) -> str:
    then = "refreshed by itself after that" if facts["refreshes"] else "then sign in again"
    if facts["expires_at"] is None:
        return "the server did not say"
    return f"{datetime.fromisoformat(facts['expires_at']):%Y-%m-%d %H:%M:%S} UTC, {then}"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
