"""The one function that opens a socket, and the seam where an address guard will sit."""

import socket
import threading

import pytest

from mcpsync import RequestCancelled
from mcpsync._runtime.deadline import Deadline
from mcpsync.http.exchange import Exchange
from mcpsync.http.sockets import open_socket
from support.processes import free_port
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import full_backlog

TCP = (socket.AF_INET, socket.SOCK_STREAM, 6, "")


def resolver(*ports, host="127.0.0.1"):
    """A resolver that gives these addresses, whatever it is asked; it keeps the questions."""

    def resolve(*question):
        resolve.asked.append(question)
        return [(*TCP, (host, port)) for port in ports]

    resolve.asked = []
    return resolve


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port():
    return free_port()


def test_it_connects_to_what_the_resolver_says(port):
    resolve = resolver(port)
    with open_socket("mcp.example", 443, Exchange(Deadline(LONG)), resolve=resolve) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)
    assert resolve.asked == [("mcp.example", 443, socket.AF_UNSPEC, socket.SOCK_STREAM)]


def test_brackets_are_taken_off_a_literal(port):
    resolve = resolver(port)
    open_socket("[::1]", 80, Exchange(Deadline(LONG)), resolve=resolve).close()
    assert resolve.asked[0][0] == "::1"


def test_an_address_that_refuses_is_not_the_last_word(port, closed_port):
    resolve = resolver(closed_port, port)
    with open_socket("mcp.example", 80, Exchange(Deadline(LONG)), resolve=resolve) as sock:
        assert sock.getpeername() == ("127.0.0.1", port)


def test_when_all_refuse_the_last_says_why(closed_port):
    with pytest.raises(ConnectionRefusedError):
        open_socket(
            "mcp.example", 80, Exchange(Deadline(LONG)), resolve=resolver(closed_port, closed_port)
        )


def test_a_name_without_an_address_is_an_error():
    with pytest.raises(OSError, match=r"mcp\.example has no address"):
        open_socket("mcp.example", 80, Exchange(Deadline(LONG)), resolve=resolver())


def test_the_deadline_is_one_for_all_addresses(port):
    with full_backlog() as stuck, within(BUDGET, BUDGET + SOON), pytest.raises(TimeoutError):
        open_socket("mcp.example", 80, Exchange(Deadline(BUDGET)), resolve=resolver(stuck, stuck))


def test_after_a_cancel_no_other_address_is_tried(port):
    exchange = Exchange(Deadline(LONG))

    def cancelling(*_):
        exchange.abort(RequestCancelled("cancelled."))
        return resolver(port, port)()

    with within(0, SOON), pytest.raises(OSError, match="called off"):
        open_socket("mcp.example", 80, exchange, resolve=cancelling)


def test_a_cancel_while_it_connects_wakes_it():
    exchange = Exchange(Deadline(LONG))
    with full_backlog() as port, within(0, SOON):
        threading.Timer(0.05, exchange.abort, [RequestCancelled("cancelled.")]).start()
        with pytest.raises(OSError, match=r".+"):
            open_socket("mcp.example", 80, exchange, resolve=resolver(port))
    assert isinstance(exchange.aborted_by, RequestCancelled)


def test_the_options_are_set_before_it_connects(port):
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    with open_socket(
        "x", 80, Exchange(Deadline(LONG)), options=options, resolve=resolver(port)
    ) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_it_connects_from_where_it_is_told(port):
    with open_socket(
        "x", 80, Exchange(Deadline(LONG)), source=("127.0.0.2", 0), resolve=resolver(port)
    ) as sock:
        assert sock.getsockname()[0] == "127.0.0.2"
