"""The exact requests: ``responses`` shows what would go out, byte for byte."""

import json

import pytest
import responses

from mcpsync import Client, ConnectError, __version__
from transports.peer import DISCOVERED, DONE, INITIALIZED

URL = "https://mcp.example/mcp"
INFO = {"name": "mcpsync", "version": __version__}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": INFO,
    "io.modelcontextprotocol/clientCapabilities": {},
}
ALWAYS = {
    "user-agent": f"mcpsync/{__version__}",
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}


def answer(request):
    """What a server of both eras says, without a socket."""
    if request.method == "DELETE":
        return 200, {}, ""
    message = json.loads(request.body)
    if "id" not in message:
        return 202, {}, ""
    value = {"server/discover": DISCOVERED, "initialize": INITIALIZED}.get(message["method"], DONE)
    headers = {"Content-Type": "application/json"}
    if message["method"] == "initialize":
        headers["Mcp-Session-Id"] = "session-1"
    return 200, headers, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value})


@pytest.fixture
def mocked():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in (responses.POST, responses.DELETE):
            mock.add_callback(method, URL, callback=answer, content_type=None)
        yield mock


def sent(mock):
    """What went out: method, headers in lower case, body as JSON."""
    return [
        (
            call.request.method,
            {name.lower(): value for name, value in call.request.headers.items()},
            json.loads(call.request.body) if call.request.body else None,
        )
        for call in mock.calls
    ]


def test_a_legacy_conversation_from_its_beginning_to_its_end(mocked):
    with Client(URL, mode="legacy") as client:
        client.call_tool("add", {"a": 1})
    initialize, initialized, call, delete = sent(mocked)
    in_session = {"mcp-session-id": "session-1", "mcp-protocol-version": "2025-11-25"}
    assert initialize == (
        "POST",
        ALWAYS,
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO},
        },
    )
    assert initialized == (
        "POST",
        ALWAYS | in_session,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    )
    assert call == (
        "POST",
        ALWAYS | in_session,
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "tools/call",
            "params": {"name": "add", "arguments": {"a": 1}},
        },
    )
    assert delete[0] == "DELETE"
    assert delete[1].items() >= in_session.items()
    assert delete[2] is None


def test_a_modern_call(mocked):
    with Client(URL, mode="2026-07-28") as client:
        client.call_tool("add", {"a": 1})
    assert sent(mocked) == [
        (
            "POST",
            ALWAYS
            | {
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": "tools/call",
                "mcp-name": "add",
            },
            {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tools/call",
                "params": {"name": "add", "arguments": {"a": 1}, "_meta": ENVELOPE},
            },
        )
    ]


def test_a_probe(mocked):
    with Client(URL) as client:
        client.connect()
    assert sent(mocked) == [
        (
            "POST",
            ALWAYS | {"mcp-protocol-version": "2026-07-28", "mcp-method": "server/discover"},
            {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "server/discover",
                "params": {"_meta": ENVELOPE},
            },
        )
    ]


SHAPES = {
    "list_tools": (lambda c: c.list_tools(), "tools/list", {}),
    "a page": (lambda c: c.list_tools(cursor="next"), "tools/list", {"cursor": "next"}),
    "an empty cursor": (lambda c: c.list_prompts(cursor=""), "prompts/list", {"cursor": ""}),
    "list_resources": (lambda c: c.list_resources(), "resources/list", {}),
    "templates": (lambda c: c.list_resource_templates(), "resources/templates/list", {}),
    "read_resource": (lambda c: c.read_resource("test://x"), "resources/read", {"uri": "test://x"}),
    "get_prompt": (lambda c: c.get_prompt("greet"), "prompts/get", {"name": "greet"}),
    "get_prompt with arguments": (
        lambda c: c.get_prompt("greet", {"name": "ada"}),
        "prompts/get",
        {"name": "greet", "arguments": {"name": "ada"}},
    ),
    "a tool without arguments": (
        lambda c: c.call_tool("now"),
        "tools/call",
        {"name": "now", "arguments": {}},
    ),
    "complete": (
        lambda c: c.complete(
            {"type": "ref/prompt", "name": "greet"}, {"name": "n", "value": "a"}, {"m": "b"}
        ),
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "greet"},
            "argument": {"name": "n", "value": "a"},
            "context": {"arguments": {"m": "b"}},
        },
    ),
    "send_ping": (lambda c: c.send_ping(), "ping", {}),
    "set_logging_level": (
        lambda c: c.set_logging_level("error"),
        "logging/setLevel",
        {"level": "error"},
    ),
}


@pytest.mark.parametrize(("ask", "method", "params"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_what_a_method_asks(ask, method, params, mode, mocked):
    def shown(request):
        message = json.loads(request.body) if request.body else {}
        if message.get("method") != method:
            return answer(request)
        error = {"code": -32000, "message": "shown"}
        return 200, {}, json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error})

    mocked.replace(
        responses.CallbackResponse(responses.POST, URL, callback=shown, content_type=None)
    )
    with Client(URL, mode=mode) as client, pytest.raises(Exception, match="shown"):
        ask(client)
    asked = next(body for _, _, body in sent(mocked) if body and body.get("method") == method)
    found = dict(asked.get("params", {}))
    assert found.pop("_meta", None) == (None if mode == "legacy" else ENVELOPE)
    assert found == params


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("add", "add"),
        ("two words", "two words"),
        ("", ""),
        ("größe", "=?base64?Z3LDtsOfZQ==?="),
        (" edge", "=?base64?IGVkZ2U=?="),
        ("tab\there", "=?base64?dGFiCWhlcmU=?="),
        ("break\r\nX: y", "=?base64?YnJlYWsNClg6IHk=?="),
        ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
    ],
)
def test_the_name_is_mirrored_so_that_it_fits_into_a_header(name, header, mocked):
    with Client(URL, mode="2026-07-28") as client:
        client.call_tool(name)
    assert sent(mocked)[0][1]["mcp-name"] == header


@responses.activate
def test_an_answer_may_be_a_stream_of_events():
    event = json.dumps({"jsonrpc": "2.0", "id": 1, "result": DONE})
    responses.post(URL, body=f"data: {event}\n\n", content_type="text/event-stream")
    with Client(URL, mode="2026-07-28") as client:
        assert client.call_tool("add").content[0].text == "done"


@responses.activate
def test_what_nobody_expects_is_an_error_of_ours():
    with Client(URL) as client, pytest.raises(ConnectError):
        client.connect()


@responses.activate
def test_what_the_mock_raises_is_explained():
    responses.post(URL, body=ConnectionResetError())
    with Client(URL) as client, pytest.raises(ConnectError):
        client.connect()
