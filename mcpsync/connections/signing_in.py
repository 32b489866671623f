"""What signs users in at the servers of a manager. (Seed: ``flowManager`` and its wiring, 2.5)"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from .._runtime.cancel import Cancellation, Watch
from .._runtime.clock import Clock
from .._runtime.fork import after_fork_in_child
from ..auth.ceremony import Ceremony, state_unknown
from ..auth.clients import CLIENT_NAME, CimdDocument, check_redirect_uri
from ..auth.codes import Returned
from ..auth.flows import Flow, FlowStateManager, FlowStatus
from ..auth.options import OAuthOptions, configured
from ..auth.signing_in import SignIn
from ..auth.tokens import TokenStorage, is_for
from ..client.core import MOST_SIGN_INS
from ..config import HttpServerConfig, ServerConfig
from ..config.oauth import OAuthConfig
from ..config.predicates import is_oauth_server, is_user_sourced
from ..errors import (
    AuthorizationRequired,
    ConfigurationError,
    ConnectionClosed,
    RefusedError,
    RequestCancelled,
    StoreError,
)
from ..http import Authorizer
from ..http.settings import Session
from ..security.guard import Guard
from ..stores import Store
from ..transports.base import CallScope
from .connection import Key
from .guarding import fetcher_for
from .machines import IdTokenOf, Machines
from .on_behalf import OnBehalf

T = TypeVar("T")

_UNSAID = OAuthConfig()
_SOMEWHERE = "https://unknown.invalid/"


class WhoMayWait(NamedTuple):
    """What a caller lets happen if the user has to sign in first. [seed 2.5: request-lifetime]

    Args:
        oauth_start: Called with the URL to send the user to; then the call waits for the sign-in.
        oauth_end: Called when the waiting is over, however it ended; where nobody waits, never.
        return_on_oauth: After *oauth_start* raise ``AuthorizationRequired`` instead of waiting.
    """

    oauth_start: Callable[[str], object] | None = None
    oauth_end: Callable[[], object] | None = None
    return_on_oauth: bool = False


class CompletedSignIn(NamedTuple):
    """Who has signed in, and where."""

    server_name: str
    user_id: str


class AuthorizationStatus(NamedTuple):
    """Where a user stands with a server. [seed: connection status]

    Args:
        is_authorized: Whether there are tokens, or a way to have them without the user.
        flow: What has become of the latest sign-in; None if there was none, or long ago.
        authorization_url: Where to send the user, while one is under way.
        error: A word for why it failed.
        scopes: What was agreed to.
    """

    is_authorized: bool
    flow: FlowStatus | None = None
    authorization_url: str | None = None
    error: str | None = None
    scopes: tuple[str, ...] = ()


class SignIns:
    """Signs users in, each at each server, for as long as the store remembers. Thread-safe.

    Args:
        store: Where tokens and sign-ins are kept.
        clock: Tells the time.
        session: Where proxies and TLS settings come from.
        redirect_uri: The page of the application that users come back to.
        document: The client id metadata document that the application serves.
        client_name: What users are shown.
        id_token_of: Returns a user's ID token, by the user's id.
        on_behalf: What gets tokens on behalf of users.
        guard: Says where those may be whom a server names.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        session: Session | None = None,
        redirect_uri: str | None = None,
        document: CimdDocument | None = None,
        client_name: str = CLIENT_NAME,
        id_token_of: IdTokenOf | None = None,
        on_behalf: OnBehalf | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard if guard is not None else Guard()
        self._store = store
        self._clock = clock
        self._session = session
        self._redirect_uri = redirect_uri
        self._document = document
        self._client_name = client_name
        self.storage = TokenStorage(store, clock)
        self.flows = FlowStateManager(store, clock)
        self._known: dict[str, tuple[ServerConfig, Ceremony]] = {}
        self._on_behalf = on_behalf
        self._machines = Machines(clock, session, id_token_of, self._guard)
        self._closing = Cancellation()
        after_fork_in_child(self._forget)

    def signs_in(self, config: ServerConfig) -> bool:
        """Whether users can sign in, or the application can, at a server configured like this."""
        if config.obo is not None:
            return self._on_behalf is not None
        said = (config.oauth if isinstance(config, HttpServerConfig) else None) or _UNSAID
        if said.grant != "authorization_code" or self._redirect_uri is not None:
            return True
        return said.redirect_uri is not None and not is_user_sourced(config)

    def authorizer_for(self, key: Key, config: ServerConfig) -> Authorizer | None:
        """Return what adds credentials to the requests of a connection; None if nothing does.

        Args:
            key: Whose connection, to what.
            config: The server, with every placeholder filled in.

        Raises:
            ConfigurationError: It has to be signed in to, and it is not known where users would
                come back to; or it needs tokens on behalf of users, and nothing gets any.
        """
        if not isinstance(config, HttpServerConfig):
            return None
        if config.obo is not None:  # and no way leads from there to OAuth, whatever else is said
            return self._behalf().authorizer_for(key, config)
        if config.requires_oauth is False:
            return None
        said = config.said_of_oauth
        if said.grant != "authorization_code":
            return self._machines.authorizer_for(key, config, said)
        if key.user_id is None:
            return None
        if not is_oauth_server(config):
            own = any(name.lower() == "authorization" for name in config.all_headers)
            if own or self._redirect_uri is None:
                return None  # a 401 is what it is
        return SignIn(
            self._ceremony(key.server_name, config),
            owner_of(key),
            {"user_id": key.user_id, "server_name": key.server_name, "server_url": config.url},
        )

    def _behalf(self) -> OnBehalf:
        if self._on_behalf is None:
            raise ConfigurationError(
                "it needs tokens on behalf of users: MCPManager(obo=, access_token_of=)."
            )
        return self._on_behalf

    def _ceremony(self, name: str, config: HttpServerConfig) -> Ceremony:
        known = self._known.get(name)
        if known is not None and known[0] is config:
            return known[1]
        ceremony = self._made(config, config.url)
        self._known[name] = config, ceremony
        return ceremony

    def _made(self, config: HttpServerConfig, url: str) -> Ceremony:
        said = config.said_of_oauth
        mine = is_user_sourced(config)
        redirect_uri = self._redirect_uri if mine else said.redirect_uri or self._redirect_uri
        if redirect_uri is None:
            raise ConfigurationError(
                "users have to sign in there, and it is not known where they come back to: "
                "MCPManager(oauth_redirect_uri=)."
            )
        check_redirect_uri(redirect_uri)
        keywords = configured(said)
        keywords["client_name"] = self._client_name
        keywords["document"] = self._document
        options = OAuthOptions(redirect_uri, **keywords)
        fetcher = fetcher_for(
            self._guard, config, url, self._session, headers=said.headers, said=options.said_urls
        )
        return Ceremony(
            url,
            options,
            store=self._store,
            fetcher=fetcher,
            clock=self._clock,
            storage=self.storage,
        )

    # -- waiting ----------------------------------------------------------------------------------

    def wait(self, required: AuthorizationRequired, scope: CallScope, who: WhoMayWait) -> bool:
        """Show the user where to go, and wait until he has signed in, in whatever process.

        Returns:
            Whether to call again; false if this caller does not wait.

        Raises:
            OAuthError: It failed, or was cancelled.
            RequestTimeout, RequestCancelled: It took too long for the caller.
            ConnectionClosed: The manager was closed.
        """
        url, flow_id = required.authorization_url, required.flow_id
        if who.oauth_start is None or url is None or flow_id is None:
            return False
        if who.return_on_oauth:
            who.oauth_start(url)  # and it is not over, so nobody is told that it is
            return False
        try:
            who.oauth_start(url)
            self._wait(flow_id, url, scope)
        finally:
            if who.oauth_end is not None:
                who.oauth_end()
        return True

    def _wait(self, flow_id: str, url: str, scope: CallScope) -> None:
        """Wait until the sign-in is completed, it is called off, or the manager is closed."""
        stop, closing = Cancellation(), self._closing
        watches = [
            Watch(cancel, lambda error: stop.cancel(error.reason))
            for cancel in (scope.cancel, closing)
        ]
        try:
            self.flows.wait_for_url(flow_id, url, scope.deadline, stop)
        except RequestCancelled:
            if closing.cancelled and (scope.cancel is None or not scope.cancel.cancelled):
                raise ConnectionClosed("the manager is closed.") from None
            raise
        finally:
            for watch in watches:
                watch.end()

    def close(self) -> None:
        """Wake those who wait for a user; sign-ins under way can be completed all the same."""
        self._closing.cancel("closed")

    def _forget(self) -> None:
        was_closed, self._closing = self._closing.cancelled, Cancellation()
        if was_closed:
            self._closing.cancel("closed")

    def go_on(
        self,
        required: AuthorizationRequired,
        scope: CallScope,
        who: WhoMayWait,
        again: Callable[[], T],
    ) -> T:
        """Have the user sign in, and call again: the request was turned down unseen."""
        for _ in range(MOST_SIGN_INS):
            if not self.wait(required, scope, who):
                break
            try:
                return again()
            except AuthorizationRequired as once_more:
                required = once_more
        raise required

    # -- completing, asking, ending ---------------------------------------------------------------

    def find(self, state: str) -> Flow:
        """Return the sign-in that a ``state`` belongs to.

        Raises:
            OAuthError: Nobody began it, or too long ago.
        """
        flow = self.flows.find_by_state(state)
        if flow is None or "server_name" not in flow.facts:
            raise state_unknown()
        return flow

    def complete(
        self, flow: Flow, config: ServerConfig, returned: Returned, scope: CallScope
    ) -> bool:
        """Redeem what a user came back with. Doing it twice is harmless.

        Args:
            flow: Which sign-in.
            config: Its server, as configured now.
            returned: What he came back with.
            scope: Bounds it.

        Returns:
            Whether it is new; false if it was done before.

        Raises:
            OAuthError: It is another server's answer, a refusal, or over.
            RefusedError: The server is no longer where it was.
            MCPSyncError: The tokens could not be had.
        """
        facts = flow.facts
        if not self.are_for(config) or not _leads_to(config, facts):
            self.flows.fail(flow, "server_changed")
            raise RefusedError("the server was configured anew meanwhile; sign in again.")
        assert isinstance(config, HttpServerConfig)
        ceremony = self._made(config, facts["server_url"])
        done = ceremony.complete(flow.flow_id, returned, scope.deadline, scope.cancel)
        return done is not None

    def cancel(self, key: Key) -> bool:
        """Forget the sign-in under way; whoever waits for it hears of that."""
        owner = owner_of(key)
        flow = self.flows.find(owner)
        return flow is not None and self.flows.is_fresh(flow) and self.flows.forget(owner)

    def are_for(self, config: ServerConfig) -> bool:
        """Whether users sign in at a server, or would if it asked for it."""
        if not isinstance(config, HttpServerConfig) or config.obo is not None:
            return False
        by_users = config.oauth is None or config.oauth.grant == "authorization_code"
        return config.requires_oauth is not False and by_users

    def status(self, key: Key, config: ServerConfig | None) -> AuthorizationStatus:
        """Return where a user stands with a server, as far as the store knows.

        What was done at another server of that name, before it was configured anew, counts for
        nothing.
        """
        if config is not None and config.obo is not None:
            behalf = self._on_behalf
            return AuthorizationStatus(behalf is not None and behalf.may_act(key, config))
        said = config.oauth if isinstance(config, HttpServerConfig) else None
        if said is not None and said.grant != "authorization_code":
            return AuthorizationStatus(self._machines.may_act(key, said))
        owner = owner_of(key)
        grant, flow = self.storage.find(owner), self.flows.find(owner)
        if grant is not None and not _leads_to(
            config, {"server_url": grant.server_url, "audience": grant.resource}
        ):
            grant = None
        if flow is not None and not _leads_to(config, flow.facts):
            flow = None
        good = grant is not None and (
            grant.tokens.refresh_token is not None or grant.is_good(self._clock.time())
        )
        fresh = flow is not None and self.flows.is_fresh(flow)
        status = None if flow is None else flow.stands
        if not fresh and status is FlowStatus.PENDING:
            status = FlowStatus.FAILED  # [seed: a stale one counts as failed]
        return AuthorizationStatus(
            good,
            status,
            flow.url if flow is not None and fresh else None,
            None if flow is None else flow.error,
            () if grant is None else grant.scopes,
        )

    def revoke(self, key: Key, config: ServerConfig | None, scope: CallScope) -> bool:
        """Forget a user's tokens, and revoke them where they came from if that is possible."""
        owner = owner_of(key)
        if isinstance(config, HttpServerConfig):
            with contextlib.suppress(ConfigurationError):  # there is no redirect URI any more
                ceremony = self._made(config, self._url_of(owner, config))
                return ceremony.revoke(owner, scope.deadline, scope.cancel)
        self.storage.forget(owner)
        self.flows.forget(owner)
        return False

    def _url_of(self, owner: str, config: HttpServerConfig) -> str:
        """Return where a server is: of one whose URL has placeholders the grant knows it."""
        if "{{" not in config.url:
            return config.url
        grant = None
        with contextlib.suppress(StoreError):  # what cannot be read is forgotten all the same
            grant = self.storage.find(owner)
        return (grant.server_url if grant is not None else None) or _SOMEWHERE


def _leads_to(config: ServerConfig | None, facts: Mapping[str, Any]) -> bool:
    """Whether a server is, or for some user may be, where somebody has signed in."""
    if not isinstance(config, HttpServerConfig) or "{{" in config.url:
        return True
    return is_for(config.url, facts.get("server_url"), facts.get("audience"))


def owner_of(key: Key) -> str:
    """Return what stands for a user at a server, in every process. [seed 3.3: generateFlowId]"""
    return f"{quote(key.user_id or '', safe='')}:{quote(key.server_name, safe='')}"


def returned(state: str, code: str | None, iss: str | None, error: str | None) -> Returned:
    """Return what a user came back with."""
    if not isinstance(state, str) or not state:
        raise state_unknown()
    return Returned(state, code, iss, error)
