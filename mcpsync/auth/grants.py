"""Tokens for programs that no user signs in to: machine clients, workloads, employees.

RFC 6749 section 4.4 (client credentials), RFC 7523 (JWT bearer), RFC 8693 (token exchange), SEP-990
(enterprise-managed authorization), SEP-1933 (workload identity).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock, SystemClock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from ..errors import ConfigurationError, OAuthError
from ..http import Authorizer, Fetcher, Occasion
from .challenge import Demand, demand_of
from .clients import ClientCredentials as Client
from .clients import preferred_method
from .discovery import Discovered, Discovery
from .dpop import DPoPKey
from .metadata import ServerMetadata
from .oauth import reach_beside
from .scopes import Scopes, scopes_to_ask_for
from .signing_in import NONCE_WANTED
from .token_endpoint import ClientKey, TokenEndpoint, Tokens
from .tokens import SKEW

if TYPE_CHECKING:
    from ..http.settings import PreparedRequest, Session

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
ID_JAG: Final = "urn:ietf:params:oauth:token-type:id-jag"

Text: TypeAlias = "str | Callable[[], str]"
"""A string, or what returns it each time it is needed."""


class Asked(NamedTuple):
    """What is known when a token is asked for.

    Args:
        found: Who issues tokens for the server.
        scopes: What to ask for.
        fetcher: How others are reached.
        deadline: Bounds it.
        cancel: Ends it.
    """

    found: Discovered
    scopes: Scopes
    fetcher: Fetcher
    deadline: Deadline
    cancel: Cancellation | None


class MachineGrant:
    """What machine grants have in common: ``auth=`` for :class:`~mcpsync.Client`. Thread-safe.

    Args:
        scopes: What to ask for; otherwise what the server says.
        issuer: The authorization server, if the server names several.
        dpop: Whether the token is bound to a key of ours.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        scopes: Sequence[str] | None = None,
        issuer: str | None = None,
        dpop: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.scopes = scopes
        self.issuer = issuer
        self.dpop = dpop
        self.clock = clock or SystemClock()

    def authorizer_for(self, url: str, session: Session | None) -> Authorizer:
        """Return what adds a token to requests to the server at *url*."""
        return MachineAuthorizer(url, self, Fetcher(session=session, reach=reach_beside(url)))

    @abstractmethod
    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Return ``grant_type`` and what goes with it."""

    @abstractmethod
    def client_at(self, server: ServerMetadata) -> Client:
        """Return who we are at the authorization server."""

    @property
    def client_key(self) -> ClientKey | None:
        """The key of a client that authenticates by ``private_key_jwt``."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class ClientCredentialsGrant(MachineGrant):
    """A client that acts for itself. (RFC 6749, section 4.4)

    Args:
        client_id: As the authorization server knows it.
        client_secret: Its secret; or
        client_key: its key, for ``private_key_jwt``.
        token_endpoint_auth_method: How to say who we are; what the server prefers by default.
        options: See :class:`MachineGrant`.

    Raises:
        ConfigurationError: It has neither or both.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        client_key: ClientKey | None = None,
        token_endpoint_auth_method: str | None = None,
        scopes: Sequence[str] | None = None,
        issuer: str | None = None,
        dpop: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(scopes=scopes, issuer=issuer, dpop=dpop, clock=clock)
        if (client_secret is None) == (client_key is None):
            raise ConfigurationError("client credentials are a client_secret or a client_key.")
        self._client_id = client_id
        self._client_secret = client_secret
        self._client_key = client_key
        self._method = token_endpoint_auth_method

    @property
    def client_key(self) -> ClientKey | None:
        """The key, if it is one."""
        return self._client_key

    def client_at(self, server: ServerMetadata) -> Client:
        """Return the client."""
        forced = "private_key_jwt" if self._client_key is not None else self._method
        method = preferred_method(server, has_secret=True, forced=forced)
        return Client(self._client_id, self._client_secret, method, issuer=server.issuer)

    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Return the grant."""
        return {"grant_type": "client_credentials"}


