"""How each fault looks from the other end of the wire."""

import http.client
import json
import time

import pytest

from mcpsync.testing import Fault, LocalServer
from mcpsync.testing.exchange import DRIP_INTERVAL
from mcpsync.testing.faults import HTTP_FAULTS, STDIO_ONLY

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}


@pytest.fixture
def server():
    with LocalServer() as server:
        yield server


@pytest.fixture
def client(server, connect):
    client = connect(server)
    client.handshake()
    return client


def bytes_until_end(client):
    """Everything that the server sends before it closes the connection."""
    found = b""
    while data := client.connection.sock.recv(65536):
        found += data
    return found


def add_raw(client):
    """Call add; return the head and the body that came before the server closed."""
    client.start("tools/call", ADD)
    head, _, body = bytes_until_end(client).partition(b"\r\n\r\n")
    return head, body


def test_dying_before_the_answer_leaves_not_one_byte_but_a_run(server, client):
    server.inject(Fault.DIE_BEFORE_ANSWER, "tools/call")
    assert add_raw(client) == (b"", b"")
    assert server.executions == {"add": 1}


def test_dying_in_the_headers_leaves_half_of_them(server, client):
    server.inject(Fault.DIE_MID_HEADERS, "tools/call")
    head, body = add_raw(client)
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-")
    assert body == b""


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_dying_in_the_answer_breaks_the_promise_of_its_length(connect, answer):
    with LocalServer(answer=answer) as server:
        client = connect(server)
        client.handshake()
        server.inject(Fault.DIE_MID_ANSWER, "tools/call")
        client.start("tools/call", ADD)
        with pytest.raises(http.client.IncompleteRead) as caught:
            client.receive()
    assert caught.value.expected in {len(caught.value.partial), len(caught.value.partial) + 1}


def test_dying_in_the_stream_leaves_out_the_response(server, client):
    server.inject(Fault.DIE_MID_STREAM, "tools/call")
    params = {"name": "slow", "arguments": {"seconds": 0, "steps": 2}}
    client.start("tools/call", {**params, "_meta": {"progressToken": 1}})
    stream = bytes_until_end(client)
    assert b"Content-Type: text/event-stream" in stream
    assert stream.count(b"notifications/progress") == 2
    assert b"result" not in stream
    assert not stream.endswith(b"0\r\n\r\n")


def test_an_answer_that_hangs_comes_when_released(server, client):
    server.inject(Fault.HANG, "tools/call")
    client.start("tools/call", ADD)
    assert server.wait_for(lambda s: s.hanging == 1)
    server.release()
    assert client.receive().result["structuredContent"] == {"sum": 3}
    assert server.wait_for(lambda s: s.hanging == 0)


def test_an_answer_that_hangs_after_its_headers_has_sent_them(server, client):
    server.inject(Fault.HANG_AFTER_HEADERS, "tools/call")
    client.start("tools/call", ADD)
    response = client.connection.getresponse()
    assert response.status == 200
    assert server.wait_for(lambda s: s.hanging == 1)
    server.release()
    assert json.loads(response.read())["result"]["structuredContent"] == {"sum": 3}


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.HANG_AFTER_HEADERS, Fault.DRIP])
def test_the_thread_of_a_slow_answer_ends_when_the_client_goes(server, client, fault):
    server.inject(fault, "tools/call")
    client.start("tools/call", ADD)
    assert server.wait_for(lambda s: s.executions.get("add") == 1)
    client.close()
    assert server.wait_for(lambda s: s.open_connections == 0)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.HANG_AFTER_HEADERS, Fault.DRIP_HEADERS])
def test_closing_the_server_ends_slow_answers_at_once(connect, fault):
    with LocalServer() as server:
        server.inject(fault, "tools/call", times=None)
        clients = [connect(server) for _ in range(5)]
        for client in clients:
            client.handshake()
            client.start("tools/call", ADD)
        assert server.wait_for(lambda s: s.executions.get("add") == 5)
        before = time.monotonic()
    assert time.monotonic() - before < 2
    assert server.open_connections == 0


def test_closing_the_stream_of_a_modern_request_that_hangs_cancels_it(server, connect):
    server.inject(Fault.HANG, "tools/call")
    client = connect(server)
    request_id = client.start_modern("tools/call", ADD)
    assert server.wait_for(lambda s: s.hanging == 1)
    client.close()
    assert server.wait_for(lambda s: s.cancelled)
    assert (server.cancelled[0].request_id, server.cancelled[0].how) == (
        request_id,
        "closed stream",
    )


@pytest.mark.parametrize("fault", [Fault.DRIP, Fault.DRIP_HEADERS])
def test_a_dripping_answer_is_slow_but_right(server, client, fault):
    server.inject(fault, "ping")
    before = time.monotonic()
    assert client.legacy("ping").result == {}
    assert time.monotonic() - before > 30 * DRIP_INTERVAL


