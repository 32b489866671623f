"""One call per key, shared by everybody who asked while it was under way."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Generic, TypeVar

from ..errors import RequestCancelled, RequestTimeout
from .cancel import Cancellation
from .deadline import Deadline
from .locks import assert_none_held, new_lock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_WAITING = "waiting for a connection another caller is making"


class SingleFlight(Generic[K, V]):
    """Coalesces concurrent calls of one key. Thread-safe.

    The first caller (the leader) runs the call on its own thread; whoever comes while it runs
    (a joiner) waits for the same result or error, with a deadline of its own. An error that was
    the leader's own affair, its timeout, its cancellation or the interruption of its thread, is
    not shared: a joiner takes over.

    A caller may fly alone: he takes no part in another's flight, and nobody in his. Flights of
    one key are one at a time all the same, so he waits until none is under way, and whoever comes
    while he flies waits in the same way.

    Lock: _lock guards _flights, joined, waited, and of each flight ``gone``.
    """

    def __init__(self) -> None:
        self._lock = new_lock("SingleFlight")
        self._flights: dict[K, _Flight[V]] = {}
        self.joined = 0  # how many joiners there have been: what a test waits for
        self.waited = 0  # how often somebody waited for a flight without joining it: as above

    def do(
        self,
        key: K,
        call: Callable[[], V],
        *,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        on_join: Callable[[], None] | None = None,
        own_affair: Callable[[BaseException], bool] = lambda _: False,
        alone: bool = False,
    ) -> V:
        """Return ``call()``, or the outcome of the one already under way for *key*.

        Args:
            key: What must not happen twice at a time.
            call: Runs on the leader's thread, with no lock held.
            deadline: Ends this caller's wait only.
            cancel: Ends this caller's wait only.
            on_join: Called, with no lock held, if this caller joins.
            own_affair: Says of an error of *call* that it would not happen to others, besides
                timeouts, cancellations and interruptions.
            alone: Run *call* in a flight of this caller's own, once none of *key* is under way,
                whatever has become of the one he waited for.

        Raises:
            RequestTimeout: This caller's own deadline passed while he waited for another.
            RequestCancelled: This caller's own cancellation fired while he waited for another.
        """
        assert_none_held("single flight")
        while True:
            gone = None
            with self._lock:
                flight = self._flights.get(key)
                leading = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight(alone)
                elif alone or flight.alone:
                    self.waited += 1
                    gone = flight.gone = flight.gone or Future()
                else:
                    self.joined += 1
            if leading:
                return self._lead(key, flight, call, deadline, cancel, own_affair)
            if gone is not None:
                await_outcome(gone, deadline, cancel, _WAITING)
                continue
            if on_join is not None:
                on_join()
            error = await_outcome(flight.outcome, deadline, cancel, _WAITING)
            if error is None:
                return flight.outcome.result(timeout=0)
            if not isinstance(error, _LeaderGaveUp):
                mine = _own_copy(error)
                raise mine from (error if mine is not error else error.__cause__)

    def _lead(
        self,
        key: K,
        flight: _Flight[V],
        call: Callable[[], V],
        deadline: Deadline,
        cancel: Cancellation | None,
        own_affair: Callable[[BaseException], bool],
    ) -> V:
        try:
            value = call()
        except BaseException as error:
            gave_up = deadline.expired or (cancel is not None and cancel.cancelled)
            self._land(key, flight)
            flight.outcome.set_exception(
                _LeaderGaveUp()
                if gave_up or _is_leaders_own(error) or own_affair(error)
                else _own_copy(error)  # the leader's will get his context
            )
            raise
        self._land(key, flight)
        flight.outcome.set_result(value)
        return value

    def _land(self, key: K, flight: _Flight[V]) -> None:
        with self._lock:
            under_way = self._flights.get(key) is flight
            if under_way:
                del self._flights[key]
        if under_way:
            flight.let_pass()

    def current(self, key: K) -> object | None:
        """Return what stands for the flight of *key* that is under way, for :meth:`forget`."""
        return self._flights.get(key)

    def forget(self, key: K, flight: object | None = None) -> bool:
        """Let the next caller of *key* start a flight of its own; say if one was under way.

        Who joined that one still gets its outcome. Who waited for it to be over waits no longer.

        Args:
            key: Of which flight.
            flight: Only this one, as :meth:`current` gave it; a newer one goes on.
        """
        with self._lock:
            under_way = self._flights.get(key)
            if under_way is None or flight not in (None, under_way):
                return False
            del self._flights[key]
        under_way.let_pass()
        return True

    def reset(self) -> None:
        """Forget every flight: their leaders do not exist in a forked child."""
        self._lock = new_lock("SingleFlight")
        self._flights = {}

    def __contains__(self, key: object) -> bool:
        return key in self._flights

    def __len__(self) -> int:
        return len(self._flights)


class _Flight(Generic[V]):
    """One call under way.

    Attributes:
        alone: Whether its leader flies alone.
        outcome: What the joiners wait for.
        gone: What those wait for who have no part in it, if there are any: that it is no longer
            the flight of its key.
    """

    __slots__ = ("alone", "gone", "outcome")

    def __init__(self, alone: bool) -> None:
        self.alone = alone
        self.outcome: Future[V] = Future()
        self.gone: Future[None] | None = None

    def let_pass(self) -> None:
        """Wake who waits for it to be gone; called once, by whoever took it off the table."""
        if self.gone is not None:
            self.gone.set_result(None)


class _LeaderGaveUp(Exception):
    """The outcome of a flight whose leader had no more time, was cancelled or interrupted."""


def _is_leaders_own(error: BaseException) -> bool:
    return isinstance(error, RequestTimeout | RequestCancelled) or not isinstance(error, Exception)


def _own_copy(error: BaseException) -> BaseException:
    """Return a copy of *error*, or itself if it does not copy: not all errors are ours."""
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001 - whatever it is, the flight has to land
        return error
    copied.__cause__ = error.__cause__
    return copied


def await_outcome(
    awaited: Future[Any], deadline: Deadline, cancel: Cancellation | None, doing: str
) -> BaseException | None:
    """Wait for what somebody else does; return its error, or None if it has none.

    Raises:
        RequestTimeout: The deadline passed first.
        RequestCancelled: *cancel* fired first.
    """
    if cancel is None:
        try:
            return awaited.exception(timeout=deadline.wait_time())
        except FutureTimeout:
            raise deadline.error(doing) from None
    over = threading.Event()  # landing and cancelling may both set it, even at once
    awaited.add_done_callback(lambda _: over.set())
    cancel.add_waker(over.set)
    try:
        if not over.wait(deadline.wait_time()):
            raise deadline.error(doing)
    finally:
        cancel.remove_waker(over.set)
    if not awaited.done():
        raise RequestCancelled(f"cancelled while {doing}.")
    return awaited.exception(timeout=0)
