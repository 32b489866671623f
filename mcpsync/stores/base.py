"""What outlives a process, or is shared by several: one small protocol for all of it.

A store keeps bytes under names for a while, and lends locks. Everything that is built on it asks
nothing else of it, so whoever has another database writes these nine methods.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol, runtime_checkable

from ..errors import ConfigurationError

MAX_KEY: Final = 512  # characters
MAX_VALUE: Final = 1024 * 1024  # bytes


class Entry(NamedTuple):
    """What a store keeps under a key.

    Args:
        value: The bytes.
        version: What no other value of this key has, or will have; larger than earlier ones.
    """

    value: bytes
    version: int


@runtime_checkable
class Store(Protocol):
    """Keeps values and lends locks. Thread-safe, and usable in a forked child.

    A key is a string of up to 512 characters, a value up to 1 MiB. ``ttl`` is in seconds; after
    them the value is gone. Each method is one atomic step for every thread and, if the store is
    shared, every process. Every method raises :class:`~mcpsync.errors.StoreError` if the store
    cannot be reached, or holds what it cannot read.

    Attributes:
        is_shared: Whether other processes see what this one keeps.
    """

    is_shared: bool

    def get(self, key: str) -> Entry | None:
        """Return what is kept under *key*, and not over."""

    def set(self, key: str, value: bytes, ttl: float | None = None) -> int:
        """Keep *value*, whatever was there before, and return its version."""

    def compare_and_set(
        self, key: str, version: int | None, value: bytes, ttl: float | None = None
    ) -> int | None:
        """Keep *value* if what is there is still of *version*; None means that nothing is there.

        Returns:
            The new version; None if it was not kept.
        """

    def delete(self, key: str, version: int | None = None) -> bool:
        """Forget what is kept under *key*, if it is of *version* where one is given.

        Returns:
            Whether something was forgotten.
        """

    def take(self, key: str) -> bytes | None:
        """Return what is kept under *key*, and forget it: of several who ask one gets it."""

    def acquire(self, name: str, lease: float) -> int | None:
        """Take the lock *name* for *lease* seconds if nobody has it; return at once.

        Returns:
            A token that is larger than those of earlier holders; None if somebody has it. A
            holder who dies, or is late, loses it when his lease is over.
        """

    def extend(self, name: str, token: int, lease: float) -> bool:
        """Keep a lock for *lease* seconds from now; false if it was lost."""

    def release(self, name: str, token: int) -> bool:
        """Give a lock back; false if it was lost."""

    def close(self) -> None:
        """Give back sockets and files. Works twice; what was kept stays."""


def check_key(key: str) -> None:
    """Raise ``ConfigurationError`` if *key* is none."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
        raise ConfigurationError(f"a store's key has 1 to {MAX_KEY} characters.")


def check_value(value: bytes, ttl: float | None) -> None:
    """Raise ``ConfigurationError`` if *value* cannot be kept, or not for so long."""
    if not isinstance(value, bytes) or len(value) > MAX_VALUE:
        raise ConfigurationError(f"a store's value is bytes, {MAX_VALUE} at most.")
    if ttl is not None and not ttl > 0:
        raise ConfigurationError(f"a ttl is a positive number of seconds, not {ttl!r}.")
