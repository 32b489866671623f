"""Tokens on behalf of users. (Seed: ``OboTokenService``, 4.2; RFC 7523, RFC 8693)"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from cachetools import TLRUCache

from .._runtime.backoff import pause
from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock, SystemClock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child, notice_fork
from .._runtime.locks import new_lock
from ..errors import (
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    MCPSyncError,
    OAuthError,
    OboTokenError,
    RequestTimeout,
)
from ..http import Fetched, Fetcher
from ..http.patience import seconds_asked_for
from .clients import AuthMethod, ClientCredentials
from .metadata import ServerMetadata
from .obo_tokens import (
    NOT_OURS,
    PASSING_STATUSES,
    TIMEOUT,
    OboToken,
    OpenIDToken,
    exchange_failed,
    obo_error,
    obo_token,
    resolve_obo_token,
)
from .scopes import Scopes, split
from .token_endpoint import (
    JWT_BEARER,
    PASSING,
    TOKEN_EXCHANGE,
    ClientKey,
    TokenEndpoint,
    agreed,
    is_token,
    refused,
)

if TYPE_CHECKING:
    from ..http.settings import Session

__all__ = ["GraphTokenService", "OboToken", "OboTokenService", "OpenIDToken", "resolve_obo_token"]

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
RETRY_DELAY: Final = 0.3  # seconds [seed 4.2]
SKEW: Final = 30.0  # seconds that a token is taken for over before it is [seed 4.2, later]
LEAST: Final = 1.0  # second that it is kept all the same
MAX_TOKENS: Final = 20_000  # that are kept; each has a few KiB
GRAPH: Final = "https://graph.microsoft.com/.default"
_METHODS: Final[Mapping[str, AuthMethod]] = {
    "client_secret_post": "client_secret_post",
    "client_secret_basic": "client_secret_basic",
}
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")

Grant: TypeAlias = Literal["jwt_bearer", "token_exchange"]


class _Key(NamedTuple):
    """Of what a token is kept: a new sign-in of a user never gets the token of an old one."""

    tenant: str | None
    issuer: str | None
    subject: str
    scopes: str
    assertion: bytes  # its hash


class _Passing(Exception):
    """What may work a moment later.

    Args:
        error: What it is if it does not.
        wait: Seconds that the identity provider wants to be left alone.
    """

    def __init__(self, error: OboTokenError, wait: float = 0.0) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait = wait


class OboTokenService:
    """Exchanges users' tokens for tokens of servers, at one identity provider. Thread-safe.

    Tokens are kept in memory until half a minute before they are over. Of one user and server one
    exchange is under way at a time; whoever comes meanwhile gets its result, or its error.

    Args:
        token_endpoint: The identity provider's. ``{tenant}`` in its path stands for the user's.
        client_id: Who the application is there.
        client_secret: The same; or
        client_key: the same, for ``private_key_jwt``; with a certificate for Entra ID.
        token_endpoint_auth_method: How a secret is shown: ``client_secret_post``, or
            ``client_secret_basic``.
        grant: ``"jwt_bearer"`` as Entra ID has it (``requested_token_use=on_behalf_of``), or
            ``"token_exchange"``. (RFC 8693)
        tenant: That of users who have none of their own.
        audience: Whom a signed assertion of ours is for, if that is not the token endpoint.
        fields: What goes along with every exchange, such as ``{"resource": …}``.
        session: A ``requests.Session`` to take proxies and TLS settings from.
        retry_delay: Seconds before the one repetition of what failed in passing.
        max_tokens: How many tokens are kept.
        clock: Tells the time.

    Raises:
        ConfigurationError: There is a secret and a key, or an option is wrong.

    Lock: _lock guards _kept.
    """

    def __init__(
        self,
        token_endpoint: str | None,
        client_id: str,
        client_secret: str | None = None,
        *,
        client_key: ClientKey | None = None,
        token_endpoint_auth_method: str = "client_secret_post",  # noqa: S107 - not a secret
        grant: Grant = "jwt_bearer",
        tenant: str | None = None,
        audience: str | None = None,
        fields: Mapping[str, str] | None = None,
        session: Session | None = None,
        retry_delay: float = RETRY_DELAY,
        max_tokens: int = MAX_TOKENS,
        clock: Clock | None = None,
    ) -> None:
        if client_secret is not None and client_key is not None:
            raise ConfigurationError("a client has a client_secret or a client_key.")
        if grant not in ("jwt_bearer", "token_exchange"):
            raise ConfigurationError(f"there is no grant {grant!r}.")
        method = _METHODS.get(token_endpoint_auth_method)
        if method is None:
            raise ConfigurationError(
                "token_endpoint_auth_method is client_secret_post or client_secret_basic."
            )
        if client_secret is None:
            method = "none" if client_key is None else "private_key_jwt"
        self._token_endpoint = token_endpoint
        self._client = ClientCredentials(client_id, client_secret, method)
        self._client_key = client_key
        self._grant = grant
        self._tenant = tenant
        self._audience = audience
        self._fields = dict(fields or {})
        trusted = () if token_endpoint is None else (_bare(token_endpoint),)
        self._fetcher = Fetcher(session=session, trusted=trusted)
        self._retry_delay = retry_delay
        self._max_tokens = max_tokens
        self._clock = clock if clock is not None else SystemClock()
        self._flights: SingleFlight[_Key, OboToken] = SingleFlight()
        self._forget()
        after_fork_in_child(self._forget)

    def exchange(
        self,
        user: OpenIDToken,
        scopes: str | Iterable[str],
        from_cache: bool = True,
        *,
        timeout: float | Deadline = TIMEOUT,
        cancel: Cancellation | None = None,
    ) -> OboToken:
        """Return a token for a user, exchanging the one he has signed in with. [seed 4.2]

        What failed in passing (no connection, 429, 5xx) is tried once more, after 300 ms or as
        long as the identity provider asks for, if the time allows.

        Args:
            user: The user's own token.
            scopes: What to ask for: names with blanks between, or some names.
            from_cache: Whether a token that was had before will do, or one that is being asked for.
                Without it an exchange joins nobody's and nobody joins it.
            timeout: Seconds that it may take in all, or the deadline of a call.
            cancel: Ends it.

        Raises:
            OboTokenError: There is no such token; ``reason``, ``retryable`` and ``error`` say why.
            RequestTimeout, RequestCancelled: The caller's time, or patience, was over first.
            ConfigurationError, RefusedError: It is configured wrongly; nothing was asked.
        """
        notice_fork()
        asked = split(scopes) if isinstance(scopes, str) else tuple(scopes)
        key = self._key(user, asked)
        if from_cache:
            kept = self._find(key)
            if kept is not None:
                return kept
        deadline = timeout if isinstance(timeout, Deadline) else Deadline(timeout)

        def ask() -> OboToken:
            found = self._find(key) if from_cache else None  # somebody else was faster
            if found is None:
                found = self._exchanged(user, asked, deadline, cancel)
                with self._lock:
                    self._kept[key] = found
            return found

        def was_in_haste(error: BaseException) -> bool:
            """Whether it was not tried once more because this caller had no time for it."""
            passes = isinstance(error, OboTokenError) and error.retryable
            return passes and deadline.remaining() <= self._retry_delay

        return self._flights.do(
            key,
            ask,
            deadline=deadline,
            cancel=cancel,
            own_affair=was_in_haste,
            alone=not from_cache,
        )

    def replace(
        self,
        user: OpenIDToken,
        scopes: str | Iterable[str],
        rejected: str,
        *,
        timeout: float | Deadline = TIMEOUT,
        cancel: Cancellation | None = None,
    ) -> OboToken:
        """Return another token than *rejected*, which the server has turned down.

        However many threads were turned down with it, there is one exchange.

        Raises:
            OboTokenError: As :meth:`exchange`.
        """
        asked = split(scopes) if isinstance(scopes, str) else tuple(scopes)
        key = self._key(user, asked)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.access_token == rejected:
                self._kept.pop(key, None)
        return self.exchange(user, asked, timeout=timeout, cancel=cancel)

    def forget(self) -> None:
        """Forget all the tokens that are kept."""
        with self._lock:
            self._kept.clear()

    # -- what is kept -----------------------------------------------------------------------------

    def _key(self, user: OpenIDToken, scopes: Scopes) -> _Key:
        if user is None or not user.subject:
            raise obo_error(
                "missing_upstream_token",
                "User must be authenticated via OpenID to perform OBO token exchange",
            )
        if not user.access_token:
            raise obo_error(
                "missing_upstream_access_token", "Access token is required for OBO exchange"
            )
        if not scopes:
            raise obo_error("exchange_failed", "Scopes are required for OBO exchange")
        if self._token_endpoint is None:
            raise obo_error("exchange_failed", "OpenID configuration not available")
        assertion = hashlib.sha256(user.access_token.encode("utf-8", "replace")).digest()
        tenant = user.tenant or self._tenant
        return _Key(tenant, user.issuer, user.subject, " ".join(scopes), assertion)

    def _find(self, key: _Key) -> OboToken | None:
        with self._lock:
            return self._kept.get(key)

    def _forget(self) -> None:
        self._lock = new_lock("on behalf of")
        # Expiry is absolute: who sleeps with his machine wakes up to what is good then.
        self._kept: TLRUCache[_Key, OboToken] = TLRUCache(
            self._max_tokens, ttu=_good_until, timer=self._clock.time
        )
        self._flights.reset()

    # -- asking -----------------------------------------------------------------------------------

    def _exchanged(
        self, user: OpenIDToken, scopes: Scopes, deadline: Deadline, cancel: Cancellation | None
    ) -> OboToken:
        try:
            return self._once(user, scopes, deadline, cancel)
        except _Passing as passing:
            first = passing
        wait = max(self._retry_delay, first.wait)
        if wait >= deadline.remaining():
            raise first.error
        pause(wait, deadline, cancel, doing="waiting to ask the identity provider again")
        try:
            return self._once(user, scopes, deadline, cancel)
        except _Passing as again:
            raise again.error from again.error.__cause__

    def _once(
        self, user: OpenIDToken, scopes: Scopes, deadline: Deadline, cancel: Cancellation | None
    ) -> OboToken:
        endpoint, began = self._endpoint(user), self._clock.time()
        fields = self._asked(user, scopes)
        try:
            answer = endpoint.post(self._client, fields, deadline, cancel)
        except NOT_OURS:
            raise
        except MCPSyncError as error:
            if isinstance(error, RequestTimeout) and deadline.expired:
                raise
            passes = isinstance(error, ConnectError | ConnectionLost | RequestTimeout)
            failed = exchange_failed(retryable=passes, error="no_answer" if passes else "")
            failed.__cause__ = error
            raise (_Passing(failed) if passes else failed) from error
        return self._token_in(answer, began, scopes)

    def _token_in(self, answer: Fetched, began: float, scopes: Scopes) -> OboToken:
        try:
            said = agreed(answer)
            kind = said.get("issued_token_type", ACCESS_TOKEN)
            if kind not in (ACCESS_TOKEN, JWT):
                raise refused(answer)
            return obo_token(said, began, scopes)
        except OboTokenError:
            raise
        except MCPSyncError as error:
            word = error.error if isinstance(error, OAuthError) else "bad_answer"
            passes = answer.status in PASSING_STATUSES or word in PASSING
            failed = exchange_failed(retryable=passes, error=word)
            failed.__cause__ = error
            if not passes:
                raise failed from error
            wait = seconds_asked_for(answer.headers.get("retry-after")) or 0.0
            raise _Passing(failed, wait) from error

    def _asked(self, user: OpenIDToken, scopes: Scopes) -> dict[str, str]:
        if not is_token(user.access_token):
            raise obo_error(
                "missing_upstream_access_token", "Access token is required for OBO exchange"
            )
        assertion, scope = str(user.access_token), " ".join(scopes)
        if self._grant == "jwt_bearer":
            fields = {
                "grant_type": JWT_BEARER,
                "assertion": assertion,
                "requested_token_use": "on_behalf_of",
            }
        else:
            fields = {
                "grant_type": TOKEN_EXCHANGE,
                "subject_token": assertion,
                "subject_token_type": ACCESS_TOKEN,
                "requested_token_type": ACCESS_TOKEN,
            }
        return {**self._fields, **fields, "scope": scope}

    def _endpoint(self, user: OpenIDToken) -> TokenEndpoint:
        url = str(self._token_endpoint)
        if "{tenant}" in url:
            tenant = user.tenant or self._tenant
            if tenant is None or not _TENANT.fullmatch(tenant):
                raise obo_error("exchange_failed", "OpenID configuration not available")
            url = url.replace("{tenant}", tenant)
        server = ServerMetadata(issuer=self._audience or url, token_endpoint=url)
        return TokenEndpoint(server, self._fetcher, self._clock, key=self._client_key)

    def __repr__(self) -> str:
        return "OboTokenService(…)"


class GraphTokenService:
    """Tokens for Microsoft Graph, on behalf of users. [seed: ``GraphTokenService``] Thread-safe.

    Args:
        service: What exchanges tokens.
    """

    def __init__(self, service: OboTokenService) -> None:
        self._service = service

    def get_graph_api_token(
        self,
        user: OpenIDToken,
        scopes: str | Iterable[str] = GRAPH,
        from_cache: bool = True,
        *,
        timeout: float | Deadline = TIMEOUT,
        cancel: Cancellation | None = None,
    ) -> OboToken:
        """Return a token for Graph; see :meth:`OboTokenService.exchange`."""
        return self._service.exchange(user, scopes, from_cache, timeout=timeout, cancel=cancel)


def _good_until(key: _Key, token: OboToken, now: float) -> float:
    """Return until when a token is kept."""
    lasts = token.expires_at - token.obtained_at
    return min(token.obtained_at + max(lasts - SKEW, LEAST), token.expires_at)


def _bare(token_endpoint: str) -> str:
    """Return a token endpoint with a tenant in it that is none.

    Raises:
        ConfigurationError: ``{tenant}`` would change where the request goes.
    """
    host = token_endpoint.split("//", 1)[-1].partition("/")[0]
    if "{" in host:
        raise ConfigurationError("{tenant} can stand in the path of token_endpoint only.")
    return token_endpoint.replace("{tenant}", "tenant")
