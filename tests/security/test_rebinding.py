"""A name server that changes its answer between two look-ups. (Seed 5.1, requirement S1)

What is checked is what is connected to: there is one look-up for each socket, and whatever it says
is held against the policy before that socket is connected.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import MCPManager, RefusedError
from mcpsync._runtime.deadline import Deadline
from mcpsync.http import Fetcher, reset_pools
from mcpsync.security.guard import Guard
from mcpsync.testing import LocalServer
from security.world import World, world
from support.names import NameServer
from transports import ws_peer
from transports.door import LONG
from transports.peer import RawServer, always, response
from transports.sse_peer import ScriptedSSE

__all__ = ["world"]

NAME = "rebind.example"
HERE, METADATA = ["127.0.0.1"], ["169.254.169.254"]


@pytest.fixture
def names() -> Iterator[NameServer]:
    names = NameServer({NAME: [HERE, METADATA], "twice.example": [HERE, HERE, ["10.0.0.5"]]})
    yield names
    names.close()


def manager_of(url: str, port: int, **config: Any) -> MCPManager:
    """A manager with a server of a user's, whose port here is allowed."""
    return MCPManager(
        {"theirs": {"url": url, "source": "user", **config}},
        allowed_addresses=[f"127.0.0.1:{port}"],
        connect_attempts=1,
        timeout=LONG,
    )


def call(manager: MCPManager) -> Any:
    return manager.call_tool("theirs", "add", {"a": 1, "b": 2}, user="ada")


def test_the_second_answer_is_refused_and_the_first_was_asked_for_once(world: World) -> None:
    with LocalServer() as server:
        port = int(server.url.split(":")[2].partition("/")[0])
        with manager_of(f"http://{NAME}:{port}/mcp", port) as manager:
            assert call(manager).content[0].text == "3"
            assert world.names.asked == [NAME], "one look-up, for one socket"
            reset_pools()
            seen = len(server.requests)
            with pytest.raises(RefusedError, match="not public") as caught:
                call(manager)
            assert caught.value.rule == "address"
            assert not caught.value.maybe_executed
            assert len(server.requests) == seen
        assert world.connected == HERE
        assert world.names.asked[:2] == [NAME, NAME]


def test_a_socket_that_is_kept_is_not_looked_up_again(world: World) -> None:
    with LocalServer() as server:
        port = int(server.url.split(":")[2].partition("/")[0])
        with manager_of(f"http://{NAME}:{port}/mcp", port) as manager:
            for _ in range(3):
                call(manager)
        assert world.names.asked == [NAME]
        assert world.connected == HERE


def test_messages_beside_an_event_stream_are_looked_at_as_well(world: World) -> None:
    with (
        ScriptedSSE("/message") as server,
        manager_of(f"http://{NAME}:{server.port}/sse", server.port, type="sse") as manager,
    ):
        with pytest.raises(RefusedError, match="not public") as caught:
            call(manager)
        assert caught.value.rule == "address"
        assert server.methods == ["GET"], "the stream was opened, and nothing POSTed"
        assert world.connected == HERE


def test_a_websocket_that_is_opened_again_is_looked_at_again(world: World) -> None:
    server = ws_peer.Server({})
    try:
        with manager_of(f"ws://{NAME}:{server.port}/mcp", server.port) as manager:
            call(manager)
            assert world.names.asked == [NAME]
            manager.disconnect_user_connection("ada", "theirs")
            with pytest.raises(RefusedError, match="not public") as caught:
                call(manager)
            assert caught.value.rule == "address"
        assert len(server.connections) == 1
        assert world.connected == HERE
    finally:
        server.close()


def test_the_event_that_says_where_to_post_leads_to_no_other_origin(world: World) -> None:
    """Not even to an address that is allowed: it is what a server says."""
    with RawServer(always(response(b"{}"))) as other:
        endpoint = f"http://127.0.0.1:{other.port}/message"
        with (
            ScriptedSSE(endpoint) as server,
            MCPManager(
                {"theirs": {"url": server.url, "type": "sse", "source": "user"}},
                allowed_addresses=["127.0.0.0/8"],
                connect_attempts=1,
            ) as manager,
            pytest.raises(RefusedError, match="another origin"),
        ):
            call(manager)
        assert other.accepted == 0


def test_whom_a_server_names_is_looked_at_with_each_socket(world: World) -> None:
    guard = Guard(allowed_addresses=[f"twice.example:{world.server.port}"])
    fetcher = Fetcher(policy=guard.for_named(is_operators=False))
    url = f"https://{NAME}:{world.server.port}/token"
    with pytest.raises(RefusedError, match="not public"):
        fetcher.get(url, deadline=Deadline(LONG))
    assert world.connected == []


def test_a_host_that_is_allowed_by_name_may_lead_wherever_its_owner_likes(world: World) -> None:
    port = world.server.port
    with MCPManager(
        {"theirs": {"url": f"http://twice.example:{port}/mcp", "source": "user"}},
        allowed_addresses=[f"twice.example:{port}"],
        connect_attempts=1,
    ) as manager:
        for _ in range(2):
            with pytest.raises(Exception) as caught:
                call(manager)
            assert not isinstance(caught.value, RefusedError)
    assert "10.0.0.5" in world.connected
