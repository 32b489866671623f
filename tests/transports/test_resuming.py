"""Going on with a cut answer, on scripted servers: requirements H11 to H13."""

import threading
import time

import pytest

from mcpsync import (
    Cancellation,
    Client,
    ConnectionClosed,
    ConnectionLost,
    RequestCancelled,
    RequestTimeout,
    SessionExpired,
)
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import DONE, INITIALIZED, Reply, ScriptedMCP, chunk, event, result, stream

PRIMING = b"id: p1\nretry: 100\ndata:\n\n"
CUT_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Resumable:
    """A server that ends the answer to a call early, and hands out the rest by GET.

    Args:
        first: The events of the first stream.
        rest: What answers each GET, one after the other; the last one again and again.
    """

    def __init__(self, first, *rest, cut=False):
        self.first = first
        self.rest = list(rest)
        self.cut = cut
        self.ended_at = 0.0
        self.asked_at = []
        self.ids = []
        self.call_id = None
        self.server = ScriptedMCP(tools__call=self.call, GET=self.get)

    def call(self, request):
        self.call_id = request.json["id"]
        self.ended_at = time.monotonic()
        if self.cut:
            return CUT_HEAD + b"".join(map(chunk, self.first))
        return stream(*self.first)

    def get(self, request):
        self.asked_at.append(time.monotonic())
        self.ids.append(request.headers.get("last-event-id"))
        answer = self.rest.pop(0) if len(self.rest) > 1 else self.rest[0]
        return answer(self.reply()) if callable(answer) else answer

    def reply(self):
        return {"jsonrpc": "2.0", "id": self.call_id, "result": DONE}

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *exc):
        self.server.__exit__(*exc)

    @property
    def gets(self):
        return [request for request in self.server.requests if request.method == "GET"]

    @property
    def calls(self):
        return self.server.methods.count("tools/call")


def whole(reply):
    return stream(event(reply))


def call(resumable, timeout=LONG, **options):
    with Client(resumable.server.url, mode="legacy", timeout=timeout) as client:
        return client.call_tool("add", **options).content[0].text


@pytest.mark.parametrize("cut", [False, True])
def test_the_answer_comes_on_a_get_with_the_last_id_of_the_stream(cut):
    with Resumable([PRIMING, b"id: p2\ndata:\n\n"], whole, cut=cut) as resumable:
        assert call(resumable) == "done"
        (get,) = resumable.gets
    assert get.headers["last-event-id"] == "p2"
    assert get.headers["accept"] == "text/event-stream"
    assert get.headers["mcp-session-id"] == "s1"
    assert get.headers["mcp-protocol-version"] == "2025-11-25"
    assert "content-type" not in get.headers
    assert resumable.calls == 1


def test_it_is_asked_for_when_the_server_said_and_not_before():
    with Resumable([b"id: 1\nretry: 400\ndata:\n\n"], whole) as resumable:
        assert call(resumable) == "done"
    waited = resumable.asked_at[0] - resumable.ended_at
    assert 0.35 <= waited <= 0.4 + SOON


def test_it_is_asked_for_after_a_second_if_the_server_did_not_say():
    with Resumable([b"id: 1\ndata:\n\n"], whole) as resumable:
        assert call(resumable) == "done"
    assert resumable.asked_at[0] - resumable.ended_at >= 0.95


def test_a_server_that_says_0_is_not_asked_without_a_pause():
    with Resumable([b"id: 1\nretry: 0\ndata:\n\n"], whole) as resumable:
        assert call(resumable) == "done"
    assert resumable.asked_at[0] - resumable.ended_at >= 0.09


def test_it_is_asked_for_again_and_again_as_long_as_something_comes():
    steps = [stream(f"id: s{number}\ndata:\n\n".encode()) for number in range(6)]
    with Resumable([PRIMING], *steps, whole) as resumable:
        assert call(resumable) == "done"
    assert resumable.ids == ["p1", "s0", "s1", "s2", "s3", "s4", "s5"]


def test_it_is_given_up_after_two_attempts_that_bring_nothing():
    with Resumable([PRIMING], stream(b": nothing\n\n")) as resumable:
        with pytest.raises(ConnectionLost) as caught:
            call(resumable)
        assert len(resumable.gets) == 2
        assert resumable.calls == 1
    assert caught.value.maybe_executed


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable"])
def test_trouble_on_the_way_may_pass(status):
    with Resumable([PRIMING], Reply(status=status, kind=""), whole) as resumable:
        assert call(resumable) == "done"


def test_without_an_id_there_is_nothing_to_ask_for():
    with Resumable([b"retry: 100\ndata:\n\n"], whole) as resumable:
        with pytest.raises(ConnectionLost) as caught:
            call(resumable)
        assert resumable.gets == []
    assert caught.value.maybe_executed


def test_an_empty_id_takes_the_last_one_back():
    with Resumable([PRIMING, b"id:\ndata:\n\n"], whole) as resumable:
        with pytest.raises(ConnectionLost):
            call(resumable)
        assert resumable.gets == []


@pytest.mark.parametrize("name", ["x" * 5000, "\x01"])
def test_an_id_that_no_header_can_hold_is_none(name):
    with Resumable([f"id: {name}\ndata:\n\n".encode()], whole) as resumable:
        with pytest.raises(ConnectionLost):
            call(resumable)
        assert resumable.gets == []


def test_an_id_goes_back_byte_for_byte():
    with Resumable(["id: Größe ✓\nretry: 100\ndata:\n\n".encode()], whole) as resumable:
        assert call(resumable) == "done"
    assert resumable.ids[0].encode("latin-1").decode() == "Größe ✓"


