"""Having a user of the command line sign in. (RFC 8252)"""

from __future__ import annotations

import contextlib
import enum
import logging
import sys
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import UnsupportedOperation
from typing import Any, Final, cast
from urllib.parse import urlsplit

import click

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from .._runtime.threads import start_thread
from ..auth import OAuth
from ..auth.challenge import Demand, demand_of
from ..auth.discovery import Discovery
from ..auth.flows import Flow
from ..auth.oauth import fetcher_beside, returned_in
from ..auth.scopes import Scopes
from ..auth.tokens import Grant
from ..config import HttpServerConfig
from ..errors import (
    AuthorizationRequired,
    InsufficientScope,
    MCPError,
    MCPSyncError,
    OAuthError,
    RequestCancelled,
    RequestTimeout,
)
from ..http import Authorizer
from ..stores import Store
from .kept import REDIRECT, grant_of, kept_tokens, oauth_of
from .loopback import HOST, Listener
from .options import Settings
from .target import Target, make_client
from .text import printable
from .waiting import is_terminal

logger = logging.getLogger(__name__)

PATIENCE: Final = 300.0  # seconds for the user to sign in


class Outcome(enum.Enum):
    """What ``login`` came to."""

    SIGNED_IN = "Signed in to {}."
    ALREADY = "You are signed in to {} already. (--again signs in anew.)"
    NOT_NEEDED = (
        "{} lets everybody in; there is no need to sign in. (--again signs in all the same.)"
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """How a user is to be signed in.

    Args:
        target: Where.
        config: The same: a server with a URL.
        settings: The shared options.
        opens_browser: Whether to open one; without, the address is taken from standard input.
        port: The only port to listen on, if one is given.
        again: Whether to sign in though there is no need.
        options: What goes before the configuration.
    """

    target: Target
    config: HttpServerConfig
    settings: Settings
    opens_browser: bool = True
    port: int | None = None
    again: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Login:
    """One run of ``mcpsync login``, on a thread of its own.

    Args:
        plan: What is wanted.
        store: Where tokens are kept.
        cancel: Ends it.
    """

    def __init__(self, plan: Plan, store: Store, cancel: Cancellation) -> None:
        self._plan = plan
        self._store = store
        self._cancel = cancel
        self._deadline = Deadline(plan.settings.timeout or PATIENCE)

    def run(self) -> Outcome:
        """Have the user sign in, if there is a need.

        Raises:
            MCPSyncError: It came to nothing; what was kept before is kept still.
        """
        plan = self._plan
        try:
            kept = None if plan.again else self._kept()
            demand = self._demanded(kept)
            if not isinstance(demand, Demand):
                return demand
            port = plan.port
            with Listener(port, None if port is not None else _own_place(plan.config)) as listener:
                oauth = oauth_of(
                    plan.config, self._store, listener.redirect_uri, **dict(plan.options)
                )
                self._sign_in(oauth, listener, demand, () if kept is None else kept.scopes)
            self._try_out(oauth)
        except MCPSyncError as error:
            error.with_context(server_name=plan.target.name)
            error.maybe_executed = False  # nothing but listings was asked for
            raise
        return Outcome.SIGNED_IN

    def _kept(self) -> Grant | None:
        return grant_of(self._plan.config, self._store)

    def _demanded(self, kept: Grant | None) -> Demand | Outcome:
        """Return what the server demands, or why there is no need to sign in."""
        plan = self._plan
        if kept is not None and self._will_do(kept):
            tokens = kept_tokens(oauth_of(plan.config, self._store, REDIRECT), plan.config.url)
            try:
                self._ask(tokens)
            except (AuthorizationRequired, InsufficientScope) as error:
                return tokens.demand or demand_of(error.challenge)
            return Outcome.ALREADY
        try:
            self._ask(None)
        except (AuthorizationRequired, InsufficientScope) as error:
            return demand_of(error.challenge)
        is_meant = plan.again or plan.options or plan.config.requires_oauth or plan.config.oauth
        return Demand() if is_meant or self._says_where() else Outcome.NOT_NEEDED

    def _says_where(self) -> bool:
        """Whether the server says who issues tokens for it: then it may want some for its tools."""
        url = self._plan.config.url
        discovery = Discovery(fetcher_beside(url, None))
        try:
            return discovery.find(url, self._deadline, self._cancel).resource is not None
        except (RequestTimeout, RequestCancelled):
            raise
        except MCPSyncError as error:
            logger.info("who issues tokens is not known: %s", error)
            return False

    def _will_do(self, kept: Grant) -> bool:
        """Whether it is what was asked for."""
        options = self._plan.options
        wanted, client_id = options.get("scopes", ()), options.get("client_id")
        return set(wanted) <= set(kept.scopes) and client_id in (None, kept.client.client_id)

    def _ask(self, auth: Authorizer | None) -> None:
        """Ask the server for something that it would not tell to just anybody."""
        timeout = max(self._deadline.remaining(), 1e-6)
        with make_client(self._plan.target, self._plan.settings, auth, timeout=timeout) as client:
            client.connect(cancel=self._cancel)
            if client.server_capabilities.tools is not None:
                with contextlib.suppress(MCPError):  # which is an answer
                    client.list_tools(cancel=self._cancel)

    def _sign_in(self, oauth: OAuth, listener: Listener, demand: Demand, asked: Scopes) -> None:
        url = self._plan.config.url
        ceremony, owner = oauth.ceremony(url), oauth.owner_at(url)
        # One that was begun before leads to a port where nobody may listen any more.
        ceremony.flows.forget(owner)
        try:
            begun = ceremony.begin(owner, self._deadline, self._cancel, demand=demand, asked=asked)
            flow = cast("Flow", begun)  # None is only where is_needed says no
        except OAuthError as error:
            if error.error == "client_id_required":
                error.message = (
                    "the authorization server does not register clients by itself: register one "
                    f"there that comes back to {listener.redirect_uri}, and give its --client-id."
                )
            raise
        try:
            self._show(flow.url)
            try:
                answer = listener.wait(
                    flow.state,
                    self._deadline,
                    self._cancel,
                    typed=self._typed(),
                    complain=_complain,
                )
            except (RequestTimeout, RequestCancelled):
                ceremony.forget_client(flow)  # perhaps that is why he never came back
                raise
            ceremony.complete(owner, returned_in(answer), self._deadline, self._cancel)
        finally:
            ceremony.flows.forget(owner)

    def _show(self, url: str) -> None:
        opens, typed = self._plan.opens_browser, self._typed() is not None
        said = (
            "Sign in with your browser. If none has opened, go to:"
            if opens
            else "Sign in with a browser, at:"
        )
        click.echo(f"{said}\n\n  {printable(url)}\n", err=True)
        if typed:
            click.echo(
                "If it is on another machine, it ends at a page that cannot be reached: paste the "
                "address of that page here.\n",
                err=True,
            )
        if opens:
            start_thread("browser", lambda: _open_browser(url))  # some return when they are closed

    def _typed(self) -> int | None:
        """Return the descriptor of standard input, if the user may type there."""
        if self._plan.opens_browser and not is_terminal(sys.stdin):
            return None  # a script's, who may have other plans for it
        try:
            return sys.stdin.fileno()
        except (AttributeError, UnsupportedOperation, ValueError):  # there is none
            return None

    def _try_out(self, oauth: OAuth) -> None:
        try:
            self._ask(kept_tokens(oauth, self._plan.config.url))
        except (AuthorizationRequired, InsufficientScope) as error:
            raise OAuthError(
                "the authorization server gave a token, and the server does not take it.",
                error="token_not_taken",
            ) from error
        except MCPSyncError as error:
            logger.info("signed in, but the server does not answer: %s", error)


def _own_place(config: HttpServerConfig) -> str | None:
    """Return where the configuration has users come back to, if that is a port of this machine."""
    uri = None if config.oauth is None else config.oauth.redirect_uri
    parts = urlsplit(uri or "")
    is_here = parts.scheme == "http" and parts.hostname in (HOST, "localhost")
    return uri if is_here and parts.port else None


def _open_browser(url: str) -> None:
    try:
        if not webbrowser.open(url):
            logger.info("there is no browser to open")
    except (webbrowser.Error, OSError, ValueError):
        logger.info("the browser could not be opened", exc_info=True)


def _complain() -> None:
    click.echo(
        "That is not the address that this sign-in ends at; paste all of it, as the browser "
        "shows it:",
        err=True,
    )
