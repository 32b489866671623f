"""Becoming known to an authorization server. (Requirements A17 to A20; seed 3.2)"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from ..errors import OAuthError
from ..http import Fetcher
from ..stores import Store
from ..stores.holding import hold
from .clients import (
    CLIENT_NAME,
    CimdDocument,
    ClientCredentials,
    at,
    preferred_method,
    registered,
    registration,
)
from .codes import known_error
from .metadata import ServerMetadata
from .scopes import split

logger = logging.getLogger(__name__)

LEASE = 30.0  # seconds; longer than one registration may take
SKEW = 60.0  # seconds before its end that a secret is not used any more


class Registrar:
    """Knows who we are at each authorization server, and registers where we are nobody yet.

    What was registered is kept in the store, for all users, by issuer and redirect URI: it is never
    used at another. If it was for less than is wanted now, another is registered, for all of it:
    many servers let a client ask for nothing but what it was registered for. Thread-safe, and over
    processes: of several one registers.

    Args:
        store: Where registrations are kept.
        fetcher: How authorization servers are reached.
        clock: Tells the time.
        redirect_uri: Where users come back to.
        configured: The client that the operator has registered himself, if he has.
        document: The client id metadata document, if there is one.
        client_name: What users are shown.
        method: How to authenticate at the token endpoint, if the configuration says.
    """

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        clock: Clock,
        *,
        redirect_uri: str,
        configured: ClientCredentials | None = None,
        document: CimdDocument | None = None,
        client_name: str = CLIENT_NAME,
        method: str | None = None,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._clock = clock
        self._redirect_uri = redirect_uri
        self._configured = configured
        self._document = document
        self._client_name = client_name
        self._method = method

    def client_at(
        self,
        server: ServerMetadata,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        scopes: Sequence[str] = (),
    ) -> ClientCredentials:
        """Return who we are at *server*: as configured, by document, as registered, in that order.

        Raises:
            OAuthError: We are nobody there, and cannot become somebody.
            MCPSyncError: Registering failed.
        """
        if self._configured is not None:
            return at(self._configured, server.issuer)
        if self._document is not None and server.client_id_metadata_document_supported:
            return ClientCredentials(
                self._document.url, source="document", redirect_uri=self._redirect_uri
            )
        known = self._known(server.issuer)
        endpoint = server.registration_endpoint
        if known is not None and (endpoint is None or _suffices(known, scopes)):
            return known
        if endpoint is None:
            raise OAuthError(
                "the authorization server does not register clients by itself: register one there, "
                "and configure its client_id.",
                error="client_id_required",
            )
        name = self._key(server.issuer)
        with hold(self._store, name, lease=LEASE, deadline=deadline, cancel=cancel):
            known = self._known(server.issuer)  # somebody else may have been faster
            if known is not None and _suffices(known, scopes):
                return known
            before = split(known.scope) if known is not None else ()
            wanted = tuple(dict.fromkeys([*before, *scopes]))
            try:
                made = self._register(server, endpoint, deadline, cancel, wanted)
            except OAuthError as error:
                if known is None:
                    raise
                logger.warning("not registered for more than before: %s", error.error)
                return known  # its server may let it ask all the same
            self._store.set(name, json.dumps(asdict(made)).encode())
        return made

    def forget(self, client: ClientCredentials) -> bool:
        """Forget a registration that its server does not know any more; whether it was one."""
        if client.source != "registered" or client.issuer is None:
            return False
        entry = self._store.get(self._key(client.issuer))
        if entry is None or _client(entry.value) not in (client, None):
            return False
        return self._store.delete(self._key(client.issuer), entry.version)

    def _known(self, issuer: str) -> ClientCredentials | None:
        entry = self._store.get(self._key(issuer))
        if entry is None:
            return None
        client = _client(entry.value)
        if client is None:
            return None
        if client.expires_at is not None and client.expires_at - SKEW <= self._clock.time():
            return None
        return client

    def _register(
        self,
        server: ServerMetadata,
        endpoint: str,
        deadline: Deadline,
        cancel: Cancellation | None,
        scopes: Sequence[str],
    ) -> ClientCredentials:
        method = preferred_method(server, has_secret=True, forced=self._method)
        said = registration(
            [self._redirect_uri],
            client_name=self._client_name,
            method=method,
            scopes=scopes,
            refreshes=server.refreshes,
        )
        answer = self._fetcher.post_json(endpoint, said, deadline=deadline, cancel=cancel)
        if answer.status not in (200, 201):
            raise _refused(answer.status, answer.body)
        logger.info("registered as a client of an authorization server")
        return registered(
            answer.json(),
            issuer=server.issuer,
            redirect_uri=self._redirect_uri,
            asked=method,
            scopes=scopes,
        )

    def _key(self, issuer: str) -> str:
        return f"oauth:client:{_short(issuer)}:{_short(self._redirect_uri)}"


def _suffices(client: ClientCredentials, scopes: Sequence[str]) -> bool:
    """Whether it was registered for all of them, whatever the server made of that."""
    return set(scopes) <= set(split(client.scope))


def _client(value: bytes) -> ClientCredentials | None:
    """Return what was kept; None if another version kept it in a way that we do not know."""
    try:
        return ClientCredentials(**json.loads(value))
    except (ValueError, TypeError):
        return None


def _short(text: str) -> str:
    """Return a name for *text* that has no limit and may be a secret of nobody."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _refused(status: int, body: bytes) -> OAuthError:
    try:
        said = json.loads(body)
        error = known_error(said.get("error"))
    except (ValueError, AttributeError, RecursionError):
        error = f"http_{status}"
    return OAuthError(
        f"the authorization server did not register us: {error} (status {status}).",
        error=error,
        retryable=status >= 500 or status == 429,
    )
