"""What never appears in a log line, a repr or an exception."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

MAX_SHOWN: Final = 300  # characters of a URL that are shown


def safe_url(url: str) -> str:
    """Return *url* as scheme, host and path only: no user info, no query, no fragment.

    Somebody else may have written it: what is shown is short, and neither ends a line, nor is it
    markup, nor does a terminal obey it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<unreadable URL>"
    if not parts.netloc and (parts.scheme or "@" in parts.path):
        return "<unreadable URL>"  # such as user:password@host, which has no scheme
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path
    if len(shown) > MAX_SHOWN:
        shown = f"{shown[:MAX_SHOWN]}…"
    return "".join(char if _is_harmless(char) else _encoded(char) for char in shown)


def _is_harmless(char: str) -> bool:
    return char.isprintable() and char not in ' <>"\\`'


def _encoded(char: str) -> str:
    return quote(char, safe="", errors="replace")
