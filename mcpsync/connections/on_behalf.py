"""What gets tokens on behalf of users for the connections of a manager. (Seed: 4.4, 4.5, 4.7)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from .._runtime.clock import Clock
from ..auth.obo import OboTokenService
from ..auth.obo_tokens import OboResolver, OpenIDToken, is_passing, obo_error
from ..auth.on_behalf import Doubts, OboAuthorizer
from ..config import HttpServerConfig, ServerConfig
from ..config.predicates import is_user_sourced
from ..errors import ConfigurationError, OboTokenError
from ..http import Authorizer
from .connection import Key

AccessTokenOf: TypeAlias = Callable[[str], OpenIDToken | str | None]
"""Returns the token by which a user has signed in, by the user's id, or None."""
MayUseObo: TypeAlias = Callable[[str, ServerConfig], bool]
"""Says whether the server of that name, as configured, may have tokens on behalf of users."""


def is_the_operators(server_name: str, config: ServerConfig) -> bool:
    """Whether a server may have tokens because the operator has configured it. [seed 4.7]"""
    return not is_user_sourced(config)


class OnBehalf:
    """Makes what puts tokens on the requests of each user's connections. Thread-safe.

    Args:
        resolver: What exchanges tokens.
        access_token_of: Knows the tokens of users; asked for each request, on the call's thread.
        clock: Tells the time.
        may_use_obo: Asked before each request; what is unclear to it is no.
    """

    def __init__(
        self,
        resolver: OboTokenService | OboResolver,
        access_token_of: AccessTokenOf,
        clock: Clock,
        may_use_obo: MayUseObo = is_the_operators,
    ) -> None:
        self._resolver = resolver
        self._access_token_of = access_token_of
        self._clock = clock
        self._may_use_obo = may_use_obo
        self._doubts = Doubts(clock)

    @classmethod
    def configured(
        cls,
        resolver: OboTokenService | OboResolver | None,
        access_token_of: AccessTokenOf | None,
        clock: Clock,
        may_use_obo: MayUseObo = is_the_operators,
    ) -> OnBehalf | None:
        """Return it as a manager is told of it; None if nothing is said.

        Raises:
            ConfigurationError: Only one half is said.
        """
        if resolver is None and access_token_of is None:
            return None
        if resolver is None or access_token_of is None:
            raise ConfigurationError(
                "tokens on behalf of users need both MCPManager(obo=, access_token_of=): what "
                "exchanges them, and who knows the users' own."
            )
        return cls(resolver, access_token_of, clock, may_use_obo)

    def authorizer_for(self, key: Key, config: HttpServerConfig) -> Authorizer:
        """Return what adds tokens to the requests of a connection.

        Raises:
            ConfigurationError: It is nobody's: tokens are had for users only.
        """
        user_id, obo = key.user_id, config.obo
        if user_id is None or obo is None:
            raise ConfigurationError("the application acts there for a user, and none is given.")
        return OboAuthorizer(
            obo,
            lambda: self._token_of(user_id),
            self._resolver,
            lambda: self._check(key.server_name, config),
            self._clock,
            self._doubts,
        )

    def may_act(self, key: Key, config: ServerConfig) -> bool:
        """Whether there is a token of the user's to exchange; nobody else is asked."""
        if key.user_id is None or not self._is_permitted(key.server_name, config):
            return False
        token = self._token_of(key.user_id)
        if token is None or not token.access_token:
            return False
        return token.expires_at is None or token.expires_at > self._clock.time()

    def _token_of(self, user_id: str) -> OpenIDToken | None:
        try:
            found = self._access_token_of(user_id)
        except OboTokenError:
            raise
        except Exception as error:  # whatever the application raises, one of ours among it
            raise obo_error("session_refresh_failed", retryable=is_passing(error)) from error
        if found is None or (isinstance(found, OpenIDToken) and found.subject):
            return found
        if isinstance(found, OpenIDToken):
            return replace(found, subject=user_id)
        if not isinstance(found, str):
            raise ConfigurationError("access_token_of= returns a text, an OpenIDToken or None.")
        return OpenIDToken(found, user_id)

    def _check(self, server_name: str, config: ServerConfig) -> None:
        if not self._is_permitted(server_name, config):
            raise obo_error(
                "not_permitted",
                f'OBO is not permitted for server "{server_name}". '
                "The user who configured it no longer has permission to use OBO.",
            )

    def _is_permitted(self, server_name: str, config: ServerConfig) -> bool:
        try:
            return self._may_use_obo(server_name, config) is True
        except Exception:  # noqa: BLE001 - whatever it is, it is no permission
            return False
