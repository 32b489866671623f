"""Going on with an answer whose event stream ended too early. (Requirements H11 to H13.)"""

from __future__ import annotations

import threading

from .._runtime.cancel import Watch
from .._runtime.deadline import Deadline
from .._runtime.locks import assert_none_held
from ..errors import ConnectionLost, MCPSyncError
from .base import CallScope


class Pauses:
    """Waits of many threads, all of which one closing ends. Thread-safe: it has no lock.

    What it holds is only added to, taken from and copied, each in one step.
    """

    def __init__(self) -> None:
        self._waiting: dict[_Pause, None] = {}  # a quarter of what an empty set takes
        self._closed_by: MCPSyncError | None = None

    def close(self, error: MCPSyncError) -> None:
        """End every wait with *error*, and those to come."""
        self._closed_by = error
        for pause in list(self._waiting):
            pause.end(error)

    def wait(self, seconds: float, scope: CallScope) -> None:
        """Wait so many seconds, which have to fit into the scope's time.

        Raises:
            ConnectionLost: They do not fit.
            RequestCancelled: The caller's cancellation fired.
            ConnectionClosed: :meth:`close` was called.
        """
        if seconds > scope.deadline.remaining():
            raise ConnectionLost(
                f"the server ended the stream before it had answered and wants {seconds:g} s "
                "to pass before it is asked again, which is more than the call has left.",
                maybe_executed=True,
            )
        pause = _Pause()
        self._waiting[pause] = None
        watch = Watch(scope.cancel, pause.end)
        try:
            if self._closed_by is not None:
                pause.end(self._closed_by)
            pause.sit(Deadline(seconds))
        finally:
            watch.end()
            self._waiting.pop(pause, None)


class _Pause:
    def __init__(self) -> None:
        self._over = threading.Event()
        self._error: MCPSyncError | None = None

    def end(self, error: MCPSyncError) -> None:
        self._error = error
        self._over.set()

    def sit(self, until: Deadline) -> None:
        assert_none_held("waiting to ask for a stream again")
        self._over.wait(until.remaining())
        if self._error is not None:
            self._error.maybe_executed = True
            raise self._error
