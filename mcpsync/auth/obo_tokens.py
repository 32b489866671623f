"""A user's token and what it is exchanged for; why an exchange failed. (Seed: ``resolveOboToken``)

Seed 4.2 and 4.3.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock, SystemClock
from .._runtime.deadline import Deadline
from ..config import OboConfig
from ..errors import (
    ConfigurationError,
    MessageInvalid,
    OboTokenError,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
)
from .codes import known_error
from .scopes import Scopes, split
from .token_endpoint import PASSING, is_token, tokens_of

TIMEOUT: Final = 30.0  # seconds that an exchange may take where nobody says
LIFETIME: Final = 3600.0  # seconds that a token is good for if nobody says [seed 4.2]
MESSAGES: Final = {  # what users are told, by reason [seed 4.3]
    "missing_upstream_token": "No valid OpenID access token is available for OBO exchange.",
    "missing_upstream_access_token": (
        "The upstream OpenID access token is missing for OBO exchange."
    ),
    "session_refresh_failed": "The user's session could not be refreshed for the OBO exchange.",
    "empty_exchange_response": (
        "The identity provider returned no access token for the OBO exchange."
    ),
    "exchange_failed": "The identity provider rejected the OBO token exchange.",
}
TEMPORARY: Final = "Temporary OBO token exchange failure."
NOT_OURS: Final = (RequestCancelled, ConfigurationError, RefusedError)
"""Errors that say by themselves what is wrong, and have nothing to do with an identity provider."""

PASSING_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"ETIMEDOUT", "ECONNRESET", "EAI_AGAIN", "ENOTFOUND"})
_PASSING_WORDS = (
    "timed out",
    "timeout",
    "econnreset",
    "socket hang up",
    "temporarily unavailable",
    "too many requests",
    "service unavailable",
)
_STATUSES = ("status", "status_code", "statusCode")


@dataclass(frozen=True, slots=True)
class OpenIDToken:
    """The token by which a user has signed in to the application. Nothing of it is in a repr.

    Args:
        access_token: It; for the application, from the identity provider.
        subject: Who the user is there (``sub``, or ``oid``).
        issuer: Who gave it.
        tenant: Whose directory the user is in, where one identity provider has several.
        expires_at: Seconds since the epoch; None if that is not known.
    """

    access_token: str | None = field(repr=False)
    subject: str | None = field(default=None, repr=False)
    issuer: str | None = None
    tenant: str | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class OboToken:
    """A token for one server, on behalf of a user. The token is not in a repr.

    Args:
        access_token: It.
        obtained_at: Seconds since the epoch.
        expires_at: The same.
        scopes: What was granted.
        token_type: ``Bearer``; there are no others.
    """

    access_token: str = field(repr=False)
    obtained_at: float
    expires_at: float
    scopes: Scopes = ()
    token_type: str = "Bearer"  # noqa: S105 - not a token


OboResolver: TypeAlias = Callable[[OpenIDToken, str, bool], "OboToken | Mapping[str, Any] | str"]
"""Exchanges a user's token itself: called with that, the scopes, and whether a token that it has
kept will do. Returns the token, or the answer of the identity provider."""


class Exchanger(Protocol):
    """What exchanges tokens: :class:`~mcpsync.auth.obo.OboTokenService`."""

    def exchange(
        self,
        user: OpenIDToken,
        scopes: str,
        from_cache: bool = True,
        *,
        timeout: float | Deadline = TIMEOUT,
        cancel: Cancellation | None = None,
    ) -> OboToken:
        """Return a token for the user."""


def resolve_obo_token(
    user: OpenIDToken | None,
    obo_config: OboConfig,
    resolver: Exchanger | OboResolver,
    *,
    from_cache: bool = True,
    timeout: float | Deadline = TIMEOUT,
    cancel: Cancellation | None = None,
    clock: Clock | None = None,
) -> OboToken:
    """Return a token for a server on behalf of a user, or say why there is none.

    Args:
        user: The user's own token.
        obo_config: The server's ``obo``.
        resolver: What exchanges it: an :class:`OboTokenService`, or a function of the application.
        from_cache: Whether a token that was had before will do.
        timeout: Seconds that it may take, or the deadline of the call. A function is not ended.
        cancel: Ends it; the same goes for it.
        clock: Tells the time.

    Raises:
        OboTokenError: There is none; ``reason`` and ``retryable`` say more. [seed 4.3]
        RequestTimeout, RequestCancelled: The caller's time, or patience, was over first.
        ConfigurationError, RefusedError: The exchange is configured wrongly; nothing was asked.
    """
    clock = clock if clock is not None else SystemClock()
    now = clock.time()
    if user is None or (user.expires_at is not None and user.expires_at <= now):
        raise obo_error("missing_upstream_token")
    if not user.access_token or user.access_token.isspace():
        raise obo_error("missing_upstream_access_token")
    deadline = timeout if isinstance(timeout, Deadline) else Deadline(timeout)
    try:
        if hasattr(resolver, "exchange"):
            return resolver.exchange(
                user, obo_config.scopes, from_cache, timeout=deadline, cancel=cancel
            )
        return _taken(resolver(user, obo_config.scopes, from_cache), now, obo_config)
    except (OboTokenError, *NOT_OURS):
        raise
    except RequestTimeout as error:
        if deadline.expired:
            raise
        raise exchange_failed(error) from error
    except Exception as error:  # whatever a function of the application raises
        raise exchange_failed(error) from error


def _taken(found: object, now: float, asked: OboConfig) -> OboToken:
    """Return what a function of the application gave as a token, if it is one.

    Raises:
        OboTokenError: It is none, or over.
        MessageInvalid: There is something in it that no token has.
    """
    if isinstance(found, str):
        found = {"access_token": found}
    if not isinstance(found, OboToken):
        said = found if isinstance(found, Mapping) else {}
        return obo_token(said, now, split(asked.scopes))
    if not found.access_token:
        raise obo_error("empty_exchange_response")
    if not is_token(found.access_token):
        raise MessageInvalid("this is no token.")
    if found.expires_at <= now:
        raise exchange_failed(retryable=True)
    return found


def obo_token(said: Mapping[str, Any], now: float, asked: Scopes) -> OboToken:
    """Return the token of an answer.

    Args:
        said: The answer of an identity provider.
        now: When it was asked, in seconds since the epoch.
        asked: The scopes it was asked for: granted if the answer does not say.

    Raises:
        OboTokenError: There is none in it, or it is over already.
        MessageInvalid: There is something else in it.
    """
    if not said.get("access_token"):
        if said.get("error") is not None:
            word = known_error(said["error"])
            raise exchange_failed(retryable=word in PASSING, error=word)
        raise obo_error("empty_exchange_response")
    tokens = tokens_of(said, now, asked)
    if tokens.is_bound:
        raise MessageInvalid("the identity provider bound a token to a key nobody has.")
    lasts, until = _number(said.get("expires_in")), _number(said.get("expires_at"))
    expires_at = tokens.expires_at if tokens.expires_at is not None else now + LIFETIME
    if lasts is None and until is not None:
        expires_at = until
    if (lasts is not None and not lasts > 0) or not expires_at > now:
        raise exchange_failed(retryable=True)
    return OboToken(tokens.access_token, now, expires_at, tokens.scopes)


def _number(value: object) -> float | None:
    if isinstance(value, str):
        value = value.strip()
        is_one = value.isascii() and value.removeprefix("-").isdigit() and len(value) < 16
        return float(value) if is_one else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any length
        return math.inf if value > 0 else -math.inf


# -- why it failed --------------------------------------------------------------------------------


def obo_error(reason: str, message: str | None = None, **context: Any) -> OboTokenError:
    """Make the error for *reason*, with what users are told of it."""
    message = message or MESSAGES[reason]
    return OboTokenError(message, reason=reason, user_message=message, **context)


def exchange_failed(
    cause: BaseException | None = None, *, retryable: bool | None = None, error: str = ""
) -> OboTokenError:
    """Make the error for an exchange that failed.

    Args:
        cause: Why, if that is known; nothing of its text is in the error.
        retryable: Whether it may work later; found out from *cause* otherwise.
        error: The identity provider's word.
    """
    if retryable is None:
        retryable = cause is not None and is_passing(cause)
    word = error or getattr(cause, "error", "")
    return obo_error(
        "exchange_failed",
        TEMPORARY if retryable else None,
        retryable=retryable,
        error=known_error(word) if isinstance(word, str) and word else "",
    )


def is_passing(error: BaseException) -> bool:
    """Whether what failed may work later. [seed 4.3]

    What the error says itself comes first (``retryable``), then its HTTP status, its code, and its
    text in the end.
    """
    told = getattr(error, "retryable", None)
    if isinstance(told, bool):
        return told
    status = _status_of(error)
    if status is not None:
        return status in PASSING_STATUSES
    code = _code_of(error)
    if code in _PASSING_CODES:
        return True
    text = str(error).lower()
    return any(word in text for word in _PASSING_WORDS)


def _status_of(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        for name in _STATUSES:
            status = getattr(holder, name, None)
            if isinstance(status, int) and not isinstance(status, bool):
                return status
    return None


def _code_of(error: BaseException) -> str:
    code, reason = getattr(error, "code", None), getattr(error, "reason", None)
    if isinstance(code, str):
        return code.upper()
    if isinstance(reason, OSError):  # of a URLError
        return _code_of(reason)
    if isinstance(error, TimeoutError):
        return "ETIMEDOUT"
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "ConnectionError" in kinds and "SSLError" not in kinds:  # also that of requests
        return "ECONNRESET"
    if isinstance(error, OSError):
        if "gaierror" in kinds:
            return "EAI_AGAIN"  # of a name that cannot be looked up
        return errno.errorcode.get(error.errno or 0, "")
    return ""