def test_a_session_that_is_forgotten_meanwhile_is_no_reason_to_call_again():
    with Resumable([PRIMING], Reply(status="404 Not Found", kind="")) as resumable:
        with pytest.raises(SessionExpired) as caught:
            call(resumable)
        assert resumable.calls == 1
        assert resumable.server.methods.count("initialize") == 1
    assert caught.value.maybe_executed


@pytest.mark.parametrize(
    "status", ["405 Method Not Allowed", "400 Bad Request", "401 Unauthorized", "409 Conflict"]
)
def test_a_server_that_will_not_go_on_is_asked_once(status):
    with Resumable([PRIMING], Reply(status=status, kind="")) as resumable:
        with pytest.raises(ConnectionLost) as caught:
            call(resumable)
        assert len(resumable.gets) == 1
        assert resumable.calls == 1
    assert caught.value.maybe_executed


@pytest.mark.parametrize("retry", ["3600000", "999999999"])
def test_a_wait_that_does_not_fit_into_the_call_is_not_begun(retry):
    with Resumable([f"id: 1\nretry: {retry}\ndata:\n\n".encode()], whole) as resumable:
        with within(0, SOON), pytest.raises(ConnectionLost, match="more than the call has left"):
            call(resumable)
        assert resumable.gets == []


def test_the_time_of_the_call_bounds_the_stream_that_is_gone_on_with():
    head = CUT_HEAD.replace(b"Connection: close\r\n", b"")
    with Resumable([PRIMING], head + chunk(b": wait\n\n")) as resumable:
        with within(0, SOON), pytest.raises(RequestTimeout) as caught:
            call(resumable, timeout=3 * BUDGET)
        assert len(resumable.gets) == 1
    assert caught.value.maybe_executed


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_the_wait_between_can_be_called_off(how):
    cancel = Cancellation()
    ended = threading.Event()
    failures = []
    with Resumable([b"id: 1\nretry: 4000\ndata:\n\n"], whole) as resumable:
        with Client(resumable.server.url, mode="legacy", timeout=2 * LONG) as client:
            client.connect()

            def call_it():
                try:
                    client.call_tool("add", cancel=cancel)
                except (RequestCancelled, ConnectionClosed) as error:
                    failures.append(error)
                ended.set()

            threading.Thread(target=call_it).start()
            deadline = time.monotonic() + LONG
            while not client._keeper._session._transport._pauses._waiting:
                assert time.monotonic() < deadline
                ended.wait(0.01)
            with within(0, SOON):
                cancel.cancel() if how == "cancel" else client.close()
                assert ended.wait(LONG)
        assert resumable.gets == []
    (failure,) = failures
    assert type(failure) is (RequestCancelled if how == "cancel" else ConnectionClosed)
    assert failure.maybe_executed


def test_what_comes_on_the_second_stream_before_the_answer_is_handed_on():
    heard = []

    def rest(reply):
        note = {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": reply["id"], "progress": 0.5},
        }
        ping = {"jsonrpc": "2.0", "id": "from the server", "method": "ping"}
        return stream(event(note), event(ping), event(reply))

    with Resumable([PRIMING], rest) as resumable:
        progress = lambda *said: heard.append(said)  # noqa: E731
        assert call(resumable, progress_callback=progress) == "done"
        answers = [
            request.json
            for request in resumable.server.requests
            if request.body and request.json.get("id") == "from the server"
        ]
    assert heard == [(0.5, None, None)]
    assert answers == [{"jsonrpc": "2.0", "id": "from the server", "result": {}}]


def test_calls_of_many_threads_go_on_with_their_own_streams():
    barrier = threading.Barrier(4, timeout=LONG)

    def begin(request):
        barrier.wait()
        return stream(f"id: of-{request.json['id']}\nretry: 100\ndata:\n\n".encode())

    def go_on(request):
        asked = int(request.headers["last-event-id"].removeprefix("of-"))
        text = {"content": [{"type": "text", "text": f"for {asked}"}]}
        return stream(event({"jsonrpc": "2.0", "id": asked, "result": text}))

    found = []
    with (
        ScriptedMCP(tools__call=begin, GET=go_on) as server,
        Client(server.url, mode="legacy", timeout=LONG) as client,
    ):
        client.connect()
        threads = [
            threading.Thread(target=lambda: found.append(client.call_tool("add"))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert len({result.content[0].text for result in found}) == 4


def test_a_handshake_that_is_cut_is_gone_on_with_in_its_new_session():
    asked = {}

    def greet(request):
        asked["id"] = request.json["id"]
        return stream(PRIMING, headers="Mcp-Session-Id: s7\r\n")

    def go_on(request):
        asked["session"] = request.headers.get("mcp-session-id")
        return stream(event({"jsonrpc": "2.0", "id": asked["id"], "result": INITIALIZED}))

    with (
        ScriptedMCP(initialize=greet, GET=go_on) as server,
        Client(server.url, mode="legacy", timeout=LONG) as client,
    ):
        assert client.call_tool("add").content[0].text == "done"
    assert asked["session"] == "s7"


def test_the_modern_era_knows_no_resumption():
    with (
        ScriptedMCP(tools__call=stream(PRIMING)) as server,
        Client(server.url, mode="2026-07-28", timeout=LONG) as client,
    ):
        with pytest.raises(ConnectionLost) as caught:
            client.call_tool("add")
        assert "GET" not in server.methods
    assert caught.value.maybe_executed


def test_an_answer_in_json_needs_no_second_request():
    with (
        ScriptedMCP(tools__call=lambda request: result(request, DONE)) as server,
        Client(server.url, mode="legacy", timeout=LONG) as client,
    ):
        client.call_tool("add")
        assert "GET" not in server.methods
