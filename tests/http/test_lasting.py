"""An answer without an end, read now and then: plain and over TLS, in chunks and until the end."""

import math
import threading

import pytest
import requests

from mcpsync import ConnectionClosed, ConnectionLost, RequestTimeout
from mcpsync._runtime.deadline import Deadline
from mcpsync.http import lasting
from transports.door import LONG, SOON, door, within
from transports.peer import RawServer, chunk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_THE_END = HEAD + b"Connection: close\r\n\r\n"


@pytest.fixture(params=["plain", "tls"])
def speak(request, certificate, clean_environment):
    """Ask a server that does as a script says, and return the body of its answer."""
    servers = []

    def ask(script):
        context = certificate.context() if request.param == "tls" else None
        server = RawServer(script, context)
        servers.append(server)
        session = requests.Session()
        session.verify = certificate.path
        endpoint = door(server.url, session=session)
        return endpoint.send("GET", None, {}, deadline=Deadline(LONG)).lasting()

    yield ask
    for server in servers:
        server.close()


def framed(head, data):
    return chunk(data) if head is CHUNKED else data


def read_all(body):
    while body.read(Deadline(LONG)):
        pass


@pytest.mark.parametrize("head", [CHUNKED, UNTIL_THE_END], ids=["chunked", "until the end"])
def test_a_look_finds_what_is_there_and_nothing_else(speak, head):
    go_on = threading.Event()

    def script(peer):
        peer.read()
        peer.send(head + framed(head, b"one"))
        go_on.wait(LONG)
        peer.send(framed(head, b"two"))
        peer.wait_gone()

    body = speak(script)
    assert body.read(Deadline(LONG)) == b"one"
    for _ in range(3):
        assert body.read(Deadline(0.01)) is None
    go_on.set()
    assert body.read(Deadline(LONG)) == b"two"
    assert body.read(Deadline(0)) is None
    body.close()


@pytest.mark.parametrize("head", [CHUNKED, UNTIL_THE_END], ids=["chunked", "until the end"])
def test_what_came_in_one_piece_is_found_piece_by_piece(speak, head):
    def script(peer):
        peer.read()
        peer.send(head + framed(head, b"one") + framed(head, b"two"))
        peer.wait_gone()

    body = speak(script)
    found = b""
    while found != b"onetwo":
        data = body.read(Deadline(LONG))
        assert data
        found += data
    body.close()


@pytest.mark.parametrize("patience", [0.05, math.inf])
def test_the_end_is_empty(speak, patience):
    def script(peer):
        peer.read()
        peer.send(CHUNKED + chunk(b"one") + chunk(b""))
        peer.wait_gone()

    body = speak(script)
    assert body.read(Deadline(LONG)) == b"one"
    assert body.read(Deadline(patience)) == b""
    body.close()


def test_a_cut_is_a_lost_connection(speak):
    def script(peer):
        peer.read()
        peer.send(CHUNKED + b"5\r\non")

    body = speak(script)
    with pytest.raises(ConnectionLost):
        read_all(body)
    body.close()


@pytest.mark.parametrize("patience", [LONG, math.inf])
def test_an_abort_from_another_thread_wakes_whoever_reads(speak, patience):
    reads = threading.Event()

    def script(peer):
        peer.read()
        peer.send(CHUNKED)
        reads.set()
        peer.wait_gone()

    body = speak(script)
    assert reads.wait(LONG)
    timer = threading.Timer(0.1, body.abort, [ConnectionClosed("enough.")])
    timer.start()
    with within(0, SOON), pytest.raises(ConnectionClosed):
        body.read(Deadline(patience))
    timer.join()
    body.close()


def test_half_a_chunk_does_not_hold_a_look_for_ever(speak, monkeypatch):
    monkeypatch.setattr(lasting, "HALF_SAID", 0.2)

    def script(peer):
        peer.read()
        peer.send(CHUNKED + b"1")
        peer.wait_gone()

    body = speak(script)
    with within(0, SOON), pytest.raises(RequestTimeout):
        body.read(Deadline(0.05))
    body.close()
