"""A store in this process's memory."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from .._runtime.clock import Clock, SystemClock
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from .base import Entry, check_key, check_value

SWEEP_EVERY = 256  # values kept, until those that are over are looked for


class _Kept(NamedTuple):
    value: bytes
    version: int
    until: float


class MemoryStore:
    """Keeps everything in memory: it ends with the process, and no other process sees it.

    A forked child has a copy of what was there, and nothing in common with its parent after that.

    Args:
        clock: Tells the time.

    Lock: _lock guards _kept, _held, _writes.
    """

    is_shared = False

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = new_lock("memory store")
        self._numbers = itertools.count(1)
        self._kept: dict[str, _Kept] = {}
        self._held: dict[str, tuple[int, float]] = {}  # the token, and until when
        self._writes = 0
        after_fork_in_child(self._forget)

    def get(self, key: str) -> Entry | None:
        """See :meth:`Store.get`."""
        check_key(key)
        with self._lock:
            kept = self._current(key)
        return None if kept is None else Entry(kept.value, kept.version)

    def set(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """See :meth:`Store.set`."""
        check_key(key)
        check_value(value, ttl)
        with self._lock:
            return self._put(key, value, ttl)

    def compare_and_set(
        self, key: str, version: int | None, value: bytes, ttl: float | None = None
    ) -> int | None:
        """See :meth:`Store.compare_and_set`."""
        check_key(key)
        check_value(value, ttl)
        with self._lock:
            kept = self._current(key)
            if (None if kept is None else kept.version) != version:
                return None
            return self._put(key, value, ttl)

    def delete(self, key: str, version: int | None = None) -> bool:
        """See :meth:`Store.delete`."""
        check_key(key)
        with self._lock:
            kept = self._current(key)
            if kept is None or version not in (None, kept.version):
                return False
            del self._kept[key]
            return True

    def take(self, key: str) -> bytes | None:
        """See :meth:`Store.take`."""
        check_key(key)
        with self._lock:
            kept = self._current(key)
            if kept is not None:
                del self._kept[key]
        return None if kept is None else kept.value

    def acquire(self, name: str, lease: float) -> int | None:
        """See :meth:`Store.acquire`."""
        check_key(name)
        with self._lock:
            now = self._clock.monotonic()
            if self._held.get(name, (0, -math.inf))[1] > now:
                return None
            token = next(self._numbers)
            self._held[name] = token, now + lease
            return token

    def extend(self, name: str, token: int, lease: float) -> bool:
        """See :meth:`Store.extend`."""
        with self._lock:
            now = self._clock.monotonic()
            held = self._held.get(name)
            if held is None or held[0] != token or held[1] <= now:
                return False
            self._held[name] = token, now + lease
            return True

    def release(self, name: str, token: int) -> bool:
        """See :meth:`Store.release`."""
        with self._lock:
            held = self._held.get(name)
            if held is None or held[0] != token:
                return False
            del self._held[name]
            return held[1] > self._clock.monotonic()

    def close(self) -> None:
        """See :meth:`Store.close`."""

    def _current(self, key: str) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.until <= self._clock.monotonic():
            del self._kept[key]
            return None
        return kept

    def _put(self, key: str, value: bytes, ttl: float | None) -> int:
        now = self._clock.monotonic()
        version = next(self._numbers)
        self._kept[key] = _Kept(value, version, math.inf if ttl is None else now + ttl)
        self._writes += 1
        if self._writes % SWEEP_EVERY == 0:
            self._kept = {key: kept for key, kept in self._kept.items() if kept.until > now}
            self._held = {name: held for name, held in self._held.items() if held[1] > now}
        return version

    def _forget(self) -> None:
        """Begin anew in a forked child: the lock may have been held, and locks are the parent's."""
        self._lock = new_lock("memory store")
        self._held = {}
