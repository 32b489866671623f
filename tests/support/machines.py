"""An authority for programs: workloads, an identity provider, proofs of possession. Strict, too."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import jwt

from mcpsync.testing import Page
from support.authority import JWT_BEARER, Authority, Given, Refusal

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


class MachineAuthority(Authority):
    """An authorization server that takes assertions and binds tokens; it is an IdP as well.

    Attributes:
        paths: What was asked of both servers, oldest first: ``mcp /mcp``, ``as /token``.
        headers: Those that came to the token endpoint, oldest first.
        workloads: The assertions that are good.
        id_tokens: The ID tokens that are good, and whose they are.
        idp_clients: Whom the identity provider knows: secrets by id, None for public ones.
        nonces: The nonce that each server wants in proofs, ``as`` and ``mcp``.
        proofs: The claims of the proofs that came, with the server they came to.
        same_token: Given to everybody, instead of a new one.
        turns_down: Whether the MCP server turns every token down.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.workloads: set[str] = set()
        self.id_tokens: dict[str, str] = {}
        self.idp_clients: dict[str, str | None] = {"idp-app": "idp-s3cret"}
        self.nonces: dict[str, str | None] = {"as": None, "mcp": None}
        self.proofs: list[tuple[str, dict[str, Any]]] = []
        self.same_token: str | None = None
        self.turns_down = False
        self._jags: dict[str, dict[str, str]] = {}
        self._keys: dict[str, str] = {}  # of tokens that are bound

    @property
    def idp(self) -> str:
        """The identity provider's token endpoint."""
        return f"{self.issuer}/idp/token"

    # -- the MCP server ---------------------------------------------------------------------------

    def _before_mcp(self, request: Any) -> Page | None:
        self.paths.append(f"mcp {request.path}")
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if self.turns_down:
            request = replace(request, headers={"authorization": "Bearer none"})
        if request.path != "/mcp" or token not in self._keys or self.turns_down:
            return super()._before_mcp(request)
        if kind != "DPoP":
            return super()._before_mcp(replace(request, headers={}))
        try:
            key = self._proven(request, "mcp", self.url, token)
        except Refusal as no:
            return self._with_nonce(
                Page(401, headers=(("WWW-Authenticate", f'DPoP error="{no.error}"'),)), "mcp"
            )
        good = "Bearer " + token if key == self._keys[token] else ""
        return super()._before_mcp(replace(request, headers={"authorization": good}))

    # -- the authorization server -----------------------------------------------------------------

    def _true_answer(self, name: str, path: str, query: str, request: Any) -> Page:
        self.paths.append(f"as {path}")
        if name == "idp/token":
            return self._idp_answer(request)
        if name != "token":
            return super()._true_answer(name, path, query, request)
        self.headers.append(dict(request.headers))
        if "dpop" not in request.headers:
            return super()._true_answer(name, path, query, request)
        try:
            key = self._proven(request, "as", f"{self.issuer}/token", None)
        except Refusal as no:
            return self._with_nonce(Page.json({"error": no.error}, no.status), "as")
        page = super()._true_answer(name, path, query, request)
        said = json.loads(page.body)
        self._keys[said["access_token"]] = key
        return Page.json({**said, "token_type": "DPoP"})

    def _proven(self, request: Any, server: str, url: str, token: str | None) -> str:
        proof = request.headers.get("dpop", "")
        head = jwt.get_unverified_header(proof)
        assert head["typ"] == "dpop+jwt"
        assert "d" not in head["jwk"]
        key = jwt.PyJWK.from_dict(head["jwk"], algorithm="ES256")
        claims = jwt.decode(proof, key, algorithms=["ES256"], options={"verify_iat": False})
        assert claims["jti"] not in {said["jti"] for _, said in self.proofs}
        self.proofs.append((server, claims))
        assert (claims["htm"], claims["htu"]) == (request.method, url)
        if token is not None:
            digest = hashlib.sha256(token.encode()).digest()
            assert claims["ath"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if claims.get("nonce") != self.nonces[server]:
            raise Refusal("use_dpop_nonce")
        return json.dumps(head["jwk"], sort_keys=True)

    def _with_nonce(self, page: Page, server: str) -> Page:
        nonce = self.nonces[server]
        more = () if nonce is None else (("DPoP-Nonce", nonce),)
        return page._replace(headers=(*page.headers, *more))

    def _token(self, client_id: str, fields: Mapping[str, str]) -> Page:
        if fields["grant_type"] == JWT_BEARER:
            self._check_bearer(client_id, fields)
        return super()._token(client_id, fields)

    def _check_bearer(self, client_id: str, fields: Mapping[str, str]) -> None:
        jag = self._jags.get(fields["assertion"])
        if jag is None and fields["assertion"] not in self.workloads:
            raise Refusal("invalid_grant")
        if jag is not None and (
            jag["audience"] != self.issuer or jag["resource"] != fields["resource"]
        ):
            raise Refusal("invalid_target")

    def _tokens(self, given: Given, kind: str) -> dict[str, Any]:
        said = super()._tokens(given, kind)
        if self.same_token is not None:
            said["access_token"] = self.same_token
            self._good[self.same_token] = given
        return said

    # -- the identity provider --------------------------------------------------------------------

    def _idp_answer(self, request: Any) -> Page:
        fields = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        self.asked.append(("idp", fields))
        self.secrets.append(fields["subject_token"])
        client_id, secret = fields.get("client_id"), None
        basic = request.headers.get("authorization", "")
        if basic:
            client_id, secret = base64.b64decode(basic[6:]).decode().split(":")
        if client_id not in self.idp_clients or self.idp_clients[client_id] != secret:
            raise Refusal("invalid_client", 401)
        if fields["grant_type"] != EXCHANGE or fields["requested_token_type"] != ID_JAG:
            raise Refusal("unsupported_grant_type")
        if fields["subject_token_type"] != ID_TOKEN:
            raise Refusal("invalid_request")
        if fields["subject_token"] not in self.id_tokens:
            raise Refusal("invalid_grant")
        jag = f"jag-{secrets.token_urlsafe(24)}"
        self.secrets.append(jag)
        self._jags[jag] = {
            "audience": fields["audience"],
            "resource": fields["resource"],
            "user": self.id_tokens[fields["subject_token"]],
        }
        said = {"access_token": jag, "issued_token_type": ID_JAG, "token_type": "N_A"}
        return Page.json({**said, "expires_in": 300})

    def add_user(self, name: str) -> str:
        """Sign a user in at the identity provider; return his ID token."""
        token = f"id-{name}-{secrets.token_urlsafe(24)}"
        self.secrets.append(token)
        self.id_tokens[token] = name
        return token

    def accept(self, token: str) -> None:
        """Take a token that somebody else has given out."""
        self._good[token] = Given("", "", self.url)

    def tokens(self) -> int:
        """Return how often a token was asked for."""
        return self.count("token")
