"""One WebSocket, over a socket that is opened by the one door like every other.

``websocket-client`` shakes hands and knows frames. What it would do besides is kept from it: it
opens no socket, waits for nothing by itself, and its cookies, which it shares between everybody in
the process, never get anything from us nor give us anything.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from requests.structures import CaseInsensitiveDict

from .._runtime.cancel import Cancellation, Watch
from .._runtime.deadline import Deadline
from .._runtime.locks import WriteLock, assert_none_held, new_lock
from ..errors import (
    ConfigurationError,
    ConnectionLost,
    MCPSyncError,
    MessageInvalid,
    ResponseTooLarge,
)
from .adapter import adapters
from .exchange import Exchange
from .failures import explain
from .limits import Limits
from .settings import HttpSettings
from .sockets import TLSSocket, current, let_go, open_socket

MAX_HEAD = 65536  # bytes that the answer to the handshake may have
MAX_FRAMING = 4096  # bytes of frames around one message that are not counted as its own
PONG_TIMEOUT = 2.0  # seconds that answering a ping may take
CLOSE_TIMEOUT = 0.5  # seconds that saying goodbye may take
LOOK_UP = 0.02  # seconds between looks at who was called off, while the server does not read
CHUNK = 16384
_NO_DELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def require_library() -> Any:
    """Return the module of ``websocket-client``.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import websocket
    except ImportError:
        raise ConfigurationError(
            "WebSocket needs websocket-client: pip install 'mcpsync[websocket]'."
        ) from None
    return websocket


