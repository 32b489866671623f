"""Tokens that only the holder of a key can use. (RFC 9449, SEP-1932)"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from .._runtime.clock import Clock
from ..errors import ConfigurationError, OAuthError
from .token_endpoint import ClientKey, Tokens, signed

if TYPE_CHECKING:
    from ..http.settings import PreparedRequest

ALGORITHM: Final = "ES256"
MAX_NONCE: Final = 1024  # characters
MOST_NONCES: Final = 64  # servers whose nonces are kept; the oldest goes first


class DPoPKey:
    """A private key, and proofs that we have it. Thread-safe.

    Args:
        pem: The key, as :attr:`pem` gave it; a new one by default.
        clock: Tells the time.

    Raises:
        ConfigurationError: It is no such key, or ``cryptography`` and PyJWT are missing.
    """

    def __init__(self, clock: Clock, pem: str | None = None) -> None:
        try:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec
            from jwt.algorithms import ECAlgorithm
        except ImportError as error:
            raise ConfigurationError(
                "DPoP needs cryptography and PyJWT: pip install 'mcpsync[crypto]'."
            ) from error
        key: Any = None
        if pem is None:
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):
                key = serialization.load_pem_private_key(pem.encode(), None)
        if not isinstance(getattr(key, "curve", None), ec.SECP256R1):
            raise ConfigurationError("a DPoP key is one of P-256, in PEM.")
        self.pem: str = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode("ascii")
        self._clock = clock
        self._public: dict[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self._nonces: dict[str, str] = {}  # by origin; only put into and copied, each in one step

    def proof(self, method: str, url: str, token: str | None = None) -> dict[str, str]:
        """Return the header that proves possession, for one request. Each is a new one.

        Args:
            method: Of HTTP.
            url: Where the request goes; its query is no part of it.
            token: The access token that goes along, if one does.
        """
        parts = urlsplit(url)
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": urlunsplit((parts.scheme, parts.netloc, parts.path or "/", "", "")),
            "iat": int(self._clock.time()),
        }
        nonce = self._nonces.get(_origin(url))
        if nonce is not None:
            claims["nonce"] = nonce
        if token is not None:
            digest = hashlib.sha256(token.encode("ascii")).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
        head = {"typ": "dpop+jwt", "jwk": self._public}
        return {"DPoP": signed(claims, ClientKey(self.pem, ALGORITHM), head)}

    def note(self, url: str, headers: Mapping[str, str]) -> bool:
        """Keep the nonce of an answer for the next proof; whether it is a new one."""
        nonce = headers.get("dpop-nonce")
        if not nonce or len(nonce) > MAX_NONCE or not nonce.isascii() or not nonce.isprintable():
            return False
        origin = _origin(url)
        if self._nonces.get(origin) == nonce:
            return False
        self._nonces[origin] = nonce
        while len(self._nonces) > MOST_NONCES:
            self._nonces.pop(next(iter(list(self._nonces))), None)
        return True

    def is_stale(self, url: str, proof: str | None) -> bool:
        """Whether a proof that was sent to *url* lacks the nonce that is known by now."""
        nonce = self._nonces.get(_origin(url))
        return nonce is not None and proof is not None and _nonce_in(proof) != nonce

    def __repr__(self) -> str:
        return "DPoPKey(…)"


def _nonce_in(proof: str) -> str | None:
    """Return the nonce of a proof of ours."""
    claims = proof.split(".")[1]
    nonce = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("nonce")
    return nonce if isinstance(nonce, str) else None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def put_on(request: PreparedRequest, tokens: Tokens, key: DPoPKey | None) -> None:
    """Add an access token to a request, with a proof if it is bound to *key*."""
    request.headers["Authorization"] = f"{tokens.token_type} {tokens.access_token}"
    if key is not None and tokens.is_bound:
        proof = key.proof(request.method or "", request.url or "", tokens.access_token)
        request.headers.update(proof)


def token_in(request: PreparedRequest) -> str | None:
    """Return the access token that a request was sent with, if it was with one."""
    # In small letters, for the headers may be a plain mapping.
    return str(request.headers.get("authorization", "")).partition(" ")[2] or None


def lacks_nonce(request: PreparedRequest, key: DPoPKey | None) -> bool:
    """Whether the proof of a request lacks the nonce that is known by now."""
    return key is not None and key.is_stale(request.url or "", request.headers.get("DPoP"))


def check_bound(tokens: Tokens) -> None:
    """Refuse a token that is bound to no key, where one was wanted. (RFC 9449, section 5)

    Raises:
        OAuthError: It is bound to none.
    """
    if not tokens.is_bound:
        raise OAuthError(
            "the authorization server gave a token that is bound to no key; it is not used.",
            error="token_not_bound",
        )
