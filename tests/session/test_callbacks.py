"""What comes before an answer: heard on the thread that waits, and never in the answer's way."""

import logging
import threading

import mcp_types
import pytest

from mcpsync import Client
from mcpsync.config import StdioServerConfig
from mcpsync.testing import Fault, LocalServer, stdio_command
from transports.door import LONG
from transports.peer import DONE, ScriptedMCP, event, stream

MODERN = "2026-07-28"


def stdio(era):
    command, *arguments = stdio_command(era)
    return StdioServerConfig(command=command, args=tuple(arguments))


@pytest.fixture(params=["http legacy", "http modern", "stdio legacy", "stdio modern"])
def target(request):
    transport, era = request.param.split()
    if transport == "stdio":
        yield stdio(era)
    else:
        with LocalServer(era) as server:
            yield server.url


def before(*messages):
    """An answer in a stream, with these messages before it."""

    def answer(request):
        events = [event({"jsonrpc": "2.0", **message}) for message in messages]
        reply = {"jsonrpc": "2.0", "id": request.json["id"], "result": DONE}
        return stream(*events, event(reply))

    return answer


def test_progress_is_heard_on_the_thread_that_waits(target):
    heard = []
    with Client(target, timeout=LONG) as client:
        client.call_tool(
            "slow",
            {"seconds": 0.05, "steps": 3},
            progress_callback=lambda *said: heard.append((threading.current_thread(), *said)),
        )
    me = threading.current_thread()
    assert heard == [(me, n, 3, f"step {n} of 3") for n in (1, 2, 3)]


def test_progress_is_not_asked_for_when_nobody_listens(target):
    with Client(target, timeout=LONG) as client:
        assert client.call_tool("slow", {"seconds": 0.02, "steps": 2}).content


def test_log_messages_are_heard_on_the_thread_that_waits(target):
    heard = []

    def listen(params):
        heard.append((threading.current_thread(), type(params), params.level, params.data))

    with Client(target, timeout=LONG, logging_callback=listen, log_level="debug") as client:
        client.call_tool("log", {"level": "warning", "message": "careful"})
    kind = mcp_types.LoggingMessageNotificationParams
    assert heard == [(threading.current_thread(), kind, "warning", "careful")]


def test_a_callback_that_raises_does_not_lose_the_result(target, caplog):
    def fail(*_):
        raise RuntimeError("the callback is broken")

    with Client(target, timeout=LONG, logging_callback=fail, log_level="debug") as client:
        found = client.call_tool("log", {"level": "error", "message": "m"})
        assert found.content[0].text == "logged"
        slow = client.call_tool("slow", {"seconds": 0.02, "steps": 2}, progress_callback=fail)
        assert slow.content
    assert "the callback is broken" in caplog.text


def test_an_interrupt_in_a_callback_is_not_swallowed():
    def interrupt(*_):
        raise KeyboardInterrupt

    with LocalServer() as server, Client(server.url) as client:
        with pytest.raises(KeyboardInterrupt):
            client.call_tool("slow", {"seconds": LONG, "steps": 50}, progress_callback=interrupt)
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_a_callback_may_call_the_same_client(target):
    heard = []

    def ask(progress, *_):
        heard.append(client.call_tool("echo", {"text": str(progress)}).content[0].text)

    with Client(target, timeout=LONG) as client:
        client.call_tool("slow", {"seconds": 0.02, "steps": 2}, progress_callback=ask)
    assert [float(text) for text in heard] == [1, 2]


def test_progress_of_another_call_is_not_heard():
    other = {
        "method": "notifications/progress",
        "params": {"progressToken": "another", "progress": 1},
    }
    heard = []
    with (
        ScriptedMCP(tools__call=before(other)) as server,
        Client(server.url, mode=MODERN) as client,
    ):
        assert client.call_tool("add", progress_callback=lambda *said: heard.append(said)).content
    assert heard == []


def test_a_token_of_ones_own_is_kept():
    heard = []

    def answer(request):
        token = request.json["params"]["_meta"]["progressToken"]
        params = {"progressToken": token, "progress": 0.5}
        return before({"method": "notifications/progress", "params": params})(request)

    with ScriptedMCP(tools__call=answer) as server, Client(server.url, mode=MODERN) as client:
        client.call_tool(
            "add",
            meta={"progressToken": "mine"},
            progress_callback=lambda *said: heard.append(said),
        )
        assert server.requests[-1].json["params"]["_meta"]["progressToken"] == "mine"
    assert heard == [(0.5, None, None)]


