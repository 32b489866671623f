"""The tokens of programs that nobody signs in to, on each request. (A12, A15, A23)"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict, Unpack

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock, SystemClock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from ..errors import OAuthError
from ..http import Authorizer, Fetcher, Occasion
from .challenge import Demand, demand_of
from .clients import ClientCredentials
from .discovery import Discovered, Discovery
from .dpop import DPoPKey, check_bound, lacks_nonce, put_on, token_in
from .metadata import ServerMetadata, canonical_resource
from .oauth import fetcher_beside
from .scopes import OFFLINE, Scopes, scopes_to_ask_for
from .token_endpoint import NONCE_WANTED, ClientKey, TokenEndpoint, Tokens
from .tokens import SKEW

if TYPE_CHECKING:
    from ..http.settings import PreparedRequest, Session

DOUBTFUL: Final = 60.0  # seconds in which a token that replaced a refused one is not replaced


class GrantOptions(TypedDict, total=False):
    """What all grants take.

    Attributes:
        scopes: What to ask for; otherwise what the server says.
        issuer: The authorization server. Without it, the first that the MCP server names is shown
            who we are: give it wherever you do not trust that server to name one.
        token_url: Where tokens are had: then nothing is discovered.
        dpop: Whether tokens are bound to a key of ours (RFC 9449), and others are refused; None if
            the server decides.
        send_resource: Whether to name the server that tokens are for; some old servers choke on it.
        headers: Sent with every request to authorization servers.
        clock: Tells the time.
    """

    scopes: Sequence[str] | None
    issuer: str | None
    token_url: str | None
    dpop: bool | None
    send_resource: bool
    headers: Mapping[str, str]
    clock: Clock | None


class Asked(NamedTuple):
    """What is known when a token is asked for.

    Args:
        server: Who issues tokens for the MCP server.
        resource: What that is called there; None where it is not said.
        scopes: What to ask for.
        fetcher: How others are reached.
        deadline: Bounds it.
        cancel: Ends it.
    """

    server: ServerMetadata
    resource: str | None
    scopes: Scopes
    fetcher: Fetcher
    deadline: Deadline
    cancel: Cancellation | None


class MachineGrant:
    """What such grants have in common: ``auth=`` for :class:`~mcpsync.Client`. Thread-safe.

    The first request goes without a token, since the server's answer says who issues them. What is
    had then is shared by all threads, asked for by one of them, and kept in memory only: each
    process has a token of its own, eight workers have eight. Authorization servers expect that of
    programs, and a token that is nowhere written down cannot be read there.

    Args:
        options: See :class:`GrantOptions`.
    """

    def __init__(self, **options: Unpack[GrantOptions]) -> None:
        self.scopes = options.get("scopes")
        self.issuer = options.get("issuer")
        self.token_url = options.get("token_url")
        self.dpop = options.get("dpop")
        self.send_resource = options.get("send_resource", True)
        self.headers = dict(options.get("headers") or {})
        self.clock = options.get("clock") or SystemClock()

    def authorizer_for(
        self, url: str, session: Session | None, *, fetcher: Fetcher | None = None
    ) -> Authorizer:
        """Return what adds a token to requests to the server at *url*.

        Args:
            url: The server.
            session: Where proxies and TLS settings for asking others come from.
            fetcher: What asks others. By default, those whom nobody of ours has named may be on
                this machine if the server is; whom the options name may be anywhere.
        """
        if fetcher is None:
            fetcher = fetcher_beside(url, session, self.headers, said=self.named())
        return MachineAuthorizer(url, self, fetcher)

    def named(self) -> list[str]:
        """Return the URLs of others that the options name."""
        return [url for url in (self.issuer, self.token_url) if url is not None]

    def check(self) -> None:
        """Raise an error if there is nothing a token could be had for. Asks nobody."""

    @abstractmethod
    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Return ``grant_type`` and what goes with it."""

    @abstractmethod
    def client_at(self, server: ServerMetadata) -> ClientCredentials:
        """Return who we are at the authorization server."""

    @property
    def client_key(self) -> ClientKey | None:
        """The key of a client that authenticates by ``private_key_jwt``."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


@dataclass(slots=True)
class _Held:
    """A token, and since when: *since* and *good_until* in monotonic seconds."""

    tokens: Tokens
    since: float
    good_until: float | None
    replaced: bool  # one that the server had turned down
    taken: bool = False  # by the server, at least once


class MachineAuthorizer(Authorizer):
    """Gets a token when a server wants one, and a new one when that is over. Thread-safe.

    What is shared is one attribute that is put in one step, by whoever leads the flight.

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
        self._flights: SingleFlight[None, _Held] = SingleFlight()
        self._held: _Held | None = None
        self._demand = Demand()
        self._key: DPoPKey | None = None
        after_fork_in_child(self._forget)

    def _forget(self) -> None:
        self._flights.reset()

    def authorize(self, request: PreparedRequest, occasion: Occasion) -> None:
        """Add the token, a new one if it is over; without any, the server will say so."""
        held = self._held
        if held is None:
            self._grant.check()
            return
        if occasion.attempt == 0 and not self._is_good(held):
            held = self._new(self._demand, occasion, None)
        put_on(request, held.tokens, self._key)

    def accepted(self, request: PreparedRequest) -> None:
        """Take note that the server took a token: it was not given in vain."""
        held = self._held
        if held is not None and not held.taken and held.tokens.access_token == token_in(request):
            held.taken = True

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
        """Get a token, once for each request. Whom the server then turns down has no business.

        What a token does not reach is not asked for again: nobody could agree to more.
        """
        if status != 401:
            return False
        demand = demand_of(headers.get("www-authenticate"))
        sent = token_in(request)
        if sent is None:
            self._new(demand, occasion, None)
            return True
        if demand.error == NONCE_WANTED:
            return lacks_nonce(request, self._key)
        if self._is_hopeless(sent, occasion):
            return False
        return self._new(demand, occasion, sent).tokens.access_token != sent

    def _is_good(self, held: _Held, rejected: str | None = None) -> bool:
        over = held.good_until is not None and held.good_until <= self._clock.monotonic()
        return not over and held.tokens.access_token != rejected

    def _is_hopeless(self, sent: str, occasion: Occasion) -> bool:
        """Whether the token that was turned down was had a moment ago, so that no other helps."""
        held = self._held
        if held is None or held.tokens.access_token != sent or held.taken:
            return False
        is_new = self._clock.monotonic() - held.since < DOUBTFUL
        return is_new and (held.replaced or occasion.attempt > 0)

    def _new(self, demand: Demand, occasion: Occasion, rejected: str | None) -> _Held:
        def ask() -> _Held:
            held = self._held
            if held is not None and self._is_good(held, rejected):
                return held  # somebody else was faster
            since = self._clock.monotonic()
            tokens = self._asked_for(demand, occasion)
            lasts = tokens.lifetime
            until = None if lasts is None else since + lasts - min(SKEW, lasts / 4)
            self._demand = demand
            self._held = _Held(tokens, since, until, rejected is not None)
            return self._held

        return self._flights.do(None, ask, deadline=occasion.deadline, cancel=occasion.cancel)

    def _asked_for(self, demand: Demand, occasion: Occasion) -> Tokens:
        grant, deadline, cancel = self._grant, occasion.deadline, occasion.cancel
        found = self._found(demand, occasion)
        wanted = scopes_to_ask_for(demand.scope, grant.scopes, found.resource, found.server)
        scopes = tuple(scope for scope in wanted if scope != OFFLINE)
        resource = found.audience if grant.send_resource else None
        is_bound = found.binds(grant.dpop)
        if is_bound and self._key is None:
            self._key = DPoPKey(self._clock)
        endpoint = TokenEndpoint(
            found.server,
            self._fetcher,
            self._clock,
            key=grant.client_key,
            dpop=self._key if is_bound else None,
        )
        client = grant.client_at(found.server)
        asked = Asked(found.server, resource, scopes, self._fetcher, deadline, cancel)
        fields = dict(grant.fields(asked))
        if resource is not None:
            fields["resource"] = resource
        if scopes:
            fields["scope"] = " ".join(scopes)
        tokens = endpoint.grant(client, fields, deadline, cancel, asked=scopes)
        if is_bound:
            check_bound(tokens)
        return tokens

    def _found(self, demand: Demand, occasion: Occasion) -> Discovered:
        grant = self._grant
        if grant.token_url is not None:
            issuer = grant.issuer or grant.token_url
            server = ServerMetadata(issuer=issuer, token_endpoint=grant.token_url)
            return Discovered(server, None, canonical_resource(self._url))
        found = Discovery(self._fetcher).find(
            self._url,
            occasion.deadline,
            occasion.cancel,
            hint=demand.resource_metadata,
            issuer=grant.issuer,
        )
        if found.server.is_guess:
            raise OAuthError("nobody says who issues tokens for this server.", error="no_metadata")
        return found

    def __repr__(self) -> str:
        return "MachineAuthorizer(…)"
