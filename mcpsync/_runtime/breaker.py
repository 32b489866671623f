"""Whether to try again a connection that fails or is lost over and over."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ..errors import ConfigurationError
from .backoff import doubled
from .clock import Clock
from .locks import new_lock

K = TypeVar("K", bound=Hashable)


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long (the seed's ``MCP_CB_…``). Times are in seconds.

    Attributes:
        max_cycles: So many lost connections ...
        cycle_window: ... within this time of the first ...
        cycle_cooldown: ... open it for this long.
        max_failed_rounds: So many failed attempts ...
        failed_window: ... within this time of the first ...
        base_backoff: ... open it for this long, and each further one for twice as long ...
        max_backoff: ... but never for longer than this.

    Raises:
        ConfigurationError: One of them is not positive.
    """

    max_cycles: int = 7
    cycle_window: float = 45.0
    cycle_cooldown: float = 15.0
    max_failed_rounds: int = 3
    failed_window: float = 120.0
    base_backoff: float = 30.0
    max_backoff: float = 300.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:  # not `<= 0`: NaN is neither
                raise ConfigurationError(f"{field.name} has to be positive, and is {value!r}.")


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerState:
    """What a breaker knows about one key.

    Attributes:
        cycles: Connections lost in the window that runs.
        failed_rounds: Attempts that failed in the window that runs.
        open_for: Seconds until an attempt is allowed again; 0.0 if one is now.
    """

    cycles: int
    failed_rounds: int
    open_for: float


_NOTHING_WRONG = BreakerState(cycles=0, failed_rounds=0, open_for=0.0)


