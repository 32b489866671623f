"""Another thread calls an exchange off, wherever it is; and what that must not touch."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from mcpsync import Cancellation, ConnectionClosed, RequestCancelled
from mcpsync._runtime.deadline import Deadline
from support.processes import wait_until
from transports.door import LONG, SOON, ask, door
from transports.peer import RawServer, always, full_backlog, response

HEADERS = response(b"x" * 10_000)[:-10_000]
CHUNKED = response(kind="text/event-stream", Content_Length="", Transfer_Encoding="chunked")


def stuck_after(sent, *, is_read=True):
    """A script that sends so much and then waits, having said that it does."""

    def script(peer, there):
        if is_read:
            peer.read()
        peer.send(sent)
        there.set()
        peer.wait_gone()

    return script


STAGES = {
    "waiting for the headers": stuck_after(b""),
    "in the middle of the headers": stuck_after(HEADERS[:40]),
    "at the end of the headers": stuck_after(HEADERS.removesuffix(b"\r\n")),
    "waiting for the body": stuck_after(HEADERS),
    "in the middle of the body": stuck_after(HEADERS + b"x" * 5000),
    "in the middle of a chunk": stuck_after(CHUNKED + b"1000\r\n" + b"x" * 10),
    "between two chunks": stuck_after(CHUNKED + b"2\r\n:\n\r\n"),
    "in a body without an end": stuck_after(response(Content_Length="") + b"xx"),
}


@contextlib.contextmanager
def waiting(url, there, **options):
    """Somebody waits for an answer in another thread; yield the endpoint and the future."""
    endpoint, cancel = door(url, **options), Cancellation()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, endpoint, LONG, cancel, body=b"x" * 10)
        wait_until(there, "the call waits")
        yield endpoint, cancel, call


@contextlib.contextmanager
def stuck(stage, context=None, scheme=None):
    """A server at which a call gets stuck; yield its URL and whether one has."""
    there = threading.Event()
    with RawServer(lambda peer: stage(peer, there), context) as server:
        url = server.url if scheme is None else server.url.replace("http:", f"{scheme}:")
        yield url, there.is_set


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_cancel_wakes_a_call(stage):
    with stuck(stage) as (url, there), waiting(url, there) as (_, cancel, call):
        cancel.cancel("the user has left")
        with pytest.raises(RequestCancelled, match="the user has left") as caught:
            call.result(SOON)
    assert caught.value.maybe_executed


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_over_tls_cancel_wakes_a_call(stage, certificate):
    session = requests.Session()
    session.verify = certificate.path
    with (
        stuck(stage, certificate.context()) as (url, there),
        waiting(url, there, session=session) as (_, cancel, call),
    ):
        cancel.cancel()
        with pytest.raises(RequestCancelled) as caught:
            call.result(SOON)
    assert caught.value.maybe_executed


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_closing_the_endpoint_wakes_a_call(stage):
    with stuck(stage) as (url, there), waiting(url, there) as (endpoint, _, call):
        endpoint.close(ConnectionClosed("closed."))
        with pytest.raises(ConnectionClosed) as caught:
            call.result(SOON)
    assert caught.value.maybe_executed


def test_cancel_wakes_a_call_that_connects():
    with full_backlog() as port, ThreadPoolExecutor(1) as pool:
        endpoint, cancel = door(f"http://127.0.0.1:{port}/mcp"), Cancellation()
        call = pool.submit(ask, endpoint, LONG, cancel)
        wait_until(lambda: endpoint._active, "the call has begun")
        cancel.cancel()
        with pytest.raises(RequestCancelled) as caught:
            call.result(SOON)
    assert not caught.value.maybe_executed


def test_closing_the_endpoint_wakes_a_call_that_connects():
    with full_backlog() as port, ThreadPoolExecutor(1) as pool:
        endpoint = door(f"http://127.0.0.1:{port}/mcp")
        call = pool.submit(ask, endpoint, LONG)
        wait_until(lambda: endpoint._active, "the call has begun")
        endpoint.close(ConnectionClosed("closed."))
        with pytest.raises(ConnectionClosed) as caught:
            call.result(SOON)
    assert not caught.value.maybe_executed


def test_cancel_wakes_a_tls_handshake():
    hello = stuck_after(b"", is_read=False)
    with stuck(hello, scheme="https") as (url, there), waiting(url, there) as (_, cancel, call):
        cancel.cancel()
        with pytest.raises(RequestCancelled) as caught:
            call.result(SOON)
    assert not caught.value.maybe_executed


def test_closing_the_endpoint_wakes_a_tls_handshake():
    hello = stuck_after(b"", is_read=False)
    with stuck(hello, scheme="https") as (url, there), waiting(url, there) as (endpoint, _, call):
        endpoint.close(ConnectionClosed("closed."))
        with pytest.raises(ConnectionClosed) as caught:
            call.result(SOON)
    assert not caught.value.maybe_executed


def test_cancel_wakes_a_call_whose_request_is_not_read():
    there, cancel, release = threading.Event(), Cancellation(), threading.Event()

    def never_reads(peer):
        peer.sock.recv(1)
        there.set()
        release.wait(LONG)

    with RawServer(never_reads) as server, ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, server.url, LONG, cancel, body=b"x" * 20_000_000)
        assert there.wait(SOON)
        cancel.cancel()
        try:
            with pytest.raises(RequestCancelled) as caught:
                call.result(SOON)
        finally:
            release.set()
    assert caught.value.maybe_executed


def test_what_was_cancelled_beforehand_is_not_sent(serve):
    server, cancel = serve(always(response(b"{}"))), Cancellation()
    cancel.cancel()
    with pytest.raises(RequestCancelled) as caught:
        ask(server.url, cancel=cancel)
    assert not caught.value.maybe_executed
    assert server.accepted == 0


def test_a_closed_endpoint_sends_nothing_more(serve):
    server = serve(always(response(b"{}")))
    endpoint = door(server.url)
    endpoint.close(ConnectionClosed("closed."))
    with pytest.raises(ConnectionClosed) as caught:
        ask(endpoint)
    assert not caught.value.maybe_executed
    assert server.accepted == 0


def test_each_who_waits_gets_an_error_of_his_own():
    with stuck(stuck_after(b"")) as (url, there), waiting(url, there) as (endpoint, _, call):
        error = ConnectionClosed("closed.")
        endpoint.close(error)
        assert isinstance(call.exception(SOON), ConnectionClosed)
        assert call.exception() is not error


def test_closing_one_endpoint_does_not_touch_another_of_the_same_origin():
    with stuck(stuck_after(b"")) as (url, there), waiting(url, there) as (_, cancel, call):
        door(url).close(ConnectionClosed("closed."))
        assert not call.done()
        cancel.cancel()
        assert isinstance(call.exception(SOON), RequestCancelled)


def test_a_late_cancel_does_not_touch_the_socket_of_the_next_user(serve):
    server, cancel = serve(always(response(b"{}"))), Cancellation()
    first, second = door(server.url), door(server.url)
    assert ask(first, cancel=cancel) == (200, b"{}")
    with second.send("POST", b"{}", {}, deadline=Deadline(LONG)) as answer:
        cancel.cancel()
        first.close(ConnectionClosed("closed."))
        assert answer.read() == b"{}"
    assert ask(second) == (200, b"{}")
    assert server.accepted == 1


def test_a_cancel_between_answer_and_close_does_not_touch_the_pooled_socket(serve):
    server, cancel = serve(always(response(b"{}"))), Cancellation()
    answer = door(server.url).send("POST", b"{}", {}, deadline=Deadline(LONG), cancel=cancel)
    assert answer.read() == b"{}"
    with door(server.url).send("POST", b"{}", {}, deadline=Deadline(LONG)) as other:
        cancel.cancel()
        answer.close()
        assert other.read() == b"{}"
    assert server.accepted == 1


def test_a_cancelled_call_gives_its_socket_up(serve):
    server = serve(lambda peer: stuck_after(b"")(peer, threading.Event()))
    cancel = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, server.url, LONG, cancel)
        wait_until(lambda: server.accepted, "the call is there")
        cancel.cancel()
        assert isinstance(call.exception(SOON), RequestCancelled)
    assert server.gone.wait(SOON)


def test_one_cancellation_ends_every_call_it_was_given_to():
    cancel = Cancellation()
    with RawServer(lambda peer: peer.wait_gone()) as server, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(ask, server.url, LONG, cancel) for _ in range(8)]
        wait_until(lambda: server.accepted == 8, "all of them wait")
        cancel.cancel()
        assert all(isinstance(call.exception(SOON), RequestCancelled) for call in calls)
