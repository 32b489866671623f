"""Where a browser comes back to after a sign-in: a port of this machine. (RFC 8252)"""

from __future__ import annotations

import contextlib
import hmac
import os
import selectors
from collections.abc import Callable
from socketserver import BaseRequestHandler, TCPServer
from typing import Any, Final, Self
from urllib.parse import urlsplit

from .._runtime.cancel import Cancellation
from .._runtime.deadline import Deadline
from ..auth.oauth import returned_in
from ..errors import ConfigurationError, OAuthError, RequestCancelled, RequestTimeout

HOST: Final = "127.0.0.1"
PORT: Final = 33_418  # tried first, so that a registration can be used again
PATH: Final = "/callback"
LOOK_UP: Final = 0.2  # seconds between looks at the clock while nobody comes
MOST_VISITORS: Final = 32  # connections at a time; browsers open some that they never use
MAX_REQUEST: Final = 64 * 1024  # bytes of one request, and characters of one typed line

_PAGE: Final = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>mcpsync</title>"
    "<p>{}</p><p>You may close this page and go back to the terminal.</p>"
)
_HEADERS: Final = (
    "Content-Type: text/html; charset=utf-8",
    "Content-Security-Policy: default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy: no-referrer",
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Connection: close",
)


def _page(status: str, text: str) -> bytes:
    body = _PAGE.format(text)
    length = f"Content-Length: {len(body)}"
    return "\r\n".join([f"HTTP/1.1 {status}", *_HEADERS, length, "", body]).encode("ascii")


_TAKEN: Final = _page("200 OK", "mcpsync has it, and says in the terminal what came of it.")
_NOTHING_HERE: Final = _page("404 Not Found", "There is nothing here.")


class Listener:
    """Waits for what a browser comes back with: once, and only by loopback. (S8)

    It needs no thread, and nobody who connects can keep others from being heard.

    Args:
        port: The only port that does; otherwise the usual one is tried first, and any other does.
        redirect_uri: Where to listen instead: ``http://`` on this machine.

    Raises:
        ConfigurationError: The port is not to be had.
    """

    def __init__(self, port: int | None = None, redirect_uri: str | None = None) -> None:
        self._path = PATH
        if redirect_uri is not None:
            parts = urlsplit(redirect_uri)
            port, self._path = parts.port or 80, parts.path or "/"
        self._server = _bound(port)
        self._server.socket.setblocking(False)
        self.redirect_uri = redirect_uri or f"http://{HOST}:{self._server.server_address[1]}{PATH}"
        self._visitors: dict[Any, bytearray] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more."""
        for visitor in list(self._visitors):
            self._dismiss(visitor)
        self._server.server_close()

    def wait(
        self,
        state: str,
        deadline: Deadline,
        cancel: Cancellation | None = None,
        *,
        typed: int | None = None,
        complain: Callable[[], None] = lambda: None,
    ) -> str:
        """Return the URL that the browser came to, or that somebody typed in.

        Whoever comes with another ``state`` is sent away, and waited on for.

        Args:
            state: That of the sign-in.
            deadline: Ends it.
            cancel: The same.
            typed: The descriptor of a file that the URL may be typed into.
            complain: Called when something else was typed.

        Raises:
            RequestTimeout: Nobody came.
            RequestCancelled: *cancel* fired.
        """
        line = bytearray()
        with selectors.SelectSelector() as selector:  # of these, the one that takes any file
            selector.register(self._server, selectors.EVENT_READ)
            if typed is not None:
                selector.register(typed, selectors.EVENT_READ)
            while True:
                _check(deadline, cancel)
                for key, _ in selector.select(min(LOOK_UP, deadline.remaining())):
                    if key.fileobj is self._server:
                        self._accept(selector)
                        continue
                    if key.fileobj == typed:
                        came_to = _read_line(key.fd, line, selector, state, complain)
                    else:
                        came_to = self._hear(key.fileobj, selector, state)
                    if came_to is not None:
                        return came_to

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            visitor, _ = self._server.get_request()
        except OSError:  # gone again
            return
        visitor.setblocking(False)
        if len(self._visitors) >= MOST_VISITORS:
            self._dismiss(next(iter(self._visitors)), selector)
        self._visitors[visitor] = bytearray()
        selector.register(visitor, selectors.EVENT_READ)

    def _hear(self, visitor: Any, selector: selectors.BaseSelector, state: str) -> str | None:
        """Take in what a visitor says; answer when it is all said."""
        said = self._visitors[visitor]
        try:
            chunk = visitor.recv(MAX_REQUEST)
        except BlockingIOError:
            return None
        except OSError:
            chunk = b""
        said += chunk
        if chunk and b"\r\n\r\n" not in said and len(said) < MAX_REQUEST:
            return None
        target = _target_of(bytes(said)) if chunk else None
        came_to = self._meant(target, state)
        with contextlib.suppress(OSError):
            visitor.send(_NOTHING_HERE if came_to is None else _TAKEN)
        self._dismiss(visitor, selector)
        return came_to

    def _meant(self, target: str | None, state: str) -> str | None:
        """Return the URL that was come to, if it is where we sent the user to."""
        if target is None or target.partition("?")[0] != self._path:
            return None
        came_to = f"http://{HOST}{target}"
        return came_to if _is_of(came_to, state) else None

    def _dismiss(self, visitor: Any, selector: selectors.BaseSelector | None = None) -> None:
        del self._visitors[visitor]
        if selector is not None:
            selector.unregister(visitor)
        self._server.shutdown_request(visitor)


class _Server(TCPServer):
    allow_reuse_address = True
    request_queue_size = MOST_VISITORS


def _bound(port: int | None) -> TCPServer:
    for each in (port,) if port is not None else (PORT, 0):
        with contextlib.suppress(OSError):
            return _Server((HOST, each), BaseRequestHandler)
    wanted = "" if port is None else f" port {port},"
    raise ConfigurationError(f"browsers cannot be waited for at{wanted} {HOST}: it is taken.")


def _check(deadline: Deadline, cancel: Cancellation | None) -> None:
    if cancel is not None and cancel.cancelled:
        raise RequestCancelled("cancelled.", reason=cancel.reason)
    if deadline.expired:
        raise RequestTimeout(
            f"nobody signed in within {deadline.timeout:g} s.", timeout=deadline.timeout
        )


def _target_of(said: bytes) -> str | None:
    """Return what a GET asks for; None if it is no such request."""
    words = said.partition(b"\r\n")[0].decode("latin-1").split(" ")
    is_get = len(words) == 3 and words[0] == "GET" and words[1].startswith("/")
    return words[1] if is_get else None


def _is_of(came_to: str, state: str) -> bool:
    try:
        found = returned_in(came_to).state or ""
    except OAuthError:  # no URL, or too many fields
        return False
    return hmac.compare_digest(found.encode(), state.encode())


def _read_line(
    typed: int,
    line: bytearray,
    selector: selectors.BaseSelector,
    state: str,
    complain: Callable[[], None],
) -> str | None:
    """Take in what was typed; return it if it is the URL."""
    try:
        chunk = os.read(typed, MAX_REQUEST)
    except OSError:
        chunk = b""
    line += chunk
    if not chunk:
        selector.unregister(typed)
        line += b"\n"
    *whole, rest = line.split(b"\n")
    line[:] = rest[:MAX_REQUEST]
    for each in whole:
        text = each.decode(errors="replace").strip()
        if text and _is_of(text, state):
            return text
        if text:
            complain()
    return None