class WorkloadIdentity(MachineGrant):
    """A workload that its platform vouches for with a JWT. (RFC 7523, SEP-1933)

    Args:
        assertion: The JWT, whose audience is the authorization server; or what returns it.
        client_id: If the authorization server wants one.
        options: See :class:`MachineGrant`.
    """

    def __init__(
        self,
        assertion: Text,
        client_id: str | None = None,
        *,
        scopes: Sequence[str] | None = None,
        issuer: str | None = None,
        dpop: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(scopes=scopes, issuer=issuer, dpop=dpop, clock=clock)
        self._assertion = assertion
        self._client_id = client_id

    def client_at(self, server: ServerMetadata) -> Client:
        """Return the client; it is known by the assertion."""
        return Client(self._client_id or "", issuer=server.issuer)

    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Return the grant."""
        return {"grant_type": JWT_BEARER, "assertion": _text(self._assertion)}


class EnterpriseManaged(MachineGrant):
    """An employee whose company decides. Both legs of it. (SEP-990, ID-JAG)

    The company's identity provider exchanges the user's id token for an assertion, and the
    authorization server of the MCP server takes that for a token.

    Args:
        id_token: Of the user, from the identity provider; or what returns it.
        idp_token_endpoint: The identity provider's.
        idp_client_id: Who we are there.
        client_id: Who we are at the MCP server's authorization server.
        client_secret: The same.
        idp_client_secret: Who we are at the identity provider, if that wants a secret.
        token_endpoint_auth_method: How to say who we are at the MCP server's.
        options: See :class:`MachineGrant`.
    """

    def __init__(
        self,
        id_token: Text,
        *,
        idp_token_endpoint: str,
        idp_client_id: str,
        client_id: str,
        client_secret: str | None = None,
        idp_client_secret: str | None = None,
        token_endpoint_auth_method: str | None = None,
        scopes: Sequence[str] | None = None,
        issuer: str | None = None,
        dpop: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(scopes=scopes, issuer=issuer, dpop=dpop, clock=clock)
        self._id_token = id_token
        self._idp = ServerMetadata(issuer=idp_token_endpoint, token_endpoint=idp_token_endpoint)
        secret = idp_client_secret
        self._idp_client = Client(
            idp_client_id, secret, "none" if secret is None else "client_secret_basic"
        )
        self._client_id = client_id
        self._client_secret = client_secret
        self._method = token_endpoint_auth_method

    def client_at(self, server: ServerMetadata) -> Client:
        """Return the client."""
        has_secret = self._client_secret is not None
        method = preferred_method(server, has_secret=has_secret, forced=self._method)
        return Client(self._client_id, self._client_secret, method, issuer=server.issuer)

    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Ask the identity provider for an assertion, and return the grant that it is."""
        wanted = {
            "grant_type": TOKEN_EXCHANGE,
            "requested_token_type": ID_JAG,
            "audience": asked.found.server.issuer,
            "subject_token": _text(self._id_token),
            "subject_token_type": ID_TOKEN,
        }
        if asked.found.audience is not None:
            wanted["resource"] = asked.found.audience
        if asked.scopes:
            wanted["scope"] = " ".join(asked.scopes)
        idp = TokenEndpoint(self._idp, asked.fetcher, self.clock)
        assertion = idp.exchange(self._idp_client, wanted, ID_JAG, asked.deadline, asked.cancel)
        return {"grant_type": JWT_BEARER, "assertion": assertion}


class MachineAuthorizer(Authorizer):
    """Gets a token when a server wants one, and a new one when that is over. Thread-safe.

    Args:
        url: The server.
        grant: How tokens are had.
        fetcher: How others are reached.
    """

    def __init__(self, url: str, grant: MachineGrant, fetcher: Fetcher) -> None:
        self._url = url
        self._grant = grant
        self._fetcher = fetcher
        self._clock = grant.clock
        self._flights: SingleFlight[None, Tokens] = SingleFlight()
        after_fork_in_child(self._flights.reset)
        self._tokens: Tokens | None = None
        self._demand = Demand()
        self._key = DPoPKey(grant.clock) if grant.dpop else None

    def authorize(self, request: PreparedRequest, occasion: Occasion) -> None:
        """Add the token, a new one if it is over; without any, the server will say so."""
        tokens = self._tokens
        if tokens is None:
            return
        if not self._is_good(tokens):
            tokens = self._new(self._demand, occasion, tokens.access_token)
        request.headers["Authorization"] = f"{tokens.token_type} {tokens.access_token}"
        if self._key is not None and tokens.token_type == "DPoP":  # noqa: S105 - not a token
            proof = self._key.proof(request.method or "", request.url or "", tokens.access_token)
            request.headers.update(proof)

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
        """Get a token, once for each request. Whom the server then turns down has no business."""
        demand = demand_of(headers.get("www-authenticate"))
        if status == 401 and demand.error == NONCE_WANTED and occasion.attempt == 0:
            return True  # the nonce was noted
        sent = str(request.headers.get("Authorization", "")).partition(" ")[2] or None
        if status != 401 or (sent is not None and occasion.attempt > 0):
            return False
        self._new(demand, occasion, sent)
        return True

    def _is_good(self, tokens: Tokens, rejected: str | None = None) -> bool:
        over = tokens.expires_at is not None and tokens.expires_at - SKEW <= self._clock.time()
        return not over and tokens.access_token != rejected

    def _new(self, demand: Demand, occasion: Occasion, rejected: str | None) -> Tokens:
        def ask() -> Tokens:
            tokens = self._tokens
            if tokens is not None and self._is_good(tokens, rejected):
                return tokens  # somebody else was faster
            self._demand = demand
            self._tokens = self._asked_for(demand, occasion)
            return self._tokens

        return self._flights.do(None, ask, deadline=occasion.deadline, cancel=occasion.cancel)

    def _asked_for(self, demand: Demand, occasion: Occasion) -> Tokens:
        grant, deadline, cancel = self._grant, occasion.deadline, occasion.cancel
        found = Discovery(self._fetcher).find(
            self._url, deadline, cancel, hint=demand.resource_metadata, issuer=grant.issuer
        )
        if found.server.is_guess:
            raise OAuthError("nobody says who issues tokens for this server.", error="no_metadata")
        scopes = tuple(
            scope
            for scope in scopes_to_ask_for(demand.scope, grant.scopes, found.resource, found.server)
            if scope != "offline_access"
        )
        asked = Asked(found, scopes, self._fetcher, deadline, cancel)
        fields = dict(grant.fields(asked))
        if found.audience is not None:
            fields["resource"] = found.audience
        if scopes:
            fields["scope"] = " ".join(scopes)
        endpoint = TokenEndpoint(
            found.server, self._fetcher, self._clock, key=grant.client_key, dpop=self._key
        )
        return endpoint.grant(grant.client_at(found.server), fields, deadline, cancel, asked=scopes)

    def __repr__(self) -> str:
        return "MachineAuthorizer(…)"


def _text(value: Text) -> str:
    text = value() if callable(value) else value
    if not isinstance(text, str) or not text:
        raise ConfigurationError("there is no token to show to the authorization server.")
    return text
