"""The only place a lock is made, so that tests can check how locks are used.

A state lock guards attributes and nothing else: under it there is no I/O, no waiting, no callback,
no logging. With :func:`check_discipline` on, taking a second lock while one is held fails, and so
does reaching a seam that blocks (:func:`assert_none_held`) with a lock in hand.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Protocol

from .deadline import Deadline

_held = threading.local()
_checking = False


class Lock(Protocol):
    """What the library asks of a lock."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def locked(self) -> bool:
        """Whether somebody holds it."""


class LockMisuse(AssertionError):
    """A lock rule was broken. Only ever raised while tests check the discipline."""


class _CheckedLock:
    """A lock that knows its holder and refuses to be the second one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()

    def __enter__(self) -> bool:
        holding = getattr(_held, "name", None)
        if holding is not None:
            raise LockMisuse(f"taking {self._name!r} while holding {holding!r}")
        self._lock.acquire()
        _held.name = self._name
        return True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _held.name = None
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()


def new_lock(name: str) -> Lock:
    """Return a lock to guard some attributes; *name* says which, for whoever misuses it."""
    return _CheckedLock(name) if _checking else threading.Lock()


def check_discipline(on: bool) -> None:
    """Make every lock created from now on check the rules above (for tests)."""
    global _checking
    _checking = on


def assert_none_held(doing: str) -> None:
    """Raise :class:`LockMisuse` if this thread holds a checked lock; free otherwise."""
    if _checking:
        holding = getattr(_held, "name", None)
        if holding is not None:
            raise LockMisuse(f"{doing} while holding {holding!r}")


class WriteLock:
    """Held while one whole message is written, by one writer at a time. A leaf: takes nothing else.

    Unlike a state lock it is held during I/O, so waiting for it is bounded.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, deadline: Deadline) -> None:
        """Wait for it.

        Raises:
            RequestTimeout: The deadline passed first.
        """
        wait = deadline.wait_time()
        if not self._lock.acquire(timeout=-1 if wait is None else wait):
            raise deadline.error("waiting to send")

    def release(self) -> None:
        """Let the next writer go."""
        self._lock.release()
