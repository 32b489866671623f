"""How long a server asks to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def seconds_asked_for(retry_after: str | None) -> float | None:
    """Return the seconds a ``Retry-After`` asks for: a number, or a date. (RFC 9110, 10.2.3.)"""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.strip().isdigit():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (TypeError, ValueError, OverflowError):
        return None
    until = date if date.tzinfo is not None else date.replace(tzinfo=UTC)  # asctime: always GMT
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
