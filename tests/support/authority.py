"""An authorization server, and the MCP server that wants its tokens, in the test's process.

It shares no code with the library and is strict: what a client sends wrong, it refuses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

import jwt
import requests

from mcpsync.testing import LocalServer, Page

RESOURCE = "/.well-known/oauth-protected-resource"
SERVER = "/.well-known/oauth-authorization-server"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Refusal(Exception):
    """What the authorization server says no with."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status = status


@dataclass
class Given:
    """What a user agreed to, and the tokens that came of it."""

    client_id: str
    scope: str
    resource: str | None
    challenge: str | None = None
    redirect_uri: str | None = None
    access_tokens: list[str] = field(default_factory=list)
    refresh_token: str | None = None
    revoked: bool = False


class Authority:
    """An authorization server and an MCP server behind it; both are served while in ``with``.

    All members may be used from any thread, and changed at any time.

    Args:
        lifetime: Seconds that access tokens are said to be good; None says nothing.
        rotate: Whether a refresh token is good once. Who redeems it again loses the grant.
        registration: Whether clients may register themselves.
        documents: Whether a client id may be the URL of a document.
        says_iss: Whether users come back with ``iss``.
        server: More options of the MCP server's :class:`~mcpsync.testing.LocalServer`.

    Attributes:
        server_metadata: Laid over what the authorization server says of itself; None takes out.
        resource_metadata: The same for the MCP server.
        clients: The registered clients by id: as they registered, with their secrets.
        scope_of: Of tools, the scope that calling them needs.
        asked: What came to each of its endpoints, such as ``("token", {...fields})``.
        secrets: All that must never be seen in a log.
    """

    def __init__(
        self,
        *,
        lifetime: float | None = 3600,
        rotate: bool = True,
        registration: bool = True,
        documents: bool = False,
        says_iss: bool = True,
        **server: Any,
    ) -> None:
        self.lifetime = lifetime
        self.rotate = rotate
        self.says_iss = says_iss
        self.server_metadata: dict[str, Any] = {}
        self.resource_metadata: dict[str, Any] = {}
        if not registration:
            self.server_metadata["registration_endpoint"] = None
        if documents:
            self.server_metadata["client_id_metadata_document_supported"] = True
        self.clients: dict[str, dict[str, Any]] = {}
        self.scope_of: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.secrets: list[str] = []
        self._pages: dict[str, list[Page | Callable[[], Page | None]]] = {}
        self._codes: dict[str, Given] = {}
        self._good: dict[str, Given] = {}
        self._given: dict[str, Given] = {}
        self._lock = threading.Lock()
        self.mcp = LocalServer(front=self._before_mcp, **server)
        self.server = LocalServer(front=self._answer)

    def __enter__(self) -> Self:
        self.mcp.start()
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mcp.close()
        self.server.close()

    @property
    def url(self) -> str:
        """The MCP server's URL."""
        return self.mcp.url

    @property
    def issuer(self) -> str:
        """The authorization server's."""
        return self.server.url.removesuffix("/mcp")

    def count(self, endpoint: str, **fields: str) -> int:
        """Return how often an endpoint was asked, with these fields."""
        return sum(
            name == endpoint and fields.items() <= said.items() for name, said in list(self.asked)
        )

    # -- what users and operators do --------------------------------------------------------------

    def approve(self, url: str) -> str:
        """Go to *url* as a user's browser does, agree, and return where he is sent back to."""
        answer = requests.get(url, allow_redirects=False, timeout=10)
        assert answer.status_code == 302, (answer.status_code, answer.text)
        return answer.headers["Location"]

    def refuse(self, url: str, error: str = "access_denied") -> str:
        """Go to *url*, say no, and return where the user is sent back to."""
        sent = dict(parse_qsl(urlsplit(url).query))
        back = {"error": error, "state": sent["state"], "iss": self.issuer}
        return f"{sent['redirect_uri']}?{urlencode(back)}"

    def say(self, path: str, page: Page | Callable[[], Page | None], times: int = 1) -> None:
        """Have the next requests to *path*, of either server, answered with *page*.

        A callable is called in the server's thread, after what was asked has been done: what it
        waits for delays the answer. It returns the page, or None for the true answer.
        """
        with self._lock:
            self._pages.setdefault(path, []).extend([page] * times)

    def end_access_tokens(self) -> None:
        """Turn down every access token given out so far, from now on."""
        with self._lock:
            self._good.clear()

    def end_grants(self) -> None:
        """Turn down every token given out so far, refresh tokens too."""
        with self._lock:
            self._good.clear()
            for given in self._given.values():
                given.revoked = True

    def end_codes(self) -> None:
        """Have every code given out so far be over."""
        with self._lock:
            self._codes.clear()

    def forget_clients(self) -> None:
        """Forget who has registered."""
        with self._lock:
            self.clients.clear()

    # -- the MCP server ---------------------------------------------------------------------------

    def _before_mcp(self, request: Any) -> Page | None:
        path = request.path.partition("?")[0]
        planned = self._planned(path)
        if planned is not None:
            return planned
        if path.startswith(RESOURCE):
            said = {"resource": self.url, "authorization_servers": [self.issuer]}
            return Page.json(_laid_over(said, self.resource_metadata))
        if path not in ("/mcp", "/sse", "/message"):
            return Page(404)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        origin, _, name = self.url.rpartition("/")
        where = f'resource_metadata="{origin}{RESOURCE}/{name}"'
        with self._lock:
            given = self._good.get(token) if kind.lower() == "bearer" else None
        if given is None:
            why = ', error="invalid_token"' if token else ""
            return Page(401, headers=(("WWW-Authenticate", f"Bearer {where}{why}"),))
        needed = self.scope_of.get(_tool(request.body))
        if needed is not None and needed not in given.scope.split():
            more = f'Bearer error="insufficient_scope", scope="{needed}", {where}'
            return Page(403, headers=(("WWW-Authenticate", more),))
        return None

    # -- the authorization server -----------------------------------------------------------------

    def metadata(self) -> dict[str, Any]:
        """Return what it says of itself."""
        said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [
                "none",
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
            ],
            "authorization_response_iss_parameter_supported": self.says_iss,
        }
        return _laid_over(said, self.server_metadata)

    def _answer(self, request: Any) -> Page:
        path, _, query = request.path.partition("?")
        name = path.strip("/")
        try:
            true = self._true_answer(name, path, query, request)
        except Refusal as no:
            true = Page.json({"error": no.error}, no.status)
        planned = self._planned(path)
        return true if planned is None else planned

    def _true_answer(self, name: str, path: str, query: str, request: Any) -> Page:
        if path == SERVER:
            return Page.json(self.metadata())
        if name == "authorize":
            return self._authorize(dict(parse_qsl(query)))
        if name == "register":
            return self._register(json.loads(request.body))
        if name in ("token", "revoke"):
            fields = {k: v[0] for k, v in parse_qs(request.body.decode()).items()}
            self.asked.append((name, fields))
            self._hide(fields, request.headers)
            client_id = self._client_of(fields, request.headers)
            return self._token(client_id, fields) if name == "token" else self._revoke(fields)
        return Page(404)

    def _planned(self, path: str) -> Page | None:
        with self._lock:
            waiting = self._pages.get(path)
            page = waiting.pop(0) if waiting else None
        return page() if callable(page) else page

    def _authorize(self, sent: dict[str, str]) -> Page:
        self.asked.append(("authorize", sent))
        self.secrets.append(sent["state"])
        assert sent["response_type"] == "code"
        assert len(sent["state"]) >= 43, "256 bits in base64"
        assert len(sent["code_challenge"]) == 43, "SHA-256 in base64"
        assert sent["code_challenge_method"] == "S256"
        client = self.clients.get(sent["client_id"])
        if client is None and not sent["client_id"].startswith("http"):
            return Page(400, b"unknown client", "text/plain")
        if client is not None and sent["redirect_uri"] not in client["redirect_uris"]:
            return Page(400, b"unknown redirect_uri", "text/plain")
        code = self._secret("code")
        self._codes[code] = Given(
            sent["client_id"],
            sent.get("scope", ""),
            sent.get("resource"),
            sent["code_challenge"],
            sent["redirect_uri"],
        )
        back = {"code": code, "state": sent["state"]}
        if self.says_iss:
            back["iss"] = self.issuer
        return Page(302, headers=(("Location", f"{sent['redirect_uri']}?{urlencode(back)}"),))

    def _register(self, said: dict[str, Any]) -> Page:
        self.asked.append(("register", {name: str(value) for name, value in said.items()}))
        method = said.get("token_endpoint_auth_method", "client_secret_basic")
        client = {**said, "client_id": f"client-{secrets.token_hex(4)}"}
        if method.startswith("client_secret"):
            client["client_secret"] = self._secret("client")
        self.clients[client["client_id"]] = client
        return Page.json(client, 201)

    def add_client(self, client_id: str, **said: Any) -> dict[str, Any]:
        """Register a client by hand; ``client_secret=`` and ``public_key=`` are its own."""
        said.setdefault(
            "token_endpoint_auth_method",
            "client_secret_basic" if "client_secret" in said else "none",
        )
        self.secrets.extend(str(said[name]) for name in ("client_secret",) if name in said)
        self.clients[client_id] = {"client_id": client_id, **said}
        return self.clients[client_id]

    def _client_of(self, fields: Mapping[str, str], headers: Mapping[str, str]) -> str:
        basic = headers.get("authorization", "")
        if basic.lower().startswith("basic "):
            if "client_secret" in fields or "client_assertion" in fields:
                raise Refusal("invalid_request")
            decoded = base64.b64decode(basic[6:]).decode()
            client_id, secret = (unquote(part.replace("+", " ")) for part in decoded.split(":", 1))
            method = "client_secret_basic"
        elif "client_assertion" in fields:
            told = jwt.decode(fields["client_assertion"], options={"verify_signature": False})
            client_id, secret, method = told["sub"], "", "private_key_jwt"
        else:
            client_id, secret = fields.get("client_id", ""), fields.get("client_secret", "")
            method = "client_secret_post" if secret else "none"
        client = self.clients.get(client_id)
        if client is None:
            if client_id.startswith("http") and method == "none":
                return client_id
            if fields.get("grant_type") == JWT_BEARER and not client_id:
                return ""
            raise Refusal("invalid_client", 401)
        if client.get("token_endpoint_auth_method", "client_secret_basic") != method:
            raise Refusal("invalid_client", 401)
        if method == "private_key_jwt":
            self._check_assertion(fields["client_assertion"], client)
        elif client.get("client_secret", "") != secret:
            raise Refusal("invalid_client", 401)
        return client_id

    def _check_assertion(self, assertion: str, client: Mapping[str, Any]) -> None:
        try:
            jwt.decode(
                assertion,
                client["public_key"],
                algorithms=["RS256", "ES256"],
                audience=[self.issuer, f"{self.issuer}/token"],
                options={"require": ["exp", "iat", "jti", "iss", "sub", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Refusal("invalid_client", 401) from error

    def _token(self, client_id: str, fields: Mapping[str, str]) -> Page:
        kind = fields["grant_type"]
        with self._lock:
            if kind == "authorization_code":
                given = self._redeemed_code(client_id, fields)
                _check_resource(given, fields)
            elif kind == "refresh_token":
                given = self._redeemed_refresh(client_id, fields["refresh_token"])
                _check_resource(given, fields)
            elif kind in ("client_credentials", JWT_BEARER):
                given = Given(client_id, fields.get("scope", ""), fields.get("resource"))
            else:
                raise Refusal("unsupported_grant_type")
            return Page.json(self._tokens(given, kind))

    def _redeemed_code(self, client_id: str, fields: Mapping[str, str]) -> Given:
        given = self._codes.pop(fields["code"], None)
        digest = hashlib.sha256(fields["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            given is None
            or given.client_id != client_id
            or given.challenge != challenge
            or given.redirect_uri != fields["redirect_uri"]
        ):
            raise Refusal("invalid_grant")
        return given

    def _redeemed_refresh(self, client_id: str, token: str) -> Given:
        given = self._given.get(token)
        if given is None or given.revoked or given.client_id != client_id:
            raise Refusal("invalid_grant")
        if self.rotate and given.refresh_token != token:  # used before: somebody stole it
            given.revoked = True
            for access_token in given.access_tokens:
                self._good.pop(access_token, None)
            raise Refusal("invalid_grant")
        return given

    def _tokens(self, given: Given, kind: str) -> dict[str, Any]:
        access_token = self._secret("access")
        given.access_tokens.append(access_token)
        self._good[access_token] = given
        said: dict[str, Any] = {"access_token": access_token, "token_type": "Bearer"}
        if given.scope:
            said["scope"] = given.scope
        if self.lifetime is not None:
            said["expires_in"] = self.lifetime
        if kind == "authorization_code" or (kind == "refresh_token" and self.rotate):
            given.refresh_token = said["refresh_token"] = self._secret("refresh")
            self._given[given.refresh_token] = given
        return said

    def _revoke(self, fields: Mapping[str, str]) -> Page:
        with self._lock:
            token = fields["token"]
            given = self._given.get(token)
            if given is not None:
                given.revoked = True
                for access_token in given.access_tokens:
                    self._good.pop(access_token, None)
            self._good.pop(token, None)
        return Page(200)

    def _secret(self, kind: str) -> str:
        made = f"{kind}-{secrets.token_urlsafe(24)}"
        self.secrets.append(made)
        return made

    def _hide(self, fields: Mapping[str, str], headers: Mapping[str, str]) -> None:
        for name in ("code_verifier", "client_assertion", "assertion", "subject_token"):
            if name in fields:
                self.secrets.append(fields[name])
        basic = headers.get("authorization", "")
        if basic:
            self.secrets.append(basic.partition(" ")[2])


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another process makes visible."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.005)


def _check_resource(given: Given, fields: Mapping[str, str]) -> None:
    """Insist on the resource that the user agreed to. (RFC 8707)"""
    if fields.get("resource") != given.resource:
        raise Refusal("invalid_target")


def _laid_over(said: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**said, **more}.items() if value is not None}


def _tool(body: bytes) -> str:
    try:
        message = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(message, dict) or message.get("method") != "tools/call":
        return ""
    return str(message["params"]["name"])
