"""What servers say of who issues tokens for them, and how. Nothing here asks anybody.

RFC 9728 (protected resources), RFC 8414 and OpenID Connect Discovery (authorization servers);
requirements A2 to A6, A8, A21 and A24.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from ..errors import MessageInvalid, OAuthError, RefusedError
from ..security.addresses import is_loopback
from ..security.redaction import safe_url

RESOURCE: Final = "/.well-known/oauth-protected-resource"
SERVER: Final = "/.well-known/oauth-authorization-server"
OPENID: Final = "/.well-known/openid-configuration"
M = TypeVar("M", bound=BaseModel)

MOST: Final = 64  # entries of a list that are looked at
_NOT_IN_URLS: Final = frozenset(' "<>\\^`{|}')  # RFC 3986: these are written as %xx


def _texts(value: Any) -> Any:
    """Take a list of strings; of something else, nothing: it is no reason to fail."""
    if not isinstance(value, list | tuple):
        return ()
    return tuple(each for each in value[:MOST] if isinstance(each, str))


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
_MODEL = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class ResourceMetadata(BaseModel):
    """What a server says of itself as a protected resource. (RFC 9728, section 2)"""

    model_config = _MODEL

    resource: str
    authorization_servers: Texts = ()
    scopes_supported: Texts = ()
    dpop_bound_access_tokens_required: bool = False


class ServerMetadata(BaseModel):
    """What an authorization server says of itself. (RFC 8414, section 2)"""

    model_config = _MODEL

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    scopes_supported: Texts = ()
    response_types_supported: Texts = ()
    grant_types_supported: Texts = ()
    token_endpoint_auth_methods_supported: Texts | None = None
    token_endpoint_auth_signing_alg_values_supported: Texts = ()
    revocation_endpoint_auth_methods_supported: Texts | None = None
    code_challenge_methods_supported: Texts | None = None
    client_id_metadata_document_supported: bool = False
    authorization_response_iss_parameter_supported: bool = False
    dpop_signing_alg_values_supported: Texts = ()
    is_guess: bool = False
    """Nobody said who it is: the paths that 2025-03-26 takes for granted (A24), or configured."""

    @property
    def refreshes(self) -> bool:
        """Whether it says that it takes refresh tokens; it may without saying so."""
        return not self.grant_types_supported or "refresh_token" in self.grant_types_supported


def resource_metadata_urls(server_url: str, hint: str | None = None) -> list[str]:
    """Return where a server may say who issues its tokens, in order. (A2)

    Args:
        server_url: The URL of the MCP server.
        hint: What its challenge names. It is authoritative: nothing else is looked at then.
    """
    if hint is not None:
        return [hint]
    origin, path = _split(server_url)
    found = [f"{origin}{RESOURCE}{path}", f"{origin}{RESOURCE}"]
    return list(dict.fromkeys(found))


def server_metadata_urls(issuer: str) -> list[str]:
    """Return where an authorization server may describe itself, in order. (A5)"""
    origin, path = _split(issuer)
    if not path:
        return [f"{origin}{SERVER}", f"{origin}{OPENID}"]
    return [f"{origin}{SERVER}{path}", f"{origin}{OPENID}{path}", f"{origin}{path}{OPENID}"]


def read_resource(document: Mapping[str, Any], server_url: str) -> ResourceMetadata:
    """Return what a server's document says, if it speaks of that server. (A3)

    Raises:
        MessageInvalid: It is no such document.
        OAuthError: It is that of another resource, for whose tokens somebody else would be asked.
    """
    found = _parsed(ResourceMetadata, document, "protected-resource metadata")
    if not covers(found.resource, server_url):
        raise OAuthError(
            f"the server says that it is the resource {safe_url(found.resource)}, which it is not; "
            "no token is asked for in that name.",
            error="resource_mismatch",
        )
    return found


def read_server(
    document: Mapping[str, Any], issuer: str, *, exactly: bool = True
) -> ServerMetadata:
    """Return what an authorization server's document says, if it is that of *issuer*. (A6)

    Args:
        document: What came.
        issuer: What it has to say, letter for letter.
        exactly: False where nobody named the issuer, and the server itself is asked (A24). Then any
            issuer of its origin will do. One of another origin is never believed: whoever says that
            he is somebody else would be sent the client, and the codes, that are meant for that.

    Raises:
        MessageInvalid: It is no such document.
        OAuthError: It is the document of another issuer.
        RefusedError: One of its endpoints is not https. (A21)
    """
    found = _parsed(ServerMetadata, document, "authorization-server metadata")
    if not (found.issuer == issuer or (not exactly and _are_of_one_origin(found.issuer, issuer))):
        raise OAuthError(
            f"the metadata of {safe_url(issuer)} says that it is {safe_url(found.issuer)}, "
            "so it is not used.",
            error="issuer_mismatch",
        )
    for name in ("authorization", "token", "registration", "revocation"):
        check_endpoint(getattr(found, f"{name}_endpoint"), name)
    return found


def guessed_server(server_url: str) -> ServerMetadata:
    """Return the endpoints that 2025-03-26 takes for granted where nothing is said. (A24)"""
    origin, _ = _split(server_url)
    return ServerMetadata(
        issuer=origin,
        authorization_endpoint=f"{origin}/authorize",
        token_endpoint=f"{origin}/token",
        registration_endpoint=f"{origin}/register",
        code_challenge_methods_supported=["S256"],  # type: ignore[arg-type]
        is_guess=True,
    )


def check_endpoint(url: str | None, name: str) -> None:
    """Refuse an endpoint that is not https, or http to this machine. (A21, S2)"""
    if url is None:
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    is_good = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    is_plain = url.isascii() and url.isprintable() and not _NOT_IN_URLS & set(url)
    if not host or not is_good or "@" in parts.netloc or not is_plain:
        raise RefusedError(
            f"the {name} endpoint of the authorization server is {safe_url(url)!r}; "
            "only https:// URLs are used, and http:// on this machine.",
            rule="form",
        )


def covers(resource: str, server_url: str) -> bool:
    """Whether *resource* stands for a server: the same origin, and its path or one above it."""
    if not resource.isprintable() or not _are_of_one_origin(resource, server_url):
        return False
    theirs, ours = urlsplit(resource), urlsplit(server_url)
    above = theirs.path.rstrip("/") + "/"
    is_above = (ours.path.rstrip("/") + "/").startswith(above)
    return is_above and "@" not in theirs.netloc and not theirs.fragment


def canonical_resource(server_url: str) -> str:
    """Return the ``resource`` of a server that does not say it: no fragment, lower case. (A11)"""
    parts = urlsplit(server_url)
    netloc = parts.netloc.rpartition("@")[2].lower()
    path = parts.path if parts.path != "/" else ""
    return urlunsplit((parts.scheme.lower(), netloc, path, parts.query, ""))


def _are_of_one_origin(one: str, other: str) -> bool:
    try:
        return _origin(urlsplit(one)) == _origin(urlsplit(other))
    except ValueError:
        return False


def _origin(parts: Any) -> tuple[str, str | None, int | None]:
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, port


def _split(url: str) -> tuple[str, str]:
    """Return the origin of *url*, and its path without a slash at the end."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path.rstrip("/")


def _parsed(model: type[M], document: Mapping[str, Any], what: str) -> M:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise MessageInvalid(f"the {what} is wrong at {field!r}: {first['msg']}.") from None