def test_other_notifications_go_to_the_message_handler_as_models():
    heard = []
    notes = before(
        {"method": "notifications/tools/list_changed"},
        {"method": "notifications/resources/updated", "params": {"uri": "test://x"}},
    )
    with (
        ScriptedMCP(tools__call=notes) as server,
        Client(server.url, mode="legacy", message_handler=heard.append) as client,
    ):
        client.call_tool("add")
    assert [type(message) for message in heard] == [
        mcp_types.ToolListChangedNotification,
        mcp_types.ResourceUpdatedNotification,
    ]


BAD_NOTES = {
    "unknown": {"method": "notifications/new", "params": {"a": 1}},
    "without params": {"method": "notifications/progress"},
    "progress without a number": {
        "method": "notifications/progress",
        "params": {"progressToken": 1},
    },
    "a log message that is none": {"method": "notifications/message", "params": {"level": "odd"}},
    "no notification at all": {"method": "", "params": {}},
}


@pytest.mark.parametrize("note", BAD_NOTES.values(), ids=BAD_NOTES)
@pytest.mark.parametrize("mode", ["legacy", MODERN])
def test_a_note_that_is_odd_does_not_lose_the_result(note, mode):
    with (
        ScriptedMCP(tools__call=before(note)) as server,
        Client(server.url, mode=mode, logging_callback=print, message_handler=print) as client,
    ):
        assert client.call_tool("add", progress_callback=print).content[0].text == "done"


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_a_ping_on_the_stream_is_answered(answer):
    with LocalServer("legacy", answer=answer) as server, Client(server.url) as client:
        server.inject(Fault.PING_FIRST, "tools/call")
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        (reply,) = server.replies
        asked = next(r for r in server.requests if r.rpc_method == "tools/call")
        sent = next(r for r in server.requests if r.body and "result" in r.body)
    assert reply == {"jsonrpc": "2.0", "id": asked.request_id, "result": {}}
    assert sent.session_id == asked.session_id


def test_an_unknown_request_of_the_server_is_declined():
    with LocalServer("legacy") as server, Client(server.url) as client:
        server.inject(Fault.UNKNOWN_REQUEST_FIRST, "tools/call")
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        (reply,) = server.replies
    assert reply["error"]["code"] == -32601
    assert "testing/unknown" in reply["error"]["message"]


def test_a_reply_that_the_server_does_not_take_does_not_lose_the_result(caplog):
    def answer(request):
        return before({"id": 7, "method": "ping"})(request)

    def refuse(request):
        return stream() if request.rpc else b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"

    with (
        ScriptedMCP(tools__call=answer, POST=refuse) as server,
        Client(server.url, mode="legacy") as client,
        caplog.at_level(logging.WARNING),
    ):
        assert client.call_tool("add").content[0].text == "done"
    assert "a reply to the server was not accepted" in caplog.text


def test_a_request_of_a_server_in_the_stateless_era_does_no_harm():
    with (
        ScriptedMCP(tools__call=before({"id": 7, "method": "ping"})) as server,
        Client(server.url, mode=MODERN) as client,
    ):
        assert client.call_tool("add").content[0].text == "done"
        assert server.methods == ["tools/call"], "clients of this era send no responses (M6)"


def test_what_comes_after_the_answer_is_nobodys():
    def answer(request):
        late = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}
        reply = {"jsonrpc": "2.0", "id": request.json["id"], "result": DONE}
        return stream(event(reply), event(late))

    heard = []
    with (
        ScriptedMCP(tools__call=answer) as server,
        Client(server.url, mode=MODERN, logging_callback=heard.append) as client,
    ):
        assert client.call_tool("add").content
        assert client.call_tool("add").content
    assert heard == []


def test_two_calls_hear_their_own_progress_only():
    heard = {"a": set(), "b": set()}

    def call(name):
        client.call_tool(
            "slow",
            {"seconds": 0.1, "steps": 5 if name == "a" else 7},
            progress_callback=lambda _, total, __: heard[name].add(total),
        )

    with LocalServer() as server, Client(server.url) as client:
        threads = [threading.Thread(target=call, args=(name,)) for name in heard]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert heard == {"a": {5}, "b": {7}}
