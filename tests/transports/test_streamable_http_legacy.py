"""Sessions over HTTP, on the requests that a server recorded: requirements H1 to H7."""

import threading

import pytest

from mcpsync import Client, ConnectionClosed, HTTPStatusError
from mcpsync.testing import Fault, LocalServer
from mcpsync.transports.streamable_http_legacy import StreamableHTTPLegacy
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import INITIALIZED, Reply, ScriptedMCP, result


@pytest.fixture
def server():
    with LocalServer("legacy", page_size=3) as running:
        yield running
        assert running.violations == []


def talk(client):
    """A conversation of many kinds of requests."""
    client.call_tool("add", {"a": 1, "b": 2})
    list(client.tools())
    client.read_resource("test://notes/one")
    client.get_prompt("summary")
    client.send_ping()


@pytest.fixture
def recorded(server):
    with Client(server.url, mode="legacy") as client:
        talk(client)
    return server.requests


def test_every_message_is_a_post_of_its_own(recorded):
    *posts, delete = recorded
    assert {request.http_method for request in posts} == {"POST"}
    assert delete.http_method == "DELETE"
    assert all(isinstance(request.body, dict) for request in posts)
    assert all(request.body["jsonrpc"] == "2.0" for request in posts)


def test_every_post_says_what_it_is_and_what_it_takes(recorded):
    for request in recorded[:-1]:
        assert request.headers["content-type"] == "application/json"
        assert request.headers["accept"] == "application/json, text/event-stream"
        assert int(request.headers["content-length"]) == len(request.raw_body)


def test_the_session_id_goes_with_all_that_follows_the_handshake(server, recorded):
    initialize, *rest = recorded
    assert initialize.rpc_method == "initialize"
    assert initialize.session_id is None
    assert {request.session_id for request in rest} == set(server.deleted_sessions)
    assert rest[0].rpc_method == "notifications/initialized"


def test_the_version_goes_with_all_that_follows_the_handshake(recorded):
    initialize, *rest = recorded
    assert "mcp-protocol-version" not in initialize.headers
    assert {request.headers["mcp-protocol-version"] for request in rest} == {"2025-11-25"}


def test_the_headers_of_the_other_era_are_not_sent(recorded):
    for request in recorded:
        assert "mcp-method" not in request.headers
        assert "mcp-name" not in request.headers
        assert "_meta" not in ((request.body or {}).get("params") or {})


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26"])
def test_a_version_that_knows_no_header_gets_none(version):
    def hello(request):
        value = {**INITIALIZED, "protocolVersion": version}
        return result(request, value, headers={"Mcp_Session_Id": "s1"})

    with ScriptedMCP(initialize=hello) as server:
        with Client(server.url, mode="legacy") as client:
            client.call_tool("add")
        assert len(server.requests) == 4
        assert not any("mcp-protocol-version" in r.headers for r in server.requests)


@pytest.mark.parametrize("name", ["Mcp-Session-Id", "MCP-Session-Id", "mcp-session-id"])
def test_the_name_of_the_session_header_is_written_in_any_way(name):
    def hello(request):
        return result(request, INITIALIZED, headers={name: "s1"})

    with ScriptedMCP(initialize=hello) as server, Client(server.url, mode="legacy") as client:
        client.call_tool("add")
        assert server.requests[-1].headers["mcp-session-id"] == "s1"


@pytest.mark.parametrize("status", ["202 Accepted", "200 OK", "204 No Content"])
def test_a_notification_is_taken_with_any_success(status):
    taken = Reply(b"", status, "")
    with (
        ScriptedMCP(notifications__initialized=taken) as server,
        Client(server.url, mode="legacy") as client,
    ):
        assert client.call_tool("add").content


def test_the_session_is_deleted_at_the_end(server):
    with Client(server.url) as client:
        client.connect()
        (session,) = server.open_sessions
    assert server.open_sessions == []
    assert server.deleted_sessions == [session]
    assert server.requests[-1].body is None


def test_the_configured_headers_and_credentials_go_with_the_delete(server):
    with Client(server.url, headers={"X-User": "ada"}, auth=("ada", "pw")) as client:
        client.connect()
    delete = server.requests[-1]
    assert delete.http_method == "DELETE"
    assert delete.headers["x-user"] == "ada"
    assert delete.headers["authorization"].startswith("Basic ")


def test_a_client_that_never_connected_deletes_nothing(server):
    Client(server.url).close()
    assert server.requests == []


@pytest.mark.parametrize("status", ["405 Method Not Allowed", "404 Not Found", "500 No", "202 OK"])
def test_a_delete_that_is_refused_is_no_matter(status):
    with ScriptedMCP(DELETE=Reply(b"no", status, "text/plain")) as server:
        with Client(server.url, mode="legacy") as client:
            client.connect()
        assert server.methods[-1] == "DELETE"


def test_a_delete_that_hangs_keeps_us_two_seconds_at_most(server):
    client = Client(server.url)
    client.connect()
    server.inject(Fault.HANG, "DELETE")
    with within(0, 2.0 + SOON):
        client.close()
    server.release()


def test_a_delete_that_hangs_keeps_us_no_longer_than_we_say(server):
    client = Client(server.url)
    client.connect()
    server.inject(Fault.HANG, "DELETE")
    with within(0, BUDGET + 1.0):
        client.close(timeout=BUDGET)
    server.release()


def test_a_delete_to_a_server_that_is_gone_is_no_matter():
    with LocalServer("legacy") as server:
        client = Client(server.url)
        client.connect()
    with within(0, SOON):
        client.close()


@pytest.mark.parametrize("where", ["_note_headers", "adopt", "enter_session"])
def test_a_session_that_begins_anew_while_the_client_closes_is_deleted_too(
    server, monkeypatch, where
):
    client = Client(server.url)
    client.send_ping()
    server.expire_sessions()
    original = getattr(StreamableHTTPLegacy, where)

    def closed_meanwhile(transport, *args):
        if where != "_note_headers" or args[0]["method"] == "initialize":
            monkeypatch.undo()
            closing = threading.Thread(target=client.close)
            closing.start()
            closing.join()
        return original(transport, *args)

    monkeypatch.setattr(StreamableHTTPLegacy, where, closed_meanwhile)
    with pytest.raises(ConnectionClosed):
        client.send_ping()
    assert server.wait_for(lambda server: server.open_sessions == [])


def test_a_session_whose_handshake_failed_is_deleted_with_the_last(server):
    with Client(server.url) as client:
        client.send_ping()
        server.expire_sessions()
        server.inject(Fault.HTTP_500, "notifications/initialized")
        with pytest.raises(HTTPStatusError):
            client.send_ping()
        assert len(server.open_sessions) == 1
        client.send_ping()
        assert len(server.open_sessions) == 2
    assert server.open_sessions == []


def test_no_request_follows_the_delete(server):
    client = Client(server.url, timeout=LONG)
    client.connect()
    client.close()
    with pytest.raises(ConnectionClosed):
        client.call_tool("add", {"a": 1, "b": 2})
    assert server.requests[-1].http_method == "DELETE"


def test_no_stream_is_opened_unasked(recorded):
    assert "GET" not in {request.http_method for request in recorded}
