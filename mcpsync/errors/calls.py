"""How a call may end without an answer: no time, no wish, no input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from .base import MCPSyncError
from .ours import ConfigurationError


class RequestTimeout(MCPSyncError, TimeoutError):
    """The call's time ran out.

    Attributes:
        timeout: The time it had, in seconds.
    """

    retryable = True
    timeout: float | None = None


class RequestCancelled(MCPSyncError):
    """The caller's :class:`~mcpsync.Cancellation` fired while the call waited.

    Attributes:
        reason: What was given to ``cancel()``.
    """

    reason: str | None = None


class TaskCancelled(MCPSyncError):
    """The task that a call had become was cancelled before it was done, and not by this call."""


class InputRequired(MCPSyncError):
    """The server wants input from the user before it goes on (multi round-trip request).

    It has all that is needed to answer later, in another process if need be:
    :meth:`to_dict` and :meth:`from_dict` are for the way there, and ``client.resume(error,
    responses)`` sends the request again with the answers. A callback raises it to leave the answer
    for later. ``request_state`` may stand for something the server keeps for this user: give it
    to nobody else.

    Attributes:
        params: The params of the request that was made, without ``_meta``.
        input_requests: What the server asks, as it came: key to ``{"method": …, "params": …}``.
        request_state: What the server wants back as it is; None if it gave none.
        responses: What was answered here before it came to this, by key.
        result: The server's ``InputRequiredResult`` as received.
    """

    params: Mapping[str, Any] = {}
    input_requests: Mapping[str, Any] = {}
    request_state: str | None = None
    responses: Mapping[str, Any] = {}
    result: Mapping[str, Any] | None = None

    @property
    def requests(self) -> dict[str, Any]:
        """What the server asks, by key, as ``mcp_types`` models; as it came if it is none."""
        from mcp_types import InputRequest
        from pydantic import TypeAdapter, ValidationError

        adapter: TypeAdapter[Any] = TypeAdapter(InputRequest)
        found: dict[str, Any] = {}
        for key, request in self.input_requests.items():
            try:
                found[key] = adapter.validate_python(request)
            except ValidationError:
                found[key] = request
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            "message": self.message,
            **{name: getattr(self, name) for name in _KEPT},
            **{name: dict(getattr(self, name)) for name in _KEPT_MAPPINGS},
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Make it anew from what :meth:`to_dict` returned.

        Raises:
            ConfigurationError: It is something else.
        """
        names = ("message", *_KEPT, *_KEPT_MAPPINGS)
        if not isinstance(kept, Mapping) or not set(kept) >= set(names):
            raise ConfigurationError("this is not what InputRequired.to_dict() returned.")
        return cls(kept["message"], **{n: kept[n] for n in names[1:] if kept[n] is not None})


_WHOSE = ("server_name", "user_id", "tool_name", "method", "task_id")
_KEPT = (*_WHOSE, "request_state", "maybe_executed")
_KEPT_MAPPINGS = ("params", "input_requests", "responses")
