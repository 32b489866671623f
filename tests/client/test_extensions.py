"""What a client offers beyond the core protocol: said to every server, and nothing by itself."""

import pytest

from mcpsync import (
    Client,
    ClientExtension,
    ConfigurationError,
    MCPManager,
    TasksExtension,
    advertise,
)
from mcpsync.testing import LocalServer

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


class Search(ClientExtension):
    """One with settings."""

    identifier = "com.example/search"

    def settings(self):
        return {"depth": 2}


def offered(server):
    """The extensions that each request of a kind that has them has offered."""
    found = []
    for each in server.requests:
        params = (each.body or {}).get("params", {})
        if each.rpc_method == "initialize":
            found.append(params["capabilities"].get("extensions"))
        elif CAPABILITIES in params.get("_meta", {}):
            found.append(params["_meta"][CAPABILITIES].get("extensions"))
    return found


def test_a_modern_server_is_told_with_every_request():
    with LocalServer("modern") as server:
        with Client(server.url, extensions=[Search(), advertise("com.example/x")]) as client:
            client.call_tool("add", {"a": 1, "b": 2})
            client.list_tools()
        assert offered(server) == [{"com.example/search": {"depth": 2}, "com.example/x": {}}] * 3


def test_a_legacy_server_is_told_in_the_handshake():
    with LocalServer("legacy") as server:
        with Client(server.url, mode="legacy", extensions={"com.example/x": {"y": 1}}) as client:
            client.connect()
        assert offered(server) == [{"com.example/x": {"y": 1}}]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_nothing_is_offered_unasked(era):
    with LocalServer(era) as server:
        with Client(server.url) as client:
            client.call_tool("add", {"a": 1, "b": 2})
        assert set(offered(server)) == {None}


def test_a_manager_offers_them_to_all_its_servers():
    with LocalServer("modern") as server:
        config = {"crm": {"url": server.url}}
        with MCPManager(config, extensions=iter([TasksExtension()])) as manager:
            manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="1")
            manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="2")
        assert {tuple(each or ()) for each in offered(server)} == {
            ("io.modelcontextprotocol/tasks",)
        }


@pytest.mark.parametrize(
    ("extensions", "says"),
    [
        ({"search": {}}, "has a prefix"),
        ({"/search": {}}, "has a prefix"),
        ({"com.example/": {}}, "has a prefix"),
        ({"-com.example/x": {}}, "has a prefix"),
        ({"com.example/x": 1}, "must be a mapping"),
        ([Search(), Search()], "twice"),
        (["com.example/x"], "advertise"),
        ([ClientExtension()], "advertise"),
    ],
)
def test_what_is_no_extension_is_refused_before_anything_is_sent(extensions, says):
    with pytest.raises(ConfigurationError, match=says):
        Client("http://127.0.0.1:1/mcp", extensions=extensions)
    with pytest.raises(ConfigurationError, match=says):
        MCPManager({}, extensions=extensions)
