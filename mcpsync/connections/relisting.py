"""When servers are asked again what tools they have, and the threads that ask them."""

from __future__ import annotations

import contextlib
import logging
import queue
import random as _random
import time
import weakref
from collections.abc import Callable
from typing import TypeAlias

from .._runtime.backoff import exponential
from .._runtime.cancel import Cancellation
from .._runtime.locks import new_lock
from .._runtime.threads import start_thread
from .connection import Connection

logger = logging.getLogger(__name__)

SETTLE = 0.1  # seconds after the first notification of a burst; the others come meanwhile
FIRST_RETRY, LAST_RETRY = 0.25, 30.0  # seconds [seed 2.1]
RETRIES = 9  # the last waits for LAST_RETRY

# Not an Event: the collector may ring it in the midst of anything, on the very thread that waits.
_Bell: TypeAlias = "queue.SimpleQueue[None]"


class _Due:
    """A connection that is to be asked again: when, and how often that was not the end of it."""

    __slots__ = ("again", "at", "cancel", "connection", "tries")

    def __init__(self, connection: Connection, at: float) -> None:
        self.connection = connection
        self.at = at
        self.tries = 0
        self.again = False  # wanted once more, since it was wanted while it was under way
        self.cancel: Cancellation | None = None  # ends it, while it is under way


class Relisting:
    """Has connections asked again, each once for a burst of wishes. Thread-safe.

    A connection is asked on a thread of its server's, so that a server that hangs delays no
    other; the thread lives as long as there is something to ask. What fails is tried again after
    250 ms, then twice as long each time, up to 30 s [seed 2.1]; so is what is wished again while
    it is under way. After some attempts it is given up.

    Args:
        ask: Called with a connection and what ends the asking; returns whether that is the end
            of it.
        give_up: Called with a connection that is not asked any more.
        random: Returns a number from 0 to 1, for the jitter.
        monotonic: Tells the time, in seconds.

    Lock: _lock guards _due, _bells, _closed and the fields of what is due.
    """

    def __init__(
        self,
        ask: Callable[[Connection, Cancellation], bool],
        give_up: Callable[[Connection], None],
        *,
        random: Callable[[], float] = _random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._give_up = give_up
        self._random = random
        self._monotonic = monotonic
        self._lock = new_lock("relisting")
        self._due: dict[str, dict[Connection, _Due]] = {}
        self._bells: dict[str, _Bell] = {}  # of the servers that have a thread
        self._closed = False

    def want(self, connection: Connection) -> None:
        """Have *connection* asked soon; cheap, so that any thread may say so at any time."""
        name = connection.server_name
        with self._lock:
            if self._closed:
                return
            of_server = self._due.setdefault(name, {})
            waiting = of_server.get(connection)
            if waiting is not None:
                waiting.again = waiting.cancel is not None
                return
            of_server[connection] = _Due(connection, self._monotonic() + SETTLE)
            bell = self._bells.get(name)
            if bell is None:
                new_bell = self._bells[name] = queue.SimpleQueue()
        if bell is None:
            self._start(name, new_bell)
        else:
            bell.put(None)

    def close(self) -> None:
        """Ask no more, and end what is under way. Works twice."""
        with self._lock:
            self._closed = True
            due = [each for of_server in self._due.values() for each in of_server.values()]
            self._due = {}
            bells = list(self._bells.values())
        for each in due:
            if each.cancel is not None:
                each.cancel.cancel("closed")
        for bell in bells:
            bell.put(None)

    def forget(self) -> None:
        """Have nothing to ask: in a forked child it is the parent's, and no thread is there."""
        self._lock = new_lock("relisting")
        self._due = {}
        self._bells = {}

    # -- on the threads ---------------------------------------------------------------------------

    def take(self, server_name: str) -> _Due | float | None:
        """Return what is to be asked now, or the seconds until then; None: the thread may end."""
        with self._lock:
            of_server = self._due.get(server_name, {})
            due = min(of_server.values(), key=lambda each: each.at, default=None)
            if due is None:
                self._due.pop(server_name, None)
                self._bells.pop(server_name, None)
                return None
            wait = due.at - self._monotonic()
            if wait > 0:
                return min(wait, LAST_RETRY)
            due.again = False
            due.cancel = Cancellation()
            return due

    def carry_out(self, due: _Due) -> None:
        """Ask a connection, and take note of whether it has to be asked again."""
        assert due.cancel is not None
        try:
            done = self._ask(due.connection, due.cancel)
        except Exception:
            logger.exception("asking %s for its tools again failed", due.connection.server_name)
            done = False
        name = due.connection.server_name
        delay = exponential(due.tries + 1, FIRST_RETRY, LAST_RETRY, random=self._random)
        with self._lock:
            of_server = self._due.get(name, {})
            if of_server.get(due.connection) is not due:  # closed meanwhile
                return
            due.cancel = None
            if not done or due.again:
                due.tries += 1
                due.at = self._monotonic() + delay
            gone = (done and not due.again) or due.tries > RETRIES
            if gone:
                del of_server[due.connection]
        if gone and due.tries > RETRIES:
            self._give_up(due.connection)

    def _start(self, name: str, bell: _Bell) -> None:
        owner = weakref.ref(self, lambda _: bell.put(None))
        try:
            start_thread("catalogue", lambda: _work(owner, name, bell))
        except RuntimeError:  # the interpreter exits, or the process is at its limit
            with self._lock:
                self._bells.pop(name, None)
                given_up = list(self._due.pop(name, {}))
            for connection in given_up:
                self._give_up(connection)


def _work(owner: weakref.ref[Relisting], server_name: str, bell: _Bell) -> None:
    """Ask one server's connections as they are due, until there is nothing left, or no owner."""
    wait = 0.0
    while True:
        with contextlib.suppress(queue.Empty):
            bell.get(timeout=wait)
        relisting = owner()
        found = None if relisting is None else relisting.take(server_name)
        if relisting is None or found is None:
            return
        if isinstance(found, float):
            wait = found
        else:
            wait = 0.0
            relisting.carry_out(found)
        del relisting, found  # while it waits, the thread keeps nobody alive
