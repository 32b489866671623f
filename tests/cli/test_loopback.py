"""Waiting on this machine for what a browser comes back with; RFC 8252."""

import contextlib
import os
import socket
from urllib.parse import urlsplit

import pytest
import requests

from mcpsync import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.cli.loopback import MOST_VISITORS, PORT, Listener
from mcpsync.errors import ConfigurationError, RequestCancelled, RequestTimeout
from support.threads import outcome, start

STATE = "s3cret-state"


@pytest.fixture
def listener():
    with Listener() as listener:
        yield listener


def waiting(listener, **options):
    """The wait for the browser, on a thread."""
    return start(lambda: listener.wait(STATE, Deadline(20), **options))


def come(listener, query, path="/callback"):
    parts = urlsplit(listener.redirect_uri)
    return requests.get(f"http://{parts.netloc}{path}{query}", timeout=10)


def connected(listener, said=b""):
    """A connection to the listener over which so much was said."""
    visitor = socket.create_connection(("127.0.0.1", urlsplit(listener.redirect_uri).port), 10)
    visitor.sendall(said)
    return visitor


def is_sent_away(visitor):
    """Whether the listener ends a connection without having taken anything."""
    with contextlib.suppress(ConnectionError):
        answer = visitor.recv(1000)
        return answer == b"" or answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    return True


def test_who_comes_with_the_state_is_waited_for(listener):
    task = waiting(listener)
    assert come(listener, f"?code=abc&state={STATE}").status_code == 200
    assert outcome(task) == f"http://127.0.0.1/callback?code=abc&state={STATE}"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/favicon.ico", ""),
        ("/callback", ""),
        ("/callback", "?code=evil&state=guessed"),
        ("/callback", f"?code=evil&state={STATE}&state={STATE}"),
        ("/callback", "?" + "&".join(f"a{n}=1" for n in range(60))),
        ("/callback/", f"?code=evil&state={STATE}"),
        ("//[callback", f"?code=evil&state={STATE}"),
    ],
    ids=["favicon", "bare", "state", "twice", "fields", "path", "no url"],
)
def test_everybody_else_is_sent_away_and_waited_on_for(listener, path, query):
    task = waiting(listener)
    with connected(listener, f"GET {path}{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as other:
        assert other.recv(1000).startswith(b"HTTP/1.1 404 Not Found\r\n")
    come(listener, f"?code=abc&state={STATE}")
    assert "code=abc" in outcome(task)


@pytest.mark.parametrize(
    "said",
    [
        f"POST /callback?code=x&state={STATE} HTTP/1.1\r\n\r\n".encode(),
        b"\x16\x03\x01\x02\x00\r\n\r\n",  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    ],
    ids=["post", "tls", "short", "endless"],
)
def test_what_is_no_such_request_does_not_end_it(listener, said):
    task = waiting(listener)
    with connected(listener, said) as other:
        assert is_sent_away(other)
        come(listener, f"?code=abc&state={STATE}")
        assert "code=abc" in outcome(task)


def test_who_connects_and_says_nothing_keeps_nobody_waiting(listener):
    task = waiting(listener)
    silent = [connected(listener, b"GET /cal") for _ in range(MOST_VISITORS + 8)]
    try:
        assert is_sent_away(silent[0])
        come(listener, f"?code=abc&state={STATE}")
        assert "code=abc" in outcome(task)
    finally:
        for visitor in silent:
            visitor.close()


def test_the_page_shows_nothing_of_the_address_and_is_kept_nowhere(listener):
    task = waiting(listener)
    markup = "%3Cscript%3Ealert(1)%3C/script%3E"
    answer = come(listener, f"?error=access_denied&error_description={markup}&state={STATE}")
    outcome(task)
    assert "script" not in answer.text
    assert STATE not in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nobody_but_this_machine_is_listened_to(listener):
    assert listener._server.server_address[0] == "127.0.0.1"


def listening_at(listener):
    return urlsplit(listener.redirect_uri).port


def test_where_the_usual_port_is_taken_another_one_does():
    with Listener() as first, Listener() as second:
        assert PORT != listening_at(second) != listening_at(first)


def test_a_port_that_was_asked_for_is_the_only_one_that_does(listener):
    port = listening_at(listener)
    with pytest.raises(ConfigurationError, match=f"port {port}, 127.0.0.1"):
        Listener(port)


def test_where_a_registered_client_comes_back_to_is_listened_at():
    with Listener() as free:
        port = listening_at(free)
    with Listener(redirect_uri=f"http://localhost:{port}/signed/in") as listener:
        assert listener.redirect_uri == f"http://localhost:{port}/signed/in"
        task = waiting(listener)
        assert come(listener, f"?code=abc&state={STATE}", "/signed/in").status_code == 200
        assert "code=abc" in outcome(task)


def test_nobody_is_waited_for_any_longer_than_that(listener):
    with pytest.raises(RequestTimeout, match=r"nobody signed in within 0\.05 s"):
        listener.wait(STATE, Deadline(0.05))


def test_the_wait_is_cancelled_from_another_thread(listener):
    cancel = Cancellation()
    task = waiting(listener, cancel=cancel)
    cancel.cancel("enough")
    error = outcome(task)
    assert isinstance(error, RequestCancelled)
    assert not error.maybe_executed


@pytest.fixture
def typing():
    """Both ends of what somebody types into."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


@pytest.mark.parametrize(
    "text",
    [
        f"http://127.0.0.1:33418/callback?code=abc&state={STATE}\n",
        f"  ?code=abc&state={STATE}  \r\n",
        f"code=abc&state={STATE}\n",
        f"\n\nhttp://elsewhere/?code=abc&state={STATE}\n",
    ],
)
def test_the_address_may_be_typed_instead(listener, typing, text):
    task = waiting(listener, typed=typing[0])
    os.write(typing[1], text.encode())
    assert outcome(task) == text.strip()


def test_it_may_be_typed_in_pieces_and_end_without_a_line_feed(listener, typing):
    task = waiting(listener, typed=typing[0])
    os.write(typing[1], b"code=abc&sta")
    os.write(typing[1], f"te={STATE}".encode())
    os.close(typing[1])
    assert outcome(task) == f"code=abc&state={STATE}"


def test_what_is_another_address_is_complained_of_and_waited_on_for(listener, typing):
    complaints = []
    task = waiting(listener, typed=typing[0], complain=lambda: complaints.append(1))
    os.write(typing[1], b"abc\nhttp://[\ncode=abc&state=other\n\xff\xfe\n")
    os.write(typing[1], f"code=abc&state={STATE}\n".encode())
    assert "abc" in outcome(task)
    assert len(complaints) == 4


def test_who_types_nothing_more_may_still_come_by_browser(listener, typing):
    task = waiting(listener, typed=typing[0])
    os.close(typing[1])
    come(listener, f"?code=abc&state={STATE}")
    assert "code=abc" in outcome(task)


def test_a_file_may_be_what_is_typed(listener, tmp_path):
    (tmp_path / "typed").write_text(f"code=abc&state={STATE}\n", encoding="utf-8")
    with open(tmp_path / "typed", "rb") as file:
        assert "abc" in outcome(waiting(listener, typed=file.fileno()))
