"""A server on the official SDK 2.3 that wants tokens of an authorization server.

    python sdk2_protected.py ISSUER PORT

It runs in the environment of the SDK. Tokens are JWTs, checked against the issuer's keys. What the
SDK does not know stands in front of it: tokens that are bound to a key (RFC 9449), and a tool that
needs more than others do.
"""

import base64
import hashlib
import json
import os
import sys
import threading
import time

import anyio.to_thread
import jwt
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings

ISSUER, PORT = sys.argv[1], int(sys.argv[2])
URL = f"http://127.0.0.1:{PORT}/mcp"
METADATA = f"http://127.0.0.1:{PORT}/.well-known/oauth-protected-resource/mcp"
NEEDS = {"save": "write"}  # a tool, and the scope it needs besides `read`


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


class Front:
    """What the SDK does not look at: proofs of possession, and what single tools need."""

    def __init__(self, app) -> None:
        self._app = app
        self._seen: set[str] = set()

    async def __call__(self, scope, receive, send) -> None:
        """Turn a request down, or hand it on as the SDK knows it."""
        if scope["type"] == "http":
            headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
            kind, _, token = headers.get("authorization", "").partition(" ")
            claims = unverified(token)
            if kind.lower() == "dpop" or "cnf" in claims:
                try:
                    assert kind.lower() == "dpop", "a bound token came without a proof"
                    self._check(headers.get("dpop", ""), scope, token, claims)
                except (AssertionError, KeyError, jwt.PyJWTError) as error:
                    print("proof refused:", error, flush=True)
                    return await refuse(send, 401, 'DPoP error="invalid_dpop_proof"')
                print("proof taken", flush=True)
                theirs = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
                scope["headers"] = [*theirs, (b"authorization", f"Bearer {token}".encode())]
            needed = NEEDS.get(headers.get("mcp-name", ""))
            if claims and needed is not None and needed not in claims.get("scope", "").split():
                more = f'error="insufficient_scope", scope="{needed}"'
                told = f'Bearer {more}, resource_metadata="{METADATA}"'
                return await refuse(send, 403, told)
        return await self._app(scope, receive, send)

    def _check(self, proof: str, scope: dict, token: str, claims: dict) -> None:
        """Raise if a proof is not one, as RFC 9449 section 4.3 lists it."""
        head = jwt.get_unverified_header(proof)
        assert head["typ"] == "dpop+jwt"
        assert "d" not in head["jwk"], "there is a private key in it"
        said = jwt.decode(proof, jwt.PyJWK(head["jwk"]).key, algorithms=["ES256"])
        assert said["htm"] == scope["method"]
        assert said["htu"] == f"http://127.0.0.1:{PORT}{scope['path']}"
        assert abs(said["iat"] - time.time()) < 60
        assert said["ath"] == digest(token)
        assert said["jti"] not in self._seen, "it was used before"
        self._seen.add(said["jti"])
        key = {name: head["jwk"][name] for name in ("crv", "kty", "x", "y")}
        thumbprint = digest(json.dumps(key, separators=(",", ":"), sort_keys=True))
        assert claims["cnf"]["jkt"] == thumbprint, "the token is bound to another key"


def digest(text: str) -> str:
    """Return SHA-256 in base64url."""
    found = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode()


def unverified(token: str) -> dict:
    """Return what a token says; the SDK's verifier has the last word."""
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return {}


async def refuse(send, status: int, challenge: str) -> None:
    """Answer with a challenge and nothing else."""
    headers = [(b"www-authenticate", challenge.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


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
    """Say whose token it is: user, client, scopes."""
    token = get_access_token()
    return f"{token.subject} {token.client_id} {' '.join(token.scopes)}"


@server.tool()
def save() -> str:
    """Say whose token it is, to who may write."""
    return whoami()


def end_with_stdin() -> None:
    """End when whoever started this is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_stdin, daemon=True).start()
    uvicorn.run(Front(server.streamable_http_app()), host="127.0.0.1", port=PORT)
