"""The fate of one exchange: its time, its socket, and who called it off."""

import socket

import pytest

from mcpsync import ConnectionClosed, RequestCancelled
from mcpsync._runtime.deadline import Deadline
from mcpsync.http.exchange import Exchange
from transports.door import LONG


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(LONG)
        yield one, other


def test_abort_wakes_whoever_reads(pair):
    exchange = Exchange(Deadline(LONG))
    exchange.attach(pair[0])
    exchange.abort(RequestCancelled("cancelled."))
    assert pair[0].recv(1) == b""


def test_after_detach_abort_does_not_touch_the_socket(pair):
    exchange = Exchange(Deadline(LONG))
    exchange.attach(pair[0])
    exchange.detach()
    exchange.abort(RequestCancelled("cancelled."))
    pair[1].sendall(b"x")
    assert pair[0].recv(1) == b"x"


def test_a_socket_that_comes_after_the_abort_is_not_used(pair):
    exchange = Exchange(Deadline(LONG))
    exchange.abort(RequestCancelled("cancelled."))
    with pytest.raises(OSError, match="called off"):
        exchange.attach(pair[0])


def test_the_first_reason_counts():
    exchange = Exchange(Deadline(LONG))
    exchange.abort(RequestCancelled("cancelled."))
    exchange.abort(ConnectionClosed("closed."))
    assert isinstance(exchange.aborted_by, RequestCancelled)


def test_a_socket_that_is_closed_already_is_no_matter(pair):
    exchange = Exchange(Deadline(LONG))
    exchange.attach(pair[0])
    pair[0].close()
    exchange.abort(RequestCancelled("cancelled."))


def test_the_time_left_is_that_of_the_deadline():
    assert 0 < Exchange(Deadline(LONG)).time_left() <= LONG
    assert Exchange(Deadline(float("inf"))).time_left() is None
    with pytest.raises(TimeoutError):
        Exchange(Deadline(1e-9)).time_left()


def test_who_was_called_off_has_no_time_left():
    exchange = Exchange(Deadline(LONG))
    exchange.abort(RequestCancelled("cancelled."))
    with pytest.raises(OSError, match="called off"):
        exchange.time_left()
