"""``Subscription``: hearing of changes, on the thread that wants to."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from .._runtime.backoff import exponential
from .._runtime.cancel import Cancellation, Watch
from .._runtime.deadline import Deadline
from .._runtime.fork import after_fork_in_child
from .._runtime.locks import assert_none_held, new_lock
from ..errors import (
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    HTTPStatusError,
    MCPError,
    MCPSyncError,
    RequestCancelled,
    RequestTimeout,
    ServerExited,
    SessionExpired,
    SubscriptionLost,
)
from ..protocol.listening import Wanted
from ..session.base import Call
from ..session.listening import Ended, Listener
from ..transports.base import CallScope, Missed
from .changes import Change, Gap, change_in
from .core import SessionKeeper

if TYPE_CHECKING:
    from mcp_types import SubscriptionFilter

FIRST_RETRY, LAST_RETRY = 0.5, 30.0  # seconds
ATTEMPTS: Final = 5  # at a stream that come to nothing, one after the other
LASTING = 10.0  # seconds after which a stream is taken for one that works
LONGEST_RETRY = 300.0  # seconds that a server may ask to be left alone
LEAST_TRY = 2.0  # seconds that beginning anew may take, however short the wait is

_CUT = (ConnectionLost, ServerExited, SessionExpired, RequestTimeout)
_PASSES = (None, 409, 429, 502, 503, 504)  # what an attempt may end with that others follow


class Subscription:
    """Changes that a server tells of, one after the other.

    Made by :meth:`Client.listen`. ``for change in subscription`` waits for each, on the thread
    that iterates; there is no thread behind it. A stream that is cut is begun anew, after a while
    that grows, and then there is a :class:`Gap`. One thread listens; :meth:`close` may be called
    from any.

    Lock: _lock guards _busy, _over.

    Attributes:
        honored: What the server agreed to tell: a ``SubscriptionFilter``. It may be less than
            what was asked for.
    """

    honored: SubscriptionFilter

    def __init__(
        self,
        keeper: SessionKeeper,
        wanted: Wanted,
        call: Call,
        names: Mapping[str, str | None],
        on_gap: Callable[[], None],
    ) -> None:
        self._keeper = keeper
        self._on_gap = on_gap
        self._wanted = wanted
        self._names = names
        self._timeout = call.scope.deadline.timeout
        self._headers = call.scope.headers
        self._meta = call.meta
        self._lock = new_lock("subscription")
        self._busy = False
        self._over = self._closed = self._forked = False
        self._bell = threading.Event()
        self._stop = Cancellation()
        self._stop.add_waker(self._bell.set)
        self._watch = Watch(call.scope.cancel, lambda error: self._stop.cancel(error.reason))
        self._listener: Listener | None = None
        self._tries = 0
        self._due = 0.0
        self._since = 0.0
        after_fork_in_child(self._forget)
        try:
            self._begin(call.scope.deadline, None)
        except BaseException as error:
            self._finish()
            self._name(error)
            raise

    # -- listening --------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether there may be more changes: nobody has ended it, and it is not lost."""
        return not self._over

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        change = self.next_event()
        if change is None:
            raise StopIteration
        return change

    def next_event(self, timeout: float | None = None) -> Change | None:
        """Return the next change; None if none came in time, or no more will.

        Args:
            timeout: Seconds to wait; without it as long as it takes. A stream that was cut is
                begun anew in here, which may take two seconds even if *timeout* is shorter.

        Raises:
            SubscriptionLost: The stream was cut, and beginning it anew failed again and again.
            RequestCancelled: The ``cancel`` of :meth:`Client.listen` fired.
            ConnectionClosed: The client was closed.
            MCPSyncError: The server turned the subscription down, or broke the rules.
        """
        assert_none_held("listening")
        deadline = Deadline(math.inf if timeout is None else max(0.0, timeout))
        if not self._enter():
            return None
        try:
            while not self._closed:
                change = self._step(deadline)
                if change is not None:
                    return change
                if self._over or deadline.expired:
                    return None
        except BaseException as error:
            self._over = True
            self._name(error)
            if not (self._closed and isinstance(error, RequestCancelled)):
                raise
        finally:
            self._leave()
        return None

    def close(self) -> None:
        """Listen no longer; whoever waits is told at once that there is no more. Works twice."""
        self._closed = True
        if self._forked:
            return
        self._stop.cancel("closed")
        with self._lock:
            self._over = True
            idle = not self._busy
        if idle:
            self._finish()

    def _enter(self) -> bool:
        if self._forked:
            raise ConnectionClosed("the process forked; its parent listens.", **self._names)
        with self._lock:
            if self._over:
                return False
            busy, self._busy = self._busy, True
        if busy:
            raise ConfigurationError("another thread is listening here.", **self._names)
        return True

    def _leave(self) -> None:
        with self._lock:
            self._busy = False
            over = self._over
        if over:
            self._finish()

    def _finish(self) -> None:
        """Give back what there is; on the thread that listens, or if none does."""
        self._over = True
        self._watch.end()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    # -- one step of it ---------------------------------------------------------------------------

    def _step(self, deadline: Deadline) -> Change | None:
        listener = self._listener
        if listener is None or listener.cut:
            return self._begin_again(deadline)
        try:
            heard = listener.receive(deadline)
        except _CUT as lost:
            self._note_cut(lost)
            return None
        if heard is None:
            return None
        if isinstance(heard, Missed):
            return self._gap()
        if isinstance(heard, Ended):
            self._over = True
            return None
        self._tries = 0
        return change_in(heard) if self._wanted.includes(heard["method"]) else None

    def _begin_again(self, deadline: Deadline) -> Change | None:
        """Wait until it is time, and begin anew; None if it is not, or that came to nothing."""
        wait = self._due - time.monotonic()
        if wait > 0 and self._bell.wait(min(wait, deadline.remaining())):
            raise RequestCancelled("cancelled.", reason=self._stop.reason)
        if time.monotonic() < self._due:
            return None
        patience = min(self._timeout, max(LEAST_TRY, deadline.remaining()))
        cut = self._listener
        try:
            self._begin(Deadline(patience), cut)
        except (ConnectError, *_CUT, HTTPStatusError, MCPError) as error:
            if getattr(error, "status", None) not in _PASSES:
                raise
            self._note_cut(error)
            return None
        assert self._listener is not None
        return None if self._listener.went_on else self._gap()

    def _gap(self) -> Gap:
        self._on_gap()  # before whoever listens can ask
        return Gap()

    def _begin(self, deadline: Deadline, after: Listener | None) -> None:
        scope = CallScope(deadline, self._stop, self._headers)
        listener = self._keeper.listen(self._wanted, Call(scope, None, self._meta), after)
        self._listener, self._since = listener, time.monotonic()
        self.honored = listener.honored

    def _note_cut(self, lost: MCPSyncError) -> None:
        """Take note that there is no stream, and when to try again.

        Raises:
            SubscriptionLost: Not at all.
        """
        listener = self._listener
        if listener is not None and not listener.cut:
            listener.cut = True
            listener.stream.close()
            if time.monotonic() - self._since >= LASTING:
                self._tries = 0
        self._tries += 1
        cursor = listener.stream.cursor if listener is not None else None
        wished = cursor.retry if cursor is not None and cursor.wished else 0.0
        if self._tries > ATTEMPTS or wished > LONGEST_RETRY:
            raise SubscriptionLost(
                f"the stream of changes was cut and could not be begun anew: {lost.message}"
            ) from lost
        backoff = exponential(self._tries, FIRST_RETRY, LAST_RETRY, random.random)
        self._due = time.monotonic() + max(wished, backoff)

    def _name(self, error: BaseException) -> None:
        if isinstance(error, MCPSyncError):
            error.with_context(**self._names)

    def _forget(self) -> None:
        """Have no stream any more: in a forked child it is the parent's, who goes on with it."""
        self._lock = new_lock("subscription")
        self._forked = self._over = True
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self.close()
        return False

    def __repr__(self) -> str:
        where = "active" if self.active else "over"
        return f"<Subscription to {self._names.get('server_name')!r} {where}>"
