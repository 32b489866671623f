"""What the test server asks of legacy clients over HTTP."""

import pytest

from mcpsync.testing import LocalServer

INFO = {"capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


@pytest.fixture
def server():
    with LocalServer(era="legacy") as server:
        yield server


@pytest.fixture
def client(server, connect):
    return connect(server)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_known_version_is_agreed_to(client, version):
    answer = client.handshake(version)
    assert answer.result["protocolVersion"] == version
    assert client.legacy("tools/list").status == 200


@pytest.mark.parametrize("version", ["2026-07-28", "1999-01-01"])
def test_an_unknown_version_is_answered_with_the_latest(client, version):
    answer = client.legacy("initialize", {"protocolVersion": version, **INFO})
    assert answer.result["protocolVersion"] == "2025-11-25"


def test_the_handshake_opens_a_session_and_delete_ends_it(server, client):
    session_id = client.handshake().headers["mcp-session-id"]
    assert server.open_sessions == [session_id]
    client.send("DELETE")
    assert client.receive().status == 200
    assert (server.open_sessions, server.deleted_sessions) == ([], [session_id])
    assert client.legacy("tools/list").status == 404


@pytest.mark.parametrize(
    "params",
    [
        {"protocolVersion": "2025-11-25"},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x"}},
        {"protocolVersion": 1, **INFO},
        {**INFO},
    ],
)
def test_an_incomplete_handshake_is_refused_and_opens_no_session(server, client, params):
    answer = client.legacy("initialize", params)
    assert answer.error["code"] == -32602
    assert "mcp-session-id" not in answer.headers
    assert server.open_sessions == []


def test_a_handshake_inside_a_session_is_refused(client):
    client.handshake()
    answer = client.legacy("initialize", {"protocolVersion": "2025-11-25", **INFO})
    assert (answer.status, answer.error["code"]) == (400, -32600)


def test_a_handshake_with_the_header_of_the_modern_era_is_refused(client):
    answer = client.legacy(
        "initialize",
        {"protocolVersion": "2025-11-25", **INFO},
        MCP_Protocol_Version="2026-07-28",
    )
    assert (answer.status, answer.error["code"], answer.json["id"]) == (400, -32000, None)


def test_a_modern_probe_is_refused_as_legacy_servers_do(client):
    answer = client.modern("server/discover")
    assert (answer.status, answer.json["id"]) == (400, None)
    assert answer.error == {"code": -32000, "message": "Bad Request: Server not initialized"}


def test_a_request_without_a_session_is_refused(client):
    answer = client.legacy("tools/list")
    assert (answer.status, answer.error["code"], answer.json["id"]) == (400, -32000, None)


def test_a_request_in_an_unknown_session_is_not_found(client):
    answer = client.legacy("tools/list", Mcp_Session_Id="made-up")
    assert (answer.status, answer.error["code"]) == (404, -32001)


def test_expired_sessions_are_not_found_and_a_new_one_can_be_opened(server, client):
    client.handshake()
    server.expire_sessions()
    assert client.legacy("tools/list").status == 404
    client.headers.clear()
    client.handshake()
    assert client.legacy("tools/list").status == 200


def test_nothing_but_ping_is_answered_before_the_client_says_that_it_is_ready(server, client):
    opened = client.legacy("initialize", {"protocolVersion": "2025-11-25", **INFO})
    client.headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
    client.headers["MCP-Protocol-Version"] = "2025-11-25"
    assert client.legacy("ping").result == {}
    assert client.legacy("tools/list").status == 400
    assert server.violations == ["Invalid Request: tools/list before notifications/initialized"]


@pytest.mark.parametrize("version", ["2026-07-28", "nonsense", "2025-06-18"])
def test_another_protocol_version_than_the_negotiated_one_is_refused(client, version):
    client.handshake("2025-11-25")
    answer = client.legacy("tools/list", MCP_Protocol_Version=version)
    assert (answer.status, answer.error["code"]) == (400, -32000)


@pytest.mark.parametrize(
    ("version", "violations"), [("2025-03-26", 0), ("2025-06-18", 1), ("2025-11-25", 1)]
)
def test_a_missing_protocol_version_is_noted_where_it_is_a_duty(
    server, client, version, violations
):
    client.handshake(version)
    assert client.legacy("tools/list", MCP_Protocol_Version="").status == 200
    assert len(server.violations) == violations


def test_an_id_that_is_used_twice_is_noted(server, client):
    client.handshake()
    client.last_id = 100
    client.legacy("ping")
    client.last_id = 100
    client.legacy("ping")
    assert server.violations == ["ping uses the id 101 again"]


def test_a_well_behaved_client_has_no_violations(server, client):
    client.handshake()
    client.call("add", a=1, b=2)
    assert server.violations == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([{"jsonrpc": "2.0", "id": 1, "method": "ping"}], -32600),
        ({"id": 1, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}, -32602),
        ({"jsonrpc": "2.0", "id": 1}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, -32600),
        ("text", -32600),
    ],
)
def test_what_is_not_one_json_rpc_message_is_refused(client, body, code):
    client.handshake()
    answer = client.post(body)
    assert (answer.status, answer.error["code"]) == (400, code)


def test_what_is_not_json_is_refused(client):
    client.send("POST", b"{")
    answer = client.receive()
    assert (answer.status, answer.error["code"]) == (400, -32700)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "application/json"}, 406),
        ({"Accept": "text/event-stream"}, 406),
        ({"Accept": ""}, 406),
        ({"Accept": "text/event-stream;q=0.9, application/json"}, 400),
        ({"Content_Type": "text/plain"}, 415),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 400),
    ],
)
def test_the_headers_of_a_post_are_checked(client, headers, status):
    assert client.legacy("tools/list", **headers).status == status


def test_an_unknown_method_is_a_json_rpc_error(client):
    client.handshake()
    answer = client.legacy("tools/dance")
    assert (answer.status, answer.error["code"]) == (200, -32601)


def test_get_is_not_offered_if_it_is_told_so(connect):
    with LocalServer(era="legacy", streams=False) as server:
        client = connect(server)
        client.handshake()
        client.send("GET")
        assert client.receive().status == 405


def test_without_sessions_every_request_stands_alone(connect):
    with LocalServer(era="legacy", sessions=False) as server:
        client = connect(server)
        assert "mcp-session-id" not in client.handshake().headers
        assert client.call("add", a=1, b=2).result["structuredContent"] == {"sum": 3}
        assert connect(server).legacy("tools/list").status == 200
        client.send("DELETE")
        assert client.receive().status == 405


def test_without_sessions_a_modern_probe_is_an_unsupported_version(connect):
    with LocalServer(era="legacy", sessions=False) as server:
        answer = connect(server).modern("server/discover")
    assert (answer.status, answer.error["code"], answer.json["id"]) == (400, -32000, None)
    assert "2026-07-28" in answer.error["message"]


def test_the_level_of_log_messages_belongs_to_the_session(client):
    client.handshake()
    assert len(client.call("log", level="debug", message="x").messages) == 2
    assert client.legacy("logging/setLevel", {"level": "error"}).result == {}
    assert len(client.call("log", level="warning", message="x").messages) == 1
    assert len(client.call("log", level="error", message="x").messages) == 2
    assert client.legacy("logging/setLevel", {"level": "loud"}).error["code"] == -32602
