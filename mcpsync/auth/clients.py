"""Who we are to an authorization server: client ids, and how they come about.

Requirements A17 to A20 and A22; RFC 7591 (dynamic registration), the draft on client id metadata
documents (CIMD).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

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
FAR_OFF: Final = 1e12  # seconds since the epoch; no number that a server sends is larger to us
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
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    method: AuthMethod = "none"
    source: Source = "configured"
    issuer: str | None = None
    redirect_uri: str | None = None
    expires_at: float | None = None


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
    parts = urlsplit(url)
    steps = parts.path.split("/")
    if (
        parts.scheme != "https"
        or not parts.hostname
        or parts.path in ("", "/")
        or {".", ".."} & set(steps)
        or "@" in parts.netloc
        or parts.fragment
    ):
        raise ConfigurationError(
            "the URL of a client id metadata document is https:// with a path, "
            "and without credentials or a fragment."
        )


def check_redirect_uri(uri: str) -> None:
    """Raise ``ConfigurationError`` if users must not be sent back to *uri*. (A21)"""
    parts = urlsplit(uri)
    local = parts.scheme == "http" and is_loopback(parts.hostname or "")
    private_use = "." in parts.scheme  # com.example.app:/callback, RFC 8252 section 7.1
    if not (parts.scheme == "https" and parts.hostname) and not local and not private_use:
        raise ConfigurationError(
            "a redirect URI is https://, or http:// on this machine, or of a scheme of your own."
        )


def registration(
    redirect_uris: Sequence[str],
    *,
    client_name: str = CLIENT_NAME,
    method: AuthMethod = "none",
    scopes: Sequence[str] = (),
    refreshes: bool = True,
) -> dict[str, Any]:
    """Return what a client says of itself when it registers. (A16, A19; RFC 7591 section 2)"""
    local = all(is_loopback(urlsplit(uri).hostname or "") for uri in redirect_uris)
    grants = ["authorization_code", "refresh_token"] if refreshes else ["authorization_code"]
    said: dict[str, Any] = {
        "client_name": client_name,
        "redirect_uris": list(redirect_uris),
        "grant_types": grants,
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "native" if local else "web",
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
    if offered is None:  # RFC 8414: then it is basic
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
    raise OAuthError(
        "the authorization server wants its clients to authenticate in a way we do not know.",
        error="auth_method_unsupported",
    )


def registered(
    answer: Mapping[str, Any], *, issuer: str, redirect_uri: str, asked: AuthMethod
) -> ClientCredentials:
    """Return the client that a registration made. (RFC 7591, section 3.2.1)

    Raises:
        MessageInvalid: The answer names no client.
        OAuthError: It wants to be told who we are in a way we do not know.
    """
    client_id, secret = answer.get("client_id"), answer.get("client_secret")
    if not isinstance(client_id, str) or not client_id:
        raise MessageInvalid("the answer to the client registration has no client_id.")
    method = answer.get("token_endpoint_auth_method", asked)
    expires = answer.get("client_secret_expires_at")
    has_secret = isinstance(secret, str) and bool(secret)
    return ClientCredentials(
        client_id=client_id,
        client_secret=secret if isinstance(secret, str) and secret else None,
        method=known_method(method) if isinstance(method, str) else asked,
        source="registered",
        issuer=issuer,
        redirect_uri=redirect_uri,
        expires_at=float(min(expires, FAR_OFF))
        if has_secret and isinstance(expires, int | float) and expires > 0
        else None,
    )


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
