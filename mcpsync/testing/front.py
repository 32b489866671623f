"""What stands before a test server: pages of its own, and who is let through."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .wire import HTTPRequest


class Page(NamedTuple):
    """An answer to a request that the MCP server never sees.

    Args:
        status: The HTTP status.
        body: The body.
        content_type: Its type; None for none.
        headers: Names and values besides.
    """

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(cls, value: object, status: int = 200) -> Page:
        """Make a page of JSON."""
        return cls(status, json.dumps(value).encode(), "application/json")


Front: TypeAlias = Callable[[HTTPRequest], "Page | None"]
