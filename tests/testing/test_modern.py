"""What the test server asks of modern clients over HTTP, and how it tells the eras apart."""

import pytest

from mcpsync.testing import LocalServer

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
INFO = {"capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
ENVELOPE = {VERSION: "2026-07-28", CAPABILITIES: {}}


@pytest.fixture(params=["modern", "both"])
def server(request):
    with LocalServer(era=request.param) as server:
        yield server


@pytest.fixture
def client(server, connect):
    return connect(server)


def test_discover_says_what_the_server_can_do(client):
    result = client.modern("server/discover").result
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["resultType"] == "complete"
    assert (result["ttlMs"], result["cacheScope"]) == (60_000, "public")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcpsync-testing"


def test_a_complete_request_is_answered_and_breaks_no_rule(server, client):
    answer = client.modern("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    assert answer.result["structuredContent"] == {"sum": 3}
    assert "mcp-session-id" not in answer.headers
    assert server.violations == []


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {VERSION: "2026-07-28"},
        {CAPABILITIES: {}},
        {VERSION: 20260728, CAPABILITIES: {}},
        {VERSION: "2026-07-28", CAPABILITIES: []},
        {**ENVELOPE, "io.modelcontextprotocol/logLevel": "loud"},
    ],
)
def test_an_incomplete_envelope_is_refused(client, meta):
    answer = client.modern("tools/list", {"_meta": meta})
    assert (answer.status, answer.error["code"]) == (400, -32602)


@pytest.mark.parametrize(
    "headers",
    [
        {"Mcp_Method": ""},
        {"Mcp_Method": "tools/list"},
        {"Mcp_Method": "Tools/Call"},
        {"Mcp_Name": ""},
        {"Mcp_Name": "echo"},
        {"Mcp_Name": "=?base64?ZWNobw==?="},
        {"Mcp_Name": "=?base64?***?="},
        {"MCP_Protocol_Version": ""},
        {"MCP_Protocol_Version": "2027-01-01"},
    ],
)
def test_headers_that_differ_from_the_body_are_refused(client, headers):
    client.last_id += 1
    params = {"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": ENVELOPE}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    good = {
        "Mcp_Method": "tools/call",
        "Mcp_Name": "add",
        "MCP_Protocol_Version": "2026-07-28",
    }
    assert client.post(message, **good).status == 200
    answer = client.post(message, **{**good, **headers})
    assert (answer.status, answer.error["code"], answer.json["id"]) == (400, -32020, 1)


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("prompts/get", {"name": "summary"}, "summary"),
        ("resources/read", {"uri": "test://notes/one"}, "test://notes/one"),
        (
            "resources/read",
            {"uri": "test://greeting/Zoë"},
            "=?base64?dGVzdDovL2dyZWV0aW5nL1pvw6s=?=",
        ),
    ],
)
def test_the_name_of_what_is_asked_for_is_mirrored(client, method, params, name):
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": ENVELOPE}}
    headers = {"Mcp_Method": method, "MCP_Protocol_Version": "2026-07-28"}
    assert client.post(message, Mcp_Name=name, **headers).status == 200
    assert client.post(message, Mcp_Name="other", **headers).error["code"] == -32020
    assert client.post(message, **headers).error["code"] == -32020


def test_a_version_that_is_not_supported_is_refused_with_those_that_are(client):
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/list"}
    message["params"] = {"_meta": {**ENVELOPE, VERSION: "2099-01-01"}}
    answer = client.post(message, Mcp_Method="tools/list", MCP_Protocol_Version="2099-01-01")
    assert (answer.status, answer.error["code"], answer.json["id"]) == (400, -32022, 7)
    assert answer.error["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


@pytest.mark.parametrize(
    "method", ["tools/dance", "ping", "logging/setLevel", "resources/subscribe"]
)
def test_a_method_that_this_era_does_not_have_is_not_found(client, method):
    answer = client.modern(method)
    assert (answer.status, answer.error["code"]) == (404, -32601)


def test_an_unknown_tool_is_refused(client):
    answer = client.modern("tools/call", {"name": "dance"})
    assert (answer.status, answer.error["code"]) == (400, -32602)


def test_a_missing_client_info_is_noted(server, client):
    assert client.modern("tools/list", {"_meta": ENVELOPE}).status == 200
    assert server.violations == ["tools/list has no clientInfo"]


def test_a_notification_is_accepted_and_noted(server, client):
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "notifications/cancelled"}
    answer = client.notify("notifications/cancelled", {"requestId": 1}, **headers)
    assert (answer.status, answer.body) == (202, b"")
    assert server.violations == ["notifications/cancelled was sent to a modern server over HTTP"]


def test_result_type_can_be_left_out(connect):
    with LocalServer(era="modern", omit_result_type=True) as server:
        result = connect(server).modern("tools/list").result
    assert "resultType" not in result
    assert result["ttlMs"] == 60_000


def test_a_modern_server_refuses_the_handshake_naming_its_versions(connect):
    with LocalServer(era="modern") as server:
        answer = connect(server).legacy("initialize", {"protocolVersion": "2025-11-25", **INFO})
    assert (answer.status, answer.error["code"]) == (400, -32022)
    assert answer.error["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}


def test_a_modern_server_refuses_responses_and_knows_no_delete(connect):
    with LocalServer(era="modern") as server:
        client = connect(server)
        answer = client.post({"jsonrpc": "2.0", "id": 1, "result": {}})
        assert (answer.status, answer.error["code"]) == (400, -32600)
        client.send("DELETE", Mcp_Session_Id="x")
        assert client.receive().status == 405
        assert server.violations == ["a response was sent to a modern server"]


def test_a_modern_request_with_a_session_id_is_noted(connect):
    with LocalServer(era="modern") as server:
        assert connect(server).modern("tools/list", Mcp_Session_Id="x").status == 200
        assert server.violations == ["a modern tools/list carries mcp-session-id"]


def test_a_dual_server_speaks_both_eras_on_one_connection(connect):
    with LocalServer(era="both") as server:
        client = connect(server)
        assert client.modern("tools/list").status == 200
        client.handshake()
        assert client.call("add", a=1, b=2).status == 200
        client.headers.clear()
        assert client.modern("tools/list").status == 200
        assert client.legacy("tools/list").error["code"] == -32000
        assert server.connections_opened == 1
