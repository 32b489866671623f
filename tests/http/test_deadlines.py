"""One deadline bounds everything an exchange may wait for."""

import threading
import time

import pytest
import requests

from mcpsync import ConnectTimeout, RequestTimeout
from transports.door import BUDGET, LONG, SOON, ask, door, within
from transports.peer import chunk, deaf, full_backlog, response, silent

ENDLESS_HEADERS = b"HTTP/1.1 200 OK\r\n" + b"X-Filler: a\r\n" * 1000
CHUNKED = response(kind="text/event-stream", Content_Length="", Transfer_Encoding="chunked")


def dripping(fast, slow):
    def script(peer):
        peer.read()
        peer.send(fast)
        peer.drip(slow)

    return script


SLOW_SERVERS = {
    "silence": silent,
    "dripping headers": dripping(b"", ENDLESS_HEADERS),
    "a dripping body": dripping(response(b"x" * 10_000)[:-10_000], b"x" * 10_000),
    "a dripping chunk": dripping(CHUNKED, b"10000\r\n" + b"x" * 10_000),
    "a dripping stream of chunks": dripping(CHUNKED, chunk(b":\n") * 1000),
    "a dripping body without an end": dripping(response(Content_Length=""), b"x" * 10_000),
}


@pytest.mark.parametrize("server", SLOW_SERVERS.values(), ids=SLOW_SERVERS)
def test_the_deadline_bounds(server, serve):
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
        ask(serve(server).url, BUDGET)
    assert caught.value.maybe_executed
    assert caught.value.timeout == BUDGET
    assert f"timed out after {BUDGET} s" in str(caught.value)


@pytest.mark.parametrize("server", SLOW_SERVERS.values(), ids=SLOW_SERVERS)
def test_over_tls_the_deadline_bounds(server, serve, certificate):
    url = serve(server, certificate.context()).url
    session = requests.Session()
    session.verify = certificate.path
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
        ask(door(url, session=session), BUDGET)
    assert caught.value.maybe_executed


def test_the_deadline_bounds_connecting_to_a_port_that_never_accepts():
    with (
        full_backlog() as port,
        within(BUDGET, BUDGET + SOON),
        pytest.raises(ConnectTimeout) as caught,
    ):
        ask(f"http://127.0.0.1:{port}/mcp", BUDGET)
    assert not caught.value.maybe_executed
    assert f"127.0.0.1:{port} within {BUDGET} s" in str(caught.value)


def test_the_deadline_bounds_a_tls_handshake_nobody_answers(serve):
    url = f"https://127.0.0.1:{serve(deaf).port}/mcp"
    with within(BUDGET, BUDGET + SOON), pytest.raises(ConnectTimeout) as caught:
        ask(url, BUDGET)
    assert not caught.value.maybe_executed


def test_the_deadline_bounds_the_tls_handshake_together_with_what_was_before_it(serve):
    def slow_tunnel(peer):
        peer.read()
        time.sleep(0.9)
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        peer.wait_gone()

    session = requests.Session()
    session.proxies = {"https": f"http://127.0.0.1:{serve(slow_tunnel).port}"}
    with within(1.0, 1.5), pytest.raises(ConnectTimeout):
        ask(door("https://127.0.0.1:9/mcp", session=session), 1.0)


def test_the_deadline_bounds_sending_to_a_server_that_does_not_read(serve):
    held = threading.Event()
    url = serve(lambda _: held.wait(LONG)).url
    try:
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
            ask(url, BUDGET, body=b"x" * 20_000_000)
    finally:
        held.set()
    assert caught.value.maybe_executed


def test_a_deadline_that_has_passed_sends_nothing(serve):
    server = serve(silent)
    with pytest.raises(RequestTimeout) as caught:
        ask(server.url, 1e-9)
    assert not caught.value.maybe_executed
    assert server.accepted == 0


def test_an_infinite_deadline_is_none(serve):
    server = serve(lambda peer: peer.read() and peer.send(response(b"{}")))
    assert ask(server.url, float("inf")) == (200, b"{}")


def test_the_deadline_is_one_for_all_redirects(serve):
    def slow_redirects(peer):
        while peer.read() is not None:
            time.sleep(0.15)
            peer.send(response(b"", "307 Elsewhere", kind="", Location="/mcp"))

    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
        ask(serve(slow_redirects).url, BUDGET)


def test_a_timeout_leaves_the_endpoint_usable(serve):
    def slow_first(peer):
        peer.read()
        if peer.number == 1:
            peer.wait_gone()
        peer.send(response(b"again"))

    endpoint = door(serve(slow_first).url)
    with pytest.raises(RequestTimeout):
        ask(endpoint, BUDGET)
    assert ask(endpoint) == (200, b"again")
