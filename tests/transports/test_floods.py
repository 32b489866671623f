"""A server can make the client neither wait nor grow without bound. (Requirement S13)

Pages of a listing are limited in tests/client/test_paging.py, tools in tests/connections, lines
and whole answers beside the transports that read them.
"""

import contextlib
import itertools
import threading
import time
import tracemalloc

import pytest

from mcpsync import Client
from mcpsync.errors import LimitExceeded, RequestTimeout, ResponseTooLarge
from mcpsync.http import Limits
from mcpsync.protocol.sse import MAX_EVENT_LINES
from mcpsync.transports import _mail
from support.processes import wait_until
from transports.children import tiny
from transports.door import SOON, within
from transports.peer import Peer, ScriptedMCP, chunk, event, result, stream

MODES = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
BUDGET = 0.35
PAUSE = 0.02
NO_END = Limits(max_response_bytes=2**40)
NOISE = {"jsonrpc": "2.0", "method": "notifications/message"}
LOGGED = event(NOISE | {"params": {"level": "info", "data": "x" * 200}})
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Flood(ScriptedMCP):
    """Answers a tool call with the same bytes over and over, for as long as somebody reads.

    Attributes:
        sent: How many bytes of answers have gone.
    """

    def __init__(self, drop: bytes) -> None:
        self.sent = 0
        self._piece = chunk(drop * max(1, 20_000 // len(drop)))
        super().__init__()

    def _converse(self, peer: Peer) -> None:
        while (request := peer.read()) is not None:
            if request.rpc != "tools/call":
                answer = self._answer(request)
                peer.send(answer if isinstance(answer, bytes) else answer.to_bytes())
                continue
            with contextlib.suppress(OSError):
                peer.sock.sendall(HEAD)
                while True:
                    peer.sock.sendall(self._piece)
                    self.sent += len(self._piece)
            return


@contextlib.contextmanager
def growing_at_most(mebibytes: float):
    """Fail if what the block holds at any moment is more than that."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < mebibytes * 2**20, f"{peak / 2**20:.1f} MiB at the peak"


@MODES
@pytest.mark.parametrize(
    "drop",
    [
        LOGGED,
        event({"jsonrpc": "2.0", "method": "x"}),
        event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}),
        b": still here\n\n",
        b"event: other\ndata: x\n\n",
        b"id: 1\nretry: 5\n\n",
        b"\n",
        b"\r",
    ],
    ids=lambda drop: repr(drop[:24]),
)
def test_what_comes_for_ever_and_is_no_answer_ends_with_the_deadline(mode, drop):
    with Flood(drop) as server, Client(server.url, mode=mode, limits=NO_END) as client:
        client.connect()
        with (
            growing_at_most(12),
            within(BUDGET, BUDGET + SOON),
            pytest.raises(RequestTimeout) as caught,
        ):
            client.call_tool("any", timeout=BUDGET)
        assert caught.value.maybe_executed
        assert server.sent


@MODES
def test_a_slow_callback_does_not_stretch_the_deadline_by_more_than_itself(mode):
    heard = []

    def slowly(message):
        heard.append(message)
        threading.Event().wait(PAUSE)

    with (
        Flood(LOGGED) as server,
        Client(server.url, mode=mode, limits=NO_END, logging_callback=slowly) as client,
    ):
        client.connect()
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
            client.call_tool("any", timeout=BUDGET)
    assert 2 <= len(heard) <= BUDGET / PAUSE + 2


@MODES
def test_an_answer_of_ever_more_events_ends_at_the_limit_of_an_answer(mode):
    limits = Limits(max_response_bytes=300_000)
    with Flood(LOGGED) as server, Client(server.url, mode=mode, limits=limits) as client:
        with pytest.raises(LimitExceeded, match="larger than 300000 bytes") as caught:
            client.call_tool("any", timeout=20)
        assert caught.value.maybe_executed


@MODES
@pytest.mark.parametrize("drop", [b"data: x\n", b"data:\n", b"\r\n:", b"id: 7\n"], ids=repr)
def test_an_event_of_ever_more_short_lines_is_refused(mode, drop):
    limits = Limits(max_event_bytes=100_000, max_response_bytes=2**40)
    with Flood(drop) as server, Client(server.url, mode=mode, limits=limits) as client:
        with (
            growing_at_most(4),
            pytest.raises(ResponseTooLarge, match="event of more than 100000 bytes") as caught,
        ):
            client.call_tool("any", timeout=20)
        assert caught.value.maybe_executed
        assert caught.value.limit == 100_000


@MODES
def test_an_event_of_very_many_lines_does_not_take_long(mode):
    lines = b"data: 0123456789\n" * (MAX_EVENT_LINES - 10)
    with ScriptedMCP() as server, Client(server.url, mode=mode) as client:

        def answer(request):
            body = result(request, {"content": []}).to_bytes().partition(b"\r\n\r\n")[2]
            pretty = body.replace(b"}", b"\ndata: }" + b"\ndata:" * (MAX_EVENT_LINES - 10))
            return stream(b"data: " + pretty + b"\n\n" + b"event: other\n" + lines + b"\n")

        server.on("tools/call", answer)
        began = time.process_time()
        with pytest.raises(LimitExceeded, match="lines"):
            client.call_tool("any", timeout=20)
        assert time.process_time() - began < 2


# -- where one stream brings everything ------------------------------------------------------------

FLOOD = """
def on_call(message, name):
    token = message["params"].get("_meta", {}).get("progressToken")
    line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message",
                       "params": {"level": "info", "data": "x" * 2000}})
    for _ in range(COUNT):
        sys.stdout.write(line + "\\n")
    text(message, name)
