"""Say goodbye when the interpreter exits and something is still open.

Servers keep a session until they are told that it is over, or for as long as they like. Whoever
has something to say goodbye to registers a method here; all of them together have two seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

from ..errors import MCPSyncError
from .deadline import Deadline
from .fanout import fan_out
from .fork import after_fork_in_child, has_begun, notice_fork
from .locks import new_lock
from .threads import Courier, start_thread

logger = logging.getLogger(__name__)

EXIT_TIMEOUT = 2.0  # seconds for all goodbyes together
AT_A_TIME = 16

Method: TypeAlias = Callable[[Deadline], None]

_numbers = itertools.count()
_goodbyes: weakref.WeakValueDictionary[int, _Goodbye] = weakref.WeakValueDictionary()
_arranged_in: int | None = None  # the process that will call us
# With the process that each belongs to:
_left_behind: deque[tuple[int, Method, Hashable | None]] = deque()
_courier = Courier("goodbye")
after_fork_in_child(_courier.forget)


class _Goodbye:
    """Calls a method of an object, if the object still lives."""

    __slots__ = ("__weakref__", "_function", "_owner", "_peer")

    def __init__(self, method: Method, peer: Hashable | None) -> None:
        self._owner = weakref.ref(method.__self__)  # type: ignore[attr-defined]
        self._function: Callable[[Any, Deadline], None] = method.__func__  # type: ignore[attr-defined]
        self._peer = peer

    @property
    def peer(self) -> Hashable:
        """To whom it is said; without one, it is like no other."""
        return self if self._peer is None else self._peer

    def say(self, deadline: Deadline) -> None:
        owner = self._owner()
        if owner is None:
            return
        try:
            self._function(owner, deadline)
        except Exception:
            logger.debug("a goodbye failed", exc_info=True)


class _LeftBehind(_Goodbye):
    """Keeps what it calls a method of: nobody else does."""

    __slots__ = ("_kept",)

    def __init__(self, method: Method, peer: Hashable | None) -> None:
        super().__init__(method, peer)
        self._kept = method


def at_exit(method: Method, peer: Hashable | None = None) -> object:
    """Have the bound *method* called when the interpreter exits, newest first.

    It is also called where a child process of ``multiprocessing`` or Celery ends, which leaves by
    another door than the interpreter's. Thread-safe.

    Args:
        method: Gets the deadline by which it has to be done.
        peer: To whom the goodbye is said. One that once took all its time waits behind the others.

    Returns:
        A handle that the owner keeps: when it dies with its owner, so does the registration.
    """
    goodbye = _Goodbye(method, peer)
    _goodbyes[next(_numbers)] = goodbye
    if _arranged_in != os.getpid():
        _arrange()
    if _left_behind:
        _courier.run(_say_what_was_left_behind)
    return goodbye


def leave_behind(method: Method, peer: Hashable | None = None) -> None:
    """Have *method* called soon or at exit, whichever is first: its owner has been collected.

    Soon is when somebody registers next. It may be called by the collector, in the midst of
    anything: it takes no lock and starts no thread.
    """
    if has_begun():  # if not, a child forgets, and the owner was its parent's
        _left_behind.append((os.getpid(), method, peer))


def _take_left_behind() -> list[_LeftBehind]:
    found = []
    with contextlib.suppress(IndexError):
        while True:
            process, method, peer = _left_behind.popleft()
            if process == os.getpid():
                found.append(_LeftBehind(method, peer))
    return found


def _say_what_was_left_behind() -> None:
    for goodbye in _take_left_behind():
        goodbye.say(Deadline(EXIT_TIMEOUT))


def _arrange() -> None:
    """Be called at the end of this process, once, whoever calls it how often."""
    global _arranged_in
    atexit.unregister(say_goodbyes)
    atexit.register(say_goodbyes)
    if _is_pool_child():
        finalize = sys.modules["multiprocessing.util"].Finalize
        finalize(None, say_goodbyes, exitpriority=100)
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(
            _celery_worker_ends, weak=False, dispatch_uid=__name__
        )
    _arranged_in = os.getpid()


def _is_pool_child() -> bool:
    """Whether ``multiprocessing``, or Celery's edition of it, has started this process."""
    for package in ("multiprocessing", "billiard"):
        process = sys.modules.get(f"{package}.process")
        if process is not None and process.current_process()._parent_pid is not None:  # noqa: SLF001
            return True
    return False


