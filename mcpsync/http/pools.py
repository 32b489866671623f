"""urllib3's connections and pools, with our sockets in them."""

from __future__ import annotations

import socket
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from .exchange import Exchange
from .sockets import ON_DEADLINE, current, open_socket


class NotConnected(HTTPError):
    """There is no connection; the cause says why."""


class _OnExchange:
    """A connection that opens its socket through the one door and binds it to the exchange."""

    sock: socket.socket | None
    _dns_host: str
    port: int
    socket_options: Any
    source_address: Any

    def _new_conn(self) -> socket.socket:
        return open_socket(
            self._dns_host,
            self.port,
            _exchange(),
            options=self.socket_options or (),
            source=self.source_address,
        )

    def connect(self) -> None:
        exchange = _exchange()
        try:
            super().connect()  # type: ignore[misc]
        except OSError as error:  # urllib3 would take some for an answer that came early
            raise NotConnected(str(error)) from error
        _bind(self.sock, exchange)
        exchange.bytes_sent = exchange.bytes_received = 0  # a proxy's CONNECT is not the request

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request in one piece: urllib3 writes headers and body one after the other."""
        exchange = _exchange()
        if self.sock is not None:
            _bind(self.sock, exchange)
        held: list[bytes] = []
        exchange.held = held
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            exchange.held = None
        if self.sock is not None:
            self.sock.sendall(b"".join(held))

    def getresponse(self) -> Any:
        """Read the head of an answer; close a socket that an answer has which urllib3 refused."""
        sock = self.sock
        try:
            return super().getresponse()  # type: ignore[misc]
        except Exception:
            if sock is not None and self.sock is None and (left := sock.detach()) >= 0:
                socket.close(left)
            raise


def _exchange() -> Exchange:
    exchange = current.exchange
    if exchange is None:
        raise RuntimeError("a pooled connection was used past the one door")
    return exchange


def _bind(sock: Any, exchange: Exchange) -> None:
    exchange.attach(sock)
    exchange.connected = True
    if isinstance(sock, ON_DEADLINE):
        exchange.reused = sock.served > 0
        sock.exchange = exchange


class _Connection(_OnExchange, HTTPConnection):
    pass


class _TLSConnection(_OnExchange, HTTPSConnection):
    pass


class _Releasing:
    """A pool that frees a socket from its exchange before somebody else can have it."""

    def _put_conn(self, conn: Any) -> None:
        sock = getattr(conn, "sock", None)
        if isinstance(sock, ON_DEADLINE):
            exchange, sock.exchange = sock.exchange, None
            sock.served += 1
            if exchange is not None:
                exchange.detach()
        super()._put_conn(conn)  # type: ignore[misc]


class Pool(_Releasing, HTTPConnectionPool):
    """The sockets to one ``http`` origin."""

    ConnectionCls = _Connection


class TLSPool(_Releasing, HTTPSConnectionPool):
    """The sockets to one ``https`` origin."""

    ConnectionCls = _TLSConnection


POOL_CLASSES = {"http": Pool, "https": TLSPool}
