"""Asking an authorization server for tokens. (RFC 6749 section 5, RFC 7523, RFC 7009)"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote_plus

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from ..errors import ConfigurationError, MessageInvalid, OAuthError
from ..http import Fetched, Fetcher
from .clients import ClientCredentials
from .codes import known_error
from .metadata import ServerMetadata, check_endpoint
from .scopes import Scopes, split

ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME: Final = 300  # seconds
LONGEST: Final = 365 * 24 * 3600.0  # seconds that a token may say it lasts
PASSING: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
MAX_TOKEN: Final = 64 * 1024  # characters
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693
NONCE_WANTED: Final = "use_dpop_nonce"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an authorization server gave. Nothing of it is in a repr.

    Args:
        access_token: For the resource server, and nobody else.
        refresh_token: For the authorization server, and nobody else.
        expires_at: Seconds since the epoch; None if it did not say.
        scopes: What was granted.
        token_type: ``Bearer`` or ``DPoP``.
        id_token: Of OpenID Connect, if one came.
        lifetime: Seconds that the access token was good for when it came, if that was said.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    scopes: Scopes = ()
    token_type: str = "Bearer"  # noqa: S105 - not a token
    id_token: str | None = field(default=None, repr=False)
    lifetime: float | None = None

    @property
    def is_bound(self) -> bool:
        """Whether the access token is of no use without the key it is bound to."""
        return self.token_type == "DPoP"  # noqa: S105 - not a token

    def __repr__(self) -> str:
        return f"<Tokens {self.token_type} expires_at={self.expires_at}>"


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A private key by which a client shows who it is. (RFC 7523, ``private_key_jwt``)

    Args:
        pem: The key, in PEM.
        algorithm: ``ES256``, ``RS256``, …
        key_id: ``kid``, if the server needs it.
        certificate: The certificate of the key, in PEM, if the server knows the key by that: its
            thumbprints go along, ``x5t`` and ``x5t#S256``. (RFC 7515, 4.1.7 and 4.1.8)
    """

    pem: str = field(repr=False)
    algorithm: str = "RS256"
    key_id: str | None = None
    certificate: str | None = field(default=None, repr=False)


class Prover(Protocol):
    """Proves possession of a key: :class:`~mcpsync.auth.dpop.DPoPKey`."""

    def proof(self, method: str, url: str, token: str | None = None) -> dict[str, str]:
        """Return the header of one request."""

    def note(self, url: str, headers: Mapping[str, str]) -> bool:
        """Take note of an answer; whether it brought a new nonce."""


