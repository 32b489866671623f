"""What went wrong is told as it is: the class, whether the server saw it, and why."""

import socket
import struct

import pytest

from mcpsync import ConnectError, ConnectionLost, ConnectTimeout, RequestTimeout
from mcpsync._runtime.deadline import Deadline
from mcpsync.http.exchange import Exchange
from mcpsync.http.failures import causes, explain, reason_of
from support.processes import free_port
from transports.door import LONG, ask, door
from transports.peer import always, chunk, response

WHOLE = response(b'{"a": 1}')
HEAD = WHOLE.removesuffix(b'{"a": 1}')
CHUNKED = response(Content_Length="", Transfer_Encoding="chunked")


def reset(sock):
    """Close *sock* so that the other side gets an RST, not an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def says_then_ends(data):
    def script(peer):
        peer.read()
        peer.send(data)

    return script


def test_a_port_that_refuses():
    port = free_port()
    with pytest.raises(ConnectError, match="connection refused") as caught:
        ask(f"http://127.0.0.1:{port}/mcp")
    assert f"could not connect to 127.0.0.1:{port}" in str(caught.value)
    assert not caught.value.maybe_executed
    assert caught.value.retryable


def test_a_name_that_nobody_knows():
    too_long = ".".join(["a" * 60] * 5)  # so that no name server is asked
    with pytest.raises(ConnectError, match="its name cannot be resolved") as caught:
        ask(f"http://{too_long}/mcp", timeout=LONG)
    assert f"{too_long}:80" in str(caught.value)
    assert not caught.value.maybe_executed


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1", HEAD[:30], HEAD.removesuffix(b"\r\n")])
def test_an_end_before_the_headers_are_whole_is_a_lost_connection(sent, serve):
    with pytest.raises(ConnectionLost) as caught:
        ask(serve(says_then_ends(sent)).url)
    assert caught.value.maybe_executed
    assert caught.value.retryable
    assert ("without an answer" if not sent else "in the middle") in str(caught.value)


@pytest.mark.parametrize(
    "sent",
    [HEAD, WHOLE[:-1], CHUNKED, CHUNKED + b"8\r\n{", CHUNKED + chunk(b"{}"), CHUNKED + b"2\r\n{}"],
    ids=["no body", "half a body", "no chunk", "half a chunk", "no last chunk", "no line end"],
)
def test_an_end_in_the_middle_of_the_body_is_a_lost_connection(sent, serve):
    with pytest.raises(ConnectionLost, match="in the middle of the answer") as caught:
        ask(serve(says_then_ends(sent)).url)
    assert caught.value.maybe_executed


def test_a_reset_is_a_lost_connection(serve):
    def resets(peer):
        peer.read()
        reset(peer.sock)

    with pytest.raises(ConnectionLost) as caught:
        ask(serve(resets).url)
    assert caught.value.maybe_executed


def test_a_reset_in_the_middle_of_the_body_is_a_lost_connection(serve):
    def resets(peer):
        peer.read()
        peer.send(HEAD)
        reset(peer.sock)

    with pytest.raises(ConnectionLost, match="in the middle") as caught:
        ask(serve(resets).url)
    assert caught.value.maybe_executed


def test_a_location_that_is_cut_off_is_not_followed(serve):
    targets = []

    def cuts(peer):
        while (request := peer.read()) is not None:
            targets.append(request.target)
            if request.target == "/mcp":
                peer.send(b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nLocation: /mc")
                return
            peer.send(WHOLE)

    with pytest.raises(ConnectionLost) as caught:
        ask(serve(cuts).url)
    assert caught.value.maybe_executed
    assert targets == ["/mcp"]


def test_a_server_that_does_not_speak_http_is_not_believed(serve):
    with pytest.raises(ConnectionLost) as caught:
        ask(serve(says_then_ends(b"SSH-2.0-OpenSSH_9.9\r\n")).url)
    assert caught.value.maybe_executed


def test_a_socket_that_fails_before_a_byte_left_has_sent_nothing(serve, monkeypatch):
    endpoint = door(serve(always(WHOLE)).url)
    ask(endpoint)
    _, pool = endpoint._current_route()
    pooled = next(conn for conn in pool.pool.queue if conn is not None)
    pooled.sock.shutdown(socket.SHUT_RDWR)
    # as if it were cut right after the pool had looked
    monkeypatch.setattr("urllib3.connectionpool.is_connection_dropped", lambda _: False)
    with pytest.raises(ConnectionLost) as caught:
        ask(endpoint)
    assert not caught.value.maybe_executed


def test_part_of_a_request_may_have_been_run(serve):
    def reads_a_little(peer):
        peer.sock.recv(1000)
        reset(peer.sock)

    with pytest.raises(ConnectionLost) as caught:
        ask(serve(reads_a_little).url, body=b"x" * 20_000_000)
    assert caught.value.maybe_executed


def test_a_plain_server_behind_an_https_url(serve):
    def takes_it_for_http(peer):
        peer.sock.recv(65536)
        peer.send(response(b"", "400 Bad Request"))

    url = serve(takes_it_for_http).url.replace("http:", "https:")
    with pytest.raises(ConnectError, match="TLS failed") as caught:
        ask(url)
    assert not caught.value.maybe_executed


def test_a_status_that_means_failure_is_an_answer_here(serve):
    server = serve(always(response(b"no", "500 Internal Server Error", kind="text/plain")))
    assert ask(server.url) == (500, b"no")


def exchange(*, connected=False, sent=0, received=0, timeout=LONG):
    made = Exchange(Deadline(timeout))
    made.connected, made.bytes_sent, made.bytes_received = connected, sent, received
    return made


@pytest.mark.parametrize(
    ("state", "error", "expected"),
    [
        ({}, ConnectionRefusedError(111, "Connection refused"), ConnectError),
        ({}, TimeoutError(), ConnectTimeout),
        ({"connected": True}, TimeoutError(), RequestTimeout),
        ({"connected": True}, ConnectionResetError(), ConnectionLost),
        ({"connected": True, "sent": 1}, ConnectionResetError(), ConnectionLost),
        ({"connected": True, "sent": 9, "timeout": 1e-9}, OSError(), RequestTimeout),
        ({"timeout": 1e-9}, OSError(), ConnectTimeout),
    ],
)
def test_how_far_an_exchange_had_come_decides(state, error, expected):
    told = explain(error, exchange(**state), "example.com:80")
    assert type(told) is expected
    assert told.maybe_executed is (state.get("sent", 0) > 0)
    assert "example.com:80" in str(told)


def test_causes_are_found_however_they_are_wrapped():
    root = OSError(5, "Input/output error")
    middle = ValueError("middle", root)
    outer = RuntimeError("outer")
    outer.__cause__ = middle
    assert causes(outer) == [outer, middle, root]


def test_a_cause_that_goes_round_ends():
    error = ValueError("round")
    error.__cause__ = error
    assert causes(error) == [error]


def test_the_reason_is_the_root_in_a_few_words():
    assert reason_of(OSError(113, "No route to host")) == "no route to host"
    assert reason_of(ValueError("it is odd.")) == "it is odd"
    assert reason_of(ValueError()) == "ValueError"
