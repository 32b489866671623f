"""Finding out who issues tokens for a server. (Requirements A2 to A6, A24; seed 3.1, 3.2)"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import (
    HTTPStatusError,
    MessageInvalid,
    OAuthError,
    RequestCancelled,
    RequestTimeout,
)
from ..http import Fetched, Fetcher
from ..protocol.versions import LATEST_MODERN
from ..security.redaction import safe_url
from .metadata import (
    ResourceMetadata,
    ServerMetadata,
    canonical_resource,
    guessed_server,
    read_resource,
    read_server,
    resource_metadata_urls,
    server_metadata_urls,
)

logger = logging.getLogger(__name__)

_SAYS: Final = {"mcp-protocol-version": LATEST_MODERN}  # suggested by 2025-03-26 (A25)


class Discovered(NamedTuple):
    """Who issues tokens for a server, and for what.

    Args:
        server: The authorization server.
        resource: What the server says of itself; None if it says nothing (2025-03-26).
        audience: The ``resource`` parameter, letter for letter; None where it is not sent.
    """

    server: ServerMetadata
    resource: ResourceMetadata | None
    audience: str | None

    def binds(self, configured: bool | None) -> bool:
        """Whether tokens are to be bound to a key: as configured, or as the server needs it."""
        if configured is not None:
            return configured
        return self.resource is not None and self.resource.dpop_bound_access_tokens_required


class Discovery:
    """Asks a server, and those whom it names, about signing in. Thread-safe.

    Args:
        fetcher: How they are reached. What a server names is somebody else's URL.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def find(
        self,
        server_url: str,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        *,
        hint: str | None = None,
        issuer: str | None = None,
        modern: bool = True,
    ) -> Discovered:
        """Return who issues tokens for the server at *server_url*.

        Args:
            server_url: The MCP server.
            deadline: Bounds it.
            cancel: Ends it.
            hint: The ``resource_metadata`` of the server's challenge.
            issuer: Whom the configuration names, if it does; else the first that the server names.
            modern: Whether the server is of 2025-06-18 or later: then ``resource`` is always sent.

        Raises:
            OAuthError: They contradict themselves, or nobody is there who issues tokens.
            RefusedError: Somebody names a URL that must not be used. (A21, S1)
            MCPSyncError: Somebody who was named could not be asked.
        """
        resource = self._resource(server_url, hint, deadline, cancel)
        if resource is None:
            server = self._at_the_server(server_url, issuer, deadline, cancel)
            return Discovered(server, None, canonical_resource(server_url) if modern else None)
        named = resource.authorization_servers
        if issuer is not None and issuer not in named and named:
            raise OAuthError(
                "the server does not take tokens of the configured authorization server.",
                error="issuer_not_named",
            )
        if issuer is None and not named:
            server = self._at_the_server(server_url, None, deadline, cancel)
        else:
            server = self._server(issuer or named[0], deadline, cancel)
        return Discovered(server, resource, resource.resource)

    def _resource(
        self, server_url: str, hint: str | None, deadline: Deadline, cancel: Cancellation | None
    ) -> ResourceMetadata | None:
        for url in resource_metadata_urls(server_url, hint):
            answer = self._ask(url, deadline, cancel, is_named=hint is not None)
            if answer is not None:
                return read_resource(answer.json(), server_url)
        return None

    def _server(
        self, issuer: str, deadline: Deadline, cancel: Cancellation | None
    ) -> ServerMetadata:
        self._fetcher.check(issuer)
        for url in server_metadata_urls(issuer):
            answer = self._ask(url, deadline, cancel)
            if answer is not None:
                return self._usable(read_server(answer.json(), issuer))
        raise OAuthError(
            f"the authorization server {safe_url(issuer)} does not describe itself.",
            error="no_metadata",
        )

    def _at_the_server(
        self,
        server_url: str,
        issuer: str | None,
        deadline: Deadline,
        cancel: Cancellation | None,
    ) -> ServerMetadata:
        """Return the authorization server that the MCP server itself is. (A24)"""
        if issuer is not None:
            return self._server(issuer, deadline, cancel)
        guess = guessed_server(server_url)
        for url in server_metadata_urls(guess.issuer):
            answer = self._ask(url, deadline, cancel)
            if answer is not None:
                return self._usable(read_server(answer.json(), guess.issuer, exactly=False))
        return guess

    def _usable(self, server: ServerMetadata) -> ServerMetadata:
        """Return *server* if nothing that it names is out of reach. (S1, S2)

        Raises:
            OAuthError: It gives no tokens.
            RefusedError: It would have us, or a user, go where its word must not lead.
        """
        if server.token_endpoint is None:
            raise OAuthError("the authorization server has no token endpoint.", error="no_endpoint")
        for url in (
            server.authorization_endpoint,
            server.token_endpoint,
            server.registration_endpoint,
            server.revocation_endpoint,
        ):
            if url is not None:
                self._fetcher.check(url)
        return server

    def _ask(
        self,
        url: str,
        deadline: Deadline,
        cancel: Cancellation | None,
        *,
        is_named: bool = False,
    ) -> Fetched | None:
        """Return the answer if there is a document; None if there is none at this place."""
        try:
            answer = self._fetcher.get(url, deadline=deadline, cancel=cancel, headers=_SAYS)
        except (RequestCancelled, RequestTimeout):
            raise
        except HTTPStatusError as error:  # a redirect that is not followed
            if is_named:
                raise
            logger.debug("no metadata at %s: %s", safe_url(url), error)
            return None
        if answer.status >= 500 or answer.status == 429:
            raise HTTPStatusError(
                f"{safe_url(url)} answered with status {answer.status}.",
                status=answer.status,
                retryable=True,
            )
        if answer.status == 200 and _is_json(answer):
            return answer
        if is_named:
            raise OAuthError(
                f"the metadata that the server names, {safe_url(url)}, is not there.",
                error="no_metadata",
            )
        return None


def _is_json(answer: Fetched) -> bool:
    """Whether it is a document: some servers answer every path with a page."""
    try:
        answer.json()
    except MessageInvalid:
        return False
    return True
