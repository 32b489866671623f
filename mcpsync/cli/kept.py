"""What a user has signed in to from the command line: where that is kept, and who sends it."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from .._runtime.aside import wait_for_asides
from .._runtime.clock import SystemClock
from ..auth import OAuth
from ..auth.challenge import Demand, challenges_in
from ..auth.options import configured
from ..auth.scopes import Scopes
from ..auth.signing_in import SignIn
from ..auth.tokens import Grant
from ..config import HttpServerConfig
from ..connections.machines import machine_grant
from ..errors import (
    AuthorizationRequired,
    ConfigurationError,
    InsufficientScope,
    MCPSyncError,
    StoreError,
)
from ..http import Authorizer, AuthorizerSource, Occasion
from ..http.settings import Session
from ..stores import SQLiteStore, Store
from .loopback import HOST, PATH, PORT
from .options import CONFIG_VARIABLE, Settings
from .target import Target

REDIRECT: Final = f"http://{HOST}:{PORT}{PATH}"  # where nobody listens: what is kept needs no user
SEE_OFF: Final = 5.0  # seconds
STORE: Final = "MCPSYNC_STORE"
STORE_KEY: Final = "MCPSYNC_STORE_KEY"


def store_path() -> Path:
    """Return where the command line keeps tokens: MCPSYNC_STORE, or a file of the user's.

    Raises:
        ConfigurationError: The user has no home.
    """
    given = os.environ.get(STORE)
    if given:
        return Path(given)
    folder = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not folder.is_absolute():  # such a one is to be ignored, says the XDG specification
        try:
            home = Path.home()
        except RuntimeError:
            raise ConfigurationError(f"you have no home folder: {STORE} names a file.") from None
        is_mac = sys.platform == "darwin"
        folder = home / ("Library/Application Support" if is_mac else ".local/share")
    return folder / "mcpsync" / "tokens.db"


def store_keys() -> list[str]:
    """Return the keys that the store is encrypted with, the newest first; none if it is not."""
    return os.environ.get(STORE_KEY, "").split()


@contextlib.contextmanager
def opened_store() -> Iterator[Store]:
    """Lend the store of the command line, made if it is not there; only its user may read it.

    Raises:
        StoreError: It cannot be made, or used.
    """
    path = store_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the folder {path.parent} cannot be made: {error.strerror}.") from error
    store = SQLiteStore(path, key=store_keys())
    try:
        yield store
    finally:
        wait_for_asides(SEE_OFF)  # a refresh that a command had no time for
        store.close()


@contextlib.contextmanager
def store_if_there() -> Iterator[Store | None]:
    """Lend the store; None, and nothing is made, if nobody has signed in to anything yet."""
    if not os.path.exists(store_path()):  # of what may not be looked at, Path would raise
        yield None
        return
    with opened_store() as store:
        yield store


def http_config(target: Target) -> HttpServerConfig:
    """Return the configuration of a server that has a URL.

    Raises:
        click.UsageError: It has none.
    """
    if not isinstance(target.config, HttpServerConfig):
        raise click.UsageError("only servers with an http:// or https:// URL are signed in to.")
    return target.config


def why_nobody_signs_in(config: HttpServerConfig) -> str | None:
    """Return what a configuration has instead of users that sign in; None if they may."""
    if config.requires_oauth is False:
        return "says 'requires_oauth: false'"
    if config.obo is not None:
        return "has 'obo'"
    if config.oauth is not None and config.oauth.grant != "authorization_code":
        return f"says 'grant: {config.oauth.grant}', which needs no user"
    return "has an Authorization header" if _has_authorization(config.all_headers) else None


def oauth_of(config: HttpServerConfig, store: Store, redirect_uri: str, **options: Any) -> OAuth:
    """Return how the user of the command line signs in at a server.

    Args:
        config: The server; what it says of signing in is heeded.
        store: Where tokens are kept.
        redirect_uri: Where the user comes back to.
        options: What goes before the configuration.
    """
    is_said = config.oauth is not None or config.oauth_headers
    said = configured(config.said_of_oauth) if is_said else {}
    return OAuth(redirect_uri, store=store, **{**said, **options})


def grant_of(config: HttpServerConfig, store: Store) -> Grant | None:
    """Return what is kept of the user's sign-in at a server.

    Raises:
        StoreError: It cannot be read.
    """
    oauth = oauth_of(config, store, REDIRECT)
    return oauth.ceremony(config.url).storage.find(oauth.owner_at(config.url))


class KeptTokens(SignIn):
    """Sends tokens that were kept, and refreshes them; it has nobody sign in.

    Attributes:
        demand: What the server wanted more than that.
    """

    demand: Demand | None = None

    def begin(
        self,
        demand: Demand,
        challenge: str | None,
        sent: str | None,
        occasion: Occasion,
        asked: Scopes = (),
        step_ups: int = 0,
    ) -> NoReturn:
        """Say that somebody has to sign in."""
        self.demand = demand
        if step_ups:
            raise InsufficientScope(
                "the sign-in does not reach that far.", required_scopes=demand.scope
            )
        raise AuthorizationRequired("the sign-in is over.")


def kept_tokens(oauth: OAuth, url: str, session: Session | None = None) -> KeptTokens:
    """Return what sends the tokens that are kept for the server at *url*."""
    return KeptTokens(oauth.ceremony(url, session), oauth.owner_at(url))


class _Source:
    """Makes it once it is known for which server."""

    def __init__(self, oauth: OAuth) -> None:
        self._oauth = oauth

    def authorizer_for(self, url: str, session: Session | None) -> Authorizer:
        return kept_tokens(self._oauth, url, session)


class Credentials:
    """What a command sends by itself, and what it says when that is not enough.

    Args:
        auth: What adds it to requests, if there is something.
        command: What signs the user in, if that may help.
        trouble: Why the tokens that are kept could not be looked at, if so.
    """

    def __init__(
        self, auth: AuthorizerSource | None = None, command: str | None = None, trouble: str = ""
    ) -> None:
        self.auth = auth
        self._command = command
        self._trouble = trouble

    def explain(self, error: MCPSyncError) -> None:
        """Have *error* say how to sign in, if that may help."""
        if not isinstance(error, AuthorizationRequired | InsufficientScope):
            return
        if self._command is None:
            return
        schemes = {challenge.scheme for challenge in challenges_in(error.challenge)}
        if schemes and not schemes & {"bearer", "dpop"}:
            return  # a user name and a password, perhaps
        command = self._command
        if isinstance(error, InsufficientScope) and error.required_scopes:
            command += f" --scope {shlex.quote(' '.join(error.required_scopes))}"
        words = error.message, self._trouble, f"Sign in with `{command}`."
        error.message = " ".join(filter(None, words))


@contextlib.contextmanager
def credentials_for(target: Target, settings: Settings) -> Iterator[Credentials]:
    """Lend what a command sends by itself: the user's tokens, or those of the configuration.

    Nothing, if the options have credentials, the configuration has, or nobody has signed in.
    """
    config = target.config
    given = settings.bearer_env is not None or _has_authorization(
        line.partition(":")[0].strip() for line in settings.headers
    )
    if given or not isinstance(config, HttpServerConfig):
        yield Credentials()
        return
    if config.oauth is not None and config.oauth.grant != "authorization_code":
        yield Credentials(machine_grant(config.said_of_oauth, SystemClock()))
        return
    if why_nobody_signs_in(config) is not None:
        yield Credentials()
        return
    command = f"mcpsync login {_written(target, settings)}"
    with contextlib.ExitStack() as stack:
        source, trouble = None, ""
        try:
            store = stack.enter_context(store_if_there())
            if store is not None and grant_of(config, store) is not None:
                source = _Source(oauth_of(config, store, REDIRECT))
        except (
            StoreError,
            ConfigurationError,
        ) as error:  # the server may not want to know who we are
            trouble = error.message
        yield Credentials(source, command, trouble)


def _written(target: Target, settings: Settings) -> str:
    """Return how the server is named on a command line."""
    words = shlex.quote(target.name)
    if settings.config is not None and settings.config != os.environ.get(CONFIG_VARIABLE):
        words += f" --config {shlex.quote(settings.config)}"
    return words


def _has_authorization(names: Any) -> bool:
    return any(name.lower() == "authorization" for name in names)
