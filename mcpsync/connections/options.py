"""What every call of a manager takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from ..client.options import DEFAULT_TIMEOUT, CallOptions, checked_timeout
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .request_scope import RequestScope


class ConnectOptions(TypedDict, total=False):
    """What a connection for one caller may be made from, besides its server's configuration.

    Attributes:
        custom_user_vars: The user's values for the variables that the configuration declares.
        request_body: Fields of the request this call belongs to: what ``{{BODY_…}}`` stands for.
        request_scope: The request's connections, for a call from another thread than the one
            that is in ``with manager.request_scope(…)``.
        connection_timeout: Seconds connecting may take; the configuration's by default.
        oauth_start: Called with a URL if the user has to sign in first; then the call waits, within
            its *timeout*, until he has. Without it the call raises ``AuthorizationRequired``.
        oauth_end: Called when the waiting is over, however it ended; where nobody waits, never.
        return_on_oauth: Raise ``AuthorizationRequired`` after *oauth_start* instead of waiting.
    """

    custom_user_vars: Mapping[str, str] | None
    request_body: Mapping[str, Any] | None
    request_scope: RequestScope | None
    connection_timeout: float | None
    oauth_start: Callable[[str], object] | None
    oauth_end: Callable[[], object] | None
    return_on_oauth: bool | None


class ManagerOptions(CallOptions, ConnectOptions, total=False):
    """What every call of a manager takes: :class:`CallOptions` and :class:`ConnectOptions`."""


class Parted(NamedTuple):
    """The options of a call, parted by whom they concern."""

    call: CallOptions
    custom_user_vars: Mapping[str, str] | None = None
    request_body: Mapping[str, Any] | None = None
    request_scope: RequestScope | None = None
    connection_timeout: float | None = None
    oauth_start: Callable[[str], object] | None = None
    oauth_end: Callable[[], object] | None = None
    return_on_oauth: bool = False


_NOTHING = Parted({})


def part(options: ManagerOptions) -> Parted:
    """Part what belongs to the call from what belongs to the connection.

    What the caller does with his variables afterwards is not seen: they are copied.

    Raises:
        ConfigurationError: *connection_timeout* is not a positive number, or
            *custom_user_vars* no mapping.
    """
    if not options:
        return _NOTHING
    call: dict[str, Any] = dict(options)
    taken = {name: call.pop(name) for name in ConnectOptions.__annotations__ if name in call}
    if taken.get("connection_timeout") is not None:
        taken["connection_timeout"] = checked_timeout(taken["connection_timeout"], DEFAULT_TIMEOUT)
    if "return_on_oauth" in taken:
        taken["return_on_oauth"] = bool(taken["return_on_oauth"])
    own = taken.get("custom_user_vars")
    if own is not None:
        if not isinstance(own, Mapping):
            raise ConfigurationError(
                f"custom_user_vars must be a mapping of names to values, not {type(own).__name__}."
            )
        taken["custom_user_vars"] = dict(own)
    return Parted(CallOptions(**call), **taken)  # type: ignore[typeddict-item]