"""


def flooding(count):
    """A child that logs *count* messages before it answers."""
    return tiny(FLOOD.replace("range(COUNT)", count))


@pytest.mark.parametrize("pause", [0, 0.02])
def test_what_a_child_sends_for_ever_ends_with_the_deadline(pause):
    heard = itertools.count()

    def listen(_):
        next(heard)
        threading.Event().wait(pause)

    with Client(flooding("iter(int, 1)"), mode="legacy", logging_callback=listen) as client:
        client.connect()
        with (
            growing_at_most(25),
            within(BUDGET, BUDGET + SOON),
            pytest.raises(RequestTimeout) as caught,
        ):
            client.call_tool("any", timeout=BUDGET)
        assert caught.value.maybe_executed
    assert next(heard)


def test_messages_do_not_pile_up_before_a_slow_callback(caplog):
    """What is lost are notifications; the answer behind them is not."""
    heard = 0

    def slowly(_):
        nonlocal heard
        heard += 1
        threading.Event().wait(0.5 if heard == 1 else 0)

    with Client(
        flooding("range(20_000)"), mode="legacy", logging_callback=slowly, timeout=30
    ) as client:
        client.connect()
        with growing_at_most(25):
            assert client.call_tool("answered").content[0].text == "answered"
    assert heard < 20_000
    assert "sends faster than our callbacks take it" in caplog.text
    assert caplog.text.count("sends faster") == 1


def test_a_callback_that_keeps_up_misses_nothing():
    heard = []
    count = _mail.CROWD // 2
    with Client(
        flooding(f"range({count})"), mode="legacy", logging_callback=heard.append
    ) as client:
        client.call_tool("any")
    assert len(heard) == count


def test_what_a_child_sends_while_nobody_asks_does_not_pile_up(tmp_path):
    script = """
def on_call(message, name):
    text(message, name)
    if name == "flood":
        line = json.dumps({"jsonrpc": "2.0", "method": "notifications/message",
                           "params": {"level": "info", "data": "x" * 2000}})
        for _ in range(20_000):
            sys.stdout.write(line + "\\n")
        sys.stdout.flush()
        open(PATH, "w").close()
""".replace("PATH", repr(str(tmp_path / "over")))
    heard = itertools.count()
    with Client(tiny(script), mode="legacy", logging_callback=lambda _: next(heard)) as client:
        with growing_at_most(10):
            client.call_tool("flood")
            wait_until((tmp_path / "over").exists, "the flood is over")
        client.call_tool("quiet")
    assert _mail.BACKLOG <= next(heard) <= _mail.BACKLOG + 100  # some may be on their way
