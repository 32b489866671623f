"""All pages of a listing, lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from ..errors import LimitExceeded

P = TypeVar("P")
T = TypeVar("T")


def pages(
    fetch: Callable[[str | None], P],
    items: Callable[[P], list[T]],
    next_cursor: Callable[[P], str | None],
    max_pages: int,
) -> Iterator[T]:
    """Yield the items of every page. Only a missing cursor ends it; an empty one is a cursor.

    Raises:
        LimitExceeded: A cursor came a second time, or there are more than *max_pages*.
    """
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(max_pages):
        page = fetch(cursor)
        yield from items(page)
        cursor = next_cursor(page)
        if cursor is None:
            return
        if cursor in seen:
            raise LimitExceeded("the server's listing goes round: it gave the same cursor twice.")
        seen.add(cursor)
    raise LimitExceeded(f"the server's listing has more than {max_pages} pages.")
