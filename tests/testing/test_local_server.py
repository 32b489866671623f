"""The life of a LocalServer, and what it remembers."""

import http.client
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from mcpsync.testing import Fault, LocalServer, RecordedRequest


@pytest.fixture
def server():
    with LocalServer() as server:
        yield server


def address(server):
    parts = urlsplit(server.url)
    return parts.hostname, parts.port


def raw_exchange(server, data):
    """Send bytes and read all that comes back."""
    with socket.create_connection(address(server), timeout=10) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as stream:
            return stream.read()


def test_before_it_is_started_it_has_no_url_and_no_thread():
    before = threading.active_count()
    server = LocalServer()
    assert threading.active_count() == before
    assert repr(server) == "<LocalServer new>"
    with pytest.raises(RuntimeError, match="not been started"):
        server.url  # noqa: B018 - reading it is the test
    server.close()


def test_after_it_is_closed_nobody_listens_and_no_thread_is_left(connect):
    before = threading.active_count()
    with LocalServer() as server:
        clients = [connect(server) for _ in range(10)]
        for client in clients:
            client.handshake()
        assert server.open_connections == 10
    assert threading.active_count() == before
    assert (server.open_connections, repr(server)) == (0, "<LocalServer closed>")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(server), timeout=10)
    server.close()


def test_a_port_can_be_taken_again_at_once(connect):
    with LocalServer() as first:
        connect(first).handshake()
        _, port = address(first)
    with LocalServer(port=port) as second:
        assert second.url == first.url
        assert connect(second).handshake().status == 200


def test_connections_are_kept_alive_and_counted(server, connect):
    client = connect(server)
    client.handshake()
    for _ in range(20):
        client.legacy("ping")
    assert (server.connections_opened, server.open_connections) == (1, 1)
    connect(server).handshake()
    assert server.connections_opened == 2
    assert {request.connection for request in server.requests} == {1, 2}


def test_a_client_may_close_after_each_request(server, connect):
    client = connect(server)
    client.handshake()
    answer = client.legacy("ping", Connection="close")
    assert answer.headers["connection"] == "close"
    assert server.wait_for(lambda s: s.open_connections == 0)


def test_idle_connections_can_be_dropped_under_the_client(server, connect):
    client, busy = connect(server), connect(server)
    client.handshake()
    busy.handshake()
    server.inject(Fault.HANG, "ping")
    busy.start("ping")
    assert server.wait_for(lambda s: s.hanging == 1)
    server.drop_idle_connections()
    assert server.wait_for(lambda s: s.open_connections == 1)
    server.release()
    assert busy.receive().result == {}
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        client.legacy("ping")


def test_requests_are_recorded_as_they_came(server, connect):
    before = time.monotonic()
    client = connect(server)
    client.handshake()
    client.send("DELETE")
    client.receive()
    first, second, third = server.requests
    assert isinstance(first, RecordedRequest)
    assert (first.http_method, first.path, first.rpc_method) == ("POST", "/mcp", "initialize")
    assert (first.request_id, first.session_id) == (1, None)
    assert first.body["params"]["clientInfo"]["name"] == "raw"
    assert first.headers["accept"] == "application/json, text/event-stream"
    assert second.rpc_method == "notifications/initialized"
    assert second.session_id == client.headers["Mcp-Session-Id"]
    assert (third.http_method, third.body, third.rpc_method) == ("DELETE", None, None)
    assert before < first.received_at < second.received_at < third.received_at


def test_what_is_no_json_is_recorded_as_bytes(server, connect):
    client = connect(server)
    client.send("POST", b"{broken")
    client.receive()
    assert (server.requests[0].body, server.requests[0].raw_body) == (None, b"{broken")


def test_waiting_ends_when_it_comes_true(server, connect):
    client = connect(server)
    client.handshake()
    waiting = threading.Thread(target=lambda: server.wait_for(lambda s: "add" in s.executions))
    waiting.start()
    client.call("add", a=1, b=2)
    waiting.join(5)
    assert not waiting.is_alive()


def test_waiting_ends_after_its_time(server):
    assert server.wait_for(lambda s: s.requests, timeout=0.01) is False


def test_waiting_ends_when_the_server_is_closed():
    server = LocalServer()
    server.start()
    waiting = threading.Thread(target=lambda: server.wait_for(lambda s: s.requests, timeout=60))
    waiting.start()
    server.close()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_token_is_asked_for_on_every_request(connect):
    with LocalServer(auth_token="s3cret") as server:
        client = connect(server)
        answer = client.modern("server/discover")
        assert answer.status == 401
        where = server.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
        assert answer.headers["www-authenticate"] == f'Bearer resource_metadata="{where}"'
        client.headers["Authorization"] = "Bearer wrong"
        assert "invalid_token" in client.modern("server/discover").headers["www-authenticate"]
        client.headers["Authorization"] = "Bearer s3cret"
        assert client.handshake().status == 200
        server.auth_token = "other"
        client.send("DELETE")
        assert client.receive().status == 401
        assert server.open_sessions


def test_a_cookie_is_set_until_it_comes_back(connect):
    with LocalServer(set_cookie="lb=node-{n}") as server:
        client = connect(server)
        opened = client.handshake()
        assert opened.headers["set-cookie"] == "lb=node-1; Path=/"
        assert client.legacy("ping", Cookie="other=1").headers["set-cookie"].startswith("lb=")
        assert "set-cookie" not in client.legacy("ping", Cookie="a=1; lb=node-1").headers


def test_sessions_opened_can_be_waited_for(server, connect):
    client = connect(server)
    thread = threading.Thread(target=client.handshake)
    thread.start()
    assert server.wait_for(lambda s: s.open_sessions)
    thread.join(5)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /mcp HTTP/1.0\r\nHost: x\r\n\r\n", 400),
        (b"GET /mcp HTTP/1.1\r\n\r\n", 400),
        (b"GET /mcp HTTP/1.1\r\nHost: x\r\nBad header: 1\r\nNo colon\r\n\r\n", 400),
        (b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /mcp HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"GET /elsewhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"PUT /mcp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    ],
)
def test_what_is_not_http_as_it_should_be_is_refused(server, data, status):
    assert raw_exchange(server, data).split(b" ")[1] == str(status).encode()


def test_an_unfinished_request_is_dropped(server):
    data = b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"
    assert raw_exchange(server, data) == b""
    assert server.requests == []


def test_requests_may_be_pipelined(server):
    one = b"GET /mcp HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw_exchange(server, one * 3).count(b"HTTP/1.1 405") == 3


def test_many_clients_are_served_at_once(server, connect):
    barrier = threading.Barrier(20)
    failures = []

    def work(client):
        client.handshake()
        barrier.wait(10)
        for number in range(20):
            result = client.call("add", a=number, b=1).result
            if result["structuredContent"] != {"sum": number + 1}:
                failures.append(number)

    threads = [threading.Thread(target=work, args=(connect(server),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert server.executions == {"add": 400}
    assert (len(server.open_sessions), server.violations) == (20, [])
