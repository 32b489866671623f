"""The authorization code flow, without asking anybody: what is sent, and what may come back.

RFC 6749 section 4.1, RFC 7636 (PKCE), RFC 9207 (``iss``), RFC 8707 (``resource``); requirements A7
to A11.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..errors import OAuthError
from .metadata import ServerMetadata, check_endpoint

S256: Final = "S256"
STATE_BYTES: Final = 32
_CODE: Final = re.compile(r"[a-z]+(?:[_-][a-z]+)*")
_NO: Final = "the authorization server did not agree"
MAX_ERROR: Final = 64  # characters of an error code that are believed to be one


class Verifier(NamedTuple):
    """The secret of one authorization request, and what of it is shown. (RFC 7636)"""

    secret: str
    challenge: str

    @classmethod
    def new(cls) -> Verifier:
        """Return a new one, of 43 characters."""
        secret = secrets.token_urlsafe(32)
        digest = hashlib.sha256(secret.encode("ascii")).digest()
        return cls(secret, base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"))

    def __repr__(self) -> str:
        return "Verifier(…)"


def new_state() -> str:
    """Return a new ``state``: 32 random bytes, in base64."""
    return secrets.token_urlsafe(STATE_BYTES)


def check_pkce(server: ServerMetadata, *, insist: bool = True) -> None:
    """Refuse an authorization server that does not say that it knows S256. (A8)

    Raises:
        OAuthError: It does not; without PKCE a stolen code would be as good as a token.
    """
    methods = server.code_challenge_methods_supported
    if insist and (methods is None or S256 not in methods):
        raise OAuthError(
            "the authorization server does not say that it supports PKCE with S256, "
            "so nobody is sent there.",
            error="pkce_unsupported",
        )


def authorization_url(
    server: ServerMetadata,
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    challenge: str,
    scopes: Sequence[str],
    resource: str | None,
    more: Mapping[str, str] | None = None,
) -> str:
    """Return where to send the user. (A7 to A11)

    Args:
        server: Whose authorization endpoint.
        client_id: Who asks.
        redirect_uri: Where he is to come back to.
        state: What comes back with him.
        challenge: Of the :class:`Verifier`.
        scopes: What is asked for; without any, the parameter is left out. (A14)
        resource: Whom the token is for; None only where 2025-03-26 knows no such parameter.
        more: Parameters that the configuration adds; none of them replaces one of ours.

    Raises:
        OAuthError: The server has no authorization endpoint.
        RefusedError: It is not one that a user may be sent to. (S2)
    """
    endpoint = server.authorization_endpoint
    if endpoint is None:
        raise OAuthError(
            "the authorization server has no authorization endpoint.", error="no_endpoint"
        )
    check_endpoint(endpoint, "authorization")
    ours: dict[str, str] = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": S256,
    }
    if scopes:
        ours["scope"] = " ".join(scopes)
    if resource is not None:
        ours["resource"] = resource
    parts = urlsplit(endpoint)
    theirs = [(name, value) for name, value in parse_qsl(parts.query, True) if name not in ours]
    theirs += [(name, value) for name, value in (more or {}).items() if name not in ours]
    return urlunsplit(parts._replace(query=urlencode([*theirs, *ours.items()]), fragment=""))


class Returned(NamedTuple):
    """What an authorization server sent the user back with.

    Args:
        state: Which sign-in it belongs to.
        code: What a token is had for.
        iss: Who says so. (RFC 9207)
        error: Why there is no code. Not to be believed, nor shown, before ``iss`` was compared.
    """

    state: str | None
    code: str | None = None
    iss: str | None = None
    error: str | None = None

    def __repr__(self) -> str:
        return "Returned(…)"


def check_issuer(server_says_it_sends: bool, issuer: str, iss: str | None) -> None:
    """Hold who answered against who was asked. (A10: RFC 9207, section 2.4)

    Args:
        server_says_it_sends: ``authorization_response_iss_parameter_supported``.
        issuer: Who was asked, as his metadata says, letter for letter.
        iss: What came back.

    Raises:
        OAuthError: Somebody else answered, or nobody said who; the code is not redeemed.
    """
    if iss is None:
        if server_says_it_sends:
            raise OAuthError(
                "the answer does not say which authorization server it comes from, although that "
                "one always does; it is not believed.",
                error="issuer_missing",
            )
        return
    if iss != issuer:  # neither is a secret
        raise OAuthError(
            "the answer comes from another authorization server than was asked; "
            "it is not believed.",
            error="issuer_mismatch",
        )


def check_origin(endpoint: str, iss: str | None) -> None:
    """Hold who answered against where the user was sent, if nobody has said who is there.

    Args:
        endpoint: The authorization endpoint.
        iss: What came back.

    Raises:
        OAuthError: Somebody of another origin answered; the code is not redeemed.
    """
    if iss is not None and _origin(iss) != _origin(endpoint):
        raise OAuthError(
            "the answer comes from another server than the user was sent to; it is not believed. "
            "If it is right, configure who that is: issuer.",
            error="issuer_mismatch",
        )


def code_of(returned: Returned) -> str:
    """Return the code, once ``iss`` was compared.

    Raises:
        OAuthError: The server, or the user, said no. Of the server's words only the error code is
            taken, if it is one: what it describes may be markup.
    """
    if returned.error is not None:
        error = known_error(returned.error)
        who = "the user did not agree, or may not" if error == "access_denied" else _NO
        raise OAuthError(f"{who}: {error}.", error=error)
    if not returned.code:
        raise OAuthError("there is no code in the answer.", error="code_missing")
    if not (returned.code.isascii() and returned.code.isprintable()):  # RFC 6749, appendix A.11
        raise OAuthError("what is in the answer is no code.", error="code_invalid")
    return returned.code


def _origin(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.scheme, parts.netloc


def known_error(text: object) -> str:
    """Return an error code as it may be shown: words, and nothing that a secret could be part of.

    Registered codes are lower case, with underscores. Whatever else stands there may be markup, or
    the very token that was sent.
    """
    is_one = isinstance(text, str) and len(text) <= MAX_ERROR and _CODE.fullmatch(text) is not None
    return str(text) if is_one else "unknown_error"
