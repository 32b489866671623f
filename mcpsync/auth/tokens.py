"""The tokens of users: kept in a store, refreshed once for everybody. (Seed 3.5)"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from .._runtime.aside import do_aside
from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from ..errors import OAuthError, StoreError
from ..stores import Entry, Store
from ..stores.holding import hold
from .clients import ClientCredentials
from .metadata import covers
from .scopes import Scopes
from .token_endpoint import Tokens

logger = logging.getLogger(__name__)

SKEW: Final = 30.0  # seconds before its end that a token is not used any more; at most half of it
LEASE: Final = 40.0  # seconds; longer than one refresh may take, see Fetcher
SEEN_THROUGH: Final = 30.0  # seconds that a refresh goes on for, whoever has stopped waiting
REFRESH_TTL: Final = 365 * 24 * 3600.0  # seconds that a grant is kept [seed 3.5]
GRANT_IS_OVER: Final = frozenset({"invalid_grant", "invalid_token"})
CLIENT_IS_UNKNOWN: Final = frozenset({"invalid_client", "unauthorized_client"})


@dataclass(frozen=True, slots=True)
class Grant:
    """What one sign-in brought. It is kept in one piece, so nothing of two is ever mixed.

    Args:
        tokens: The tokens.
        client: The client they were given to.
        issuer: Who gave them. (A20, S3)
        token_endpoint: Where they are refreshed: never at the server that they are for.
        resource: Whom they are for.
        scopes: What was asked for.
        revocation_endpoint: Where they are revoked, if anywhere.
        dpop_key: The key they are bound to, in PEM.
        step_ups: How often more was asked for since somebody signed in. (A15)
        attempt: Of the refresh token, the hash of the one that somebody began to redeem, and when.
        server_url: The server that somebody signed in at; no other one sees them. (S3)
    """

    tokens: Tokens
    client: ClientCredentials
    issuer: str
    token_endpoint: str
    resource: str | None
    scopes: Scopes = ()
    revocation_endpoint: str | None = None
    dpop_key: str | None = field(default=None, repr=False)
    step_ups: int = 0
    attempt: tuple[str, float] | None = None
    server_url: str | None = None

    def is_good(self, now: float, rejected: str | None = None) -> bool:
        """Whether its access token may be used: not over, and not the one that was turned down."""
        tokens = self.tokens
        skew = SKEW if tokens.lifetime is None else min(SKEW, tokens.lifetime / 2)
        over = tokens.expires_at is not None and tokens.expires_at - skew <= now
        return not over and tokens.access_token != rejected

    def is_for(self, server_url: str) -> bool:
        """Whether it is for the server at *server_url*: a name may lead elsewhere by now."""
        return is_for(server_url, self.server_url, self.resource)


class NoGrant(Exception):
    """Nobody has signed in, or what he had is over: somebody has to sign in."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


Redeem = Callable[[Grant], Tokens]


