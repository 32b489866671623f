"""Grants that no user has to be there for: machine clients, workloads, employees.

RFC 6749 section 4.4 (client credentials), RFC 7523 (JWT bearer), RFC 8693 (token exchange), SEP-990
(enterprise-managed authorization), SEP-1933 (workload identity).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias, Unpack

from ..errors import ConfigurationError, OAuthError
from .clients import ClientCredentials as Client
from .clients import known_method, preferred_method
from .machines import Asked, GrantOptions, MachineGrant
from .metadata import ServerMetadata
from .token_endpoint import JWT_BEARER, TOKEN_EXCHANGE, ClientKey, TokenEndpoint

ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
ID_JAG: Final = "urn:ietf:params:oauth:token-type:id-jag"

Text: TypeAlias = "str | os.PathLike[str] | Callable[[], str | None]"
"""A string; or the file it stands in, or what returns it, asked each time it is needed."""


class ClientCredentialsGrant(MachineGrant):
    """A client that acts for itself. (RFC 6749, section 4.4)

    Args:
        client_id: As the authorization server knows it.
        client_secret: Its secret; or
        client_key: its key, for ``private_key_jwt``.
        token_endpoint_auth_method: How to say who we are; what the server prefers by default.
        options: See :class:`GrantOptions`.

    Raises:
        ConfigurationError: It has neither or both.
        OAuthError: The method is none we know.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        client_key: ClientKey | None = None,
        token_endpoint_auth_method: str | None = None,
        **options: Unpack[GrantOptions],
    ) -> None:
        super().__init__(**options)
        if not client_id or (not client_secret) == (client_key is None):
            raise ConfigurationError(
                "client credentials are a client_id, and a client_secret or a client_key."
            )
        self._who = _Who(client_id, client_secret, client_key, token_endpoint_auth_method)

    @property
    def client_key(self) -> ClientKey | None:
        """The key, if it is one."""
        return self._who.key

    def client_at(self, server: ServerMetadata) -> Client:
        """Return the client."""
        return self._who.at(server)

    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Return the grant."""
        return {"grant_type": "client_credentials"}


class WorkloadIdentity(MachineGrant):
    """A workload that its platform vouches for with a JWT. (RFC 7523, SEP-1933)

    Args:
        assertion: The JWT, whose audience is the authorization server. Platforms give a new one
            every now and then: name its file (as a ``pathlib.Path``), or what returns it, and it
            is looked up each time a token is asked for.
        client_id: If the authorization server wants one.
        options: See :class:`GrantOptions`.
    """

    def __init__(
        self,
        assertion: Text,
        client_id: str | None = None,
        **options: Unpack[GrantOptions],
    ) -> None:
        super().__init__(**options)
        self._assertion = assertion
        self._client_id = client_id

    def client_at(self, server: ServerMetadata) -> Client:
        """Return the client; it is known by the assertion."""
        return Client(self._client_id or "", issuer=server.issuer)

    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Return the grant."""
        assertion = _text(self._assertion)
        if not assertion:
            raise ConfigurationError("there is no assertion to show to the authorization server.")
        return {"grant_type": JWT_BEARER, "assertion": assertion}


class EnterpriseManaged(MachineGrant):
    """An employee whose company decides. Both legs of it. (SEP-990, ID-JAG)

    The company's identity provider exchanges the user's ID token for an assertion, and the
    authorization server of the MCP server takes that for a token. It is of one user: make one for
    each.

    Args:
        id_token: Of the user, from the identity provider; or what returns it. Without one nothing
            is sent, and an ``OAuthError`` says so.
        idp_token_endpoint: The identity provider's.
        idp_client_id: Who we are there.
        client_id: Who we are at the MCP server's authorization server.
        client_secret: The same; or
        client_key: the same, for ``private_key_jwt``.
        idp_client_secret: Who we are at the identity provider, if that wants a secret.
        token_endpoint_auth_method: How to say who we are at the MCP server's.
        subject_token_type: What *id_token* is, if it is a SAML assertion.
        options: See :class:`GrantOptions`.

    Raises:
        ConfigurationError: There is a secret, and a key.
    """

    def __init__(
        self,
        id_token: Text,
        *,
        idp_token_endpoint: str,
        idp_client_id: str,
        client_id: str,
        client_secret: str | None = None,
        client_key: ClientKey | None = None,
        idp_client_secret: str | None = None,
        token_endpoint_auth_method: str | None = None,
        subject_token_type: str = ID_TOKEN,
        **options: Unpack[GrantOptions],
    ) -> None:
        super().__init__(**options)
        if client_secret is not None and client_key is not None:
            raise ConfigurationError("a client has a client_secret or a client_key.")
        self._id_token = id_token
        self._subject_token_type = subject_token_type
        self._idp = ServerMetadata(issuer=idp_token_endpoint, token_endpoint=idp_token_endpoint)
        self._idp_client = Client(
            idp_client_id,
            idp_client_secret,
            "none" if idp_client_secret is None else "client_secret_basic",
        )
        self._who = _Who(client_id, client_secret, client_key, token_endpoint_auth_method)

    @property
    def client_key(self) -> ClientKey | None:
        """The key, if it is one."""
        return self._who.key

    def named(self) -> list[str]:
        """Return the URLs of others that the options name."""
        return [*super().named(), self._idp.issuer]

    def check(self) -> None:
        """Raise an error if there is no ID token."""
        self._subject()

    def _subject(self) -> str:
        token = _text(self._id_token)
        if not token:
            raise OAuthError(
                "there is no ID token of this user, so no token can be had for him; he has to "
                "sign in to the application with the company's identity provider.",
                error="id_token_missing",
            )
        return token

    def client_at(self, server: ServerMetadata) -> Client:
        """Return the client."""
        return self._who.at(server)

    def fields(self, asked: Asked) -> Mapping[str, str]:
        """Ask the identity provider for an assertion, and return the grant that it is."""
        wanted = {
            "grant_type": TOKEN_EXCHANGE,
            "requested_token_type": ID_JAG,
            "audience": asked.server.issuer,
            "subject_token": self._subject(),
            "subject_token_type": self._subject_token_type,
        }
        if asked.resource is not None:
            wanted["resource"] = asked.resource
        if asked.scopes:
            wanted["scope"] = " ".join(asked.scopes)
        idp = TokenEndpoint(self._idp, asked.fetcher, self.clock)
        assertion = idp.exchange(self._idp_client, wanted, ID_JAG, asked.deadline, asked.cancel)
        return {"grant_type": JWT_BEARER, "assertion": assertion}


class _Who:
    """Who a program is at the MCP server's authorization server."""

    def __init__(
        self, client_id: str, secret: str | None, key: ClientKey | None, method: str | None
    ) -> None:
        self.key = key
        self._client_id = client_id
        self._secret = secret
        self._method = "private_key_jwt" if key is not None else method
        if self._method is not None:
            known_method(self._method)

    def at(self, server: ServerMetadata) -> Client:
        has_secret = self._secret is not None
        method = preferred_method(server, has_secret=has_secret, forced=self._method)
        return Client(self._client_id, self._secret, method, issuer=server.issuer)


def _text(value: Text) -> str:
    """Return what *value* stands for now; empty if that is nothing."""
    found: object = value
    if isinstance(value, os.PathLike):
        try:
            found = Path(value).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the file with the token cannot be read: {type(error).__name__}."
            ) from None
    elif callable(value):
        found = value()
    return found.strip() if isinstance(found, str) else ""