class CircuitBreaker(Generic[K]):
    """Counts what goes wrong with each key, and says when to leave it in peace. Thread-safe.

    It only decides: whoever asks raises, logs and tells observers. Two counters, as in the seed.
    Lost connections: ``max_cycles`` of them open it for a while. Failed attempts: so does the
    ``max_failed_rounds``-th in a row, and each one after it for twice as long. The window of the
    failed attempts begins with the first, and anew at the end of a back-off: otherwise it would
    be over before a long back-off is, and no dead server would ever be left in peace for long.

    A key that nothing is wrong with is not in the table. One whose windows and times are over is
    dropped when some attempt is recorded, a few each time; one that was open is kept for another
    ``failed_window``, so that its first success can be told.

    Lock: _lock guards _records, and all of them.
    """

    def __init__(self, policy: BreakerPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._lock = new_lock("CircuitBreaker")
        self._records: OrderedDict[K, _Record] = OrderedDict()

    def open_for(self, key: K) -> float:
        """Return the seconds until an attempt is allowed again: 0.0 if one is now. Never waits."""
        record = self._records.get(key)
        return 0.0 if record is None else record.open_for(self._clock.monotonic())

    def cycle(self, key: K) -> bool:
        """Count a connection that was lost and has to be made again; say if that opened it."""
        now, policy = self._clock.monotonic(), self._policy
        with self._lock:
            record = self._record_locked(key, now)
            was_open = record.is_open(now)
            if record.cycles_at(now) == 0:
                record.cycles, record.cycles_until = 0, now + policy.cycle_window
            record.cycles += 1
            if record.cycles >= policy.max_cycles:
                record.cycles = 0
                record.cooldown_until = now + policy.cycle_cooldown
            return self._opened_locked(record, now, was_open)

    def forgive_cycle(self, key: K) -> None:
        """Count one lost connection less: it was lost for a good reason, such as a sign-in."""
        now = self._clock.monotonic()
        with self._lock:
            record = self._records.get(key)
            if record is not None and record.cycles_at(now):
                record.cycles -= 1

    def failed(self, key: K) -> bool:
        """Count an attempt to connect that failed; say if that opened it."""
        now, policy = self._clock.monotonic(), self._policy
        with self._lock:
            record = self._record_locked(key, now)
            was_open = record.is_open(now)
            if record.rounds_at(now) == 0:
                record.rounds, record.rounds_until = 0, now + policy.failed_window
            record.rounds += 1
            beyond = record.rounds - policy.max_failed_rounds
            if beyond >= 0:
                record.backoff_until = now + doubled(
                    policy.base_backoff, beyond, policy.max_backoff
                )
                record.rounds_until = record.backoff_until + policy.failed_window
            return self._opened_locked(record, now, was_open)

    def succeeded(self, key: K) -> bool:
        """Forget the failed attempts; say if that is the first success since it was opened.

        A cooldown of lost connections, or a time the server asked for, goes on.
        """
        now = self._clock.monotonic()
        with self._lock:
            record = self._records.get(key)
            self._tidy_locked(now)
            if record is None:
                return False
            record.rounds, record.backoff_until = 0, -math.inf
            closed = record.opened and not record.is_open(now)
            record.opened = record.opened and not closed
            if record.is_over(now):
                self._records.pop(key, None)
            return closed

    def hold(self, key: K, seconds: float) -> bool:
        """Allow no attempt for so many *seconds*: the server asked for it. Say if that opened it.

        A time that is already longer is not shortened. (HTTP 429, Retry-After)
        """
        if not seconds > 0:
            return False
        now = self._clock.monotonic()
        with self._lock:
            record = self._record_locked(key, now)
            was_open = record.is_open(now)
            record.held_until = max(record.held_until, now + seconds)
            return self._opened_locked(record, now, was_open)

    def reset(self, matches: Callable[[K], bool]) -> list[K]:
        """Forget all about the keys that *matches* says yes to; return those that were opened,
        and were not told to be closed yet.

        *matches* is called with no lock held.
        """
        with self._lock:
            keys = list(self._records)
        chosen = [key for key in keys if matches(key)]
        with self._lock:
            found = [(key, self._records.pop(key, None)) for key in chosen]
            return [key for key, record in found if record is not None and record.opened]

    def states(self) -> dict[K, BreakerState]:
        """Return what is known about every key that something is wrong with, as of now."""
        now = self._clock.monotonic()
        with self._lock:
            states = {key: record.state(now) for key, record in self._records.items()}
        return {key: state for key, state in states.items() if state != _NOTHING_WRONG}

    def forget(self) -> None:
        """Make the lock anew, in a forked child. What is known of the servers holds there too."""
        self._lock = new_lock("CircuitBreaker")

    def __len__(self) -> int:
        return len(self._records)

    def _record_locked(self, key: K, now: float) -> _Record:
        """Return the record of *key*, a new one if there is none."""
        assert self._lock.locked()
        self._tidy_locked(now)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
        return record

    def _opened_locked(self, record: _Record, now: float, was_open: bool) -> bool:
        """Note that *record* is open, if it is; return whether it was not before."""
        assert self._lock.locked()
        open_for = record.open_for(now)
        if not open_for:
            return False
        record.opened = True
        record.kept_until = now + open_for + self._policy.failed_window
        return not was_open

    def _tidy_locked(self, now: float) -> None:
        """Look at the two records that were not looked at for longest, and drop what is over.

        Two for each that may be added: so what is over never comes to be the most of the table.
        """
        assert self._lock.locked()
        for _ in range(min(2, len(self._records))):
            key = next(iter(self._records))
            if self._records[key].is_over(now):
                del self._records[key]
            else:
                self._records.move_to_end(key)


class _Record:
    """What is known about one key; all times are the clock's."""

    __slots__ = (
        "backoff_until",
        "cooldown_until",
        "cycles",
        "cycles_until",
        "held_until",
        "kept_until",
        "opened",
        "rounds",
        "rounds_until",
    )

    def __init__(self) -> None:
        self.cycles = 0
        self.cycles_until = -math.inf  # the last moment at which they still count
        self.rounds = 0
        self.rounds_until = -math.inf
        self.cooldown_until = -math.inf
        self.backoff_until = -math.inf
        self.held_until = -math.inf
        self.opened = False  # and there was no success since
        self.kept_until = -math.inf

    def cycles_at(self, now: float) -> int:
        """Return how many lost connections still count."""
        return self.cycles if now <= self.cycles_until else 0

    def rounds_at(self, now: float) -> int:
        """Return how many failed attempts still count."""
        return self.rounds if now <= self.rounds_until else 0

    def open_for(self, now: float) -> float:
        """Return the seconds until an attempt is allowed again."""
        until = max(self.cooldown_until, self.backoff_until, self.held_until)
        return max(0.0, until - now)

    def is_open(self, now: float) -> bool:
        """Whether no attempt is allowed."""
        return self.open_for(now) > 0

    def state(self, now: float) -> BreakerState:
        """Return what is to be told of it."""
        return BreakerState(self.cycles_at(now), self.rounds_at(now), self.open_for(now))

    def is_over(self, now: float) -> bool:
        """Whether nothing here matters any more."""
        counts = self.cycles_at(now) or self.rounds_at(now) or self.is_open(now)
        return not (counts or (self.opened and now <= self.kept_until))
