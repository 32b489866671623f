"""What every call takes, and the scope that is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import ConfigurationError
from ..transports.base import CallScope

DEFAULT_TIMEOUT = 60.0  # seconds that a call may take unless it is told otherwise
CLOSE_TIMEOUT = 5.0  # seconds that close() may take unless it is told otherwise


class CallOptions(TypedDict, total=False):
    """What every call takes.

    Attributes:
        timeout: Seconds the whole call may take, connecting included; the client's by default.
            Whoever is inside the library may hand on the deadline of a larger whole.
        headers: For this call's HTTP requests only; they win over the client's.
        cancel: Ends the call when it fires.
        meta: Put into the request's ``_meta``.
    """

    timeout: float | Deadline | None
    headers: Mapping[str, str] | None
    cancel: Cancellation | None
    meta: Mapping[str, Any] | None


_KNOWN = frozenset(CallOptions.__annotations__)


def check_options(options: CallOptions) -> None:
    """Raise ``TypeError`` for an option there is not, as a function with keywords does."""
    if not options.keys() <= _KNOWN:
        wrong = next(iter(options.keys() - _KNOWN))
        raise TypeError(f"got an unexpected keyword argument {wrong!r}")


def scope_of(options: CallOptions, default: float) -> CallScope:
    """Make the scope of a call from its options.

    Args:
        options: What the caller gave.
        default: Seconds the call may take if it does not say.

    Raises:
        TypeError: There is no such option.
        ConfigurationError: The timeout is not a positive number.
    """
    if not options:
        return CallScope(Deadline(default))
    check_options(options)
    timeout = options.get("timeout")
    if not isinstance(timeout, Deadline):
        timeout = Deadline(checked_timeout(timeout, default))
    return CallScope(timeout, options.get("cancel"), options.get("headers"))


def checked_timeout(timeout: float | None, default: float) -> float:
    """Return *timeout* in seconds, or the default for None.

    Raises:
        ConfigurationError: It is not a positive number.
    """
    if timeout is None:
        return default
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ConfigurationError(f"a timeout is a number of seconds, not {timeout!r}.")
    if math.isnan(timeout) or timeout <= 0:
        raise ConfigurationError(f"a timeout must be positive, not {timeout!r}.")
    return float(timeout)
