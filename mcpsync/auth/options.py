"""What an operator may say of signing in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from ..config.oauth import OAuthConfig
from .clients import CLIENT_NAME, CimdDocument, ClientCredentials, known_method
from .token_endpoint import ClientKey


class OAuthKeywords(TypedDict, total=False):
    """The fields of :class:`OAuthOptions` but for the redirect URI, as keywords."""

    client_id: str | None
    client_secret: str | None
    client_key: ClientKey | None
    issuer: str | None
    authorization_url: str | None
    token_url: str | None
    revocation_url: str | None
    token_endpoint_auth_method: str | None
    scopes: Sequence[str] | None
    client_name: str
    document: CimdDocument | None
    dpop: bool | None
    send_resource: bool
    require_pkce: bool
    headers: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OAuthOptions:
    """What an operator may say of signing in at a server; all of it is found out otherwise.

    Args:
        redirect_uri: Where users come back to: a page of the application.
        client_id: Of a client that was registered by hand.
        client_secret: Of the same.
        client_key: Of the same, for ``private_key_jwt``.
        issuer: The authorization server that the client is known to.
        authorization_url: With *token_url* and *client_id*: nothing is discovered. [seed 3.2]
        token_url: The same.
        revocation_url: Where tokens are revoked, where nothing is discovered.
        token_endpoint_auth_method: How to say at the token endpoint who we are.
        scopes: What to ask for; otherwise what the server says.
        client_name: What users are shown.
        document: The client id metadata document that the application serves.
        dpop: Whether tokens are bound to a key of ours (RFC 9449); None if the server decides.
        send_resource: Whether to name the server that tokens are for; some old servers choke on it.
        require_pkce: Whether an authorization server has to say that it knows PKCE.
        headers: Sent with every request to authorization servers. [seed 3.2]
        parameters: Added to the URL that users are sent to.
    """

    redirect_uri: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_key: ClientKey | None = field(default=None, repr=False)
    issuer: str | None = None
    authorization_url: str | None = None
    token_url: str | None = None
    revocation_url: str | None = None
    token_endpoint_auth_method: str | None = None
    scopes: Sequence[str] | None = None
    client_name: str = CLIENT_NAME
    document: CimdDocument | None = None
    dpop: bool | None = None
    send_resource: bool = True
    require_pkce: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def said_urls(self) -> tuple[str | None, ...]:
        """What is the operator's own word, and may be at any address."""
        return self.issuer, self.authorization_url, self.token_url, self.revocation_url

    def client(self) -> ClientCredentials | None:
        """Return the client that was registered by hand, if one was."""
        if self.client_id is None:
            return None
        method = self.token_endpoint_auth_method
        if method is None:
            method = "client_secret_basic" if self.client_secret is not None else "none"
            method = "private_key_jwt" if self.client_key is not None else method
        return ClientCredentials(
            self.client_id,
            self.client_secret,
            known_method(method),
            issuer=self.issuer,
            redirect_uri=self.redirect_uri,
        )


def configured(said: OAuthConfig) -> OAuthKeywords:
    """Return what a server's configuration says of signing in, but for where users come back to."""
    return {
        "client_id": said.client_id,
        "client_secret": said.client_secret,
        "client_key": configured_key(said),
        "issuer": said.issuer,
        "authorization_url": said.authorization_url,
        "token_url": said.token_url,
        "revocation_url": said.revocation_url,
        "token_endpoint_auth_method": said.token_endpoint_auth_method,
        "scopes": said.scope,
        "dpop": said.dpop,
        "send_resource": said.send_resource_parameter,
        "require_pkce": not said.skip_code_challenge_check,
        "headers": said.headers,
    }


def configured_key(said: OAuthConfig) -> ClientKey | None:
    """Return the key of a configured client, if it has one."""
    if said.private_key is None:
        return None
    return ClientKey(said.private_key, said.signing_algorithm)
