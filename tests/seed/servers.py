"""Servers that do what the test server does not do by itself."""

from typing import Any

from mcpsync.testing import LocalServer
from mcpsync.testing.exchange import Exchange
from mcpsync.testing.wire import Connection, HTTPRequest, PeerGone


def offer(server: LocalServer, *names: str, size: int = 0) -> None:
    """Have a server offer these tools, with descriptions so long, and ``change``."""
    server.tools = [{"name": name, "description": "x" * size} for name in ("change", *names)]


def lists(server: LocalServer) -> int:
    """How often the tools were listed."""
    return sum(1 for request in server.requests if request.rpc_method == "tools/list")


def without_ping(server: LocalServer) -> None:
    """Have a server not know ``ping``."""
    handlers: Any = server._endpoint.runner.dispatcher._handlers["legacy"]
    del handlers["ping"]


def answer_delete(server: LocalServer, status: int) -> None:
    """Have a server answer DELETE with *status*, and keep the session."""

    def delete(exchange: Exchange) -> None:
        exchange.finish(status, None)

    legacy: Any = server._endpoint.legacy
    legacy.delete = delete


def answer_get(server: LocalServer, status: int, times: int | None = None) -> None:
    """Have a server answer GET with *status*, so often or for good."""
    legacy: Any = server._endpoint.legacy
    listening: Any = server._endpoint.listening
    left = [times]

    def get(exchange: Exchange) -> None:
        if left[0] == 0:
            listening.get(exchange, legacy._session_of(exchange.request.headers))
            return
        left[0] = None if left[0] is None else left[0] - 1
        exchange.finish(status, None)

    legacy.get = get


def hang_up_at_the_first_delete(server: LocalServer) -> None:
    """Have a server close the socket just when the first DELETE comes, unread."""
    endpoint: Any = server._endpoint
    handle = endpoint.handle
    met: list[str] = []

    def hang_up(connection: Connection, request: HTTPRequest) -> None:
        if request.method == "DELETE" and not met:
            met.append(request.method)
            raise PeerGone
        handle(connection, request)

    endpoint.handle = hang_up
