"""The bytes did not get there, or not back."""

from __future__ import annotations

from .base import MCPSyncError


class TransportError(MCPSyncError):
    """The bytes did not get there, or not back."""


class ConnectError(TransportError):
    """No connection could be made. Nothing was sent, so it is safe to try again."""

    retryable = True


class ConnectTimeout(ConnectError, TimeoutError):
    """No connection could be made within the time allowed."""


class ConnectionLost(TransportError):
    """The connection ended before the answer was whole.

    Attributes:
        stale: It had been used before and ended without one byte of answer, likely while idle.
    """

    retryable = True
    stale: bool = False


class ConnectionClosed(TransportError):
    """This client or connection was closed by our own side."""


class HTTPStatusError(TransportError):
    """The server answered with an HTTP status that means failure.

    Attributes:
        status: The HTTP status code.
    """

    status: int = 0


class RateLimited(HTTPStatusError):
    """The server asks us to slow down: HTTP 429.

    Attributes:
        retry_after: How long the server asks us to wait, in seconds, if it said.
    """

    retryable = True
    retry_after: float | None = None


class SessionExpired(TransportError):
    """The server no longer knows our session.

    Its request was not run, unless the session went while the answer was under way.
    """

    retryable = True


class SubscriptionLost(TransportError):
    """A stream of changes was cut, and beginning it anew came to nothing.

    What changed since is not known: whoever listens again fetches everything again.
    """

    retryable = True


class ServerExited(TransportError):
    """A server we talk to over stdio ended.

    Attributes:
        returncode: Its exit status, or the negative of the signal that ended it, if known.
        stderr_tail: The last lines it wrote to standard error.
    """

    retryable = True
    returncode: int | None = None
    stderr_tail: str = ""
