"""A small real proxy: absolute URLs for http, CONNECT for the rest."""

import contextlib
import socket
from urllib.parse import urlsplit

from transports.peer import PATIENCE, Peer, RawServer, Request, response


class Proxy(RawServer):
    """Forwards what it is asked to, wherever the name may point: always to this machine.

    Args:
        refuse: A status line's end, such as ``407 No``, to answer everything with.

    Attributes:
        requests: What came, oldest first.
    """

    def __init__(self, refuse: str | None = None) -> None:
        self.requests: list[Request] = []
        self._refusal = refuse
        super().__init__(self._forward)
        self.address = self.url.removesuffix("/mcp")

    def _forward(self, peer: Peer) -> None:
        request = peer.read()
        if request is None:
            return
        self.requests.append(request)
        if self._refusal is not None:
            peer.send(response(b"", self._refusal, kind="", Proxy_Authenticate="Basic"))
            return
        is_tunnel = request.method == "CONNECT"
        parts = urlsplit(f"//{request.target}" if is_tunnel else request.target)
        with socket.create_connection(("127.0.0.1", parts.port or 80), PATIENCE) as upstream:
            self._peers.append(upstream)
            if is_tunnel:
                peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._start(_pump, peer.sock, upstream)
            else:
                upstream.sendall(_in_origin_form(request, parts.path))
            _pump(upstream, peer.sock)


def _in_origin_form(request: Request, path: str) -> bytes:
    headers = {**request.headers, "connection": "close"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"{request.method} {path} HTTP/1.1", *lines, "", ""])
    return head.encode("latin-1") + request.body


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