class TokenEndpoint:
    """One authorization server's token endpoint. Thread-safe.

    Args:
        server: Its metadata.
        fetcher: How it is reached.
        clock: Tells the time.
        key: For clients that authenticate by ``private_key_jwt``.
        dpop: The key that tokens are to be bound to.
    """

    def __init__(
        self,
        server: ServerMetadata,
        fetcher: Fetcher,
        clock: Clock,
        *,
        key: ClientKey | None = None,
        dpop: Prover | None = None,
    ) -> None:
        if server.token_endpoint is None:
            raise OAuthError("the authorization server has no token endpoint.", error="no_endpoint")
        check_endpoint(server.token_endpoint, "token")
        self._server = server
        self._url = server.token_endpoint
        self._fetcher = fetcher
        self._clock = clock
        self._key = key
        self._dpop = dpop

    def grant(
        self,
        client: ClientCredentials,
        fields: Mapping[str, str],
        deadline: Deadline,
        cancel: Cancellation | None = None,
        *,
        asked: Scopes = (),
    ) -> Tokens:
        """Ask for tokens. It is sent once: a grant may be good for one time only.

        Args:
            client: Who asks.
            fields: ``grant_type`` and what goes with it.
            deadline: Bounds it.
            cancel: Ends it.
            asked: The scopes that were asked for: granted if the answer does not say.

        Raises:
            OAuthError: The server said no; ``error`` is its word, if it is one.
            MessageInvalid: The answer is none; the server may have used the grant up.
            TransportError: There was no answer; the server may have used the grant up.
        """
        answer = self.post(client, fields, deadline, cancel)
        is_new = self._dpop is not None and self._dpop.note(self._url, answer.headers)
        if is_new and answer.status in (400, 401) and _error_in(answer) == NONCE_WANTED:
            # The grant was not looked at. (RFC 9449, section 8)
            answer = self.post(client, fields, deadline, cancel)
            if self._dpop is not None:
                self._dpop.note(self._url, answer.headers)
        tokens = tokens_of(agreed(answer), self._clock.time(), asked)
        if tokens.is_bound and self._dpop is None:
            raise MessageInvalid("the authorization server bound a token to a key nobody has.")
        return tokens

    def exchange(
        self,
        client: ClientCredentials,
        fields: Mapping[str, str],
        kind: str,
        deadline: Deadline,
        cancel: Cancellation | None = None,
    ) -> str:
        """Ask for a token of another kind, which is not for a resource. (RFC 8693)

        Args:
            client: Who asks.
            fields: ``grant_type`` and what goes with it.
            kind: What ``issued_token_type`` has to be.
            deadline: Bounds it.
            cancel: Ends it.

        Raises:
            OAuthError: The server said no.
            MessageInvalid: The answer is something else.
        """
        said = agreed(self.post(client, fields, deadline, cancel))
        token = said.get("access_token")
        if said.get("issued_token_type") != kind or not is_token(token):
            raise MessageInvalid("the authorization server gave another kind of token.")
        return str(token)

    def post(
        self,
        client: ClientCredentials,
        fields: Mapping[str, str],
        deadline: Deadline,
        cancel: Cancellation | None,
    ) -> Fetched:
        """Ask once and return the answer, whatever it says; see :func:`agreed`."""
        headers, shown = self.authentication(client)
        if self._dpop is not None:
            headers |= self._dpop.proof("POST", self._url)
        return self._fetcher.post_form(
            self._url, {**fields, **shown}, deadline=deadline, cancel=cancel, headers=headers
        )

    def authentication(self, client: ClientCredentials) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and the fields that say who we are; never both a secret. (A22)"""
        if client.method == "client_secret_basic":
            if client.client_secret is None:
                raise ConfigurationError("client_secret_basic needs a client secret.")
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
            basic = base64.b64encode(pair.encode("ascii")).decode("ascii")
            return {"authorization": f"Basic {basic}"}, {}
        shown = {"client_id": client.client_id} if client.client_id else {}
        if client.method == "client_secret_post":
            if client.client_secret is None:
                raise ConfigurationError("client_secret_post needs a client secret.")
            shown["client_secret"] = client.client_secret
        elif client.method == "private_key_jwt":
            shown["client_assertion_type"] = ASSERTION
            shown["client_assertion"] = self._assertion(client)
        return {}, shown

    def _assertion(self, client: ClientCredentials) -> str:
        if self._key is None:
            raise ConfigurationError("private_key_jwt needs a private key.")
        now = int(self._clock.time())
        claims = {
            "iss": client.client_id,
            "sub": client.client_id,
            "aud": self._server.issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
        }
        return signed(claims, self._key)


def signed(
    claims: Mapping[str, Any], key: ClientKey, headers: Mapping[str, Any] | None = None
) -> str:
    """Return *claims* as a JWT.

    Raises:
        ConfigurationError: The key does not fit the algorithm, or PyJWT is missing.
    """
    try:
        import jwt
    except ImportError as error:
        raise ConfigurationError(
            "signing needs PyJWT and cryptography: pip install 'mcpsync[crypto]'."
        ) from error
    head = {**(headers or {}), **({"kid": key.key_id} if key.key_id is not None else {})}
    if key.certificate is not None:
        head |= _thumbprints(key.certificate)
    try:
        return jwt.encode(dict(claims), key.pem, algorithm=key.algorithm, headers=head)
    except (ValueError, TypeError, NotImplementedError, jwt.PyJWTError):
        raise ConfigurationError(f"the private key cannot be used with {key.algorithm}.") from None


def _thumbprints(certificate: str) -> dict[str, str]:
    """Return what names a certificate in the header of a JWT."""
    _, begins, rest = certificate.partition("-----BEGIN CERTIFICATE-----")
    text, ends, _ = rest.partition("-----END CERTIFICATE-----")
    try:
        der = base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        der = b""
    if not (begins and ends and der):
        raise ConfigurationError("the certificate is none in PEM.")
    digests = {"x5t": hashlib.sha1(der, usedforsecurity=False), "x5t#S256": hashlib.sha256(der)}
    return {
        name: base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
        for name, digest in digests.items()
    }


def refused(answer: Fetched) -> OAuthError:
    """Return the error that a refusal stands for; only its code is taken of what it says."""
    error = _error_in(answer)
    told = error or f"status {answer.status}"
    return OAuthError(
        f"the authorization server gave no token: {told}.",
        error=error or f"http_{answer.status}",
        retryable=answer.status >= 500 or answer.status == 429 or error in PASSING,
    )


def _error_in(answer: Fetched) -> str:
    """Return the code of an error that an answer tells of; empty if it tells of none."""
    try:
        error = answer.json().get("error")
    except MessageInvalid:
        return ""
    return "" if error is None else known_error(error)


def agreed(answer: Fetched) -> dict[str, Any]:
    """Return what an answer says that is no refusal.

    Some servers, GitHub's among them, say no with status 200.

    Raises:
        OAuthError: It is a refusal.
        MessageInvalid: It is no answer of a token endpoint.
    """
    if answer.status != 200:
        raise refused(answer)
    said = answer.json()
    if said.get("error") is not None and "access_token" not in said:
        raise refused(answer)
    return said


def tokens_of(said: Mapping[str, Any], now: float, asked: Scopes = ()) -> Tokens:
    """Return the tokens of an answer. (RFC 6749, section 5.1)

    That the type is left out is overlooked, as other clients do: then it is a bearer token.

    Raises:
        MessageInvalid: There is no usable token in it; the error shows nothing of it.
    """
    access, refresh, kind = (
        said.get("access_token"),
        said.get("refresh_token"),
        said.get("token_type", "Bearer"),
    )
    if not is_token(access):
        raise MessageInvalid("the authorization server's answer has no usable access_token.")
    if not isinstance(kind, str) or kind.lower() not in ("bearer", "dpop"):
        raise MessageInvalid("the authorization server's answer has a token_type we do not know.")
    id_token, lifetime = said.get("id_token"), _lifetime(said.get("expires_in"))
    return Tokens(
        access_token=str(access),
        refresh_token=str(refresh) if is_token(refresh) else None,
        expires_at=None if lifetime is None else now + lifetime,
        scopes=split(said["scope"]) if isinstance(said.get("scope"), str) else asked,
        token_type="DPoP" if kind.lower() == "dpop" else "Bearer",
        id_token=id_token if isinstance(id_token, str) else None,
        lifetime=lifetime,
    )


def is_token(value: object) -> bool:
    """Whether this can be a token: what a header can hold, and not endless."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TOKEN:
        return False
    return value.isascii() and value.isprintable() and " " not in value


def _lifetime(expires_in: object) -> float | None:
    """Return seconds; None if nothing sensible is said: then a 401 tells when it is over."""
    if isinstance(expires_in, str) and expires_in.isascii() and expires_in.isdigit():
        expires_in = int(expires_in[:12])
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float):
        return None
    if not expires_in > 0:  # no number, perhaps; one of any size may have come
        return None
    return float(min(expires_in, LONGEST))