def test_a_session_can_be_lost(server, client):
    server.inject(Fault.SESSION_404, "tools/call")
    answer = client.call("add", a=1, b=2)
    assert (answer.status, answer.error["code"], answer.json["id"]) == (404, -32001, None)
    assert (server.open_sessions, server.executions) == ([], {})


def test_only_a_request_with_a_session_loses_it(server, client):
    server.inject(Fault.SESSION_404)
    client.headers.clear()
    client.handshake()
    assert client.call("add", a=1, b=2).status == 404


@pytest.mark.parametrize(
    ("fault", "status", "content_type"),
    [
        (Fault.GARBAGE, 200, "application/json"),
        (Fault.HTML, 200, "text/html; charset=utf-8"),
        (Fault.HTML_404, 404, "text/html; charset=utf-8"),
        (Fault.HTTP_500, 500, "text/plain; charset=utf-8"),
        (Fault.HTTP_503, 503, "text/plain; charset=utf-8"),
        (Fault.RATE_LIMITED, 429, "text/plain; charset=utf-8"),
        (Fault.EMPTY_202, 202, None),
    ],
)
def test_a_refusal_is_no_json_and_runs_nothing(server, client, fault, status, content_type):
    server.inject(fault, "tools/call")
    answer = client.call("add", a=1, b=2)
    assert (answer.status, answer.headers.get("content-type")) == (status, content_type)
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(answer.body)
    assert server.executions == {}
    assert client.call("add", a=1, b=2).status == 200


def test_a_rate_limit_says_when_to_come_again(server, client):
    server.inject(Fault.RATE_LIMITED, "tools/call")
    assert client.call("add", a=1, b=2).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.REDIRECT_307_SAME_ORIGIN, 307), (Fault.REDIRECT_302, 302)]
)
def test_a_redirect_leads_to_an_endpoint_that_works_the_same(server, client, fault, status):
    server.inject(fault, "tools/call")
    answer = client.call("add", a=1, b=2)
    assert (answer.status, answer.headers["location"]) == (status, "/mcp2")
    client.url = client.url + "2"
    assert client.call("add", a=1, b=2).result["structuredContent"] == {"sum": 3}
    assert [r.path for r in server.requests[-2:]] == ["/mcp", "/mcp2"]


def test_a_redirect_elsewhere_leads_to_this_server_under_another_name(server, client):
    server.inject(Fault.REDIRECT_307_OTHER_ORIGIN, "tools/call")
    location = client.call("add", a=1, b=2).headers["location"]
    assert location == server.url.replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_a_wrong_id_is_another_id_of_the_same_type(connect, answer):
    with LocalServer(answer=answer) as server:
        server.inject(Fault.WRONG_ID, times=None)
        message = {"jsonrpc": "2.0", "id": 5, "method": "initialize", "params": {}}
        client = connect(server)
        assert client.post(message).messages[0]["id"] == 1_000_005
        assert client.post({**message, "id": "a"}).messages[0]["id"] == "a-other"


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_a_huge_answer_is_correct_and_larger_than_asked(connect, answer):
    with LocalServer(answer=answer) as server:
        client = connect(server)
        server.inject(Fault.HUGE, "tools/call", size=1_000_000)
        huge = client.modern("tools/call", ADD)
    assert huge.headers["transfer-encoding"] == "chunked"
    assert len(huge.body) > 1_000_000
    assert huge.result["structuredContent"] == {"sum": 3}


def test_a_huge_answer_ends_when_the_client_has_enough(server, client):
    server.inject(Fault.HUGE, "tools/call", size=2**40)
    client.start("tools/call", ADD)
    assert client.connection.getresponse().read(100_000)
    client.close()
    assert server.wait_for(lambda s: s.open_connections == 0)


def test_a_huge_line_has_no_end(server, client):
    server.inject(Fault.HUGE_LINE, "tools/call", size=1_000_000)
    client.start("tools/call", ADD)
    stream = bytes_until_end(client)
    assert stream.count(b" " * 65536) > 10
    assert b"text/event-stream" in stream
    assert b"\n\n" not in stream


def test_a_repeated_cursor_leads_to_the_same_page(server, client):
    server.inject(Fault.REPEAT_CURSOR, "tools/list", times=None)
    first = client.legacy("tools/list").result
    second = client.legacy("tools/list", {"cursor": first["nextCursor"]}).result
    assert first == second


def test_a_repeated_cursor_is_good_for_once(server, client):
    server.inject(Fault.REPEAT_CURSOR, "prompts/list")
    first = client.legacy("prompts/list").result
    second = client.legacy("prompts/list", {"cursor": first.pop("nextCursor")}).result
    assert first == second


