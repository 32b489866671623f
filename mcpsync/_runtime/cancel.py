"""Telling a call that waits, from another thread, to stop waiting."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import RequestCancelled
from .locks import new_lock


class Cancellation:
    """A switch that ends every call it was given to. Thread-safe.

    ``cancel = Cancellation()``, ``client.call_tool(..., cancel=cancel)``, and from any other
    thread ``cancel.cancel("user left")``: the call raises
    :class:`~mcpsync.errors.RequestCancelled` at once, and the server is told.

    Lock: _lock guards _reason, _cancelled, _wakers.
    """

    def __init__(self) -> None:
        self._lock = new_lock("Cancellation")
        self._cancelled = False
        self._reason: str | None = None
        self._wakers: list[Callable[[], None]] = []

    def cancel(self, reason: str | None = None) -> None:
        """End every call that waits on this, and each one started with it later.

        Args:
            reason: Sent along to the server, and put into the error.
        """
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            self._reason = reason
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled

    @property
    def reason(self) -> str | None:
        """What was given to :meth:`cancel`."""
        return self._reason

    def add_waker(self, wake: Callable[[], None]) -> None:
        """Have *wake* called when this is cancelled; at once if it already is."""
        with self._lock:
            if not self._cancelled:
                self._wakers.append(wake)
                return
        wake()

    def remove_waker(self, wake: Callable[[], None]) -> None:
        """Undo :meth:`add_waker`; unknown wakers are ignored."""
        with self._lock:
            if wake in self._wakers:
                self._wakers.remove(wake)

    def __repr__(self) -> str:
        return f"<Cancellation {'cancelled' if self._cancelled else 'armed'}>"


class Watch:
    """Hands a :class:`RequestCancelled` to *abort* when *cancel* fires, until it is ended."""

    __slots__ = ("_abort", "_cancel")

    def __init__(
        self, cancel: Cancellation | None, abort: Callable[[RequestCancelled], None]
    ) -> None:
        self._cancel = cancel
        self._abort = abort
        if cancel is not None:
            cancel.add_waker(self._wake)

    def _wake(self) -> None:
        reason = self._cancel.reason if self._cancel is not None else None
        text = "cancelled." if reason is None else f"cancelled: {reason}."
        self._abort(RequestCancelled(text, reason=reason))

    def end(self) -> None:
        """Watch no longer. Works twice."""
        if self._cancel is not None:
            self._cancel.remove_waker(self._wake)
