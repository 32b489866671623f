"""What an id token of OpenID Connect says of a user, for people to read."""

from __future__ import annotations

from typing import Any


def unverified_claims(id_token: str) -> dict[str, Any]:
    """Return the claims of an id token. Nobody has verified them: they are good for display alone.

    Empty if it is none, or PyJWT is missing.
    """
    try:
        import jwt
    except ImportError:
        return {}
    try:
        return dict(jwt.decode(id_token, options={"verify_signature": False}))
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return {}
