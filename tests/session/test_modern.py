"""The stateless era: what each request says, and what each result is."""

import pytest

from mcpsync import Client, InputRequired, MCPError, MessageInvalid, UnsupportedProtocolVersion
from mcpsync.testing import LocalServer
from transports.peer import DONE, ScriptedMCP, error, result

MODERN = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"


def call_with(answer):
    """The result of a tool whose answer is this."""
    with (
        ScriptedMCP(tools__call=lambda r: result(r, answer)) as server,
        Client(server.url, mode=MODERN) as client,
    ):
        return client.call_tool("add")


# -- resultType ------------------------------------------------------------------------------


def test_a_result_without_a_type_is_complete():
    assert call_with(DONE).content[0].text == "done"


def test_every_method_of_a_server_that_leaves_the_type_out_works():
    with LocalServer("modern", omit_result_type=True) as server, Client(server.url) as client:
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        assert list(client.tools())
        assert list(client.resources())
        assert list(client.resource_templates())
        assert list(client.prompts())
        assert client.read_resource("test://notes/one").contents
        assert client.get_prompt("summary").messages


@pytest.mark.parametrize("kind", ["task", "done", "", "Complete", None, 5])
def test_a_result_of_an_unknown_type_is_invalid(kind):
    with pytest.raises(MessageInvalid, match="resultType") as caught:
        call_with({**DONE, "resultType": kind})
    assert repr(kind) in str(caught.value)
    assert caught.value.maybe_executed


def test_a_server_that_wants_input_first_is_told_of():
    wanted = {
        "resultType": "input_required",
        "inputRequests": {"name": {"method": "elicitation/create", "params": {}}},
        "requestState": "opaque",
    }
    with pytest.raises(InputRequired) as caught:
        call_with(wanted)
    assert caught.value.result == wanted
    assert caught.value.tool_name == "add"


def test_a_type_means_nothing_to_a_legacy_server():
    with (
        ScriptedMCP(tools__call=lambda r: result(r, {**DONE, "resultType": "odd"})) as server,
        Client(server.url, mode="legacy") as client,
    ):
        assert client.call_tool("add").content


# -- versions --------------------------------------------------------------------------------


def test_a_version_that_is_refused_is_negotiated_once():
    answers = iter([("supported", [MODERN, "2099-01-01"])])

    def call(request):
        data = next(answers, None)
        if data is None:
            return result(request, DONE)
        return error(request, -32022, "Unsupported", dict([data]), status="400 Bad Request")

    with ScriptedMCP(tools__call=call) as server, Client(server.url, mode=MODERN) as client:
        assert client.call_tool("add").content
    ids = [request.json["id"] for request in server.requests]
    assert len(ids) == len(set(ids)) == 2


def test_a_version_that_is_refused_for_ever_is_refused():
    def call(request):
        data = {"supported": [MODERN], "requested": MODERN}
        return error(request, -32022, "Unsupported", data, status="400 Bad Request")

    with ScriptedMCP(tools__call=call) as server, Client(server.url, mode=MODERN) as client:
        with pytest.raises((MCPError, UnsupportedProtocolVersion)) as caught:
            client.call_tool("add")
        assert len(server.requests) == 2
    assert not caught.value.maybe_executed


def test_a_server_of_other_versions_only_is_told_of():
    def call(request):
        data = {"supported": ["2099-01-01"], "requested": MODERN}
        return error(request, -32022, "Unsupported", data, status="400 Bad Request")

    with ScriptedMCP(tools__call=call) as server, Client(server.url, mode=MODERN) as client:
        with pytest.raises(UnsupportedProtocolVersion, match="2099-01-01") as caught:
            client.call_tool("add")
        assert len(server.requests) == 1
    assert caught.value.supported == ("2099-01-01",)


# -- the envelope ----------------------------------------------------------------------------


def test_every_request_says_who_asks_and_in_which_version():
    with LocalServer("modern") as server, Client(server.url) as client:
        client.call_tool("add", {"a": 1, "b": 2})
        client.list_tools()
        client.read_resource("test://notes/one")
        client.get_prompt("summary")
        assert server.violations == []
        metas = [request.body["params"]["_meta"] for request in server.requests]
    assert len(metas) == 5
    for meta in metas:
        assert meta[PREFIX + "protocolVersion"] == MODERN
        assert meta[PREFIX + "clientCapabilities"] == {}
        assert meta[PREFIX + "clientInfo"]["name"] == "mcpsync"
        assert PREFIX + "logLevel" not in meta
        assert "progressToken" not in meta


def test_log_messages_are_asked_for_when_somebody_listens():
    with LocalServer("modern") as server, Client(server.url, log_level="error") as client:
        client.call_tool("add", {"a": 1, "b": 2})
        for request in server.requests:
            assert request.body["params"]["_meta"][PREFIX + "logLevel"] == "error"


def test_progress_is_asked_for_when_somebody_listens():
    tokens = []
    with LocalServer("modern") as server, Client(server.url) as client:
        for _ in range(2):
            client.call_tool("echo", {"text": ""}, progress_callback=print)
            tokens.append(server.requests[-1].body["params"]["_meta"]["progressToken"])
    assert tokens[0] != tokens[1]
    assert all(type(token) in (int, str) for token in tokens)


def test_a_call_may_say_more_and_choose_its_own_log_level():
    more = {PREFIX + "logLevel": "debug", "example.com/x": 1}
    with LocalServer("modern") as server, Client(server.url, log_level="error") as client:
        client.call_tool("add", {"a": 1, "b": 2}, meta=more)
        meta = server.requests[-1].body["params"]["_meta"]
    assert meta.items() >= more.items()
    assert meta[PREFIX + "protocolVersion"] == MODERN


def test_what_a_server_calls_itself_changes_nothing():
    odd = {"supportedVersions": [MODERN], "capabilities": {}, "_meta": {PREFIX + "serverInfo": 5}}
    with (
        ScriptedMCP(server__discover=lambda r: result(r, odd)) as server,
        Client(server.url) as client,
    ):
        assert client.call_tool("add").content
        assert client.server_info is None
