"""The URLs of servers: what one may be, before and after its placeholders are filled in."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .templates import PLACEHOLDER

HTTP_SCHEMES = ("http", "https")
WEBSOCKET_SCHEMES = ("ws", "wss")
_NEVER = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # what readers of URLs drop or replace
_LONGEST = 200  # characters of one that are shown


def check_url(url: str, shown: str | None = None, schemes: tuple[str, str] = HTTP_SCHEMES) -> None:
    """Check that *url* is one that can be called; the error says *shown* instead of it.

    Raises:
        ValueError: It is not. The text never holds what may be a secret.
    """
    _check_characters(url)
    try:
        parts = urlsplit(url)
        port = parts.port  # raises if it is not a number
    except ValueError:
        raise ValueError("it is not a URL") from None  # whatever it is, it may hold a secret
    if port == 0:  # which would be taken for the usual one
        raise ValueError("it is not a URL: there is no port 0")
    if parts.scheme not in schemes or not parts.hostname:
        article = "an" if schemes is HTTP_SCHEMES else "a"
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"{shown or _shown(url)} is not {article} {wanted} URL")


def _check_characters(url: str) -> None:
    if _NEVER.search(url):
        raise ValueError("it is not a URL: there is a line break, or no character at all, in it")


def check_template(url: str, schemes: tuple[str, str] = HTTP_SCHEMES) -> None:
    """Check as much of *url* as is known before its placeholders are resolved.

    Raises:
        ValueError: It cannot become a URL that can be called.
    """
    if "{{" not in url:
        return check_url(url, schemes=schemes)
    bare = PLACEHOLDER.sub("1", url)  # good for a host, a port and a path
    if "{{" in bare:
        raise ValueError("'{{' in it does not begin a placeholder")
    _check_characters(url)
    if not PLACEHOLDER.match(url):
        check_url(bare, shown=_shown(url), schemes=schemes)
    return None


def shown_target(url: str) -> str:
    """Return *url* without user info and query, for people."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not parts.scheme:  # it begins with a placeholder
        return parts.path.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _shown(url: str) -> str:
    """Return *url* as an error may show it: not at all if it may hold a secret."""
    if "@" in url or "?" in url:
        return "it"
    return repr(url) if len(url) <= _LONGEST else f"{url[:_LONGEST]!r}…"
