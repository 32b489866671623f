"""The only place a thread is made."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable
from typing import TypeAlias

from .locks import new_lock

logger = logging.getLogger(__name__)


def start_thread(role: str, target: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread named ``mcpsync-<role>``; call it with no lock held."""
    thread = threading.Thread(target=target, name=f"mcpsync-{role}", daemon=True)
    thread.start()
    return thread


def hold_still_if_copied(process: int) -> None:
    """Never return on a thread that another process, *process*, has started.

    Only gevent's threads can be such: a forked child has copies of all of them, and they go on. To
    end would not do: on Python 3.13 what comes then fails, and says so on standard error.
    """
    while os.getpid() != process:
        threading.Event().wait(3600.0)


class PeriodicThread:
    """Calls a method of its owner whenever that is due, until stopped or the owner is gone.

    It starts on first use, survives the method's errors, and holds its owner weakly: an owner
    nobody uses is collected, and the thread ends at once. Thread-safe.

    Args:
        role: What the thread's name says.
        work: A bound method. It returns the seconds until it is due again.

    Lock: _lock guards _thread, _starting, _stopped.
    """

    def __init__(self, role: str, work: Callable[[], float]) -> None:
        self._role = role
        self._work = weakref.WeakMethod(work)
        self._lock = new_lock(f"{role} thread")
        self._bell: _Bell = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = False  # a thread that was made but not started yet looks like a dead one
        self._stopped = False

    def ensure_running(self) -> None:
        """Start the thread if it does not run; cheap when it does."""
        if self.running or self._stopped:
            return
        with self._lock:
            if self._starting or self.running or self._stopped:
                return
            self._starting = True
            self._thread = thread = threading.Thread(
                target=_run_periodically,
                args=(_ringing(self, self._bell), self._work, self._bell),
                name=f"mcpsync-{self._role}",
                daemon=True,
            )
        try:
            thread.start()
        finally:
            with self._lock:
                self._starting = False

    def stop(self, timeout: float) -> None:
        """End the thread, waiting for at most *timeout* seconds. Works twice, from any thread."""
        with self._lock:
            self._stopped = True
            thread, self._thread = self._thread, None
        self._bell.put(None)
        if thread is None or thread is threading.current_thread() or not thread.is_alive():
            return
        thread.join(timeout)

    def forget(self) -> None:
        """Have no thread any more: it does not exist in a forked child."""
        self._lock = new_lock(f"{self._role} thread")
        self._bell = queue.SimpleQueue()
        self._thread = None
        self._starting = False

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped


# Not an Event: the collector may ring it in the midst of anything, on the very thread that waits.
_Bell: TypeAlias = "queue.SimpleQueue[None]"


def _ringing(owner: PeriodicThread, bell: _Bell) -> weakref.ref[PeriodicThread]:
    """Return a reference to *owner* that rings *bell* when the owner is collected."""
    process = os.getpid()

    def ring(_: object) -> None:
        if os.getpid() == process:  # in a forked child nobody waits at the parent's bell
            bell.put(None)

    return weakref.ref(owner, ring)


def _run_periodically(
    owner: weakref.ref[PeriodicThread],
    method: weakref.WeakMethod[Callable[[], float]],
    bell: _Bell,
) -> None:
    delay, process = 0.0, os.getpid()
    while True:
        with contextlib.suppress(queue.Empty):
            bell.get(timeout=max(0.0, delay))
        hold_still_if_copied(process)
        periodic = owner()
        work = method()
        if periodic is None or work is None or periodic.stopped:
            return
        delay = 60.0  # what holds if the work fails
        try:
            delay = work()
        except Exception:
            logger.exception("%s failed; it goes on", threading.current_thread().name)
        del periodic, work


Errand: TypeAlias = tuple[Callable[[], object], threading.Event]


class Courier:
    """Runs small errands nobody waits for, such as telling a server that a call was cancelled.

    At most one thread, alive only while there are errands; what exceeds *capacity* is dropped,
    since an errand is a courtesy. Thread-safe.

    Lock: _lock guards _thread_alive.
    """

    def __init__(self, role: str, capacity: int = 256) -> None:
        self._role = role
        self._lock = new_lock(f"{role} thread")
        self._errands: queue.SimpleQueue[Errand] = queue.SimpleQueue()
        self._capacity = capacity
        self._thread_alive = False

    def run(self, errand: Callable[[], object]) -> threading.Event:
        """Have *errand* run soon, on another thread; its errors are logged at debug.

        Returns what is set when it has been run; of one that was dropped, never.
        """
        done = threading.Event()
        if self._errands.qsize() < self._capacity:
            self._errands.put((errand, done))
            self._ensure_thread()
        return done

    def _ensure_thread(self) -> None:
        with self._lock:
            needed, self._thread_alive = not self._thread_alive, True
        if not needed:
            return
        try:
            start_thread(self._role, self._work)
        except RuntimeError:  # no thread to be had: the process is at its limit, or exits
            with self._lock:
                self._thread_alive = False
            self._errands = queue.SimpleQueue()
            logger.debug("nobody runs errands", exc_info=True)

    def forget(self) -> None:
        """Drop all errands: they are the parent's, and its thread does not exist in the child."""
        self._lock = new_lock(f"{self._role} thread")
        self._errands = queue.SimpleQueue()
        self._thread_alive = False

    def _work(self) -> None:
        process = os.getpid()
        while True:
            try:
                errand, done = self._errands.get(timeout=0.2)
            except queue.Empty:
                hold_still_if_copied(process)
                with self._lock:
                    if self._errands.empty():
                        self._thread_alive = False
                        return
                continue
            try:
                errand()
            except Exception:
                logger.debug("an errand failed", exc_info=True)
            finally:
                done.set()
