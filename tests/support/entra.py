"""An identity provider that exchanges users' tokens as Entra ID does, and a server behind it.

It shares no code with the library and is strict: it verifies the signature, the audience and the
scope of what it is shown, and answers in Entra's own words.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from mcpsync.testing import Page
from support.authority import JWT_BEARER, Authority, Refusal

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
APP = "api://app"
CRM = "api://crm"
SCOPES = "api://crm/.default"
TENANT = "contoso"
SECRET = "app-s3cret"
CODES = {"invalid_grant": 50013, "interaction_required": 50076, "invalid_client": 7000215}


class Entra(Authority):
    """An identity provider, and an MCP server that takes only tokens that are for it.

    Attributes:
        must_interact: Users of whom more is wanted than a token: a second factor.
        turns_down: Tokens that the MCP server does not take any more.
        exchanged: The forms that led to a token, oldest first.
        came: The ``Authorization`` of each request that came to the MCP server.
        same_token: Whether everybody is given the token that was given before.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(registration=False, **options)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.must_interact: set[str] = set()
        self.turns_down: set[str] = set()
        self.exchanged: list[dict[str, str]] = []
        self.came: list[str | None] = []
        self.same_token = False
        self._given_last: dict[str, Any] | None = None
        self.add_client(
            "app", client_secret=SECRET, token_endpoint_auth_method="client_secret_post"
        )

    @property
    def path(self) -> str:
        """That of the token endpoint."""
        return f"/{TENANT}/oauth2/v2.0/token"

    @property
    def token_endpoint(self) -> str:
        """The identity provider's."""
        return self.issuer + self.path

    def sign_in(
        self, name: str, *, audience: str = APP, scope: str = "access", lasts: float = 3600
    ) -> str:
        """Sign a user in to the application; return the token it has of him."""
        claims = {"aud": audience, "sub": name, "scp": scope, "tid": TENANT}
        return self._signed({**claims, "exp": time.time() + lasts})

    def fails(self, status: int, times: int = 1, **headers: str) -> None:
        """Have the next exchanges fail with *status*."""
        said = json.dumps({"error": "oops"})
        more = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.say(self.path, Page(status, said.encode(), "application/json", more), times)

    @property
    def asked_times(self) -> int:
        """How often the token endpoint was asked."""
        return self.count("token")

    # -- the MCP server ---------------------------------------------------------------------------

    def _before_mcp(self, request: Any) -> Page | None:
        sent = request.headers.get("authorization")
        self.came.append(sent)
        kind, _, token = (sent or "").partition(" ")
        try:
            assert kind == "Bearer"
            jwt.decode(token, self._key.public_key(), ["ES256"], audience=CRM)
            assert token not in self.turns_down
        except (jwt.PyJWTError, AssertionError):
            return Page(401, headers=(("WWW-Authenticate", 'Bearer error="invalid_token"'),))
        return None

    # -- the identity provider --------------------------------------------------------------------

    def _true_answer(self, name: str, path: str, query: str, request: Any) -> Page:
        if not path.endswith("/oauth2/v2.0/token"):
            return Page(404)
        fields = {k: v[0] for k, v in parse_qs(request.body.decode()).items()}
        self.asked.append(("token", {**fields, "tenant": path.split("/")[1]}))
        self._hide(fields, request.headers)
        try:
            self._client_of(fields, request.headers)
            said = self._exchanged(fields)
        except Refusal as no:
            code = CODES.get(no.error, 90000)
            said = {
                "error": no.error,
                "error_description": f"AADSTS{code}: not with {fields.get('assertion')}",
                "error_codes": [code],
                "correlation_id": "0",
            }
            return Page.json(said, no.status)
        self.exchanged.append(fields)
        if self.same_token:
            self._given_last = said = self._given_last or said
        return Page.json(said)

    def _exchanged(self, fields: Mapping[str, str]) -> dict[str, Any]:
        kind = fields["grant_type"]
        if kind == JWT_BEARER:
            assert fields["requested_token_use"] == "on_behalf_of"
            shown = fields["assertion"]
        elif kind == EXCHANGE:
            assert fields["subject_token_type"] == ACCESS_TOKEN
            shown = fields["subject_token"]
        else:
            raise Refusal("unsupported_grant_type")
        try:
            user = jwt.decode(shown, self._key.public_key(), ["ES256"], audience=APP)
        except jwt.PyJWTError:
            raise Refusal("invalid_grant") from None
        if user["scp"] != "access":
            raise Refusal("invalid_grant")
        if user["sub"] in self.must_interact:
            raise Refusal("interaction_required")
        audience = fields["scope"].split()[0].rpartition("/")[0]
        made = self._signed({"aud": audience, "sub": user["sub"], "exp": time.time() + 7200})
        said: dict[str, Any] = {"access_token": made, "token_type": "Bearer"}
        if self.lifetime is not None:
            said["expires_in"] = self.lifetime
        if kind == EXCHANGE:
            said["issued_token_type"] = ACCESS_TOKEN
        return said

    def _check_assertion(self, assertion: str, client: Mapping[str, Any]) -> None:
        algorithms, audience = ["ES256", "RS256"], self.token_endpoint
        try:
            jwt.decode(assertion, client["public_key"], algorithms=algorithms, audience=audience)
            head = jwt.get_unverified_header(assertion)
        except jwt.PyJWTError:
            raise Refusal("invalid_client", 401) from None
        certificate = client.get("certificate")  # in DER
        if certificate is None:
            return
        for name, digest in (("x5t", hashlib.sha1), ("x5t#S256", hashlib.sha256)):
            wanted = base64.urlsafe_b64encode(digest(certificate).digest()).rstrip(b"=")
            if head.get(name) != wanted.decode():
                raise Refusal("invalid_client", 401)

    def _signed(self, claims: dict[str, Any]) -> str:
        made = jwt.encode({**claims, "jti": secrets.token_hex(8)}, self._key, "ES256")
        self.secrets.append(made)
        return made
