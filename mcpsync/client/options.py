"""What every call takes, and the scope that is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import ConfigurationError
from ..transports.base import CallScope
from .extensions import Extensions, settings_of

if TYPE_CHECKING:
    import mcp_types as types

    from ..session.answers import ElicitationCallback, ListRootsCallback, SamplingCallback
    from ..session.tracing import Tracing

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


class AnsweringOptions(TypedDict, total=False):
    """What a client, or all clients of a manager, answer their servers with.

    All of them run on the thread of the call that waits, within its *timeout*. A server is told
    that we can do what there is a callback for. Each is called with a
    :class:`~mcpsync.ClientRequestContext`, which names server and user, and returns the
    ``mcp_types`` result, or an ``ErrorData``.

    Attributes:
        elicitation_callback: Asks the user what the server wants to know.
        elicitation_capabilities: Which modes it can: forms alone by default; with ``url`` it may
            be asked to have the user visit a page.
        sampling_callback: Asks a language model for the server.
        sampling_capabilities: What it can besides, such as tools.
        list_roots_callback: Says which directories the server may look at.
        input_required_max_rounds: How often one request is sent again with what a modern server
            asked for (10); with 0 the call raises ``InputRequired`` at once.
    """

    elicitation_callback: ElicitationCallback | None
    elicitation_capabilities: types.ElicitationCapability | None
    sampling_callback: SamplingCallback | None
    sampling_capabilities: types.SamplingCapability | None
    list_roots_callback: ListRootsCallback | None
    input_required_max_rounds: int


class SharedOptions(AnsweringOptions, total=False):
    """What all clients of a manager are made with.

    Attributes:
        extensions: What to offer servers besides the core protocol.
        tracing: What traces the requests.
    """

    extensions: Extensions | None
    tracing: Tracing | None


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


def checked_shared(options: SharedOptions) -> SharedOptions:
    """Return *options* if they are some; its extensions may be iterated over again and again.

    Raises:
        TypeError: There is no such option.
        ConfigurationError: One of them is not usable.
    """
    unknown = options.keys() - SharedOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {min(unknown)!r}")
    checked_answering(options)
    return {**options, "extensions": settings_of(options.get("extensions"))}


def checked_answering(options: AnsweringOptions) -> AnsweringOptions:
    """Return *options* if they are some.

    Raises:
        ConfigurationError: One of them is not usable.
    """
    for name in ("elicitation_callback", "sampling_callback", "list_roots_callback"):
        callback = options.get(name)
        if callback is not None and not callable(callback):
            raise ConfigurationError(f"{name} must be callable, not {type(callback).__name__}.")
    rounds = options.get("input_required_max_rounds", 0)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 0:
        raise ConfigurationError(f"input_required_max_rounds is 0 or more, not {rounds!r}.")
    return options
