"""One call per key, shared by everybody who asked while it was under way."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Generic, TypeVar

from ..errors import RequestCancelled, RequestTimeout
from .cancel import Cancellation
from .deadline import Deadline
from .locks import assert_none_held, new_lock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Coalesces concurrent calls of one key. Thread-safe.

    The first caller (the leader) runs the call on its own thread; whoever comes while it runs
    (a joiner) waits for the same result or error, with a deadline of its own. An error that was
    the leader's own affair, its timeout, its cancellation or the interruption of its thread, is
    not shared: a joiner takes over.

    Lock: _lock guards _flights, joined.
    """

    def __init__(self) -> None:
        self._lock = new_lock("SingleFlight")
        self._flights: dict[K, Future[V]] = {}
        self.joined = 0  # how many joiners there have been: what a test waits for

    def do(
        self,
        key: K,
        call: Callable[[], V],
        *,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        on_join: Callable[[], None] | None = None,
        own_affair: Callable[[BaseException], bool] = lambda _: False,
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

        Raises:
            RequestTimeout: The joiner's own deadline passed first.
            RequestCancelled: The joiner's own cancellation fired first.
        """
        assert_none_held("single flight")
        while True:
            with self._lock:
                flight = self._flights.get(key)
                leading = flight is None
                if flight is None:
                    flight = self._flights[key] = Future()
                else:
                    self.joined += 1
            if leading:
                return self._lead(key, flight, call, deadline, cancel, own_affair)
            if on_join is not None:
                on_join()
            outcome = _await(flight, deadline, cancel)
            if not isinstance(outcome, _LeaderGaveUp):
                break
        if isinstance(outcome, BaseException):
            mine = _own_copy(outcome)
            raise mine from (outcome if mine is not outcome else outcome.__cause__)
        return flight.result(timeout=0)

    def _lead(
        self,
        key: K,
        flight: Future[V],
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
            flight.set_exception(
                _LeaderGaveUp()
                if gave_up or _is_leaders_own(error) or own_affair(error)
                else _own_copy(error)  # the leader's will get his context
            )
            raise
        self._land(key, flight)
        flight.set_result(value)
        return value

    def _land(self, key: K, flight: Future[V]) -> None:
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def forget(self, key: K) -> bool:
        """Let the next caller of *key* start a flight of its own; say if one was under way."""
        with self._lock:
            return self._flights.pop(key, None) is not None

    def reset(self) -> None:
        """Forget every flight: their leaders do not exist in a forked child."""
        self._lock = new_lock("SingleFlight")
        self._flights = {}

    def __contains__(self, key: object) -> bool:
        return key in self._flights

    def __len__(self) -> int:
        return len(self._flights)


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


def _await(
    flight: Future[V], deadline: Deadline, cancel: Cancellation | None
) -> BaseException | None:
    """Wait for a flight to land; return its error, or None if it has a value."""
    if cancel is None:
        try:
            return flight.exception(timeout=deadline.wait_time())
        except FutureTimeout:
            raise deadline.error("waiting for a connection another caller is making") from None
    over = threading.Event()  # landing and cancelling may both set it, even at once
    flight.add_done_callback(lambda _: over.set())
    cancel.add_waker(over.set)
    try:
        if not over.wait(deadline.wait_time()):
            raise deadline.error("waiting for a connection another caller is making")
    finally:
        cancel.remove_waker(over.set)
    if not flight.done():
        raise RequestCancelled("cancelled while waiting for a connection.")
    return flight.exception(timeout=0)
