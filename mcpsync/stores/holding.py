"""Waiting for a store's lock."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

from .._runtime.backoff import pause
from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..errors import StoreError
from .base import Store

logger = logging.getLogger(__name__)

FIRST = 0.005  # seconds until a lock that somebody has is asked for again
LAST = 0.1  # seconds between two attempts, once it takes long


@contextmanager
def hold(
    store: Store, name: str, *, lease: float, deadline: Deadline, cancel: Cancellation | None = None
) -> Iterator[int]:
    """Have the lock *name* of *store*, waiting for it if need be.

    Nothing extends the lease: give it longer than what is done under the lock can take.
    Thread-safe.

    Args:
        store: Whose lock.
        name: Which.
        lease: Seconds after which it is anybody's.
        deadline: Ends the wait.
        cancel: Ends the wait.

    Yields:
        The token, larger than those of earlier holders.

    Raises:
        RequestTimeout: The deadline passed first.
        RequestCancelled: *cancel* fired.
        StoreError: The store cannot be reached.
    """
    wait = FIRST
    while (token := store.acquire(name, lease)) is None:
        pause(wait * (0.5 + random.random()), deadline, cancel, doing="waiting for a lock")  # noqa: S311
        wait = min(wait * 2, LAST)
    try:
        yield token
    finally:
        try:
            store.release(name, token)
        except StoreError as error:  # its lease will end
            logger.warning("a lock was not given back: %s", error)