def test_an_answer_can_be_followed_by_silent_closing(server, client):
    server.inject(Fault.CLOSE_AFTER_ANSWER, "tools/call")
    answer = client.call("add", a=1, b=2)
    assert answer.result["structuredContent"] == {"sum": 3}
    assert "connection" not in answer.headers
    assert server.wait_for(lambda s: s.open_connections == 0)


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_a_batch_is_a_notification_and_the_response(connect, answer):
    with LocalServer(answer=answer) as server:
        client = connect(server)
        client.handshake("2025-03-26")
        server.inject(Fault.BATCH, "tools/call")
        (batch,) = client.call("add", a=1, b=2).messages
    assert [message.get("method") for message in batch] == ["notifications/message", None]
    assert batch[1]["result"]["structuredContent"] == {"sum": 3}


@pytest.mark.parametrize("fault", [Fault.SSE_CRLF_SPLIT, Fault.SSE_BOM, Fault.SSE_COMMENTS])
def test_odd_framing_is_still_a_stream_with_the_answer(server, client, fault):
    server.inject(fault, "tools/call")
    answer = client.call("echo", text="Zoë ✓")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.result["content"][0]["text"] == "Zoë ✓"


def test_split_framing_cuts_line_ends_and_characters(server, client):
    server.inject(Fault.SSE_CRLF_SPLIT, "tools/call")
    params = {"name": "echo", "arguments": {"text": "✓"}}
    client.start("tools/call", params, Connection="close")
    stream = bytes_until_end(client)
    assert b"\r\r\n" in stream  # a chunk that ends in the middle of a line end
    assert b"\xe2\r\n" in stream  # a chunk that ends in the middle of a character


def test_a_byte_order_mark_comes_first_and_once(server, client):
    server.inject(Fault.SSE_BOM, "tools/call")
    params = {"name": "log", "arguments": {"level": "info", "message": "x"}}
    body = client.legacy("tools/call", params).body
    assert body.startswith(b"\xef\xbb\xbfevent: message")
    assert body.count(b"\xef\xbb\xbf") == 1


def test_faults_come_in_order_and_as_often_as_told(server, client):
    server.inject(Fault.HTTP_500, "ping", times=2)
    server.inject(Fault.HTTP_503, "ping")
    server.inject(Fault.EMPTY_202, "tools/list")
    statuses = [client.legacy("ping").status for _ in range(4)]
    assert statuses == [500, 500, 503, 200]
    assert client.legacy("tools/list").status == 202


def test_a_fault_without_a_method_waits_for_a_request(server, client):
    server.inject(Fault.HTTP_500)
    assert client.notify("notifications/roots/list_changed").status == 202
    client.send("PUT")
    assert client.receive().status == 405
    assert client.legacy("ping").status == 500


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_fault_can_wait_for_another_http_method(server, client, method):
    server.inject(Fault.HTTP_503, method)
    assert client.legacy("ping").status == 200
    client.send(method)
    assert client.receive().status == 503


def test_a_fault_can_wait_for_a_notification(server, client):
    server.inject(Fault.DIE_BEFORE_ANSWER, "notifications/initialized")
    with pytest.raises(http.client.RemoteDisconnected):
        client.notify("notifications/initialized")


def test_faults_can_be_taken_back(server, client):
    server.inject(Fault.HTTP_500, times=None)
    assert client.legacy("ping").status == 500
    server.clear_faults()
    assert client.legacy("ping").status == 200


@pytest.mark.parametrize("fault", sorted(STDIO_ONLY))
def test_faults_of_stdio_are_refused(server, fault):
    with pytest.raises(ValueError, match="not a fault of a server over HTTP"):
        server.inject(fault)


@pytest.mark.parametrize("fault", sorted(HTTP_FAULTS - {Fault.DRIP, Fault.DRIP_HEADERS}))
def test_the_server_is_well_after_every_fault(server, client, connect, fault):
    server.inject(fault, "tools/call", size=100_000)
    client.start("tools/call", ADD)
    if fault in {Fault.HANG, Fault.HANG_AFTER_HEADERS}:
        assert server.wait_for(lambda s: s.hanging == 1)
        server.release()
    if fault in {Fault.PING_FIRST, Fault.UNKNOWN_REQUEST_FIRST}:
        assert server.wait_for(lambda s: s.requests[-1].rpc_method == "tools/call")
        client.close()
    else:
        try:
            client.receive()
        except (http.client.HTTPException, OSError):
            client.close()
    other = connect(server)
    other.handshake()
    assert other.call("add", a=1, b=2).result["structuredContent"] == {"sum": 3}
