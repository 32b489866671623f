"""The test server over HTTP+SSE, asked by hand."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from mcpsync.testing import LocalServer


@pytest.fixture
def server():
    with LocalServer(transport="sse") as server:
        yield server


def ask(server, method, path, body=None):
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    connection.request(method, path, body, {"Accept": "text/event-stream"})
    return connection, connection.getresponse()


def next_event(answer):
    lines = []
    while line := answer.readline().strip():
        lines.append(line.decode())
    return dict(line.split(": ", 1) for line in lines)


def test_a_stream_begins_with_where_to_post_and_brings_the_answers(server):
    connection, stream = ask(server, "GET", "/sse")
    first = next_event(stream)
    assert first["event"] == "endpoint"
    assert first["data"] == f"/message?sessionId={server.open_sessions[0]}"
    ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    posting, answer = ask(server, "POST", first["data"], ping)
    assert (answer.status, answer.read()) == (202, b"Accepted")
    assert json.loads(next_event(stream)["data"]) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    posting.close()
    connection.close()
    assert server.wait_for(lambda s: not s.open_sessions)


def test_nothing_is_answered_before_the_handshake(server):
    connection, stream = ask(server, "GET", "/sse")
    where = next_event(stream)["data"]
    listing = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    posting, _ = ask(server, "POST", where, listing)
    assert json.loads(next_event(stream)["data"])["error"]["code"] == -32600
    posting.close()
    connection.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/sse", 405),
        ("GET", "/message", 405),
        ("DELETE", "/sse", 405),
        ("POST", "/message?sessionId=x", 404),
        ("POST", "/message", 404),
        ("GET", "/mcp", 404),
    ],
)
def test_everything_else_is_refused(server, method, path, status):
    connection, answer = ask(server, method, path, b"{}")
    assert answer.status == status
    answer.read()
    connection.close()
