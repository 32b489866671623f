"""Streams: progress, log messages, cancellation, requests of the server."""

import threading

import pytest

from mcpsync.testing import CancelledRequest, Fault, LocalServer

LOG_LEVEL = "io.modelcontextprotocol/logLevel"


@pytest.fixture(params=["json", "sse"])
def server(request):
    with LocalServer(answer=request.param) as server:
        yield server


@pytest.fixture
def client(server, connect):
    client = connect(server)
    client.handshake()
    return client


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_a_plain_answer_is_as_told(connect, answer):
    with LocalServer(answer=answer) as server:
        headers = connect(server).modern("tools/list").headers
    expected = {"json": "application/json", "sse": "text/event-stream"}
    assert headers["content-type"] == expected[answer]


def test_progress_comes_before_the_result(client):
    answer = client.call("slow", {"progressToken": 7}, seconds=0.01, steps=3)
    *sent, result = answer.messages
    assert answer.headers["content-type"] == "text/event-stream"
    assert [message["params"]["progress"] for message in sent] == [1, 2, 3]
    assert {message["params"]["progressToken"] for message in sent} == {7}
    assert result["result"]["content"][0]["text"] == "waited 0.01 s in 3 steps"


def test_without_a_token_there_is_no_progress(client):
    assert len(client.call("slow", seconds=0, steps=3).messages) == 1


def test_modern_log_messages_are_opt_in(client):
    client.headers.clear()
    params = {"name": "log", "arguments": {"level": "info", "message": "hi"}}
    assert len(client.modern("tools/call", params).messages) == 1
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    for level, count in (("debug", 2), ("info", 2), ("error", 1)):
        asked = {**params, "_meta": {**meta, LOG_LEVEL: level}}
        assert len(client.modern("tools/call", asked).messages) == count


def test_a_legacy_call_is_cancelled_by_a_notification(server, client, connect):
    other = connect(server)
    other.headers = client.headers
    request_id = client.start("tools/call", {"name": "slow", "arguments": {"seconds": 60}})
    assert server.wait_for(lambda s: s.executions.get("slow") == 1)
    other.notify("notifications/cancelled", {"requestId": request_id, "reason": "bored"})
    session_id = client.headers["Mcp-Session-Id"]
    assert server.cancelled == [
        CancelledRequest(request_id, "tools/call", "notification", "bored", session_id)
    ]
    assert server.wait_for(lambda s: s.open_connections == 1)


def test_a_cancellation_reaches_only_its_own_session(server, client, connect):
    other = connect(server)
    other.handshake()
    request_id = client.start(
        "tools/call", {"name": "slow", "arguments": {"seconds": 0.2, "steps": 1}}
    )
    assert server.wait_for(lambda s: s.executions.get("slow") == 1)
    other.notify("notifications/cancelled", {"requestId": request_id})
    assert client.receive().result["isError"] is False
    assert server.cancelled[0].method is None


def test_a_modern_call_is_cancelled_by_closing_its_stream(server, client):
    client.headers.clear()
    request_id = client.start_modern("tools/call", {"name": "slow", "arguments": {"seconds": 60}})
    assert server.wait_for(lambda s: s.executions.get("slow") == 1)
    client.close()
    assert server.wait_for(lambda s: s.cancelled)
    assert server.cancelled == [CancelledRequest(request_id, "tools/call", "closed stream")]


def test_a_legacy_call_goes_on_when_its_stream_is_closed(server, client):
    params = {"name": "slow", "arguments": {"seconds": 0.05, "steps": 1}}
    client.start("tools/call", params)
    assert server.wait_for(lambda s: s.executions.get("slow") == 1)
    client.close()
    assert server.wait_for(lambda s: s.open_connections == 0)
    assert server.cancelled == []


@pytest.mark.parametrize(
    ("fault", "method"),
    [(Fault.PING_FIRST, "ping"), (Fault.UNKNOWN_REQUEST_FIRST, "testing/unknown")],
)
def test_the_server_asks_before_it_answers_and_records_the_reply(
    server, client, connect, fault, method
):
    server.inject(fault, "tools/call")
    other = connect(server)
    other.headers = client.headers
    request_id = client.start("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    reply = {"jsonrpc": "2.0", "id": request_id, "result": {}}
    assert server.wait_for(lambda s: s.requests[-1].request_id == request_id)
    assert other.post(reply).status == 202
    question, answer = client.receive().messages
    assert question == {"jsonrpc": "2.0", "id": request_id, "method": method}
    assert answer["id"] == request_id
    assert server.replies == [reply]


def test_a_modern_server_never_asks(server, client):
    server.inject(Fault.PING_FIRST, "tools/list")
    client.headers.clear()
    assert len(client.modern("tools/list").messages) == 1


def test_closing_the_server_ends_what_is_running(connect):
    started = threading.Event()
    with LocalServer() as server:
        client = connect(server)
        client.handshake()
        client.start("tools/call", {"name": "slow", "arguments": {"seconds": 3600}})
        modern = connect(server)
        modern.start_modern("tools/call", {"name": "slow", "arguments": {"seconds": 3600}})
        assert server.wait_for(lambda s: s.executions.get("slow") == 2)
        started.set()
    assert (server.open_connections, server.cancelled) == (0, [])
