"""How users sign in at one server: begun, completed and revoked. (Seed 3.2, 3.3, 3.7)"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock, SystemClock
from .._runtime.deadline import Deadline
from ..errors import MCPSyncError, OAuthError, StoreError
from ..http import Fetched, Fetcher
from ..stores import Store
from .challenge import Demand
from .clients import ClientCredentials
from .codes import (
    Returned,
    Verifier,
    authorization_url,
    check_issuer,
    check_origin,
    check_pkce,
    code_of,
    new_state,
)
from .discovery import Discovered, Discovery
from .dpop import DPoPKey, check_bound
from .flows import BUSY, Flow, FlowStateManager, FlowStatus
from .metadata import ServerMetadata, canonical_resource, covers
from .options import OAuthOptions
from .registering import Registrar
from .scopes import OFFLINE, Scopes, scopes_to_ask_for
from .token_endpoint import TokenEndpoint, refused
from .tokens import CLIENT_IS_UNKNOWN, Grant, TokenStorage, is_for

logger = logging.getLogger(__name__)


class Ceremony:
    """Begins and completes the sign-ins of users at one server. Thread-safe.

    Whoever completes it may be another process than the one that began it: all that is needed is in
    the store.

    Args:
        server_url: The server.
        options: What the operator says.
        store: Where everything is kept.
        fetcher: How those are reached whom the server names.
        clock: Tells the time.
        storage: Where tokens are kept, if others have made it.
    """

    def __init__(
        self,
        server_url: str,
        options: OAuthOptions,
        *,
        store: Store,
        fetcher: Fetcher,
        clock: Clock | None = None,
        storage: TokenStorage | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.storage = storage or TokenStorage(store, self.clock)
        self.flows = FlowStateManager(store, self.clock)
        self.server_url = server_url
        self._options = options
        self._fetcher = fetcher
        self._discovery = Discovery(fetcher)
        self._registrar = Registrar(
            store,
            fetcher,
            self.clock,
            redirect_uri=options.redirect_uri,
            configured=options.client(),
            document=options.document,
            client_name=options.client_name,
            method=options.token_endpoint_auth_method,
        )

    def begin(
        self,
        owner: str,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        *,
        demand: Demand | None = None,
        asked: Scopes = (),
        step_ups: int = 0,
        facts: Mapping[str, Any] | None = None,
        is_needed: Callable[[], bool] = lambda: True,
    ) -> Flow | None:
        """Return the sign-in that is under way, or begin one.

        Args:
            owner: Whose, at this server: the same in every process.
            deadline: Bounds finding out who issues tokens, and registering there.
            cancel: Ends it.
            demand: What the server's challenge asks for.
            asked: What was asked for before, and is asked for again.
            step_ups: How often more was asked for.
            facts: Kept with it, for whoever completes it.
            is_needed: Asked just before one is begun: somebody may have signed in by then.

        Returns:
            None if none is needed any more.

        Raises:
            MCPSyncError: It cannot be begun.
        """
        self._forget_what_was_elsewhere(owner)
        demand = demand or Demand()
        needed = {*demand.scope, *asked} - {OFFLINE}  # that one is asked for only if it is offered
        there = self._under_way(owner)
        if there is not None and needed <= {*there.facts["scopes"]}:
            return there
        found = self._found(demand, deadline, cancel)
        check_pkce(found.server, insist=self._options.require_pkce)
        while True:
            # Whoever waits for the one that is replaced wants what that asked for.
            before = () if there is None else tuple(there.facts["scopes"])
            scopes = scopes_to_ask_for(
                demand.scope,
                self._options.scopes,
                found.resource,
                found.server,
                (*asked, *before),
            )
            client = self._registrar.client_at(found.server, deadline, cancel, scopes)
            kept = {**(facts or {}), "step_ups": step_ups}
            make = partial(self._made, owner, found, client, scopes, kept)
            if not is_needed():
                return None
            begun = self.flows.begin(owner, make, instead_of=there)
            if needed <= {*begun.facts["scopes"]}:
                return begun
            deadline.check("signing in")
            there = begun  # somebody else was faster, and asks for too little

    def _under_way(self, owner: str) -> Flow | None:
        """Return the sign-in that a user may still complete, if there is one that can be read."""
        there = self.flows.find_readable(owner)
        return there if there is not None and self.flows.is_fresh(there) else None

    def _made(
        self,
        owner: str,
        found: Discovered,
        client: ClientCredentials,
        scopes: Scopes,
        facts: Mapping[str, Any],
    ) -> Flow:
        options, verifier, state = self._options, Verifier.new(), new_state()
        audience = found.audience if options.send_resource else None
        server = found.server
        return Flow(
            flow_id=owner,
            url=authorization_url(
                server,
                client_id=client.client_id,
                redirect_uri=options.redirect_uri,
                state=state,
                challenge=verifier.challenge,
                scopes=scopes,
                resource=audience,
                more=options.parameters,
            ),
            state=state,
            verifier=verifier.secret,
            created_at=self.clock.time(),
            facts={
                **facts,
                "server_url": self.server_url,
                "issuer": server.issuer,
                "sent_to": server.authorization_endpoint if server.is_guess else None,
                "says_iss": server.authorization_response_iss_parameter_supported,
                "token_endpoint": server.token_endpoint,
                "revocation_endpoint": server.revocation_endpoint,
                "client": asdict(client),
                "redirect_uri": options.redirect_uri,
                "audience": audience,
                "resource": found.resource.resource if found.resource is not None else None,
                "scopes": list(scopes),
                "dpop_key": DPoPKey(self.clock).pem if found.binds(options.dpop) else None,
            },
        )

    def _found(self, demand: Demand, deadline: Deadline, cancel: Cancellation | None) -> Discovered:
        options = self._options
        if options.authorization_url and options.token_url and options.client_id:
            server = ServerMetadata(
                issuer=options.issuer or self.server_url,
                authorization_endpoint=options.authorization_url,
                token_endpoint=options.token_url,
                revocation_endpoint=options.revocation_url,
                code_challenge_methods_supported=("S256",),
                is_guess=options.issuer is None,
            )
            return Discovered(server, None, canonical_resource(self.server_url))
        return self._discovery.find(
            self.server_url,
            deadline,
            cancel,
            hint=demand.resource_metadata,
            issuer=options.issuer,
        )

    def complete(
        self, owner: str, returned: Returned, deadline: Deadline, cancel: Cancellation | None = None
    ) -> Grant | None:
        """Redeem what the user came back with. Doing it twice is harmless. (A9, A10, A11)

        Of several who come with the same code one redeems it; the others wait for what comes of it.

        Returns:
            What it brought; None if it was done before, or by somebody else.

        Raises:
            OAuthError: The state is unknown, the answer is another server's, or it is a refusal.
            MCPSyncError: The token could not be had; the user has to sign in again.
        """
        flow = self.flows.find_by_state(returned.state or "")
        if flow is None or flow.flow_id != owner:
            raise state_unknown()
        check_who_answers(flow, returned.iss)
        try:
            code = code_of(returned)
        except OAuthError as error:
            if flow.status is FlowStatus.PENDING:
                self.flows.fail(flow, error.error)
            raise
        taken = self._taken(flow, code, deadline, cancel)
        if taken is None:
            return None
        try:
            grant = self._redeemed(taken, code, deadline, cancel)
            if not self.flows.is_there(taken):  # the user signed out, or it was cancelled
                raise OAuthError("the sign-in was cancelled meanwhile.", error="flow_cancelled")
            self.storage.keep(owner, grant)
        except MCPSyncError as error:
            with contextlib.suppress(StoreError):  # if that is what failed, it may fail again
                self.flows.fail(taken, getattr(error, "error", None) or type(error).__name__)
            raise
        self.flows.complete(taken)
        return grant

    def _taken(
        self, flow: Flow, code: str, deadline: Deadline, cancel: Cancellation | None
    ) -> Flow | None:
        while True:
            try:
                return self.flows.redeem(flow, code)
            except OAuthError as error:
                if error.error != BUSY:
                    raise
            self.flows.wait(flow, deadline, cancel)

    def _forget_what_was_elsewhere(self, owner: str) -> None:
        """Forget a sign-in at another server, which had the same name before."""
        there = self.flows.find_readable(owner)
        if there is None or is_for(
            self.server_url, there.facts.get("server_url"), there.facts.get("audience")
        ):
            return
        self.flows.forget(owner)

    def _redeemed(
        self, flow: Flow, code: str, deadline: Deadline, cancel: Cancellation | None
    ) -> Grant:
        facts = flow.facts
        if facts["resource"] is not None and not covers(facts["resource"], self.server_url):
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
        pem = facts["dpop_key"]
        key = None if pem is None else DPoPKey(self.clock, pem)
        endpoint = self.endpoint(facts["issuer"], facts["token_endpoint"], key)
        try:
            tokens = endpoint.grant(client, fields, deadline, cancel, asked=asked)
        except OAuthError as error:
            self.note_refusal(client, error)
            raise
        if self._options.dpop is True:
            check_bound(tokens)
        return Grant(
            tokens=tokens,
            client=client,
            issuer=facts["issuer"],
            token_endpoint=facts["token_endpoint"],
            resource=facts["audience"],
            scopes=tuple(dict.fromkeys([*asked, *tokens.scopes])),
            revocation_endpoint=facts["revocation_endpoint"],
            step_ups=facts["step_ups"],
            dpop_key=pem,
            server_url=self.server_url,
        )

    def endpoint(
        self, issuer: str, token_endpoint: str, key: DPoPKey | None = None
    ) -> TokenEndpoint:
        """Return the token endpoint of an authorization server."""
        server = ServerMetadata(issuer=issuer, token_endpoint=token_endpoint)
        return TokenEndpoint(
            server, self._fetcher, self.clock, key=self._options.client_key, dpop=key
        )

    def client_of(self, grant: Grant) -> ClientCredentials:
        """Return whom a grant was given to; one that is configured may have a new secret by now."""
        known, now = grant.client, self._options.client()
        if now is None or (known.source, known.client_id) != (now.source, now.client_id):
            return known
        fits = now.issuer in (None, grant.issuer)
        return replace(now, issuer=grant.issuer) if fits else known

    def note_refusal(self, client: ClientCredentials, error: OAuthError) -> None:
        """Forget a registration that the authorization server does not know any more."""
        if error.error in CLIENT_IS_UNKNOWN:
            self._registrar.forget(client)

    def forget_client(self, flow: Flow) -> bool:
        """Forget the registration that a sign-in was begun with, if it is one.

        Whose authorization server does not know it any more never comes back to say so.
        """
        return self._registrar.forget(ClientCredentials(**flow.facts["client"]))

    def revoke(self, owner: str, deadline: Deadline, cancel: Cancellation | None = None) -> bool:
        """Forget the user's tokens and sign-ins, and have them revoked where that is possible.

        What is kept here is gone in every case, whatever the authorization server says. (RFC 7009)

        Returns:
            Whether that server has revoked them, too. One that cannot revoke an access token, since
            its signature alone makes it good, has done so with the refresh token.

        Raises:
            StoreError: They could not be forgotten.
        """
        grant: Grant | None = None
        try:
            grant = self.storage.find(owner)
        except MCPSyncError as error:  # unreadable, perhaps: it goes all the same
            logger.warning("what is revoked cannot be read: %s", error)
        self.storage.forget(owner)
        try:
            self.flows.forget(owner)
        except MCPSyncError as error:
            logger.warning("a sign-in that was under way cannot be read: %s", error)
        if grant is None or grant.revocation_endpoint is None:
            return False
        return self._revoked_there(grant, grant.revocation_endpoint, deadline, cancel)

    def _revoked_there(
        self, grant: Grant, endpoint: str, deadline: Deadline, cancel: Cancellation | None
    ) -> bool:
        try:
            told = self.endpoint(grant.issuer, grant.token_endpoint).authentication(
                self.client_of(grant)
            )
        except MCPSyncError as error:  # a key that is not configured any more
            logger.warning("tokens were not revoked at their server: %s", error)
            return False
        done = True
        for hint, token in (
            ("refresh_token", grant.tokens.refresh_token),
            ("access_token", grant.tokens.access_token),
        ):
            if token is None:
                continue
            fields = {"token": token, "token_type_hint": hint, **told[1]}
            try:
                answer = self._fetcher.post_form(
                    endpoint, fields, deadline=deadline, cancel=cancel, headers=told[0]
                )
            except MCPSyncError as error:
                logger.warning("a token was not revoked at its server: %s", error)
                done = False
            else:
                done = done and (answer.status == 200 or _cannot_be(answer, grant, hint))
        return done


def _cannot_be(answer: Fetched, grant: Grant, hint: str) -> bool:
    """Whether a token cannot be revoked, but nothing can follow it: a JWT, most often."""
    ended = hint == "access_token" and grant.tokens.refresh_token is not None
    return ended and refused(answer).error == "unsupported_token_type"


def check_who_answers(flow: Flow, iss: str | None) -> None:
    """Hold who answered against who was asked; see :func:`check_issuer`. (A10)"""
    facts = flow.facts
    if facts["sent_to"] is None:
        check_issuer(facts["says_iss"], facts["issuer"], iss)
    else:
        check_origin(facts["sent_to"], iss)


def state_unknown() -> OAuthError:
    """Make the error for a ``state`` that nobody gave out, or that is long over."""
    return OAuthError(
        "nobody began a sign-in with this state, or too long ago.", error="state_unknown"
    )
