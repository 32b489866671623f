"""The stateless era over HTTP, on the requests that a server recorded: requirements M1 to M13."""

import pytest

from mcpsync import Client, ConnectionLost, MCPError
from mcpsync.testing import Fault, LocalServer
from transports.peer import DONE, ScriptedMCP, result

MODERN = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"


@pytest.fixture
def server():
    with LocalServer("modern", page_size=3) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def recorded(server):
    with Client(server.url) as client:
        client.call_tool("add", {"a": 1, "b": 2})
        list(client.tools())
        list(client.resources())
        list(client.resource_templates())
        client.read_resource("test://notes/one")
        list(client.prompts())
        client.get_prompt("greet", {"name": "ada"})
        client.complete({"type": "ref/prompt", "name": "greet"}, {"name": "name", "value": "a"})
    return server.requests


def test_every_request_has_version_and_capabilities(recorded):
    for request in recorded:
        meta = request.body["params"]["_meta"]
        assert meta[PREFIX + "protocolVersion"] == MODERN
        assert isinstance(meta[PREFIX + "clientCapabilities"], dict)


def test_every_request_introduces_us(recorded):
    for request in recorded:
        info = request.body["params"]["_meta"][PREFIX + "clientInfo"]
        assert info["name"] == "mcpsync"
        assert info["version"]


def test_every_request_mirrors_version_and_method(recorded):
    for request in recorded:
        assert request.headers["content-type"] == "application/json"
        assert request.headers["accept"] == "application/json, text/event-stream"
        assert request.headers["mcp-protocol-version"] == MODERN
        assert request.headers["mcp-method"] == request.rpc_method


def test_what_is_named_mirrors_its_name(recorded):
    named = {r.rpc_method: r.headers.get("mcp-name") for r in recorded}
    assert named == {
        "server/discover": None,
        "tools/call": "add",
        "tools/list": None,
        "resources/list": None,
        "resources/templates/list": None,
        "resources/read": "test://notes/one",
        "prompts/list": None,
        "prompts/get": "greet",
        "completion/complete": None,
    }


def test_a_name_that_is_no_header_is_mirrored_encoded():
    with (
        ScriptedMCP(tools__call=lambda r: result(r, DONE)) as server,
        Client(server.url, mode=MODERN) as client,
    ):
        client.call_tool("größe")
        assert server.requests[-1].headers["mcp-name"] == "=?base64?Z3LDtsOfZQ==?="
        assert server.requests[-1].json["params"]["name"] == "größe"


def test_a_body_is_one_request(recorded):
    assert {request.http_method for request in recorded} == {"POST"}
    assert all(request.request_id is not None for request in recorded)
    ids = [request.request_id for request in recorded]
    assert len(ids) == len(set(ids))


def test_sessions_and_resumption_are_of_the_other_era(recorded):
    for request in recorded:
        assert "mcp-session-id" not in request.headers
        assert "last-event-id" not in request.headers


def test_a_session_id_that_comes_all_the_same_is_not_sent_back():
    with ScriptedMCP(
        tools__call=lambda r: result(r, DONE, headers={"Mcp_Session_Id": "s1"})
    ) as server:
        with Client(server.url, mode=MODERN) as client:
            client.call_tool("add")
            client.call_tool("add")
        assert server.methods == ["tools/call", "tools/call"]
        assert "mcp-session-id" not in server.requests[-1].headers


def test_nothing_is_sent_at_the_end(server):
    with Client(server.url) as client:
        client.connect()
        before = len(server.requests)
    assert len(server.requests) == before


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_both_kinds_of_answers_are_understood(answer):
    with LocalServer("modern", answer) as server, Client(server.url) as client:
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        assert client.call_tool("fail", {"message": "m"}).is_error
        with pytest.raises(MCPError) as caught:
            client.call_tool("nope")
    assert (caught.value.code, caught.value.status) == (-32602, 400)


def test_a_stream_that_broke_is_not_resumed(server):
    with Client(server.url) as client:
        client.connect()
        server.inject(Fault.DIE_MID_STREAM, "tools/call")
        before = len(server.requests)
        with pytest.raises(ConnectionLost) as caught:
            client.call_tool("add", {"a": 1, "b": 2})
        assert caught.value.maybe_executed
        assert len(server.requests) == before + 1


def test_what_was_lost_and_is_asked_again_has_a_new_id():
    with LocalServer("modern") as server, Client(server.url) as client:
        client.connect()
        server.inject(Fault.DIE_BEFORE_ANSWER, "tools/list")
        client.list_tools()
        ids = [r.request_id for r in server.requests if r.rpc_method == "tools/list"]
    assert len(ids) == 2
    assert ids[0] != ids[1]


def test_notifications_are_not_sent_over_http(server):
    with Client(server.url) as client:
        server.inject(Fault.HANG, "tools/call")
        with pytest.raises(TimeoutError):
            client.call_tool("add", {"a": 1, "b": 2}, timeout=0.3)
        assert server.wait_for(lambda s: s.cancelled)
        assert {r.request_id is None for r in server.requests} == {False}
