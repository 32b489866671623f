"""What the test server offers can be changed while it runs, and it can say so."""

import pytest

from mcpsync.testing import LocalServer

CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}


@pytest.fixture(params=["legacy", "modern"])
def era(request):
    return request.param


@pytest.fixture
def server(era):
    with LocalServer(era=era) as server:
        yield server


@pytest.fixture
def ask(server, era, connect):
    client = connect(server)
    if era == "legacy":
        client.handshake()
    return getattr(client, era)


def listed(answer):
    return [tool["name"] for tool in answer.result["tools"]]


def test_it_offers_the_tools_that_it_was_told_to(server, ask):
    server.tools = ["echo", "add"]
    assert server.tools == ["echo", "add"]
    assert listed(ask("tools/list")) == ["echo", "add"]
    assert ask("tools/call", {"name": "counter", "arguments": {}}).error["code"] == -32602


def test_a_new_tool_answers_with_a_text(server, ask):
    server.tools = [*server.tools, {"name": "weather"}]
    assert ask("tools/list").result["tools"][-1] == {
        "name": "weather",
        "inputSchema": {"type": "object"},
    }
    answer = ask("tools/call", {"name": "weather", "arguments": {"where": "Bergen"}})
    assert answer.result["content"] == [{"type": "text", "text": "weather was called"}]
    assert server.executions == {"weather": 1}


def test_new_tools_stay_known_by_name(server):
    server.tools = ["add", {"name": "weather"}]
    server.tools = ["weather", "echo"]
    assert server.tools == ["weather", "echo"]


def test_a_name_that_it_does_not_know_is_refused(server):
    with pytest.raises(ValueError, match="no tool 'weather'"):
        server.tools = ["weather"]
    assert "add" in server.tools


def test_without_tools_it_does_not_know_the_word(server, ask):
    server.tools = None
    assert server.tools is None
    assert ask("tools/list").error["code"] == -32601


@pytest.mark.parametrize("tools", [None, ["add"]])
def test_it_says_whether_it_has_tools(tools, era, connect):
    with LocalServer(era=era) as server:
        server.tools = tools
        client = connect(server)
        answer = client.handshake() if era == "legacy" else client.modern("server/discover")
        assert answer.result["capabilities"].get("tools") == (
            None if tools is None else {"listChanged": True}
        )


def test_a_change_is_announced_in_the_midst_of_the_next_call(server, ask):
    server.announce_tools_changed(times=2)
    assert ask("tools/list").messages[0]["result"], "no call: nothing is said yet"
    answer = ask("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.messages[:2] == [CHANGED, CHANGED]
    assert answer.result["content"][0]["text"] == "hi"
    again = ask("tools/call", {"name": "echo", "arguments": {"text": "hi"}})
    assert len(again.messages) == 1, "once"
