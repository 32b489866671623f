"""What gets tokens for the connections of a manager without anybody signing in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from .._runtime.clock import Clock
from ..auth.grants import ClientCredentialsGrant, EnterpriseManaged, WorkloadIdentity
from ..auth.machines import GrantOptions, MachineGrant
from ..auth.options import configured_key
from ..config import HttpServerConfig, ServerConfig
from ..config.oauth import OAuthConfig
from ..errors import ConfigurationError
from ..http import Authorizer
from ..http.settings import Session
from ..security.guard import Guard
from .connection import Key
from .guarding import fetcher_for

IdTokenOf: TypeAlias = Callable[[str], str | None]
"""Returns the ID token of a user, by the user's id, or None."""


class Machines:
    """Makes what adds tokens: one for a server, or one for each connection of a user. Thread-safe.

    Where the application acts for itself, all connections share one token. Where it acts for a
    user, each connection has what belongs to it, so that nothing can be shared between users.

    Args:
        clock: Tells the time.
        session: Where proxies and TLS settings come from.
        id_token_of: Knows the ID tokens of users.
        guard: Says where those may be whom a server names.
    """

    def __init__(
        self,
        clock: Clock,
        session: Session | None = None,
        id_token_of: IdTokenOf | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard if guard is not None else Guard()
        self._clock = clock
        self._session = session
        self._id_token_of = id_token_of
        self._shared: dict[str, tuple[ServerConfig, Authorizer]] = {}

    def authorizer_for(self, key: Key, config: HttpServerConfig, said: OAuthConfig) -> Authorizer:
        """Return what adds tokens to the requests of a connection.

        Raises:
            ConfigurationError: It is for a user, and there is none, or nobody knows ID tokens.
        """
        if said.grant == "enterprise_managed":
            return self._authorizer(self._employee(key.user_id, said), config)
        known = self._shared.get(key.server_name)
        if known is None or known[0] != config:
            grant = machine_grant(said, self._clock)
            made = config, self._authorizer(grant, config)
            # Of several threads that are the first, all take what one of them has made.
            known = self._shared.setdefault(key.server_name, made)
            if known[0] != config:
                known = self._shared[key.server_name] = made
        return known[1]

    def _authorizer(self, grant: MachineGrant, config: HttpServerConfig) -> Authorizer:
        fetcher = fetcher_for(
            self._guard,
            config,
            config.url,
            self._session,
            headers=grant.headers,
            said=grant.named(),
        )
        return grant.authorizer_for(config.url, self._session, fetcher=fetcher)

    def may_act(self, key: Key, said: OAuthConfig) -> bool:
        """Whether there is what tokens are had for; nobody else is asked."""
        if said.grant != "enterprise_managed":
            return True
        id_token_of, user_id = self._id_token_of, key.user_id
        return id_token_of is not None and user_id is not None and bool(id_token_of(user_id))

    def _employee(self, user_id: str | None, said: OAuthConfig) -> MachineGrant:
        id_token_of = self._id_token_of
        if user_id is None:
            raise ConfigurationError("the application acts there for a user, and none is given.")
        if id_token_of is None:
            raise ConfigurationError(
                "the application acts there for a user by his ID token, and nobody knows that: "
                "MCPManager(id_token_of=)."
            )
        return EnterpriseManaged(
            lambda: id_token_of(user_id),
            idp_token_endpoint=said.idp_token_url or "",
            idp_client_id=said.idp_client_id or "",
            idp_client_secret=said.idp_client_secret,
            client_id=said.client_id or "",
            client_secret=said.client_secret,
            client_key=configured_key(said),
            token_endpoint_auth_method=said.token_endpoint_auth_method,
            **_common(said, self._clock),
        )


def machine_grant(said: OAuthConfig, clock: Clock) -> MachineGrant:
    """Return how the application gets tokens for itself.

    Raises:
        ConfigurationError: It acts there for users, and for nobody else.
    """
    if said.grant == "enterprise_managed":
        raise ConfigurationError("the application acts there for a user, and none is given.")
    common = _common(said, clock)
    if said.grant == "workload_identity":
        file = said.assertion_file
        return WorkloadIdentity(
            said.assertion or "" if file is None else Path(file), said.client_id, **common
        )
    return ClientCredentialsGrant(
        said.client_id or "",
        said.client_secret,
        client_key=configured_key(said),
        token_endpoint_auth_method=said.token_endpoint_auth_method,
        **common,
    )


def _common(said: OAuthConfig, clock: Clock) -> GrantOptions:
    return {
        "scopes": said.scope,
        "issuer": said.issuer,
        "token_url": said.token_url,
        "dpop": said.dpop,
        "send_resource": said.send_resource_parameter,
        "headers": said.headers,
        "clock": clock,
    }