class Refused:
    """The answer of a server that did not take the handshake; looks like an ``HttpResponse``."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def read(self) -> bytes:
        """Return nothing: what it said besides is not read."""
        return b""


class HandshakeRefused(Exception):
    """Raised for a handshake that was answered with another status than 101."""

    def __init__(self, answer: Refused) -> None:
        super().__init__(answer.status)
        self.answer = answer


class WebSocketConnection:
    """A WebSocket that is open. One thread reads, any thread sends.

    Args:
        settings: Of the ``http`` or ``https`` URL that stands for it; only address, TLS and proxy
            count.
        subprotocol: What is to be spoken over it.
        limits: How long a message may be.
        deadline: Bounds connecting and the handshake.
        cancel: Ends them when it fires.

    Raises:
        ConfigurationError: The library is missing, or there is a proxy in between.
        HandshakeRefused: The server does not want to.
        ConnectError, ConnectionLost, RequestTimeout, RequestCancelled, MessageInvalid: It did not
            come to that.
    """

    def __init__(
        self,
        settings: HttpSettings,
        subprotocol: str,
        limits: Limits,
        deadline: Deadline,
        cancel: Cancellation | None = None,
    ) -> None:
        self._library = require_library()
        self.host = f"{settings.origin[1]}:{settings.origin[2]}"
        if settings.key.proxy is not None:
            raise ConfigurationError(
                f"WebSocket does not go through proxies, and there is one to {self.host}."
            )
        assert_none_held("connecting")
        self._limit = limits.max_line_bytes
        self._exchange = Exchange(deadline, settings.key.policy)
        watch = Watch(cancel, self._exchange.abort)
        try:
            self._wire = self._shaken(settings, subprotocol)
        except (
            OSError,
            ValueError,
            ConnectionLost,  # while the handshake was sent: perhaps we ended it ourselves
            self._library.WebSocketException,
        ) as error:
            self._exchange.cut()
            raise self._explained(error) from error
        finally:
            watch.end()

    def _shaken(self, settings: HttpSettings, subprotocol: str) -> _Wire:
        wire = _Wire(_connected(settings, self._exchange), self._exchange)
        self._wire = wire
        self._frames = self._library.WebSocket(skip_utf8_validation=True)
        scheme = "wss" if settings.origin[0] == "https" else "ws"
        try:
            # Cookies are looked up by the host of the URL, so it is one that nobody has any for.
            self._frames.connect(
                f"{scheme}://{secrets.token_hex(16)}{settings.path}",
                socket=wire,
                host=_host_header(settings),
                subprotocols=[subprotocol],
                suppress_origin=True,
                redirect_limit=0,
            )
        except BaseException:
            wire.close()
            raise
        wire.deadline = None
        self._exchange.outlive_call()
        return wire

    def _explained(self, error: BaseException) -> MCPSyncError:
        if isinstance(error, MCPSyncError) and self._exchange.aborted_by is None:
            return error
        failure = getattr(self, "_wire", None) and self._wire.failure
        if failure:
            return failure
        exchange, library = self._exchange, self._library
        called_off = exchange.aborted_by is not None or exchange.deadline.expired
        ended = isinstance(error, library.WebSocketConnectionClosedException)
        if isinstance(error, library.WebSocketException) and not ended and not called_off:
            return MessageInvalid(f"{self.host} does not speak WebSocket: {error}.")
        return explain(error, exchange, self.host)

    def send(
        self, text: bytes, deadline: Deadline, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Send one message; return false if *stopped* said to stop instead.

        Raises:
            ConnectionLost: The connection has ended. ``maybe_executed`` is false: a message that
                is not whole is not run.
            RequestTimeout: The server does not read fast enough.
        """
        frame = self._library.ABNF.create_frame(text, self._library.ABNF.OPCODE_TEXT)
        return self._wire.write(frame.format(), deadline, stopped)

    @property
    def is_garbled(self) -> bool:
        """Whether part of a message is out, so that what follows cannot be understood."""
        return self._wire.is_garbled

    def messages(self) -> Iterator[bytes]:
        """Yield each message until the server ends the conversation; pings are answered.

        Raises:
            ConnectionLost: The connection ended without a word.
            ResponseTooLarge: A message exceeds the limit.
            MessageInvalid: What came is not WebSocket.
            MCPSyncError: What :meth:`abort` said.
        """
        opcodes = self._library.ABNF
        try:
            while True:
                self._wire.budget = self._limit + MAX_FRAMING
                opcode, frame = self._next_frame()
                if opcode == opcodes.OPCODE_CLOSE:
                    return
                if len(frame.data) > self._limit:
                    raise self._too_large()
                yield bytes(frame.data)
        except (OSError, ValueError, self._library.WebSocketException) as error:
            if self._wire.budget < 0:
                raise self._too_large() from None
            raise self._explained(error) from error

    def _next_frame(self) -> tuple[int, Any]:
        """Return the next message, or the end; pings between messages cost nothing for ever."""
        library = self._library.ABNF
        while True:
            opcode, frame = self._frames.recv_data_frame(control_frame=True)
            if opcode not in (library.OPCODE_PING, library.OPCODE_PONG):
                return opcode, frame
            if self._frames.cont_frame.cont_data is None:
                self._wire.budget = self._limit + MAX_FRAMING

    def _too_large(self) -> ResponseTooLarge:
        return ResponseTooLarge(
            f"{self.host} sent a message of more than {self._limit} bytes.", limit=self._limit
        )

    def say_goodbye(self, deadline: Deadline) -> None:
        """Say that it is over; a server that does not read is not waited for."""
        goodbye = self._library.ABNF.create_frame(b"\x03\xe8", self._library.ABNF.OPCODE_CLOSE)
        with contextlib.suppress(MCPSyncError):
            self._wire.write(goodbye.format(), deadline.within(CLOSE_TIMEOUT))

    def abort(self, error: MCPSyncError) -> None:
        """Wake whoever reads, with *error*."""
        self._exchange.abort(error)

    def cut(self) -> None:
        """Wake whoever reads, from a finalizer: no lock is taken."""
        self._exchange.cut()

    def close(self) -> None:
        """Give the socket back; for the thread that reads, once it does not any more."""
        self._exchange.detach()
        self._wire.close()

    def forget(self) -> None:
        """Let go of the socket without a word: in a forked child it is the parent's, too."""
        sock = self._exchange.give_up_socket()
        if sock is not None:
            let_go(sock)


