"""A server on the official SDK 2.3 that wants tokens of an authorization server.

    python sdk2_protected.py PORT ISSUER

It runs in the environment of the SDK. Tokens are JWTs, checked against the issuer's keys.
"""

import os
import sys
import threading

import anyio.to_thread
import jwt
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

PORT, ISSUER = int(sys.argv[1]), sys.argv[2]
URL = f"http://localhost:{PORT}/mcp"


class Verifier:
    """Takes what the issuer has signed for this server."""

    def __init__(self) -> None:
        self._keys = jwt.PyJWKClient(f"{ISSUER}/jwks")

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return what a token says, if it is good."""
        try:
            claims = await anyio.to_thread.run_sync(self._claims, token)
        except jwt.PyJWTError:
            return None
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims.get("scope", "").split(),
            expires_at=claims["exp"],
            resource=URL,
            subject=claims.get("sub"),
        )

    def _claims(self, token: str) -> dict:
        key = self._keys.get_signing_key_from_jwt(token)
        return jwt.decode(token, key.key, algorithms=["RS256"], audience=URL, issuer=ISSUER)


server = MCPServer(
    "protected",
    token_verifier=Verifier(),
    auth=AuthSettings(
        issuer_url=ISSUER,
        resource_server_url=URL,
        required_scopes=["read"],
        validate_token_resource=True,
    ),
)


@server.tool()
def whoami() -> str:
    """Say whose token it is."""
    token = get_access_token()
    return f"{token.subject} {' '.join(token.scopes)}"


def end_with_stdin() -> None:
    """End when whoever started this is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    server.run("streamable-http", host="127.0.0.1", port=PORT)
