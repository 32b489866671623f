"""One HTTP exchange as its socket sees it: the time it has, and whether it was called off."""

from __future__ import annotations

import contextlib
import errno
import math
import socket
from collections.abc import Callable
from typing import TypeAlias

from .._runtime.deadline import Deadline
from .._runtime.locks import new_lock
from ..errors import ConnectionLost, MCPSyncError, RequestCancelled
from ..security.guard import ANYWHERE, AddressPolicy

Socket: TypeAlias = socket.socket
WATCH = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # seconds, seconds, times


class Exchange:
    """The budget, the fate and the byte counts of one request and its answer.

    The thread that makes the request uses it; any thread may :meth:`abort` it.

    Lock: _lock guards _socket, aborted_by. Shutting the socket down is done under it, since
    afterwards the socket may serve somebody else; it does not block.
    """

    __slots__ = (
        "_lock",
        "_socket",
        "aborted_by",
        "bytes_received",
        "bytes_sent",
        "connected",
        "deadline",
        "gives_up",
        "held",
        "only_look",
        "policy",
        "reused",
        "saw_end",
    )

    def __init__(self, deadline: Deadline, policy: AddressPolicy = ANYWHERE) -> None:
        self._lock = new_lock("Exchange")
        self._socket: socket.socket | None = None
        self.deadline = deadline
        self.policy = policy
        self.aborted_by: MCPSyncError | None = None
        self.connected = False
        self.reused = False
        self.saw_end = False  # the other side has ended the connection
        self.gives_up: Callable[[], bool] | None = None  # no answer is waited for any longer
        self.only_look = False  # at what was read already, and not ask the socket for more
        self.held: list[bytes] | None = None  # what goes out in one piece with what follows
        self.bytes_sent = 0
        self.bytes_received = 0

    def attach(self, sock: socket.socket) -> None:
        """Take *sock*, so that :meth:`abort` reaches whoever reads from it."""
        with self._lock:
            self._socket = sock
            aborted = self.aborted_by
        if aborted is not None:
            raise OSError("called off")

    def detach(self) -> None:
        """Let go of the socket: it is about to serve somebody else, or is closed."""
        with self._lock:
            self._socket = None

    @property
    def socket(self) -> socket.socket | None:
        """The socket, for whoever waits until it has something to say."""
        return self._socket

    def abort(self, error: MCPSyncError) -> None:
        """Call the exchange off: whoever waits for its socket wakes up. *error* says why."""
        with self._lock:
            if self.aborted_by is None:
                self.aborted_by = error
            if self._socket is not None:
                shut_down(self._socket)

    def look_up(self) -> None:
        """See whether the answer is still waited for; between two short waits for it.

        Raises:
            OSError: It is not; the exchange is called off.
        """
        if self.gives_up is not None and self.gives_up():
            self.abort(RequestCancelled("the answer is not waited for any longer."))
            raise OSError("given up")

    def cut(self) -> None:
        """Shut the socket down without taking the lock, for whoever may be the one who holds it.

        That is the collector, which runs finalizers in the midst of anything.
        """
        sock = self._socket
        if sock is not None:
            shut_down(sock)

    def outlive_call(self) -> None:
        """Have no deadline any more, and a socket that notices when the other side is gone."""
        self.deadline = Deadline(math.inf)
        sock = self._socket
        if sock is not None:
            keep_watch(sock)

    def give_up_socket(self) -> Socket | None:
        """Return the socket, and have none any more; for a forked child, which has one thread."""
        self._lock = new_lock("Exchange")
        sock, self._socket = self._socket, None
        return sock

    def time_left(self) -> float | None:
        """Return the seconds that remain, as ``settimeout`` takes them.

        Raises:
            TimeoutError: None remain.
            OSError: The exchange was called off.
        """
        if self.aborted_by is not None:
            raise OSError("called off")
        if self.only_look:
            raise BlockingIOError(errno.EAGAIN, "only looking")
        remaining = self.deadline.wait_time()
        if remaining is not None and remaining <= 0.0:
            raise TimeoutError("the deadline has passed")
        return remaining

    def unanswered(self, reason: str) -> ConnectionLost:
        """Make the error for a connection that ended before the answer was whole."""
        stale = self.reused and self.bytes_received == 0
        return ConnectionLost(reason, maybe_executed=self.bytes_sent > 0, stale=stale)


def shut_down(sock: socket.socket) -> None:
    """Wake whoever waits for *sock*; TLS is told nothing, since it would wait in turn."""
    with contextlib.suppress(OSError):  # not connected any more, or not yet
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def keep_watch(sock: socket.socket) -> None:
    """Have the kernel ask whether the other side is there, where a socket may be silent for long.

    A router in between may forget a connection without a word to either side.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in WATCH.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
