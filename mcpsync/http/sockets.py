"""Sockets that know the deadline of the exchange they serve, and the one way to open one."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..security.guard import refused
from .exchange import Exchange

if TYPE_CHECKING:
    from typing_extensions import Buffer

    _Base = socket.socket
else:
    _Base = object

GLANCE = 0.02  # seconds between looks at whether an answer is still waited for

Address: TypeAlias = tuple[Any, ...]
SocketOptions: TypeAlias = Sequence[tuple[int, int, int | bytes]]


class _OnDeadline(_Base):
    """Before each read and write, gives the socket the time that remains; counts the bytes."""

    exchange: Exchange | None = None
    served = 0  # exchanges that ended well on this socket

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        exchange = self.exchange
        if exchange is None:
            return super().recv_into(buffer, nbytes, flags)
        if exchange.gives_up is None:
            self.settimeout(exchange.time_left())
            received = super().recv_into(buffer, nbytes, flags)
        else:
            received = self._recv_with_glances(exchange, buffer, nbytes, flags)
        exchange.bytes_received += received
        if not received:
            exchange.saw_end = True
        return received

    def _recv_with_glances(
        self, exchange: Exchange, buffer: Buffer, nbytes: int, flags: int
    ) -> int:
        while True:
            left = exchange.time_left()
            self.settimeout(GLANCE if left is None else min(left, GLANCE))
            try:
                return super().recv_into(buffer, nbytes, flags)
            except TimeoutError:
                exchange.look_up()

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        exchange = self.exchange
        if exchange is None:
            return super().sendall(data, flags)
        if exchange.held is not None:
            exchange.held.append(bytes(data))
            return None
        with memoryview(data).cast("B") as view:
            sent, size = 0, len(view)
            while sent < size:
                self.settimeout(exchange.time_left())
                count = super().send(view[sent:], flags)
                sent += count
                exchange.bytes_sent += count
        return None


class PlainSocket(_OnDeadline, socket.socket):
    """A TCP socket on a deadline."""


class TLSSocket(_OnDeadline, ssl.SSLSocket):  # type: ignore[misc] # nbytes may be None there
    """A TLS socket on a deadline; made by a context whose ``sslsocket_class`` it is."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands within the deadline of the exchange this thread makes, and on its call."""
        exchange = current.exchange
        if exchange is not None:  # this socket has taken the plain one's place
            exchange.attach(self)
            self.settimeout(exchange.time_left())
        super().do_handshake(block)


ON_DEADLINE = (PlainSocket, TLSSocket)


class _Current(threading.local):
    exchange: Exchange | None = None


current = _Current()
"""The exchange this thread is about to make: urllib3 has no place to hand it through."""


def let_go(sock: socket.socket) -> None:
    """Close the descriptor of *sock* in a forked child; the connection is the parent's.

    Under gevent the loop still watches it for a copy of whoever reads. So there it becomes the
    end of a pipe on which nothing comes.
    """
    if socket.socket.__module__.startswith("gevent"):
        reading, _ = os.pipe()
        with contextlib.suppress(OSError, ValueError):
            os.dup2(reading, sock.fileno(), inheritable=False)
        os.close(reading)
        return
    with contextlib.suppress(OSError):
        os.close(sock.detach())


def open_socket(
    host: str,
    port: int,
    exchange: Exchange,
    *,
    options: SocketOptions = (),
    source: Address | None = None,
    resolve: Callable[..., list[tuple[Any, ...]]] = socket.getaddrinfo,
) -> socket.socket:
    """Resolve *host*, connect to its first address that answers, and return the socket.

    This is the only function that opens a socket to the network, so it is where the address guard
    sits: between ``resolve`` and ``connect`` the address is known and not yet used. What is
    checked is what is connected to, whatever the name leads to the next time.

    Args:
        host: A name or a literal; brackets allowed.
        port: The port.
        exchange: Its deadline bounds the connecting; the time resolving takes is the resolver's.
        options: Set on the socket before it connects.
        source: The address to connect from.
        resolve: ``getaddrinfo``, or something with its signature.

    Raises:
        OSError: It cannot be resolved, no address answers, or time is up.
        RefusedError: It has no address that the exchange may reach.
    """
    failure: Exception = OSError(f"{host} has no address")
    for family, kind, proto, _, address in resolve(
        host.strip("[]"), port, socket.AF_UNSPEC, socket.SOCK_STREAM
    ):
        policy = exchange.policy
        if not policy.admits(host, port, str(address[0])):
            failure = refused("address", host.strip("[]"), port, can_allow=policy.can_allow)
            continue
        sock = PlainSocket(family, kind, proto)
        try:
            for option in options:
                sock.setsockopt(*option)
            if source is not None:
                sock.bind(source)
            exchange.attach(sock)
            sock.settimeout(exchange.time_left())
            sock.connect(address)
        except OSError as error:
            failure = error
            exchange.detach()
            sock.close()
            if exchange.aborted_by is not None or exchange.deadline.expired:
                break
        else:
            sock.exchange = exchange
            return sock
    raise failure
