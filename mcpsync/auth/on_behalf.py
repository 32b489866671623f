"""A user's token for a server, exchanged anew for each request as far as that is needed. (4.4)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from ..config import OboConfig
from ..http import Authorizer, Occasion
from .dpop import token_in
from .obo import OboTokenService
from .obo_tokens import (
    TIMEOUT,
    Exchanger,
    OboResolver,
    OboToken,
    OpenIDToken,
    resolve_obo_token,
)

if TYPE_CHECKING:
    from ..http.settings import PreparedRequest

DOUBTFUL: Final = 60.0  # seconds in which a token that replaced a refused one is not replaced
FEW: Final = 256  # such tokens, before anybody looks which of them are old


class _Replacing:
    """Exchanges once for all whom a server has turned down with the same token."""

    def __init__(self, service: OboTokenService, rejected: str) -> None:
        self._service = service
        self._rejected = rejected

    def exchange(
        self,
        user: OpenIDToken,
        scopes: str,
        from_cache: bool = False,
        *,
        timeout: float | Deadline = TIMEOUT,
        cancel: Cancellation | None = None,
    ) -> OboToken:
        return self._service.replace(user, scopes, self._rejected, timeout=timeout, cancel=cancel)


class Doubts:
    """Tokens that were had a moment ago because a server had turned down others. Thread-safe.

    They outlive the connections they were for: one that fails while it connects leaves nothing
    else behind, and the next call would have its token exchanged again. What it holds is only
    added to, taken from and copied, each in one step.

    Args:
        clock: Tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._most = FEW

    def add(self, token: str) -> None:
        """Take note of a token that has replaced another."""
        now = self._clock.monotonic()
        if len(self._since) >= self._most:
            for each, since in list(self._since.items()):
                if now - since >= DOUBTFUL:
                    self._since.pop(each, None)
            self._most = max(FEW, 2 * len(self._since))
        self._since[token] = now

    def discard(self, token: str | None) -> None:
        """Take note that a server took a token."""
        if token is not None:
            self._since.pop(token, None)

    def __contains__(self, token: str) -> bool:
        since = self._since.get(token)
        return since is not None and self._clock.monotonic() - since < DOUBTFUL

    def __len__(self) -> int:
        return len(self._since)

    def __repr__(self) -> str:
        return "Doubts(…)"


class OboAuthorizer(Authorizer):
    """Puts a token on each request of one user's connection, or has it not sent. Thread-safe.

    The token takes the place of whatever ``Authorization`` was configured. None is kept here: one
    that is over, or that may not be had any more, is never sent.

    Args:
        obo: The server's configuration of it.
        token_of: Returns the user's own token, asked for each request.
        resolver: What exchanges it.
        check: Raises an error if this server must have no token; asked before each request.
        clock: Tells the time.
        doubts: Tokens that are not exchanged again; all connections share them.
    """

    insists = True

    def __init__(
        self,
        obo: OboConfig,
        token_of: Callable[[], OpenIDToken | None],
        resolver: OboTokenService | OboResolver,
        check: Callable[[], None],
        clock: Clock,
        doubts: Doubts,
    ) -> None:
        self._obo = obo
        self._token_of = token_of
        self._resolver = resolver
        self._check = check
        self._clock = clock
        self._doubts = doubts

    def authorize(self, request: PreparedRequest, occasion: Occasion) -> None:
        """Add the token.

        Raises:
            OboTokenError: There is none to be had, or the server must not have one.
        """
        self._check()
        token = self._resolved(occasion)
        request.headers["authorization"] = f"Bearer {token.access_token}"

    def accepted(self, request: PreparedRequest) -> None:
        """Take note that the server took a token that replaced another."""
        if self._doubts:
            self._doubts.discard(token_in(request))

    def recover(
        self,
        status: int,
        headers: Mapping[str, str],
        request: PreparedRequest,
        occasion: Occasion,
    ) -> bool:
        """Exchange once more for each request that was turned down; nobody is sent anywhere."""
        sent = token_in(request)
        if status != 401 or occasion.attempt > 0 or sent is None or sent in self._doubts:
            return False
        self._check()
        token = self._resolved(occasion, rejected=sent)
        self._doubts.add(token.access_token)
        return token.access_token != sent

    def _resolved(self, occasion: Occasion, rejected: str | None = None) -> OboToken:
        resolver: Exchanger | OboResolver = self._resolver
        if rejected is not None and isinstance(resolver, OboTokenService):
            resolver = _Replacing(resolver, rejected)
        return resolve_obo_token(
            self._token_of(),
            self._obo,
            resolver,
            from_cache=rejected is None,
            timeout=occasion.deadline,
            cancel=occasion.cancel,
            clock=self._clock,
        )

    def __repr__(self) -> str:
        return "OboAuthorizer(…)"
