"""The body of an answer that goes on for as long as both sides like."""

from __future__ import annotations

import math
import select
from collections.abc import Callable
from typing import Any

from urllib3 import BaseHTTPResponse

from .._runtime.deadline import Deadline
from .._runtime.locks import assert_none_held
from ..errors import MCPSyncError
from .exchange import Exchange
from .failures import EXPECTED, explain

CHUNK = 65536
HALF_SAID = 5.0  # seconds that the rest of what has begun to come may take
LONGEST_POLL = 3600.0  # seconds; poll() takes milliseconds in an int


class LastingBody:
    """Reads an answer bit by bit, now and then without waiting for ever.

    One thread reads and closes it; any thread may :meth:`abort` it. What it holds is not limited
    here: whoever reads keeps no more than he likes.

    Made by :meth:`~.response.HttpResponse.lasting`.
    """

    def __init__(
        self, raw: BaseHTTPResponse, exchange: Exchange, host: str, close: Callable[[], None]
    ) -> None:
        self._raw = raw
        self._exchange = exchange
        self._host = host
        self._close = close

    def read(self, deadline: Deadline) -> bytes | None:
        """Return what comes next; empty at the end, None if nothing came in time.

        A read that has begun cannot be given up without losing what was read. So with a deadline
        it is begun when there is something to read; should the rest be late, the answer is lost.

        Raises:
            ConnectionLost: It was cut.
            RequestTimeout: The rest of what had begun to come did not.
            MCPSyncError: What it was aborted with.
        """
        assert_none_held("reading from a stream")
        exchange = self._exchange
        patient = deadline.wait_time() is None
        try:
            if not patient and not self._has_something(deadline):
                if exchange.aborted_by is not None:
                    raise OSError("called off")
                return None
            exchange.deadline = Deadline(math.inf if patient else HALF_SAID)
            data = self._raw.read1(CHUNK)
            if exchange.aborted_by is not None:  # then it looks like a good end
                raise OSError("called off")
        except EXPECTED as error:
            raise explain(error, exchange, self._host) from error
        return data

    def abort(self, error: MCPSyncError) -> None:
        """Wake whoever reads; he gets *error*. From any thread."""
        self._exchange.abort(error)

    def close(self) -> None:
        """Give the socket back. Works twice."""
        self._close()

    def _has_something(self, deadline: Deadline) -> bool:
        """Wait until a read would find something, or the end; false if nothing came in time."""
        message: Any = getattr(self._raw, "_fp", None)  # http.client's
        source = getattr(message, "fp", None)
        sock = self._exchange.socket
        if source is None or sock is None:
            return True  # it will not take long
        if self._buffered(message, source):
            return True
        pending = getattr(sock, "pending", None)  # TLS has read more than it has given
        if pending is not None and pending():
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(min(deadline.remaining(), LONGEST_POLL) * 1000))

    def _buffered(self, message: Any, source: Any) -> bool:
        """Whether there is something to read that has left the socket already."""
        self._exchange.only_look = True
        try:
            data: bytes = source.peek(1)
        finally:
            self._exchange.only_look = False
        if message.chunked and message.chunk_left == 0:  # what ends the last chunk says nothing
            data = data.removeprefix(b"\r\n")
        return bool(data)
