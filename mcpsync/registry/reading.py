"""What was read is good for a few seconds, and is read once for all who want it now."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from .._runtime.cancel import Cancellation
from .._runtime.clock import Clock
from .._runtime.deadline import Deadline
from .._runtime.flight import SingleFlight
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import new_lock
from ..client.options import checked_timeout

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

TTL: Final = 5.0  # seconds [seed]
READING: Final = 40.0  # seconds that one waits for another's reading
MOST: Final = 10_000  # answers that are kept; then the oldest goes
_NOTHING: Final = object()


class Limit(NamedTuple):
    """How long a reader waits, and what ends his waiting.

    Args:
        deadline: His own.
        cancel: His own.
    """

    deadline: Deadline
    cancel: Cancellation | None = None

    @classmethod
    def of(
        cls, timeout: float | Deadline | None = None, cancel: Cancellation | None = None
    ) -> Limit:
        """Return the limit of a reader who gave these."""
        if not isinstance(timeout, Deadline):
            timeout = Deadline(checked_timeout(timeout, READING))
        return cls(timeout, cancel)


class ReadThrough(Generic[K, V]):
    """Keeps what was read for a while, None included. Thread-safe.

    What is read while everything is cleared is for those who asked before, and is not kept.

    Args:
        clock: Tells when a while is over.
        ttl: Seconds; ``math.inf`` keeps until it is cleared or the oldest of too many.

    Lock: _lock guards _kept, _clearings.
    """

    def __init__(self, clock: Clock, ttl: float = TTL) -> None:
        self._clock = clock
        self._ttl = ttl
        self._lock = new_lock("read-through cache")
        self._kept: dict[K, tuple[float, V]] = {}
        self._clearings = 0
        self._flight: SingleFlight[tuple[int, K], V] = SingleFlight()
        after_fork_in_child(self._forget)

    def get(
        self,
        key: K,
        read: Callable[[], V],
        limit: Limit | None = None,
        *,
        ttl: Callable[[V], float] | None = None,
    ) -> V:
        """Return what is kept, or what *read* returns, called once for all who ask meanwhile.

        Args:
            key: What it is kept under.
            read: Runs with no lock held. What it raises is raised to all of them, and not kept;
                that its caller's time was over concerns him alone.
            limit: Ends the waiting for another's reading.
            ttl: Returns for how many seconds an answer is good, if not for as long as the others.
        """
        found = self._look(key)
        if found is not _NOTHING:
            return cast("V", found)
        clearings = self._clearings

        def read_and_keep() -> V:
            value = read()
            until = self._clock.monotonic() + (self._ttl if ttl is None else ttl(value))
            with self._lock:
                if clearings == self._clearings:
                    self._kept.pop(key, None)
                    self._kept[key] = until, value
                    if len(self._kept) > MOST:
                        del self._kept[next(iter(self._kept))]
            return value

        deadline, cancel = limit or Limit.of()
        return self._flight.do((clearings, key), read_and_keep, deadline=deadline, cancel=cancel)

    def clear(self) -> list[K]:
        """Forget everything; return what it was kept under."""
        with self._lock:
            self._clearings += 1
            keys, self._kept = list(self._kept), {}
        return keys

    def _look(self, key: K) -> Any:
        kept = self._kept.get(key)
        return _NOTHING if kept is None or kept[0] <= self._clock.monotonic() else kept[1]

    def _forget(self) -> None:
        self._lock = new_lock("read-through cache")
        self._flight.reset()
