"""One user's sign-in at one server: begun, completed, refreshed, revoked. (Seed 3.2 to 3.7)"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock, SystemClock
from .._runtime.deadline import Deadline
from ..errors import AuthorizationRequired, InsufficientScope, MCPSyncError, OAuthError
from ..http import Authorizer, Fetcher, Occasion
from ..stores import Store
from .challenge import Demand, demand_of
from .clients import CLIENT_NAME, CimdDocument, ClientCredentials, known_method
from .codes import (
    Returned,
    Verifier,
    authorization_url,
    check_issuer,
    check_pkce,
    code_of,
    new_state,
)
from .discovery import Discovered, Discovery
from .flows import Flow, FlowStateManager, FlowStatus
from .metadata import ServerMetadata, covers
from .registering import Registrar
from .scopes import Scopes, scopes_to_ask_for
from .token_endpoint import ClientKey, TokenEndpoint, Tokens
from .tokens import CLIENT_IS_UNKNOWN, Grant, NoGrant, TokenStorage

if TYPE_CHECKING:
    from requests import PreparedRequest

logger = logging.getLogger(__name__)

RECHECK: Final = 5.0  # seconds after which the store is asked again whether a grant is still there
MOST_STEP_UPS: Final = 2  # times that more is asked for than before (A15)


@dataclass(frozen=True, slots=True)
class OAuthOptions:
    """What an operator may say of signing in at a server; all of it is found out otherwise.

    Args:
        redirect_uri: Where users come back to: a page of the application.
        client_id: Of a client that was registered by hand.
        client_secret: Of the same.
        client_key: Of the same, for ``private_key_jwt``.
        issuer: The authorization server that the client is known to.
        authorization_url: With *token_url* and *client_id*: nothing is discovered. [seed 3.2]
        token_url: The same.
        token_endpoint_auth_method: How to say at the token endpoint who we are.
        scopes: What to ask for; otherwise what the server says.
        client_name: What users are shown.
        document: The client id metadata document that the application serves.
        send_resource: Whether to name the server that tokens are for; some old servers choke on it.
        require_pkce: Whether an authorization server has to say that it knows PKCE.
        headers: Sent with every request to authorization servers. [seed 3.2]
        parameters: Added to the URL that users are sent to.
    """

    redirect_uri: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_key: ClientKey | None = field(default=None, repr=False)
    issuer: str | None = None
    authorization_url: str | None = None
    token_url: str | None = None
    token_endpoint_auth_method: str | None = None
    scopes: Sequence[str] | None = None
    client_name: str = CLIENT_NAME
    document: CimdDocument | None = None
    send_resource: bool = True
    require_pkce: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    def client(self) -> ClientCredentials | None:
        """Return the client that was registered by hand, if one was."""
        if self.client_id is None:
            return None
        method = self.token_endpoint_auth_method
        if method is None:
            method = "client_secret_basic" if self.client_secret is not None else "none"
            method = "private_key_jwt" if self.client_key is not None else method
        return ClientCredentials(
            self.client_id,
            self.client_secret,
            known_method(method),
            issuer=self.issuer,
            redirect_uri=self.redirect_uri,
        )


class SignIn(Authorizer):
    """Sends one user's token to one server, and sees to it that there is one. Thread-safe.

    Args:
        server_url: The server.
        owner: Whose sign-in, at which server: the same in every process.
        options: What the operator says.
        store: Where everything is kept.
        fetcher: How those are reached whom the server names.
        clock: Tells the time.
        facts: Kept with each flow, for whoever completes it.
    """

    def __init__(
        self,
        server_url: str,
        owner: str,
        options: OAuthOptions,
        *,
        store: Store,
        fetcher: Fetcher,
        clock: Clock | None = None,
        storage: TokenStorage | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._server_url = server_url
        self._owner = owner
        self._options = options
        self._fetcher = fetcher
        self._clock = clock or SystemClock()
        self._storage = storage or TokenStorage(store, self._clock)
        self._flows = FlowStateManager(store, self._clock)
        self._discovery = Discovery(fetcher)
        self._facts = dict(facts or {})
        self._registrar = Registrar(
            store,
            fetcher,
            self._clock,
            redirect_uri=options.redirect_uri,
            configured=options.client(),
            document=options.document,
            client_name=options.client_name,
            method=options.token_endpoint_auth_method,
        )
        self._seen: tuple[Grant | None, float] = None, -RECHECK  # and when the store said so

    # -- on each request --------------------------------------------------------------------------

    def authorize(self, request: PreparedRequest, occasion: Occasion) -> None:
        """Add the user's token, refreshed if it is over; without any, the server will say so."""
        grant = self._current()
        if grant is None:
            return
        if not grant.is_good(self._clock.time()):
            try:
                grant = self._refreshed(occasion, None)
            except NoGrant as none:
                logger.info("a sign-in is over: %s", none.why)
                return
        request.headers["Authorization"] = f"{grant.tokens.token_type} {grant.tokens.access_token}"

    def recover(
        self,
        status: int,
        headers: Mapping[str, str],
        request: PreparedRequest,
        occasion: Occasion,
    ) -> bool:
        """Get a better token without the user, or begin a sign-in and say where he has to go.

        Raises:
            AuthorizationRequired: With the URL.
            InsufficientScope: He has agreed to all that was asked for, and it is not enough.
            MCPSyncError: Nobody could be asked.
        """
        challenge = headers.get("www-authenticate")
        demand = demand_of(challenge)
        sent = _token_in(request)
        if status == 403:
            if demand.error != "insufficient_scope":
                return False
            raise self._more_wanted(demand, challenge, sent, occasion)
        if sent is not None and occasion.attempt > 0:
            # It was refreshed for this very request, and is turned down again: no loop.
            raise self._required(demand, challenge, (), occasion)
        try:
            self._refreshed(occasion, sent)
        except NoGrant as none:
            raise self._required(demand, challenge, (), occasion) from none
        return True

    def _current(self) -> Grant | None:
        grant, when = self._seen
        now = self._clock.monotonic()
        if now - when >= RECHECK or (grant is not None and not grant.is_good(self._clock.time())):
            grant = self._storage.find(self._owner)
            self._seen = grant, now
        return grant

    def _refreshed(self, occasion: Occasion, rejected: str | None) -> Grant:
        def redeem(grant: Grant) -> Tokens:
            fields = {"grant_type": "refresh_token", "refresh_token": grant.tokens.refresh_token}
            if grant.resource is not None:
                fields["resource"] = grant.resource
            try:
                return self._endpoint(grant.issuer, grant.token_endpoint).grant(
                    grant.client,
                    {name: value for name, value in fields.items() if value is not None},
                    occasion.deadline,
                    occasion.cancel,
                    asked=grant.tokens.scopes,
                )
            except OAuthError as error:
                if error.error in CLIENT_IS_UNKNOWN:
                    self._registrar.forget(grant.client)
                raise

        try:
            grant = self._storage.fresh(
                self._owner, redeem, occasion.deadline, occasion.cancel, rejected=rejected
            )
        except NoGrant:
            self._seen = None, self._clock.monotonic()
            raise
        self._seen = grant, self._clock.monotonic()
        return grant

    # -- beginning --------------------------------------------------------------------------------

    def _more_wanted(
        self, demand: Demand, challenge: str | None, sent: str | None, occasion: Occasion
    ) -> MCPSyncError:
        """Return what a 403 comes to: a sign-in that asks for more, or the end. (A15)"""
        grant = self._storage.find(self._owner)
        if grant is not None and sent is not None and grant.tokens.access_token != sent:
            return InsufficientScope(
                "the user signed in anew meanwhile; try again.",
                challenge=challenge,
                required_scopes=demand.scope,
                retryable=True,
            )
        asked = grant.scopes if grant is not None else ()
        steps = grant.step_ups if grant is not None else 0
        if steps >= MOST_STEP_UPS or (demand.scope and set(demand.scope) <= set(asked)):
            return InsufficientScope(
                "the credentials do not reach that far, and the user was asked for that already.",
                challenge=challenge,
                required_scopes=demand.scope,
            )
        return self._required(demand, challenge, asked, occasion, step_ups=steps + 1)

    def _required(
        self,
        demand: Demand,
        challenge: str | None,
        asked: Scopes,
        occasion: Occasion,
        step_ups: int = 0,
    ) -> AuthorizationRequired:
        flow = self.begin(
            occasion.deadline, occasion.cancel, demand=demand, asked=asked, step_ups=step_ups
        )
        return AuthorizationRequired(
            "the user has to sign in first: see authorization_url.",
            authorization_url=flow.url,
            browser_binding=flow.browser_binding,
            flow_id=flow.flow_id,
            challenge=challenge,
        )

    def begin(
        self,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        *,
        demand: Demand | None = None,
        asked: Scopes = (),
        step_ups: int = 0,
    ) -> Flow:
        """Return the sign-in that is under way, or begin one.

        Args:
            deadline: Bounds finding out who issues tokens, and registering there.
            cancel: Ends it.
            demand: What the server's challenge asks for.
            asked: What was asked for before, and is asked for again.
            step_ups: How often more was asked for.

        Raises:
            MCPSyncError: It cannot be begun.
        """
        demand = demand or Demand()
        there = self._flows.find(self._owner)
        wanted = {*demand.scope, *asked}
        if there is not None and self._flows.is_fresh(there) and wanted <= _scopes_of(there):
            return there
        found = self._found(demand, deadline, cancel)
        check_pkce(found.server, insist=self._options.require_pkce)
        scopes = scopes_to_ask_for(
            demand.scope, self._options.scopes, found.resource, found.server, asked
        )
        client = self._registrar.client_at(found.server, deadline, cancel, scopes)
        audience = found.audience if self._options.send_resource else None

        def make() -> Flow:
            verifier, state = Verifier.new(), new_state()
            return Flow(
                flow_id=self._owner,
                url=authorization_url(
                    found.server,
                    client_id=client.client_id,
                    redirect_uri=self._options.redirect_uri,
                    state=state,
                    challenge=verifier.challenge,
                    scopes=scopes,
                    resource=audience,
                    more=self._options.parameters,
                ),
                state=state,
                verifier=verifier.secret,
                created_at=self._clock.time(),
                facts={
                    **self._facts,
                    "server_url": self._server_url,
                    "issuer": found.server.issuer,
                    "says_iss": found.server.authorization_response_iss_parameter_supported,
                    "token_endpoint": found.server.token_endpoint,
                    "revocation_endpoint": found.server.revocation_endpoint,
                    "client": asdict(client),
                    "redirect_uri": self._options.redirect_uri,
                    "audience": audience,
                    "resource": found.resource.resource if found.resource is not None else None,
                    "scopes": list(scopes),
                    "step_ups": step_ups,
                },
            )

        return self._flows.begin(self._owner, make, anew=there is not None)

    def _found(self, demand: Demand, deadline: Deadline, cancel: Cancellation | None) -> Discovered:
        options = self._options
        if options.authorization_url and options.token_url and options.client_id:
            server = ServerMetadata(
                issuer=options.issuer or self._server_url,
                authorization_endpoint=options.authorization_url,
                token_endpoint=options.token_url,
                code_challenge_methods_supported=["S256"],  # type: ignore[arg-type]
            )
            return Discovered(server, None, None)
        return self._discovery.find(
            self._server_url,
            deadline,
            cancel,
            hint=demand.resource_metadata,
            issuer=options.issuer,
        )

    # -- completing -------------------------------------------------------------------------------

    def complete(
        self, returned: Returned, deadline: Deadline, cancel: Cancellation | None = None
    ) -> Flow:
        """Redeem what the user came back with. Doing it twice is harmless. (A9, A10, A11)

        Raises:
            OAuthError: The state is unknown, the answer is another server's, or it is a refusal.
            MCPSyncError: The token could not be had; the user has to sign in again.
        """
        flow = self._flows.find_by_state(returned.state or "")
        if flow is None or flow.flow_id != self._owner:
            raise OAuthError(
                "nobody began a sign-in with this state, or too long ago.", error="state_unknown"
            )
        facts = flow.facts
        check_issuer(facts["says_iss"], facts["issuer"], returned.iss)
        if flow.status is FlowStatus.PENDING and returned.error is not None:
            try:
                code_of(returned)
            except OAuthError as error:
                self._flows.fail(flow, error.error)
                raise
        taken = self._flows.redeem(flow, code_of(returned))
        if taken is None:
            return flow
        try:
            grant = self._redeemed(taken, code_of(returned), deadline, cancel)
        except MCPSyncError as error:
            self._flows.fail(taken, getattr(error, "error", None) or type(error).__name__)
            raise
        self._storage.keep(self._owner, grant)
        self._seen = grant, self._clock.monotonic()
        self._flows.complete(taken)
        return taken

    def _redeemed(
        self, flow: Flow, code: str, deadline: Deadline, cancel: Cancellation | None
    ) -> Grant:
        facts = flow.facts
        if facts["resource"] is not None and not covers(facts["resource"], self._server_url):
            raise OAuthError(
                "the server was configured anew meanwhile; sign in again.",
                error="resource_mismatch",
            )
        client = ClientCredentials(**facts["client"])
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": facts["redirect_uri"],
            "code_verifier": flow.verifier,
        }
        if facts["audience"] is not None:
            fields["resource"] = facts["audience"]
        asked = tuple(facts["scopes"])
        endpoint = self._endpoint(facts["issuer"], facts["token_endpoint"])
        try:
            tokens = endpoint.grant(client, fields, deadline, cancel, asked=asked)
        except OAuthError as error:
            if error.error in CLIENT_IS_UNKNOWN:
                self._registrar.forget(client)
            raise
        return Grant(
            tokens=tokens,
            client=client,
            issuer=facts["issuer"],
            token_endpoint=facts["token_endpoint"],
            resource=facts["audience"],
            scopes=tuple(dict.fromkeys([*asked, *tokens.scopes])),
            revocation_endpoint=facts["revocation_endpoint"],
            step_ups=facts["step_ups"],
        )

    def _endpoint(self, issuer: str, token_endpoint: str) -> TokenEndpoint:
        server = ServerMetadata(issuer=issuer, token_endpoint=token_endpoint)
        return TokenEndpoint(server, self._fetcher, self._clock, key=self._options.client_key)

    # -- ending -----------------------------------------------------------------------------------

    def revoke(self, deadline: Deadline, cancel: Cancellation | None = None) -> bool:
        """Forget the user's tokens and sign-ins, and have them revoked where that is possible.

        What is kept here is gone in every case, whatever the authorization server says. (RFC 7009)

        Returns:
            Whether that server has revoked them, too.

        Raises:
            StoreError: They could not be forgotten.
        """
        grant: Grant | None = None
        try:
            grant = self._storage.find(self._owner)
        except MCPSyncError as error:  # unreadable, perhaps: it goes all the same
            logger.warning("what is revoked cannot be read: %s", error)
        finally:
            self._seen = None, self._clock.monotonic()
            self._storage.forget(self._owner)
            self._flows.forget(self._owner)
        if grant is None or grant.revocation_endpoint is None:
            return False
        return self._revoked_there(grant, grant.revocation_endpoint, deadline, cancel)

    def _revoked_there(
        self, grant: Grant, endpoint: str, deadline: Deadline, cancel: Cancellation | None
    ) -> bool:
        told = self._endpoint(grant.issuer, grant.token_endpoint).authentication(grant.client)
        tokens = grant.tokens
        done = True
        for hint, token in (
            ("refresh_token", tokens.refresh_token),
            ("access_token", tokens.access_token),
        ):
            if token is None:
                continue
            fields = {"token": token, "token_type_hint": hint, **told[1]}
            try:
                answer = self._fetcher.post_form(
                    endpoint, fields, deadline=deadline, cancel=cancel, headers=told[0]
                )
                done = done and answer.status == 200
            except MCPSyncError as error:
                logger.warning("a token was not revoked at its server: %s", error)
                done = False
        return done

    def wait(self, flow_id: str, deadline: Deadline, cancel: Cancellation | None = None) -> None:
        """Wait until somebody has completed the sign-in that is under way. See flows."""
        flow = self._flows.find(flow_id)
        if flow is None:
            raise OAuthError("the sign-in was cancelled.", error="flow_cancelled")
        self._flows.wait(flow, deadline, cancel)
        self._seen = None, -RECHECK

    def __repr__(self) -> str:
        return "SignIn(…)"


def _scopes_of(flow: Flow) -> set[str]:
    return set(flow.facts.get("scopes", ()))


def _token_in(request: PreparedRequest) -> str | None:
    value = str(request.headers.get("Authorization", ""))
    return value.partition(" ")[2] or None
