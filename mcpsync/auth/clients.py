"""Who we are to an authorization server: client ids, and how they come about.

Requirements A17 to A20 and A22; RFC 7591 (dynamic registration), the draft on client id metadata
documents (CIMD).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from ..errors import ConfigurationError, MessageInvalid, OAuthError
from ..security.addresses import is_loopback
from .metadata import ServerMetadata

AuthMethod: TypeAlias = Literal[
    "none", "client_secret_basic", "client_secret_post", "private_key_jwt"
]
METHODS: Final[tuple[AuthMethod, ...]] = (
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
)
CLIENT_NAME: Final = "mcpsync"
FOREVER: Final = 1e11  # seconds since the epoch; in the year 5138
MAX_ID: Final = 4096  # characters of a client id, or of a secret
Source: TypeAlias = Literal["configured", "document", "registered"]


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A client as one authorization server knows it. It must not be used at another. (A20)

    Args:
        client_id: Its id.
        client_secret: Its secret, if it has one.
        method: How it shows at the token endpoint who it is.
        source: How it came about; one that was registered may be registered anew.
        issuer: Whose it is; None for one that any server may know (CIMD).
        redirect_uri: Where its users come back to.
        expires_at: Seconds since the epoch after which the secret is over; None for never.
        scope: What it was registered for. Some servers let it ask for nothing else.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    method: AuthMethod = "none"
    source: Source = "configured"
    issuer: str | None = None
    redirect_uri: str | None = None
    expires_at: float | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class CimdDocument:
    """A client id metadata document: the client id is the URL where it stands. (A18)

    Serve :attr:`body` there, as ``application/json``. It is the same at every authorization
    server, so nothing has to be registered.

    Args:
        url: ``https://``, with a path.
        redirect_uris: Where users come back to.
        client_name: What they are shown.
        more: Further fields: ``client_uri``, ``logo_uri``, ``jwks``, …

    Raises:
        ConfigurationError: The URL cannot be a client id.
    """

    url: str
    redirect_uris: Sequence[str]
    client_name: str = CLIENT_NAME
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cimd_url(self.url)
        if not self.redirect_uris:
            raise ConfigurationError("a client id metadata document needs a redirect URI.")
        for uri in self.redirect_uris:
            check_redirect_uri(uri)

    @property
    def body(self) -> dict[str, Any]:
        """The document, for ``json.dumps`` or ``flask.jsonify``."""
        return {
            **registration(self.redirect_uris, client_name=self.client_name),
            **self.more,
            "client_id": self.url,
        }


def check_cimd_url(url: str) -> None:
    """Raise ``ConfigurationError`` if *url* cannot be a client id."""
    parts = _split(url)
    if (
        parts is None
        or parts.scheme != "https"
        or not parts.hostname
        or parts.path in ("", "/")
        or {".", ".."} & set(parts.path.split("/"))
        or "@" in parts.netloc
        or "#" in url
    ):
        raise ConfigurationError(
            "the URL of a client id metadata document is https:// with a path, "
            "and without credentials or a fragment."
        )


def check_redirect_uri(uri: str) -> None:
    """Raise ``ConfigurationError`` if users must not be sent back to *uri*. (A21; RFC 8252)"""
    parts = _split(uri)
    is_good = parts is not None and (
        (parts.scheme == "https" and bool(parts.hostname))
        or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        or is_private_use(uri)
    )
    if not is_good or "#" in uri:
        raise ConfigurationError(
            "a redirect URI is https://, or http:// on this machine, or of a scheme of your own; "
            "it has no fragment."
        )


def is_private_use(uri: str) -> bool:
    """Whether *uri* is of an application's own scheme. (RFC 8252, section 7.1)"""
    return "." in urlsplit(uri).scheme  # com.example.app:/callback


