"""Who is in use, who is not, and since when."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class IdleTracker(Generic[K]):
    """Like a ``TTLCache`` of keys, except that it never forgets one silently and holds are counted.

    A key that is held never expires. What is no longer held joins the end of a queue, so the
    oldest is always first and looking for the expired costs only as much as there are of them.
    Not thread-safe: its owner's lock guards it.

    Args:
        timeout: Seconds after which a key that nobody holds has expired.
        now: Returns monotonic seconds.
    """

    def __init__(self, timeout: float, now: Callable[[], float]) -> None:
        self.timeout = timeout
        self._now = now
        self._holds: dict[K, int] = {}
        self._idle_since: dict[K, float] = {}  # insertion order is the order of time

    def hold(self, key: K) -> bool:
        """Count one more user of *key*, unless it has expired; return whether it has not."""
        since = self._idle_since.get(key)
        if since is None:
            self._holds[key] = self._holds.get(key, 0) + 1
            return True
        if since <= self._now() - self.timeout:
            return False
        del self._idle_since[key]
        self._holds[key] = 1
        return True

    def release(self, key: K) -> None:
        """Count one user of *key* less; with the last one its idleness begins."""
        holds = self._holds.get(key, 0)
        if holds > 1:
            self._holds[key] = holds - 1
        elif holds == 1:
            del self._holds[key]
            self._idle_since[key] = self._now()

    def touch(self, key: K) -> None:
        """Begin *key*'s idleness anew, now; a held key stays held."""
        if key not in self._holds:
            self._idle_since.pop(key, None)
            self._idle_since[key] = self._now()

    def discard(self, key: K) -> None:
        """Forget *key*, held or not."""
        self._holds.pop(key, None)
        self._idle_since.pop(key, None)

    def expired(
        self, at_most: int | None = None, skip: Callable[[K], bool] = lambda _: False
    ) -> list[K]:
        """Return the keys that expired, oldest first, in time proportional to their number.

        Args:
            at_most: How many will do; all by default.
            skip: Says which to leave out.
        """
        limit = self._now() - self.timeout
        found: list[K] = []
        for key, since in self._idle_since.items():
            if since > limit or (at_most is not None and len(found) >= at_most):
                break
            if not skip(key):
                found.append(key)
        return found

    def has_expired(self, key: K) -> bool:
        """Whether nobody holds *key* and nobody has for longer than the timeout."""
        since = self._idle_since.get(key)
        return since is not None and since <= self._now() - self.timeout

    def until_next(self) -> float | None:
        """Return the seconds until the oldest idle key expires, or None if no key is idle."""
        for since in self._idle_since.values():
            return max(0.0, since + self.timeout - self._now())
        return None

    def held(self, key: K) -> bool:
        """Whether somebody holds *key*."""
        return key in self._holds

    def __contains__(self, key: object) -> bool:
        return key in self._holds or key in self._idle_since

    def __len__(self) -> int:
        return len(self._holds) + len(self._idle_since)
