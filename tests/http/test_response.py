"""An answer is read within its limits."""

import gzip
import threading
import tracemalloc
import zlib

import pytest

from mcpsync import Limits, MCPSyncError, ResponseTooLarge
from mcpsync._runtime.deadline import Deadline
from transports.door import LONG, SOON, ask, door
from transports.peer import always, chunk, response

LIMIT = 100_000
CHUNKED = response(Content_Length="", Transfer_Encoding="chunked")
UNENDED = response(Content_Length="")


def limited(url, limit=LIMIT):
    return door(url, limits=Limits(max_response_bytes=limit))


def framed(framing, body):
    if framing == "with a length":
        return response(body)
    if framing == "in chunks":
        pieces = [body[at : at + 4096] for at in range(0, len(body), 4096)]
        return CHUNKED + b"".join(map(chunk, pieces)) + chunk(b"")
    if framing == "until the end":
        return UNENDED + body
    packed = gzip.compress(body)
    return response(packed, Content_Encoding="gzip")


FRAMINGS = ("with a length", "in chunks", "until the end", "compressed unasked")


def says(data):
    def script(peer):
        peer.read()
        peer.send(data)

    return script


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_as_large_as_the_limit_is_read(framing, serve):
    body = b"x" * LIMIT
    assert ask(limited(serve(says(framed(framing, body))).url)) == (200, body)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_larger_than_the_limit_is_refused(framing, serve):
    url = serve(says(framed(framing, b"x" * (LIMIT + 1)))).url
    with pytest.raises(ResponseTooLarge, match="larger than 100000 bytes") as caught:
        ask(limited(url))
    assert caught.value.limit == LIMIT
    assert caught.value.maybe_executed


@pytest.mark.parametrize("framing", ["in chunks", "until the end"])
def test_a_body_without_end_is_not_read_on(framing, serve):
    def endless(peer):
        peer.read()
        peer.send(CHUNKED if framing == "in chunks" else UNENDED)
        block = chunk(b"x" * 4096)
        while not stop.is_set():
            try:
                peer.sock.sendall(block)
            except OSError:
                return

    stop = threading.Event()
    server = serve(endless)
    try:
        with pytest.raises(ResponseTooLarge):
            ask(limited(server.url))
        assert server.gone.wait(SOON)
    finally:
        stop.set()


def test_a_small_answer_that_unpacks_into_a_huge_one_is_not_unpacked(serve):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()
    assert len(bomb) < 300_000
    url = serve(says(response(bomb, Content_Encoding="gzip"))).url
    endpoint = limited(url)
    tracemalloc.start()
    try:
        with pytest.raises(ResponseTooLarge):
            ask(endpoint)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_what_claims_to_be_compressed_and_is_not_is_a_typed_error(serve):
    url = serve(says(response(b"not gzip", Content_Encoding="gzip"))).url
    with pytest.raises(MCPSyncError) as caught:
        ask(url)
    assert caught.value.maybe_executed


def test_a_socket_is_kept_when_the_body_was_read(serve):
    server = serve(always(response(b"{}")))
    endpoint = door(server.url)
    assert [ask(endpoint) for _ in range(3)] == [(200, b"{}")] * 3
    assert server.accepted == 1


def test_a_socket_is_given_up_when_the_body_was_not_read(serve):
    server = serve(always(response(b"x" * 1000)))
    endpoint = door(server.url)
    for _ in range(2):
        with endpoint.send("POST", b"{}", {}, deadline=Deadline(LONG)) as answer:
            assert answer.status == 200
    assert server.accepted == 2


def test_a_socket_is_given_up_after_a_refusal(serve):
    server = serve(always(response(b"x" * 10 * LIMIT)))
    endpoint = limited(server.url)
    for _ in range(2):
        with pytest.raises(ResponseTooLarge):
            ask(endpoint)
    assert server.accepted == 2


def test_a_stream_that_ends_soon_keeps_its_socket(serve):
    server = serve(always(CHUNKED + chunk(b"event") + chunk(b"")))
    endpoint = door(server.url)
    for _ in range(2):
        with endpoint.send("POST", b"{}", {}, deadline=Deadline(LONG)) as answer:
            assert next(answer.chunks()) == b"event"
            answer.finish_soon(patience=SOON)
    assert server.accepted == 1


def test_a_stream_that_goes_on_is_not_waited_for(serve):
    def goes_on(peer):
        while peer.read() is not None:
            peer.send(CHUNKED + chunk(b"event"))

    server = serve(goes_on)
    endpoint = door(server.url)
    for _ in range(2):
        with endpoint.send("POST", b"{}", {}, deadline=Deadline(LONG)) as answer:
            assert next(answer.chunks()) == b"event"
            answer.finish_soon()
    assert server.accepted == 2


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("text/event-stream;charset=utf-8", "text/event-stream"),
        ("", ""),
    ],
)
def test_the_content_type_is_read_without_its_parameters(sent, expected, serve):
    url = serve(says(response(b"{}", kind=sent))).url
    with door(url).send("POST", b"{}", {}, deadline=Deadline(LONG)) as answer:
        assert answer.content_type == expected


def test_closing_works_twice(serve):
    answer = door(serve(says(response(b"{}"))).url).send("POST", b"{}", {}, deadline=Deadline(LONG))
    answer.close()
    answer.close()


def test_an_answer_that_urllib3_refuses_leaves_no_socket_behind(serve):
    """Its lengths contradict each other; the error is kept, and with it all that it refers to."""
    gone = threading.Event()

    def script(peer):
        peer.read()
        peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nabcde")
        if peer.wait_gone():
            gone.set()

    with pytest.raises(MCPSyncError) as caught:
        ask(serve(script).url)
    assert gone.wait(SOON)
    assert caught.value.__cause__
