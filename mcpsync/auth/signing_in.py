"""The tokens of one user at one server, on each request. (Seed 3.5, 3.6; A12, A15, A23)"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import AuthorizationRequired, InsufficientScope, OAuthError
from ..http import Authorizer, Occasion
from .ceremony import Ceremony
from .challenge import Demand, demand_of
from .dpop import DPoPKey, lacks_nonce, put_on, token_in
from .scopes import Scopes
from .token_endpoint import NONCE_WANTED, Tokens
from .tokens import SEEN_THROUGH, Grant, NoGrant

if TYPE_CHECKING:
    from ..http.settings import PreparedRequest

logger = logging.getLogger(__name__)

RECHECK: Final = 5.0  # seconds after which the store is asked again whether a grant is still there
DOUBTFUL: Final = 60.0  # seconds in which a token that is turned down at once is not refreshed
MOST_STEP_UPS: Final = 8  # times that scopes are asked for besides those of before (A15)
MOST_BLIND_STEP_UPS: Final = 2  # the same where the server does not say which it wants


class SignIn(Authorizer):
    """Sends one user's token to one server, and sees to it that there is one. Thread-safe.

    Args:
        ceremony: How users sign in there.
        owner: Whose sign-in, at which server: the same in every process.
        facts: Kept with each sign-in, for whoever completes it.
    """

    def __init__(
        self, ceremony: Ceremony, owner: str, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.ceremony = ceremony
        self.owner = owner
        self._facts = facts
        self._clock = ceremony.clock
        self._seen: tuple[Grant | None, float] = None, -RECHECK  # and when the store said so
        self._doubtful: tuple[str, float] = "", 0.0  # a token that a 401 brought, and when
        self._key: DPoPKey | None = None

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
        if not grant.is_for(self.ceremony.server_url):
            return
        put_on(request, grant.tokens, self._key_of(grant))

    def accepted(self, request: PreparedRequest) -> None:
        """Trust a token that a 401 brought as much as any other: it was good."""
        doubtful, _ = self._doubtful
        if doubtful and token_in(request) == doubtful:
            self._doubtful = "", 0.0

    def note(self, url: str, headers: Mapping[str, str]) -> None:
        """Keep the nonce of an answer, if there is one, for the next proof."""
        if self._key is not None:
            self._key.note(url, headers)

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
        sent = token_in(request)
        if status == 403:
            if demand.error != "insufficient_scope":
                return False
            return self._reach_further(demand, challenge, sent, occasion)
        if demand.error == NONCE_WANTED and lacks_nonce(request, self._key):
            return True  # the nonce was noted
        token, when = self._doubtful
        if sent is not None and sent == token and self._clock.monotonic() - when < DOUBTFUL:
            # It was refreshed because of a 401, and is turned down again: no loop.
            return self.begin(demand, challenge, sent, occasion)
        try:
            grant = self._refreshed(occasion, sent)
        except NoGrant:
            return self.begin(demand, challenge, sent, occasion)
        if sent is not None:  # otherwise it may be one that nobody has refreshed
            self._doubtful = grant.tokens.access_token, self._clock.monotonic()
        return True

    def _current(self) -> Grant | None:
        grant, when = self._seen
        now = self._clock.monotonic()
        if now - when >= RECHECK or (grant is not None and not grant.is_good(self._clock.time())):
            grant = self._found()
            self._seen = grant, now
        return grant

    def _found(self) -> Grant | None:
        """Return what the store has for this very server."""
        grant = self.ceremony.storage.find(self.owner)
        return grant if grant is not None and grant.is_for(self.ceremony.server_url) else None

    def _key_of(self, grant: Grant) -> DPoPKey | None:
        """Return the key that a grant is bound to; made once, for it keeps nonces."""
        if grant.dpop_key is None:
            return None
        key = self._key
        if key is None or key.pem != grant.dpop_key:
            key = self._key = DPoPKey(self._clock, grant.dpop_key)
        return key

    def _refreshed(self, occasion: Occasion, rejected: str | None) -> Grant:
        try:
            if self._found() is None:
                raise NoGrant("nobody has signed in")
            grant = self.ceremony.storage.fresh(
                self.owner,
                self._redeemed,
                occasion.deadline,
                occasion.cancel,
                rejected=rejected,
            )
        except NoGrant:
            self._seen = None, self._clock.monotonic()
            raise
        self._seen = grant, self._clock.monotonic()
        return grant

    def _redeemed(self, grant: Grant) -> Tokens:
        """Redeem a refresh token where it came from, and nowhere else."""
        fields = {
            "grant_type": "refresh_token",
            "refresh_token": grant.tokens.refresh_token or "",
        }
        if grant.resource is not None:
            fields["resource"] = grant.resource
        endpoint = self.ceremony.endpoint(grant.issuer, grant.token_endpoint, self._key_of(grant))
        client = self.ceremony.client_of(grant)
        try:
            return endpoint.grant(
                client,
                fields,
                Deadline(SEEN_THROUGH),
                asked=grant.tokens.scopes,
            )
        except OAuthError as error:
            self.ceremony.note_refusal(client, error)
            raise

    def _reach_further(
        self, demand: Demand, challenge: str | None, sent: str | None, occasion: Occasion
    ) -> bool:
        """Take the token that reaches further by now, or begin a sign-in that asks for more. (A15)

        Raises:
            AuthorizationRequired: With the URL.
            InsufficientScope: More was asked for, and it was not enough.
        """
        grant = self._found()
        if grant is not None and grant.tokens.access_token != sent:
            self._seen = grant, self._clock.monotonic()
            return True  # the user signed in anew meanwhile
        asked = grant.scopes if grant is not None else ()
        steps = grant.step_ups if grant is not None else 0
        why = None
        if demand.scope and set(demand.scope) <= set(asked):
            why = "the user was asked for that already"
        elif steps >= (MOST_STEP_UPS if demand.scope else MOST_BLIND_STEP_UPS):
            why = f"the user was asked for more {steps} times already"
        if why is not None:
            raise InsufficientScope(
                f"the credentials do not reach that far, and {why}.",
                challenge=challenge,
                required_scopes=demand.scope,
            )
        return self.begin(demand, challenge, sent, occasion, asked, steps + 1)

    def begin(
        self,
        demand: Demand,
        challenge: str | None,
        sent: str | None,
        occasion: Occasion,
        asked: Scopes = (),
        step_ups: int = 0,
    ) -> bool:
        """Begin a sign-in, or join the one under way; true if somebody has just completed one.

        Raises:
            AuthorizationRequired: With the URL.
        """

        def is_needed() -> bool:
            grant = self._found()
            return grant is None or not grant.is_good(self._clock.time(), sent)

        flow = self.ceremony.begin(
            self.owner,
            occasion.deadline,
            occasion.cancel,
            demand=demand,
            asked=asked,
            step_ups=step_ups,
            facts=self._facts,
            is_needed=is_needed,
        )
        if flow is None:
            self.look_again()
            return True
        raise AuthorizationRequired(
            "the user has to sign in first: see authorization_url.",
            authorization_url=flow.url,
            browser_binding=flow.browser_binding,
            state=flow.state,
            flow_id=flow.flow_id,
            challenge=challenge,
        )

    def look_again(self) -> None:
        """Ask the store for tokens at the next request: they have changed."""
        self._seen = None, -RECHECK

    def wait(
        self,
        required: AuthorizationRequired,
        deadline: Deadline,
        cancel: Cancellation | None = None,
    ) -> None:
        """Wait until somebody has completed the sign-in that *required* has begun.

        Raises:
            OAuthError: It failed, or was cancelled.
            RequestTimeout, RequestCancelled: It took too long for the caller.
        """
        self.ceremony.flows.wait_for_url(
            self.owner, required.authorization_url or "", deadline, cancel
        )
        self.look_again()

    def __repr__(self) -> str:
        return "SignIn(…)"