def _celery_worker_ends(**_: object) -> None:
    say_goodbyes()


def say_goodbyes() -> None:
    """Call every method that is registered, within two seconds in all. Raises nothing."""
    deadline = Deadline(EXIT_TIMEOUT)
    notice_fork()  # what is the parent's is not ours to end
    registered = [ref() for ref in reversed(_goodbyes.valuerefs())]
    goodbyes = [goodbye for goodbye in (*registered, *_take_left_behind()) if goodbye is not None]
    if not goodbyes:
        return
    _silence_daemons()
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # once more: somebody is in a hurry
        _Farewell(goodbyes, deadline, AT_A_TIME if _can_start_threads() else 1).say_all()


class _Farewell:
    """All goodbyes within one deadline, such that who does not answer costs the others no time.

    Each may take a fair share of the time that is left. Where one took all of its share, the
    others to the same peer come last.

    Lock: _lock guards _left, _peers, _to_say, _silent.
    """

    def __init__(self, goodbyes: list[_Goodbye], deadline: Deadline, at_a_time: int) -> None:
        self._goodbyes = goodbyes
        self._deadline = deadline
        self._at_a_time = at_a_time
        self._lock = new_lock("farewell")
        self._left = Counter(goodbye.peer for goodbye in goodbyes)
        self._peers = len(self._left)  # that have not been silent and have goodbyes to come
        self._to_say = len(goodbyes)
        self._silent: set[Hashable] = set()

    def say_all(self) -> None:
        """Say them, in their order."""
        outcomes = fan_out("goodbye", self._say, self._goodbyes, limit=self._at_a_time)
        late = [goodbye for goodbye in outcomes if isinstance(goodbye, _Goodbye)]
        fan_out("goodbye", self._say_late, late, limit=self._at_a_time)

    def _say(self, goodbye: _Goodbye) -> _Goodbye | None:
        """Say one; return it if it has to wait for the others."""
        with self._lock:
            if goodbye.peer in self._silent:
                return goodbye
            share = self._share(self._peers)
            self._to_say -= 1
            self._left[goodbye.peer] -= 1
            if not self._left[goodbye.peer]:
                self._peers -= 1
        goodbye.say(share)
        if share.expired:
            with self._lock:
                if goodbye.peer not in self._silent and self._left[goodbye.peer]:
                    self._peers -= 1
                self._silent.add(goodbye.peer)
        return None

    def _say_late(self, goodbye: _Goodbye) -> None:
        with self._lock:
            share = self._share(self._to_say)
            self._to_say -= 1
        goodbye.say(share)

    def _share(self, parts: int) -> Deadline:
        """Return what one of *parts* may take, and at most half while others have to wait."""
        most = 0.5 if self._to_say > self._at_a_time else 1.0
        fair = self._at_a_time / max(1, parts)
        return self._deadline.within(self._deadline.remaining() * min(most, fair))


def _can_start_threads() -> bool:
    """Whether there are threads to be had: from Python 3.12 on, not while the interpreter exits."""
    try:
        start_thread("goodbye", lambda: None)
    except RuntimeError:
        return False
    return True


def _silence_daemons() -> None:
    """Let daemon threads whose calls end now die without a word, as they do at any exit."""
    tell = threading.excepthook

    def tell_if_it_matters(args: threading.ExceptHookArgs) -> None:
        ours = args.exc_type is not None and issubclass(args.exc_type, MCPSyncError)
        if not (ours and args.thread is not None and args.thread.daemon):
            tell(args)

    threading.excepthook = tell_if_it_matters
