"""What both eras share: one POST, and its answer as JSON or as events."""

import gzip
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mcpsync import (
    AuthorizationRequired,
    Client,
    ConnectionLost,
    HTTPStatusError,
    Limits,
    MCPError,
    MCPSyncError,
    MessageInvalid,
    RateLimited,
    ResponseTooLarge,
)
from mcpsync.testing import Fault, LocalServer
from transports.door import LONG, SOON, within
from transports.peer import (
    DISCOVERED,
    DONE,
    RawServer,
    Reply,
    ScriptedMCP,
    chunk,
    event,
    response,
    result,
    stream,
)

MODERN = "2026-07-28"


def ask(answer, mode=MODERN, **options):
    """Call a tool whose answer is this; return the text of the result."""
    with (
        ScriptedMCP(tools__call=answer) as server,
        Client(server.url, mode=mode, timeout=LONG, **options) as client,
    ):
        return client.call_tool("add").content[0].text


def reply_to(request, value=DONE):
    return {"jsonrpc": "2.0", "id": request.json["id"], "result": value}


# -- the forms of an answer ------------------------------------------------------------------


FRAMINGS = {
    "the usual": lambda data: [b"event: message\ndata: " + data + b"\n\n"],
    "no event name": lambda data: [b"data: " + data + b"\n\n"],
    "no space": lambda data: [b"data:" + data + b"\n\n"],
    "CRLF": lambda data: [b"event: message\r\ndata: " + data + b"\r\n\r\n"],
    "CR": lambda data: [b"event: message\rdata: " + data + b"\r\r"],
    "a byte order mark": lambda data: [b"\xef\xbb\xbfdata: " + data + b"\n\n"],
    "a split byte order mark": lambda data: [b"\xef\xbb", b"\xbfdata: " + data + b"\n\n"],
    "comments": lambda data: [b": hello\n\n", b":\ndata: " + data + b"\n:\n\n"],
    "fields nobody knows": lambda data: [b"colour: red\ndata: " + data + b"\nx\n\n"],
    "ids and retries": lambda data: [b"id: 1\nretry: 5\n\nid: 2\ndata: " + data + b"\n\n"],
    "a priming event": lambda data: [b"id: 1\ndata:\n\ndata: " + data + b"\n\n"],
    "other events": lambda data: [
        b"event: beat\ndata: x\n\nevent: message\ndata: " + data + b"\n\n"
    ],
    "byte by byte": lambda data: [bytes([b]) for b in b"data: " + data + b"\n\n"],
    "CRLF byte by byte": lambda data: [bytes([b]) for b in b"data: " + data + b"\r\n\r\n"],
    "many lines": lambda data: [
        b"\n".join(
            b"data: " + line
            for line in json.dumps(json.loads(data), indent=1).encode().split(b"\n")
        )
        + b"\n\n"
    ],
    "after much else": lambda data: (
        [b": " + b"x" * 5000 + b"\n\n"] * 20 + [b"data: " + data + b"\n\n"]
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_an_event_is_understood_however_it_is_framed(framing):
    def answer(request):
        data = json.dumps(reply_to(request), ensure_ascii=False).encode()
        return stream(*framing(data))

    assert ask(answer) == "done"


def test_text_that_is_cut_inside_a_character_is_whole_again():
    def answer(request):
        value = {"content": [{"type": "text", "text": "Zwölf ✓ 🎉"}]}
        data = json.dumps(reply_to(request, value), ensure_ascii=False).encode()
        return stream(*(bytes([byte]) for byte in b"data: " + data + b"\n\n"))

    assert ask(answer) == "Zwölf ✓ 🎉"


@pytest.mark.parametrize(
    "fault", [Fault.SSE_BOM, Fault.SSE_COMMENTS, Fault.SSE_CRLF_SPLIT, Fault.BATCH]
)
@pytest.mark.parametrize("answer", ["json", "sse"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_odd_answers_of_the_test_server_are_understood(fault, answer, era):
    with LocalServer(era, answer) as server, Client(server.url, timeout=LONG) as client:
        client.connect()
        server.inject(fault, "tools/call")
        assert client.call_tool("echo", {"text": "Zwölf ✓"}).content[0].text == "Zwölf ✓"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", ""])
def test_json_is_understood_by_its_type(kind):
    assert ask(lambda r: Reply(reply_to(r), kind=kind)) == "done"


def test_json_with_a_byte_order_mark_is_understood():
    def answer(request):
        return Reply(b"\xef\xbb\xbf" + json.dumps(reply_to(request)).encode())

    assert ask(answer) == "done"


def test_an_answer_that_unpacks_is_unpacked():

    def answer(request):
        packed = gzip.compress(json.dumps(reply_to(request)).encode())
        return response(packed, Content_Encoding="gzip")

    assert ask(answer) == "done"


@pytest.mark.parametrize("place", ["before", "after", "between"])
def test_an_array_of_messages_is_taken_apart(place):
    def answer(request):
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": NOTE}
        order = {
            "before": [note, reply_to(request)],
            "after": [reply_to(request), note],
            "between": [note, reply_to(request), note],
        }
        return Reply(order[place])

    heard = []
    assert ask(answer, "legacy", logging_callback=heard.append) == "done"
    assert [params.data for params in heard] == ["hello"] * (2 if place == "between" else 1)


NOTE = {"level": "info", "data": "hello"}


def test_an_array_in_an_event_is_taken_apart():
    def answer(request):
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": NOTE}
        return stream(event([note, reply_to(request)]))

    heard = []
    assert ask(answer, "legacy", logging_callback=heard.append) == "done"
    assert len(heard) == 1


def test_a_stream_that_stays_open_after_the_answer_is_left():
    def answers_and_stays(peer):
        while (request := peer.read()) is not None:
            head = response(
                kind="text/event-stream", Content_Length="", Transfer_Encoding="chunked"
            )
            peer.send(head + chunk(event(reply_to(request))))

    with RawServer(answers_and_stays) as server, Client(server.url, mode=MODERN) as client:
        with within(0, SOON):
            assert client.call_tool("add").content[0].text == "done"
        assert client.call_tool("add").content[0].text == "done"


def test_the_socket_of_a_stream_that_ended_is_used_again():
    with LocalServer("modern", "sse") as server, Client(server.url) as client:
        for _ in range(5):
            client.call_tool("add", {"a": 1, "b": 2})
        assert server.connections_opened == 1


# -- what is no answer -----------------------------------------------------------------------


BAD_ANSWERS = {
    "nothing": Reply(b""),
    "white space": Reply(b" \n"),
    "202": Reply(b"", "202 Accepted", ""),
    "204": Reply(b"", "204 No Content", ""),
    "no JSON": Reply(b"}{"),
    "half of JSON": Reply(b'{"jsonrpc": "2.0", "id": 1, "resu'),
    "a number": Reply(b"42"),
    "a text": Reply(b'"hello"'),
    "null": Reply(b"null"),
    "an empty array": Reply(b"[]"),
    "an array of numbers": Reply(b"[1]"),
    "no version": lambda r: Reply({"id": r.json["id"], "result": DONE}),
    "another version": lambda r: Reply({"jsonrpc": "1.0", "id": r.json["id"], "result": DONE}),
    "another id": lambda r: Reply({"jsonrpc": "2.0", "id": 99, "result": DONE}),
    "the id as text": lambda r: Reply({"jsonrpc": "2.0", "id": str(r.json["id"]), "result": DONE}),
    "no id": Reply({"jsonrpc": "2.0", "result": DONE}),
    "an id of null": Reply({"jsonrpc": "2.0", "id": None, "result": DONE}),
    "neither result nor error": lambda r: Reply({"jsonrpc": "2.0", "id": r.json["id"]}),
    "a result that is no object": lambda r: Reply(reply_to(r, [1])),
    "a result of null": lambda r: Reply(reply_to(r, None)),
    "an error that is no object": lambda r: Reply(
        {"jsonrpc": "2.0", "id": r.json["id"], "error": "no"}
    ),
    "an error without a code": lambda r: Reply(
        {"jsonrpc": "2.0", "id": r.json["id"], "error": {"message": "no"}}
    ),
    "only a notification": Reply({"jsonrpc": "2.0", "method": "notifications/message"}),
    "params that are no object": Reply({"jsonrpc": "2.0", "method": "x", "params": [1]}),
    "deep nesting": Reply(b"[" * 100_000 + b"]" * 100_000),
    "not UTF-8": Reply(b'{"jsonrpc": "2.0", "id": 1, "result": "\xff"}'),
    "a page": Reply(b"<html>", kind="text/html"),
    "text": Reply(b"hello", kind="text/plain"),
    "an event that is no JSON": stream(b"data: hello\n\n"),
    "an event that is not UTF-8": stream(b"data: \xff\n\n"),
    "an event with another id": stream(event({"jsonrpc": "2.0", "id": 99, "result": DONE})),
}


@pytest.mark.parametrize("mode", ["legacy", MODERN])
@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_what_is_no_answer_is_said_to_be_none(answer, mode):
    with ScriptedMCP(tools__call=answer) as server:
        with Client(server.url, mode=mode, server_name="crm", timeout=LONG) as client:
            with pytest.raises(MessageInvalid) as caught:
                client.call_tool("add")
            server.on("tools/call", lambda r: result(r, DONE))
            assert client.call_tool("add").content
        assert server.methods.count("tools/call") == 2
    assert caught.value.maybe_executed
    assert str(caught.value).startswith("server 'crm', tool 'add': ")
    assert len(str(caught.value)) < 400


ENDS = {
    "an empty stream": stream(),
    "a comment": stream(b": working\n\n"),
    "an event that is not finished": stream(b'data: {"jsonrpc": "2.0"'),
    "a note": stream(event({"jsonrpc": "2.0", "method": "notifications/x"})),
    "a priming event": stream(b"id: 1\ndata:\n\n"),
}


@pytest.mark.parametrize("answer", ENDS.values(), ids=ENDS)
def test_a_stream_that_ends_before_the_answer_is_a_lost_connection(answer):
    with pytest.raises(ConnectionLost, match="before it had answered") as caught:
        ask(answer)
    assert caught.value.maybe_executed


def test_a_line_larger_than_the_limit_is_refused():
    with pytest.raises(ResponseTooLarge, match="line of more than 1000 bytes") as caught:
        ask(stream(b"data: " + b"x" * 5000), limits=Limits(max_line_bytes=1000))
    assert caught.value.limit == 1000
    assert caught.value.maybe_executed


def test_many_lines_within_the_limit_are_not():
    def answer(request):
        lines = [b": " + b"x" * 900 + b"\n\n"] * 50
        return stream(*lines, event(reply_to(request)))

    assert ask(answer, limits=Limits(max_line_bytes=1000)) == "done"


def test_an_event_of_many_small_lines_is_limited_too():
    many = b"data: x\n" * 50_000
    with pytest.raises(ResponseTooLarge):
        ask(stream(many), limits=Limits(max_line_bytes=1000, max_response_bytes=100_000))


# -- statuses --------------------------------------------------------------------------------


def status(line, body=b"", kind="text/plain", **headers):
    return Reply(body, line, kind, headers)


@pytest.mark.parametrize("code", [400, 404, 405, 413, 431, 500, 502, 503, 504])
def test_a_status_that_means_failure(code):
    with pytest.raises(HTTPStatusError, match=str(code)) as caught:
        ask(status(f"{code} No"))
    assert caught.value.status == code
    assert caught.value.maybe_executed is (code >= 500)
    assert caught.value.retryable is (code in (502, 503, 504))


def test_a_failure_of_a_method_that_changes_nothing_was_not_run():
    with (
        ScriptedMCP(tools__list=status("500 No")) as server,
        Client(server.url, mode=MODERN) as client,
        pytest.raises(HTTPStatusError) as caught,
    ):
        client.list_tools()
    assert not caught.value.maybe_executed


def test_a_page_hints_at_a_wrong_url():
    with pytest.raises(HTTPStatusError, match="is the URL that of an MCP endpoint"):
        ask(status("404 Not Found", b"<html>", "text/html; charset=utf-8"))


def test_a_json_rpc_error_in_a_failure_is_the_error():
    body = {"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32602, "message": "Odd"}}
    with pytest.raises(MCPError, match="Odd") as caught:
        ask(Reply(body, "400 Bad Request"))
    assert (caught.value.code, caught.value.status) == (-32602, 400)
    assert not caught.value.maybe_executed


@pytest.mark.parametrize(
    ("code", "maybe"),
    [(-32700, False), (-32600, False), (-32601, False), (-32602, False), (-32603, True), (1, True)],
)
def test_whether_an_error_means_that_it_was_run(code, maybe):
    def answer(request):
        error = {"code": code, "message": "no", "data": {"a": 1}}
        return Reply({"jsonrpc": "2.0", "id": request.json["id"], "error": error})

    with pytest.raises(MCPError) as caught:
        ask(answer)
    assert caught.value.maybe_executed is maybe
    assert caught.value.data == {"a": 1}
    assert f"(code {code})" in str(caught.value)


def test_401_wants_other_credentials():
    with pytest.raises(AuthorizationRequired, match="401") as caught:
        ask(status("401 Unauthorized", WWW_Authenticate='Bearer realm="x"'))
    assert caught.value.challenge == 'Bearer realm="x"'
    assert not caught.value.maybe_executed


@pytest.mark.parametrize("code", ["401 Unauthorized", "429 Too Many Requests"])
def test_a_refusal_counts_even_if_its_body_does_not_come(code):
    def cut(request):
        head = f"HTTP/1.1 {code}\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf"
        return head.encode()

    expected = AuthorizationRequired if code.startswith("401") else RateLimited
    with pytest.raises(expected) as caught:
        ask(cut)
    assert not caught.value.maybe_executed


def test_a_refusal_counts_even_if_its_body_is_too_large():
    with pytest.raises(AuthorizationRequired):
        ask(status("401 Unauthorized", b"x" * 5000), limits=Limits(max_response_bytes=1000))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("1e3", None),
        ("\u00b2", None),
    ],
)
def test_429_says_how_long_to_wait(value, seconds):
    with pytest.raises(RateLimited) as caught:
        ask(status("429 Too Many Requests", Retry_After=value))
    assert caught.value.retry_after == seconds
    assert caught.value.retryable
    assert not caught.value.maybe_executed


def test_429_may_say_until_when_to_wait():
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    with pytest.raises(RateLimited) as caught:
        ask(status("429 Too Many Requests", Retry_After=until))
    assert 50 < caught.value.retry_after <= 60


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 01 Jan 20266666666666666 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +9999999999999",
        "01 Jan 2024 99999999999999999999:00 GMT",
        "soon",
    ],
)
def test_a_retry_after_that_is_no_date_says_nothing(value):
    with pytest.raises(RateLimited) as caught:
        ask(status("429 Too Many Requests", Retry_After=value))
    assert caught.value.retry_after is None


def test_a_retry_after_in_the_oldest_form_of_a_date_is_in_greenwich_time():
    until = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%a %b %d %H:%M:%S %Y")
    with pytest.raises(RateLimited) as caught:
        ask(status("429 Too Many Requests", Retry_After=until))
    assert 50 < caught.value.retry_after <= 60


# -- repeating -------------------------------------------------------------------------------


SAFE = {
    "tools/list": lambda c: c.list_tools(),
    "resources/list": lambda c: c.list_resources(),
    "resources/templates/list": lambda c: c.list_resource_templates(),
    "resources/read": lambda c: c.read_resource("test://notes/one"),
    "prompts/list": lambda c: c.list_prompts(),
    "prompts/get": lambda c: c.get_prompt("summary"),
    "completion/complete": lambda c: c.complete(
        {"type": "ref/prompt", "name": "greet"}, {"name": "name", "value": "a"}
    ),
}


@pytest.mark.parametrize("method", SAFE)
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_what_changes_nothing_is_asked_again_when_a_kept_socket_was_closed(method, era):
    with LocalServer(era) as server, Client(server.url) as client:
        client.connect()
        server.inject(Fault.DIE_BEFORE_ANSWER, method)
        SAFE[method](client)
        assert [r.rpc_method for r in server.requests].count(method) == 2
        assert server.violations == []


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_tool_is_never_called_again(era):
    with LocalServer(era) as server, Client(server.url) as client:
        client.connect()
        server.inject(Fault.DIE_BEFORE_ANSWER, "tools/call")
        with pytest.raises(ConnectionLost, match="without an answer") as caught:
            client.call_tool("counter")
        assert server.executions == {"counter": 1}
        assert caught.value.maybe_executed
        assert caught.value.retryable
        assert str(caught.value).endswith("The server may have run it, and it was not repeated.")
        assert client.call_tool("counter").structured_content["total"] == 2


def test_what_changes_nothing_is_asked_again_once_only():
    with LocalServer() as server, Client(server.url) as client:
        client.connect()
        server.inject(Fault.DIE_BEFORE_ANSWER, "tools/list", times=None)
        with pytest.raises(ConnectionLost):
            client.list_tools()
        assert [r.rpc_method for r in server.requests].count("tools/list") == 2


def test_a_fresh_socket_that_was_closed_is_not_asked_again():
    seen = []

    def closes(peer):
        seen.append(peer.read())

    with RawServer(closes) as server, Client(server.url, mode=MODERN) as client:
        with pytest.raises(ConnectionLost):
            client.list_tools()
        assert server.accepted == len(seen) == 1


def test_an_answer_that_has_begun_is_not_asked_for_again():
    with LocalServer() as server, Client(server.url) as client:
        client.connect()
        for fault in (Fault.DIE_MID_HEADERS, Fault.DIE_MID_ANSWER):
            server.inject(fault, "tools/list")
            with pytest.raises(ConnectionLost) as caught:
                client.list_tools()
            assert caught.value.maybe_executed
        assert [r.rpc_method for r in server.requests].count("tools/list") == 2


def test_a_tool_whose_request_never_left_is_called_again(monkeypatch):

    with LocalServer("modern") as server, Client(server.url, mode=MODERN) as client:
        client.call_tool("counter")
        _, pool = client._keeper._session._transport._endpoint._current_route()
        pooled = next(conn for conn in pool.pool.queue if conn is not None)
        pooled.sock.shutdown(socket.SHUT_RDWR)
        # as if it were cut right after the pool had looked
        monkeypatch.setattr("urllib3.connectionpool.is_connection_dropped", lambda _: False)
        assert client.call_tool("counter").structured_content["total"] == 2
        assert server.executions == {"counter": 2}


def test_a_large_request_whose_start_left_is_not_repeated():
    def reads_a_little(peer):
        request = peer.read() if peer.number == 1 else None
        if request is not None:
            peer.send(result(request, DISCOVERED).to_bytes())
        peer.sock.recv(1000)

    with RawServer(reads_a_little) as server, Client(server.url) as client:
        client.connect()
        with pytest.raises(MCPSyncError) as caught:
            client.call_tool("add", {"text": "x" * 20_000_000})
    assert caught.value.maybe_executed
