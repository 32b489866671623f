"""Does a server want its users to sign in? Asked before anybody does. (Seed 3.1)"""

from __future__ import annotations

import logging
import math
from typing import Final, Literal, NamedTuple, TypeAlias

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import MCPSyncError, RequestCancelled
from ..http import Fetched, Fetcher
from ..security.redaction import safe_url
from .challenge import demand_of
from .metadata import ResourceMetadata, read_resource, resource_metadata_urls

logger = logging.getLogger(__name__)

ACCEPT: Final = "application/json, text/event-stream"  # else some say 406 before anything else
PROBE_SECONDS: Final = 5.0  # that one question may take [seed 3.1]

Method: TypeAlias = Literal[
    "protected-resource-metadata", "401-challenge-metadata", "no-metadata-found"
]


class OAuthRequirement(NamedTuple):
    """Whether a server wants its users to sign in, and what says so.

    Args:
        requires_oauth: Whether it does.
        method: What says so: its own metadata, those that its challenge names, or nothing but that
            it turned us down. [the names are the seed's]
        metadata: What it says of itself, if it does.
    """

    requires_oauth: bool
    method: Method = "no-metadata-found"
    metadata: ResourceMetadata | None = None


def detect_oauth_requirement(
    url: str,
    fetcher: Fetcher,
    *,
    on_auth_error: bool = True,
    deadline: Deadline | None = None,
    cancel: Cancellation | None = None,
) -> OAuthRequirement:
    """Find out whether the server at *url* wants its users to sign in. Thread-safe.

    It is asked for its metadata, then with HEAD, and if that says nothing with POST of an empty
    object. Nobody's credentials go along. A server that cannot be asked, or whose answers make no
    sense, is one that wants nothing: when it is used, a 401 says what it says.

    Args:
        url: The server.
        fetcher: How it is reached, and those whom it names: see
            :func:`~mcpsync.auth.oauth.fetcher_beside`.
        on_auth_error: Whether 401 and 403 count without metadata.
            [seed: ``MCP_OAUTH_ON_AUTH_ERROR``, on by default]
        deadline: Bounds it all; each question takes five seconds at most.
        cancel: Ends it.

    Raises:
        RequestCancelled: *cancel* fired. Nothing else is raised.
    """
    server = _Server(url, fetcher, deadline or Deadline(math.inf), cancel)
    try:
        fetcher.check(url)
    except MCPSyncError as error:
        logger.info("not asked whether users have to sign in: %s", error)
        return OAuthRequirement(False)
    found = server.metadata()
    if found is not None:
        return OAuthRequirement(True, "protected-resource-metadata", found)
    refusal = server.refusal()
    if refusal is None:
        return OAuthRequirement(False)
    hint = _hint_in(refusal)
    found = None if hint is None else server.metadata(hint)
    if found is not None:
        return OAuthRequirement(True, "401-challenge-metadata", found)
    return OAuthRequirement(on_auth_error)


class _Server(NamedTuple):
    """One server, and the time there is for asking it."""

    url: str
    fetcher: Fetcher
    deadline: Deadline
    cancel: Cancellation | None

    def metadata(self, hint: str | None = None) -> ResourceMetadata | None:
        """Return what it says of itself, if that names who issues tokens for it."""
        for url in resource_metadata_urls(self.url, hint):
            answer = self._ask("GET", url)
            if answer is None or answer.status != 200:
                continue
            try:
                found = read_resource(answer.json(), self.url)
            except MCPSyncError as error:
                logger.info("metadata that make no sense: %s", error)
                continue
            if found.authorization_servers:
                return found
        return None

    def refusal(self) -> Fetched | None:
        """Return how it turns a request down; one that names metadata is worth more."""
        found: Fetched | None = None
        for method in ("HEAD", "POST"):
            answer = self._ask(method, self.url)
            if answer is None:
                continue
            if _hint_in(answer) is not None:
                return answer
            # A 403 to a POST may be about anything. [seed: on HEAD]
            is_one = answer.status == 401 or (answer.status == 403 and method == "HEAD")
            found = answer if is_one and found is None else found
        return found

    def _ask(self, method: str, url: str) -> Fetched | None:
        """Return an answer; None if there is none, for whatever reason."""
        deadline, cancel = self.deadline.within(PROBE_SECONDS), self.cancel
        try:
            if method == "GET":
                return self.fetcher.get(url, deadline=deadline, cancel=cancel)
            if method == "HEAD":
                return self.fetcher.head(url, deadline=deadline, cancel=cancel)
            return self.fetcher.post_json(url, {}, deadline=deadline, cancel=cancel, accept=ACCEPT)
        except RequestCancelled:
            raise
        except MCPSyncError as error:
            logger.info("%s %s says nothing: %s", method, safe_url(url), error)
            return None


def _hint_in(answer: Fetched) -> str | None:
    """Return the metadata that the challenge of a 401 names."""
    if answer.status != 401:
        return None
    return demand_of(answer.headers.get("www-authenticate")).resource_metadata
