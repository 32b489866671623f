"""What never appears in a log line, a repr or an exception."""

from __future__ import annotations

from urllib.parse import urlsplit


def safe_url(url: str) -> str:
    """Return *url* as scheme, host and path only: no user info, no query, no fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<unreadable URL>"
    if not parts.netloc and (parts.scheme or "@" in parts.path):
        return "<unreadable URL>"  # such as user:password@host, which has no scheme
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path