class TokenStorage:
    """The grants of all users of a store. Thread-safe, and over processes.

    Args:
        store: Where.
        clock: Tells the time, in seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._flights: SingleFlight[str, Grant] = SingleFlight()
        after_fork_in_child(self._flights.reset)
        # By owner: which refresh token was redeemed, and what the store did not take of it.
        self._unkept: dict[str, tuple[str, Tokens]] = {}

    def find(self, owner: str) -> Grant | None:
        """Return what *owner* (a user at a server) has."""
        entry = self._store.get(_key(owner))
        return None if entry is None else _grant(entry.value)

    def keep(self, owner: str, grant: Grant) -> None:
        """Keep what a sign-in brought, in place of what was there."""
        self._unkept.pop(owner, None)
        self._store.set(_key(owner), _json(grant), self._ttl(grant))

    def forget(self, owner: str) -> bool:
        """Forget what *owner* has, readable or not; whether there was something."""
        self._unkept.pop(owner, None)
        return self._store.delete(_key(owner))

    def fresh(
        self,
        owner: str,
        redeem: Redeem,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        *,
        rejected: str | None = None,
    ) -> Grant:
        """Return a grant whose access token may be used, refreshing it if need be.

        Of many threads and processes one redeems a refresh token; the others wait and take what it
        brought. One that was begun is seen through on a thread of its own, whatever time its caller
        has: a token that was redeemed, and whose successor nobody has read, would be lost.
        Whoever dies in the midst of it loses the lock with its lease. The next one tries
        the same refresh token again: it was redeemed or it was not, and the authorization server
        knows. If it was, that server's ``invalid_grant`` says that somebody has to sign in.

        Args:
            owner: A user at a server.
            redeem: Asks the authorization server, within bounds of its own.
            deadline: Ends this caller's wait.
            cancel: The same.
            rejected: An access token that the server turned down.

        Raises:
            NoGrant: There is nothing to refresh, it is over, or it is refused for good: with what
                the specification has no word for, it is kept all the same.
            MCPSyncError: It could not be refreshed just now; the grant is kept.
        """
        grant = self.find(owner)
        if grant is None:
            raise NoGrant("nobody has signed in")
        if grant.is_good(self._clock.time(), rejected):
            return grant
        if grant.tokens.refresh_token is None:
            raise NoGrant("the token is over, and there is none to refresh it with")
        return self._flights.do(
            owner,
            lambda: do_aside(
                "refresh",
                lambda: self._refresh(owner, redeem, rejected),
                deadline=deadline,
                cancel=cancel,
                doing="waiting for new tokens",
            ),
            deadline=deadline,
            cancel=cancel,
        )

    def _refresh(self, owner: str, redeem: Redeem, rejected: str | None) -> Grant:
        name = f"{_key(owner)}:refresh"
        # Whoever has the lock may be dead: then it comes free when his lease is over, not before.
        patience = Deadline(LEASE + SEEN_THROUGH)
        with hold(self._store, name, lease=LEASE, deadline=patience):
            entry = self._store.get(_key(owner))
            if entry is None:
                raise NoGrant("the sign-in was revoked")
            grant = _grant(entry.value)
            if grant.is_good(self._clock.time(), rejected):
                return grant  # somebody else was faster
            redeemed = grant.tokens.refresh_token
            if redeemed is None:
                raise NoGrant("the token is over, and there is none to refresh it with")
            entry = self._note(owner, grant, entry)
            before, brought = self._unkept.get(owner, ("", None))
            try:
                tokens = brought if brought and before == redeemed else redeem(grant)
            except OAuthError as error:
                return self._turned_down(owner, grant, entry, error)
            # If the store fails now, the old refresh token is gone and this is all there is.
            self._unkept[owner] = redeemed, tokens
            done = replace(grant, tokens=_merged(grant.tokens, tokens), attempt=None)
            kept = self._put(owner, done, entry, redeemed)
            self._unkept.pop(owner, None)
            return kept

    def _note(self, owner: str, grant: Grant, entry: Entry) -> Entry:
        """Write down that its refresh token is about to be redeemed."""
        attempt = _hash(grant.tokens.refresh_token or ""), self._clock.time()
        if grant.attempt is not None and grant.attempt[0] == attempt[0]:
            logger.warning("a refresh was begun before and not ended; trying the same token again")
        noted = replace(grant, attempt=attempt)
        version = self._store.compare_and_set(
            _key(owner), entry.version, _json(noted), self._ttl(noted)
        )
        if version is None:
            raise OAuthError(
                "the tokens changed while they were refreshed.", error="conflict", retryable=True
            )
        return Entry(_json(noted), version)

    def _turned_down(self, owner: str, grant: Grant, entry: Entry, error: OAuthError) -> Grant:
        if error.error in GRANT_IS_OVER | CLIENT_IS_UNKNOWN:
            self._store.delete(_key(owner), entry.version)
        elif error.retryable:
            raise error
        now = self.find(owner)
        if now is not None and now.is_good(self._clock.time(), grant.tokens.access_token):
            return now  # somebody signed in meanwhile
        raise NoGrant(f"the authorization server says {error.error}") from error

    def _put(self, owner: str, done: Grant, entry: Entry, redeemed: str) -> Grant:
        """Keep what a refresh brought, unless something else is there than what it was made of."""
        key = _key(owner)
        while not self._store.compare_and_set(key, entry.version, _json(done), self._ttl(done)):
            there = self._store.get(key)
            if there is None:
                raise NoGrant("the sign-in was revoked")
            now = _grant(there.value)
            if now.tokens.refresh_token != redeemed:
                return now  # of a sign-in, or of whoever took the lock when our lease was over
            entry = there  # somebody noted his attempt with the token that we have used up
        return done

    def _ttl(self, grant: Grant) -> float | None:
        if grant.tokens.refresh_token is not None or grant.tokens.expires_at is None:
            return REFRESH_TTL
        return max(1.0, grant.tokens.expires_at - self._clock.time())


def is_for(server_url: str, signed_in_at: str | None, resource: str | None) -> bool:
    """Whether what was agreed to at one URL is good at another. (A3, A13)

    A query may differ, as that of a request's own does, and the path as far as the resource covers
    it.
    """
    if signed_in_at is None or signed_in_at == server_url:
        return True
    return covers(signed_in_at if resource is None else resource, server_url)


def _merged(old: Tokens, new: Tokens) -> Tokens:
    """Return new tokens; the old refresh token stays if there is no new one. [seed 3.5]"""
    return replace(
        new,
        refresh_token=new.refresh_token or old.refresh_token,
        scopes=new.scopes or old.scopes,
        id_token=new.id_token or old.id_token,
    )


def _key(owner: str) -> str:
    return f"oauth:grant:{_hash(owner)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _json(grant: Grant) -> bytes:
    return json.dumps(asdict(grant)).encode()


def _grant(value: bytes) -> Grant:
    try:
        found: dict[str, Any] = json.loads(value)
        found["tokens"] = Tokens(**{**found["tokens"], "scopes": tuple(found["tokens"]["scopes"])})
        found["client"] = ClientCredentials(**found["client"])
        found["scopes"] = tuple(found["scopes"])
        found["attempt"] = tuple(found["attempt"]) if found["attempt"] else None
        return Grant(**found)
    except (ValueError, TypeError, KeyError):
        raise StoreError(
            "the store holds tokens that cannot be read; another version may have put them there.",
            retryable=False,
        ) from None  # the JSON is in the original
