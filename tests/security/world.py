"""Names and addresses for the tests of the guard, and what was connected to."""

import functools
import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync.http import pools, sockets, websocket
from mcpsync.http.sockets import open_socket
from support.names import NameServer
from transports.peer import Peer, RawServer, response

PUBLIC = "93.184.216.34"
ZONE = {
    "public.example": [[PUBLIC]],
    "www.public.example": [[PUBLIC]],
    "a.public.example": [[PUBLIC]],
    "six.example": [["2606:4700::1111"]],
    "private.example": [["10.0.0.5"]],
    "shared.example": [["100.64.0.1"]],
    "meta.example": [["169.254.169.254"]],
    "loop.example": [["127.0.0.1"]],
    "loop6.example": [["::1"]],
    "mapped.example": [["::ffff:a00:5"]],
    "nat64.example": [["64:ff9b::a00:5"]],
    "sixtofour.example": [["2002:a00:5::1"]],
    "mixed.example": [["10.0.0.5", PUBLIC]],
    "many.example": [["10.0.0.5", "10.0.0.6", "::1"]],
    "localhost": [["127.0.0.1"]],
    "app.localhost": [["127.0.0.1"]],
    "mcp.internal": [["10.0.0.5"]],
    "redis": [["10.0.0.7"]],
    "printer.local": [["10.0.0.8"]],
}


def answer_once(peer: Peer) -> None:
    """Answer, and close: the proxy carries one request a connection."""
    peer.read()
    peer.send(response(b"{}", "404 Not Found", Connection="close"))


class World:
    """A name server, a server on this machine, and what was connected to.

    Attributes:
        connected: The addresses that a socket was to be connected to, oldest first.
        stand_ins: Ports on this machine that stand for addresses of other machines.
    """

    def __init__(self, patch: pytest.MonkeyPatch, names: NameServer) -> None:
        self.names = names
        names.asked.clear()
        self.server = RawServer(answer_once)
        self.connected: list[str] = []
        self.stand_ins: dict[str, int] = {}
        world = self

        class Noting(sockets.PlainSocket):
            def connect(self, address: Any) -> None:
                world.connected.append(address[0])
                if address[0] in world.stand_ins:
                    address = ("127.0.0.1", world.stand_ins[address[0]])
                if not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
                    raise ConnectionRefusedError("another machine")
                super().connect(address)

        patch.setattr(sockets, "PlainSocket", Noting)
        asking = functools.partial(open_socket, resolve=self.names.getaddrinfo)
        patch.setattr(pools, "open_socket", asking)
        patch.setattr(websocket, "open_socket", asking)

    def close(self) -> None:
        self.server.close()

    def at(self, value: Any) -> Any:
        """*value* with the port of the server in it."""
        if isinstance(value, dict):
            return {key: self.at(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.at(each) for each in value]
        return value.replace("{port}", str(self.server.port))


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    names = NameServer(ZONE)
    yield names
    names.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, names: NameServer) -> Iterator[World]:
    world = World(monkeypatch, names)
    yield world
    world.close()
