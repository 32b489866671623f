"""How users, or the application, sign in to a server. (Seed section 6: ``oauth``)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from .fields import ConstantHeaders
from .frozen import FrozenDict
from .templates import placeholders_in

Grant = Literal[
    "authorization_code", "client_credentials", "workload_identity", "enterprise_managed"
]
_OF_IDP = ("idp_token_url", "idp_client_id", "idp_client_secret")
_METHODS = {
    "default_post": "client_secret_post",  # as the seed says it
    "basic_auth_header": "client_secret_basic",
}


def _is_https(url: str) -> str:
    """Take a URL; whether http leads to this machine is looked at where it is used."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if not host or not is_plain or parts.scheme not in ("https", "http") or "@" in parts.netloc:
        raise ValueError("it is not an https:// URL, or there is something in it that has no place")
    return url


def _scopes(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


def _method(value: Any) -> Any:
    return _METHODS.get(value, value) if isinstance(value, str) else value


def _preferred(written: Mapping[str, Any]) -> tuple[str, ...]:
    """Return how we could say who we are, the best first."""
    if written.get("private_key"):
        return ("private_key_jwt",)
    if written.get("client_secret"):
        return ("client_secret_basic", "client_secret_post")
    return ()


_HOW = {"token_endpoint_auth_method", "token_exchange_method"}
_Method: TypeAlias = Literal[
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "default_post",
    "basic_auth_header",
]
Url = Annotated[str, AfterValidator(_is_https)]


class OAuthConfig(BaseModel):
    """What is known beforehand of signing in to a server; all of it is found out otherwise.

    Args:
        grant: ``"authorization_code"`` has each user sign in. With ``"client_credentials"`` the
            application acts for itself, with ``"workload_identity"`` by a JWT of its platform.
            With ``"enterprise_managed"`` it acts for each user by his ID token, which the
            manager's ``id_token_of`` knows; nobody is sent anywhere.
        client_id: Of a client that was registered by hand.
        client_secret: Of the same. It needs the URLs as well, or *issuer*: a secret is sent to
            nobody who was merely found.
        private_key: Of the same, in PEM, for ``private_key_jwt``.
        signing_algorithm: What *private_key* signs with.
        assertion: The JWT of a workload; or
        assertion_file: the file it stands in, read each time a token is asked for. Not believed of
            a configuration that a user made.
        idp_token_url: Where the company's identity provider exchanges ID tokens.
        idp_client_id: Who the application is there.
        idp_client_secret: The same, if that wants a secret.
        issuer: The authorization server, letter for letter.
        authorization_url: Where users are sent. With *token_url* and *client_id* nothing is
            discovered.
        token_url: Where tokens are had.
        revocation_url: Where they are revoked.
        scope: What to ask for: names with blanks between, or a list.
        redirect_uri: Where users come back to; the manager's by default. Not believed of a
            configuration that a user made.
        token_endpoint_auth_method: How to say who we are.
        dpop: Whether tokens are bound to a key of ours.
        send_resource_parameter: Whether to name the server that tokens are for.
        skip_code_challenge_check: Believe that the authorization server knows PKCE though it does
            not say so.
        headers: Sent with every request to authorization servers.
        grant_types_supported: What the authorization server is said to know, for which see its
            own metadata. Of this and the following, it is looked at that what we need is there.
        response_types_supported: The same.
        token_endpoint_auth_methods_supported: The same; how to say who we are follows from it,
            where *token_endpoint_auth_method* does not say.
        code_challenge_methods_supported: The same.
        revocation_endpoint_auth_methods_supported: The same; nothing follows from it.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    grant: Grant = "authorization_code"
    client_id: str | None = Field(default=None, min_length=1)
    client_secret: str | None = Field(default=None, min_length=1, repr=False)
    private_key: str | None = Field(default=None, min_length=1, repr=False)
    signing_algorithm: str = "RS256"
    assertion: str | None = Field(default=None, min_length=1, repr=False)
    assertion_file: str | None = Field(default=None, min_length=1)
    idp_token_url: Url | None = Field(default=None, repr=False)
    idp_client_id: str | None = Field(default=None, min_length=1)
    idp_client_secret: str | None = Field(default=None, min_length=1, repr=False)
    issuer: Url | None = None
    authorization_url: Url | None = Field(default=None, repr=False)
    token_url: Url | None = Field(default=None, repr=False)
    revocation_url: Url | None = Field(
        default=None,
        validation_alias=AliasChoices("revocation_url", "revocation_endpoint"),
        repr=False,
    )
    scope: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_scopes, json_schema_input_type=str | tuple[str, ...] | None),
    ] = None
    redirect_uri: Url | None = None
    token_endpoint_auth_method: Annotated[
        Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"] | None,
        BeforeValidator(_method, json_schema_input_type=_Method),
    ] = Field(
        default=None,
        validation_alias=AliasChoices("token_endpoint_auth_method", "token_exchange_method"),
    )
    dpop: bool | None = None
    send_resource_parameter: bool = True
    skip_code_challenge_check: bool = False
    headers: ConstantHeaders = Field(default_factory=FrozenDict, repr=False)
    grant_types_supported: tuple[str, ...] | None = None
    response_types_supported: tuple[str, ...] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    code_challenge_methods_supported: tuple[str, ...] | None = None
    revocation_endpoint_auth_methods_supported: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _is_constant(self) -> Self:
        for name, value in self:
            text = " ".join(value) if isinstance(value, tuple) else value
            if isinstance(text, str) and any(True for _ in placeholders_in(text, ())):
                raise ValueError(f"placeholders are not replaced in {name!r}")
        return self

    @model_validator(mode="after")
    def _is_served(self) -> Self:
        grants = {
            "grant_types_supported": "authorization_code",
            "response_types_supported": "code",
            "code_challenge_methods_supported": "S256",
        }
        for name, needed in grants.items():
            found = getattr(self, name)
            if found is not None and self.grant == "authorization_code" and needed not in found:
                raise ValueError(f"users sign in by {needed!r}, and {name!r} does not have it")
        return self

    @model_validator(mode="before")
    @classmethod
    def _chooses_how(cls, written: Any) -> Any:
        """Say how to say who we are, if only the server's methods are said. [seed]"""
        if not isinstance(written, Mapping) or _HOW & written.keys():
            return written
        known = written.get("token_endpoint_auth_methods_supported")
        if not isinstance(known, list | tuple):
            return written
        wanted = _preferred(written)
        chosen = next((method for method in wanted if method in known), None)
        return written if chosen is None else {**written, "token_endpoint_auth_method": chosen}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.private_key is not None and (self.client_id is None or self.client_secret):
            raise ValueError("'private_key' needs 'client_id', and no 'client_secret' beside it")
        by_key = self.token_endpoint_auth_method == "private_key_jwt"  # noqa: S105 - its name
        if by_key and self.private_key is None:
            raise ValueError("'private_key_jwt' needs 'private_key'")
        if self.grant == "authorization_code":
            self._check_sign_in()
        else:
            self._check_machine()
        return self

    def _check_sign_in(self) -> None:
        if bool(self.authorization_url) != bool(self.token_url):
            raise ValueError("'authorization_url' and 'token_url' are given together")
        known = self.issuer is not None or self.token_url is not None
        if self.client_secret is not None and not (self.client_id and known):
            raise ValueError(
                "'client_secret' needs 'client_id', and 'issuer' or 'authorization_url' and "
                "'token_url': it is sent to nobody who was merely found"
            )
        self._refuse("assertion", "assertion_file", *_OF_IDP)

    def _check_machine(self) -> None:
        grant = self.grant
        if self.issuer is None and (self.token_url is None or grant == "enterprise_managed"):
            wanted = "'issuer'" if grant == "enterprise_managed" else "'issuer' or 'token_url'"
            raise ValueError(
                f"{grant!r} needs {wanted}: what shows who we are is sent to nobody who was "
                "merely found"
            )
        if grant == "workload_identity":
            if (self.assertion is None) == (self.assertion_file is None):
                raise ValueError("'workload_identity' needs 'assertion' or 'assertion_file'")
            return self._refuse("client_secret", "private_key", *_OF_IDP)
        self._refuse("assertion", "assertion_file")
        if grant == "enterprise_managed":
            if not (self.client_id and self.idp_token_url and self.idp_client_id):
                raise ValueError(
                    "'enterprise_managed' needs 'client_id', 'idp_token_url' and 'idp_client_id'"
                )
            return None
        if self.client_id is None or (self.client_secret or self.private_key) is None:
            raise ValueError(
                "'client_credentials' needs 'client_id', and 'client_secret' or 'private_key'"
            )
        return self._refuse(*_OF_IDP)

    @property
    def urls(self) -> Mapping[str, str]:
        """The URLs of authorization servers that are given, by the name of their field."""
        names = ("authorization_url", "token_url", "revocation_url", "idp_token_url")
        found = {name: getattr(self, name) for name in names}
        return {name: url for name, url in found.items() if url is not None}

    @property
    def is_of_users(self) -> bool:
        """Whether the tokens are users' own, and not the application's."""
        return self.grant in ("authorization_code", "enterprise_managed")

    def _refuse(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{name!r} is not for {self.grant!r}")


def for_whom_else(oauth: OAuthConfig) -> str | None:
    """Return the field of a URL that says by itself for whom tokens are, if one does. [seed 3.2]"""
    for name, url in oauth.urls.items():
        if {"audience", "resource"} & parse_qs(urlsplit(url).query, keep_blank_values=True).keys():
            return name
    return None