class _Wire:
    """What ``websocket-client`` takes for its socket. It never blocks but in a wait of ours.

    Lock: _lock guards the TLS state of _sock, which two threads must not use at a time. What is
    done under it does not block.

    Attributes:
        deadline: Bounds the reading; None once the conversation has begun.
        budget: How many bytes may be read until somebody raises it again.
        failure: What went wrong, if that was ours to say.
        is_garbled: Whether part of a message is out.
    """

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._exchange = exchange
        self._lock = new_lock("wire")
        self._writing = WriteLock()
        self._head = b""
        self._has_head = False
        self.deadline: Deadline | None = exchange.deadline
        self.budget = 0
        self.failure: MCPSyncError | None = None
        self.is_garbled = False

    def recv(self, size: int) -> bytes:
        """Wait for bytes; the first ones are those of the answer to the handshake."""
        if not self._has_head:
            self._head, self._has_head = self._read_head(), True
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._receive(size)
        self.budget -= len(data) if self.deadline is None else 0
        if self.budget < 0:
            raise OSError("more than is allowed")
        return data

    def _receive(self, size: int) -> bytes:
        while True:
            try:
                with self._lock:
                    data = self._sock.recv(size)
            except _BLOCKED as blocked:
                self._wait(_event_of(blocked, select.POLLIN), self.deadline)
                continue
            except TimeoutError as error:  # the kernel's: nobody is there any more
                raise OSError("nothing is heard of the server any more") from error
            self._exchange.bytes_received += len(data)
            self._exchange.saw_end = self._exchange.saw_end or not data
            return data

    def _read_head(self) -> bytes:
        """Return the answer to the handshake, without the cookies that the library would share."""
        head = b""
        while b"\r\n\r\n" not in head:
            more = self._receive(CHUNK)
            if not more:
                raise OSError("cut in the middle of the handshake")
            head += more
            if len(head) > MAX_HEAD:
                self.failure = MessageInvalid("the answer to the handshake is too long.")
                raise OSError("too long")
        head, _, rest = head.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        lines = [line for line in lines if not line.lower().startswith(b"set-cookie")]
        status = first.split(b" ")[1:2]
        if status != [b"101"] and status and status[0].isdigit():
            pairs = [line.decode("latin-1").partition(":")[::2] for line in lines]
            headers: Any = CaseInsensitiveDict({name: value.strip() for name, value in pairs})
            raise HandshakeRefused(Refused(int(status[0]), headers))
        return b"\r\n".join([first, *lines, b"", b""]) + rest

    def send(self, data: bytes) -> int:
        """Write what the library itself has to say: the handshake, a pong, an answer to a close."""
        self.write(data, self.deadline or Deadline(PONG_TIMEOUT))
        return len(data)

    def write(
        self, data: bytes, deadline: Deadline, stopped: Callable[[], bool] = lambda: False
    ) -> bool:
        """Write one whole frame; return false if *stopped* said to stop instead."""
        if stopped():
            return False
        self._writing.acquire(deadline)
        view = memoryview(data)
        written = 0
        try:
            while written < len(view):
                try:
                    with self._lock:
                        written += self._sock.send(view[written:])
                except _BLOCKED as blocked:
                    self._wait(_event_of(blocked, select.POLLOUT), deadline, LOOK_UP)
                    deadline.check("sending to a server that does not read")
                    if stopped():
                        return False
        except (OSError, ValueError) as error:
            if isinstance(error, MCPSyncError):
                raise
            raise ConnectionLost("the connection has ended.") from error
        finally:
            if 0 < written < len(view):
                self.is_garbled = True
            self._exchange.bytes_sent += written
            self._writing.release()
        return True

    def _wait(self, event: int, deadline: Deadline | None, at_most: float | None = None) -> None:
        left = None if deadline is None else deadline.wait_time()
        if at_most is not None:
            left = at_most if left is None else min(left, at_most)
        poll = select.poll()
        poll.register(self._sock, event)
        ready = poll.poll(None if left is None else left * 1000)
        if not ready and at_most is None:
            raise TimeoutError("the deadline has passed")

    def gettimeout(self) -> None:
        """Say that it blocks, as far as the library is concerned."""

    def settimeout(self, timeout: object) -> None:
        """Do nothing: there is one deadline."""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket, when nobody writes any more."""
        self._exchange.cut()
        with contextlib.suppress(MCPSyncError):
            self._writing.acquire(Deadline(CLOSE_TIMEOUT))
            self._writing.release()
        self._sock.close()


def _event_of(blocked: Exception, otherwise: int) -> int:
    if isinstance(blocked, ssl.SSLWantReadError):
        return select.POLLIN
    if isinstance(blocked, ssl.SSLWantWriteError):
        return select.POLLOUT
    return otherwise


def _connected(settings: HttpSettings, exchange: Exchange) -> socket.socket:
    scheme, host, port = settings.origin
    sock = open_socket(host, port, exchange, options=_NO_DELAY)
    try:
        if scheme == "https":
            context = adapters.get(settings.key).tls_context()
            current.exchange = exchange
            try:
                sock = context.wrap_socket(sock, server_hostname=host)
            finally:
                current.exchange = None
            assert isinstance(sock, TLSSocket)
            exchange.attach(sock)
    except BaseException:
        sock.close()
        raise
    exchange.connected = True
    return sock


def _host_header(settings: HttpSettings) -> str:
    scheme, host, port = settings.origin
    host = f"[{host}]" if ":" in host else host
    return host if port == {"http": 80, "https": 443}[scheme] else f"{host}:{port}"
