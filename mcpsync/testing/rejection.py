"""The rules of HTTP that a request must keep before its message is looked at."""

from __future__ import annotations

from urllib.parse import urlsplit

from .jsonrpc import LEGACY_VERSIONS, SERVER_ERROR, RPCError
from .responder import JSON_TYPE, SSE_TYPE
from .wire import HTTPRequest


class Rejection(Exception):
    """A request that is answered with an HTTP status before it reaches any method.

    Attributes:
        knows_id: Whether the answer carries the id of the request.
    """

    def __init__(self, status: int, error: RPCError, *, knows_id: bool = False) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.knows_id = knows_id


def reject(status: int, code: int, message: str) -> Rejection:
    """Build a rejection without an id."""
    return Rejection(status, RPCError(code, message))


def check_headers(request: HTTPRequest) -> None:
    """Check what every POST must say about its body and the answer.

    Raises:
        Rejection: 403 for a foreign origin, 406 for the Accept, 415 for the Content-Type.
    """
    headers = request.headers
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).hostname not in {"127.0.0.1", "localhost", "::1"}:
        raise reject(403, SERVER_ERROR, f"Forbidden: invalid Origin {origin}")
    accepted = {part.partition(";")[0].strip() for part in headers.get("accept", "").split(",")}
    if not {JSON_TYPE, SSE_TYPE} <= accepted:
        text = f"Not Acceptable: Client must accept both {JSON_TYPE} and {SSE_TYPE}"
        raise reject(406, SERVER_ERROR, text)
    if headers.get("content-type", "").partition(";")[0].strip() != JSON_TYPE:
        raise reject(415, SERVER_ERROR, f"Unsupported Media Type: send {JSON_TYPE}")


def check_legacy_version(headers: dict[str, str]) -> str | None:
    """Return the protocol version that the headers name, None if they name none.

    Raises:
        Rejection: 400 for a version that has no handshake.
    """
    version = headers.get("mcp-protocol-version")
    if version is not None and version not in LEGACY_VERSIONS:
        supported = ", ".join(reversed(LEGACY_VERSIONS))
        text = f"Bad Request: Unsupported protocol version: {version} (supported: {supported})"
        raise reject(400, SERVER_ERROR, text)
    return version
