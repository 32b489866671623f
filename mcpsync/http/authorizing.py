"""How credentials come onto a request, and what is done when a server turns them down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import (
    AuthorizationRequired,
    ConnectionLost,
    HTTPStatusError,
    MCPSyncError,
    OAuthError,
    ProtocolError,
    RequestTimeout,
)

if TYPE_CHECKING:
    from requests import PreparedRequest, Session

MOST_ANSWERS: Final = 4  # times that one request may be sent, however often it is turned down


@dataclass(frozen=True, slots=True)
class Occasion:
    """One request, for whoever adds credentials to it.

    Args:
        deadline: That of the call.
        cancel: That of the call.
        attempt: The number of times the request was sent before.
    """

    deadline: Deadline
    cancel: Cancellation | None = None
    attempt: int = 0


def about_credentials(error: MCPSyncError, occasion: Occasion) -> MCPSyncError:
    """Return what an error of asking for credentials is to the call that they were for.

    Its request was not run, whoever was asked for credentials meanwhile. And what they answer, or
    do not, says nothing about the server: nobody is to take it for the server's own answer.
    """
    error.maybe_executed = False
    if isinstance(error, HTTPStatusError | ProtocolError):
        word = f"http_{error.status}" if isinstance(error, HTTPStatusError) else "bad_answer"
        return _caused(OAuthError(error.message, error=word, retryable=error.retryable), error)
    if isinstance(error, RequestTimeout) and not occasion.deadline.expired:
        late = "who issues tokens did not answer in time."
        return _caused(OAuthError(late, error="no_answer", retryable=True), error)
    if isinstance(error, ConnectionLost):
        error.stale = False  # of that request; the call's own must not be sent again for it
    return error


def _caused(error: MCPSyncError, cause: MCPSyncError) -> MCPSyncError:
    error.__cause__ = cause
    return error


@runtime_checkable
class AuthorizerSource(Protocol):
    """What makes an authorizer once it is known for which server."""

    def authorizer_for(self, url: str, session: Session | None) -> Authorizer:
        """Return the authorizer for the server at *url*.

        Args:
            url: The server.
            session: Where proxies and TLS settings for asking others come from.
        """


class Authorizer(ABC):
    """Adds credentials to each request, and gets better ones when they are turned down.

    A plain ``requests`` auth callable does only the first. Thread-safe.

    Attributes:
        insists: Whether its credentials take the place of those that a call brings along. It then
            writes the names of headers in lower case, as they are in its requests.
    """

    insists: bool = False

    @abstractmethod
    def authorize(self, request: PreparedRequest, occasion: Occasion) -> None:
        """Add credentials to *request*, asking whoever issues them if need be.

        Raises:
            MCPSyncError: There are none to be had; the request is not sent.
        """

    @abstractmethod
    def recover(
        self,
        status: int,
        headers: Mapping[str, str],
        request: PreparedRequest,
        occasion: Occasion,
    ) -> bool:
        """Return whether to send *request* again, with new credentials; it was not run.

        Called after 401 and 403, on the caller's thread, with no lock held.

        Nobody is waited for here: what takes a person raises, and whoever has the time calls again.

        Raises:
            AuthError: Somebody has to sign in, or must not do this.
        """

    def sign_in(
        self, required: AuthorizationRequired, deadline: Deadline, cancel: Cancellation | None
    ) -> bool:
        """Have the user sign in, as *required* says, and wait for it, if that is possible here.

        Called by whoever has the time: outside of every exchange, so that no time for connecting
        ends it.

        Returns:
            Whether to call again.

        Raises:
            MCPSyncError: It came to nothing.
        """
        return False

    def accepted(self, request: PreparedRequest) -> None:  # noqa: B027 - a hook
        """Hear that the server took the credentials of *request*."""

    def note(self, url: str, headers: Mapping[str, str]) -> None:  # noqa: B027 - a hook
        """Look at the headers of an answer; the sort of hint that is good for the next request."""