def _split(url: str) -> SplitResult | None:
    """Return the parts of *url*; None if it is none, or has in it what URLs have not."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if url.isascii() and url.isprintable() and " " not in url else None


def registration(
    redirect_uris: Sequence[str],
    *,
    client_name: str = CLIENT_NAME,
    method: AuthMethod = "none",
    scopes: Sequence[str] = (),
    refreshes: bool = True,
) -> dict[str, Any]:
    """Return what a client says of itself when it registers. (A16, A19; RFC 7591 section 2)"""
    native = all(
        is_private_use(uri) or is_loopback(urlsplit(uri).hostname or "") for uri in redirect_uris
    )
    grants = ["authorization_code", "refresh_token"] if refreshes else ["authorization_code"]
    said: dict[str, Any] = {
        "client_name": client_name,
        "redirect_uris": list(redirect_uris),
        "grant_types": grants,
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "native" if native else "web",
    }
    if scopes:
        said["scope"] = " ".join(scopes)
    return said


def preferred_method(server: ServerMetadata, *, has_secret: bool, forced: str | None) -> AuthMethod:
    """Return how to say at the token endpoint who we are. (A22; seed 3.2: basic, post, none)

    Args:
        server: Whose token endpoint.
        has_secret: Whether we have one, or are to get one.
        forced: What the configuration says.

    Raises:
        OAuthError: It takes nothing that we know.
    """
    if forced is not None:
        return known_method(forced)
    offered = server.token_endpoint_auth_methods_supported
    if not offered:  # RFC 8414: then it is basic
        return "client_secret_basic" if has_secret else "none"
    wanted: tuple[AuthMethod, ...] = ("client_secret_basic", "client_secret_post", "none")
    if not has_secret:
        wanted = ("none",)
    for method in wanted:
        if method in offered:
            return method
    if not has_secret:
        return "none"
    raise OAuthError(
        "the authorization server takes none of the ways to authenticate a client that we know.",
        error="auth_method_unsupported",
    )


def known_method(text: str) -> AuthMethod:
    """Return *text* if it is a way to authenticate that we know.

    Raises:
        OAuthError: It is not.
    """
    for method in METHODS:
        if text == method:
            return method
    raise _unsupported()


def _unsupported() -> OAuthError:
    return OAuthError(
        "the authorization server wants its clients to authenticate in a way we do not know.",
        error="auth_method_unsupported",
    )


def registered(
    answer: Mapping[str, Any],
    *,
    issuer: str,
    redirect_uri: str,
    asked: AuthMethod,
    scopes: Sequence[str] = (),
) -> ClientCredentials:
    """Return the client that a registration made. (RFC 7591, section 3.2.1)

    Raises:
        MessageInvalid: The answer names no client, or one of which nothing can be sent.
        OAuthError: It wants to be told who we are in a way we do not know, or it would have users
            come back to somewhere else.
    """
    client_id, secret = answer.get("client_id"), answer.get("client_secret")
    if not _can_be_sent(client_id):
        raise MessageInvalid("the answer to the client registration has no usable client_id.")
    if secret and not _can_be_sent(secret):
        raise MessageInvalid("the answer to the client registration has an unusable client_secret.")
    uris = answer.get("redirect_uris")
    if isinstance(uris, list) and redirect_uri not in uris:
        raise OAuthError(
            "the authorization server registered other redirect URIs than ours.",
            error="invalid_redirect_uri",
        )
    method = answer.get("token_endpoint_auth_method")
    return ClientCredentials(
        client_id=str(client_id),
        client_secret=str(secret) if secret else None,
        method=_method(method, asked, has_secret=bool(secret)),
        source="registered",
        issuer=issuer,
        redirect_uri=redirect_uri,
        expires_at=_expiry(answer.get("client_secret_expires_at")) if secret else None,
        scope=" ".join(scopes) or None,
    )


def _can_be_sent(value: object) -> bool:
    """Whether *value* is what RFC 6749 (appendix A) lets a client id or secret be."""
    fits = isinstance(value, str) and 0 < len(value) <= MAX_ID
    return fits and all(" " <= char <= "~" for char in str(value))


def _method(said: object, asked: AuthMethod, *, has_secret: bool) -> AuthMethod:
    """Return how to say who we are, as a registration was answered."""
    method = known_method(said) if isinstance(said, str) else asked
    if method == "private_key_jwt" != asked:
        raise _unsupported()
    # Without a secret there is nothing to show, whatever the answer says.
    return "none" if method.startswith("client_secret") and not has_secret else method


def _expiry(value: object) -> float | None:
    """Return when a secret is over; zero is never. (RFC 7591, section 3.2.1)"""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < FOREVER:
        return None
    return float(value)


def at(client: ClientCredentials, issuer: str) -> ClientCredentials:
    """Return a configured client as one of *issuer*; what is another's is refused. (A20)

    Raises:
        OAuthError: It was configured for another authorization server.
    """
    if client.issuer is not None and client.issuer != issuer:
        raise OAuthError(
            "the client id was configured for another authorization server than the one that the "
            "server names now; it is not sent there.",
            error="client_of_another_issuer",
        )
    return replace(client, issuer=issuer)
