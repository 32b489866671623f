"""An answer, read within its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from urllib3 import BaseHTTPResponse

from ..errors import ResponseTooLarge
from .exchange import Exchange
from .failures import EXPECTED, explain
from .lasting import CHUNK, LastingBody
from .sockets import let_go


class HttpResponse:
    """The answer to one request; its body is read by the thread that made the request.

    Attributes:
        status: The HTTP status.
        headers: The headers; names are case-insensitive.
    """

    __slots__ = ("_exchange", "_host", "_limit", "_on_close", "_raw", "headers", "status")

    def __init__(
        self,
        raw: BaseHTTPResponse,
        exchange: Exchange,
        *,
        host: str,
        limit: int,
        on_close: Callable[[Exchange], None],
    ) -> None:
        self._raw = raw
        self._exchange = exchange
        self._host = host
        self._limit = limit
        self._on_close = on_close
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def read(self) -> bytes:
        """Return the whole body, and close the response.

        Raises:
            ResponseTooLarge: It is larger than the limit.
            ConnectionLost: It ended early.
            RequestTimeout: The deadline passed.
        """
        raw = self._raw
        try:
            length = raw.length_remaining
            if (
                length is not None
                and length <= self._limit
                and "content-encoding" not in raw.headers
            ):
                data = self._believed(raw.read())
            else:
                data = b"".join(self.chunks())
        except EXPECTED as error:
            raise explain(error, self._exchange, self._host) from error
        finally:
            self.close()
        return data

    def chunks(self, *, endless: bool = False) -> Iterator[bytes]:
        """Yield the body as it comes; the caller closes the response. Raises as :meth:`read`.

        Args:
            endless: It is a stream that may go on for ever: how much it holds is not limited.
        """
        received = 0
        while True:
            try:
                chunk = self._believed(self._raw.read1(CHUNK))
            except EXPECTED as error:
                raise explain(error, self._exchange, self._host) from error
            if not chunk:
                return
            received += len(chunk)
            if received > self._limit and not endless:
                raise ResponseTooLarge(
                    f"the answer of {self._host} is larger than {self._limit} bytes.",
                    limit=self._limit,
                    maybe_executed=True,
                )
            yield chunk

    def finish_soon(self, patience: float = 0.02) -> None:
        """Read on to the end if that comes within *patience* seconds, so the socket can be kept.

        An event stream is over with its answer, but the bytes that say so come behind it.
        """
        exchange = self._exchange
        exchange.deadline = exchange.deadline.within(patience)
        rest = self._limit
        try:
            while rest > 0 and (chunk := self._raw.read1(CHUNK)):
                rest -= len(chunk)
        except EXPECTED:  # it did not come, or not whole: the socket is not kept
            return

    def outlive_call(self) -> None:
        """Have no deadline any more: the stream goes on when the call that opened it is over."""
        self._exchange.outlive_call()

    def cut(self) -> None:
        """Wake whoever reads, from a finalizer: no lock is taken."""
        self._exchange.cut()

    def forget(self) -> None:
        """Let go of the socket without a word: in a forked child it is the parent's, too."""
        sock = self._exchange.give_up_socket()
        if sock is not None:
            let_go(sock)

    def lasting(self) -> LastingBody:
        """Return the body as one that has no end in sight; the caller closes that instead."""
        return LastingBody(self._raw, self._exchange, self._host, self.close)

    def _believed(self, data: bytes) -> bytes:
        """Return *data*, unless the socket was cut under it: then it looks like a good end."""
        if self._exchange.aborted_by is not None:
            raise OSError("called off")
        return data

    def close(self) -> None:
        """Give the socket back, or close it if the body was not read to its end."""
        raw = self._raw
        if not raw.closed:
            raw.close()
        raw.release_conn()
        self._exchange.detach()
        self._on_close(self._exchange)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
