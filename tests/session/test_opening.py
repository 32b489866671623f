"""Which era, which version: requirements N1 to N11, on what a server really got to see."""

import pytest

from mcpsync import (
    AuthError,
    AuthorizationRequired,
    Client,
    ConnectError,
    ConnectionLost,
    HTTPStatusError,
    InsufficientScope,
    MCPError,
    MCPSyncError,
    RateLimited,
    RefusedError,
    UnsupportedProtocolVersion,
)
from mcpsync.protocol.negotiation import LEGACY, Verdict
from mcpsync.protocol.versions import Era
from mcpsync.session import opening
from mcpsync.session.opening import Eras, eras
from mcpsync.testing import Fault, LocalServer
from support.processes import free_port
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import (
    DISCOVERED,
    INITIALIZED,
    RawServer,
    Reply,
    ScriptedMCP,
    error,
    event,
    result,
    stream,
)
from transports.sse_peer import TAKEN, ScriptedSSE

MODERN = "2026-07-28"
PAGE = b"<!doctype html><title>Not here</title>"


def refusal(code, status="400 Bad Request", request_id=None, data=None):
    body = {"code": code, "message": "no"} | ({} if data is None else {"data": data})
    return Reply({"jsonrpc": "2.0", "id": request_id, "error": body}, status)


def era_of(server):
    """The era that a new client finds, after one call."""
    with Client(server.url, timeout=LONG) as client:
        client.call_tool("add")
        return "modern" if client.protocol_version == MODERN else "legacy"


# -- the verdict on the probe ----------------------------------------------------------------


def test_the_probe_comes_before_anything_else_and_in_the_preferred_version():
    with ScriptedMCP() as server:
        assert era_of(server) == "modern"
        first = server.requests[0]
    assert first.rpc == "server/discover"
    meta = first.json["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == MODERN
    assert first.headers["mcp-protocol-version"] == MODERN
    assert server.methods == ["server/discover", "tools/call"]


MEANS_LEGACY = {
    "session wanted": refusal(-32000),
    "session wanted, odd id": refusal(-32600, request_id="server-error"),
    "unknown method, 200": refusal(-32601, "200 OK", 1),
    "unknown method, 404": refusal(-32601, "404 Not Found", 1),
    "invalid params, 200": refusal(-32602, "200 OK", 1),
    "invalid params, 400": refusal(-32602, "400 Bad Request", 1),
    "internal error": refusal(-32603, "200 OK", 1),
    "a code of its own": refusal(-1, "200 OK", 1),
    "400 and nothing": Reply(b"", "400 Bad Request", ""),
    "400 and text": Reply(b"Bad Request", "400 Bad Request", "text/plain"),
    "404 and a page": Reply(PAGE, "404 Not Found", "text/html"),
    "405 and text": Reply(b"Method Not Allowed", "405 Method Not Allowed", "text/plain"),
    "406": Reply(b"", "406 Not Acceptable", ""),
    "a result without versions": lambda r: result(r, {"ok": True}),
    "only legacy versions": lambda r: result(
        r, {**DISCOVERED, "supportedVersions": ["2025-06-18", "2025-11-25"]}
    ),
    "unsupported, only legacy ones are": refusal(-32022, data={"supported": ["2025-11-25"]}),
    "an answer that is not JSON": Reply(b"pong", "200 OK", "application/json"),
    "a page instead of an answer": Reply(PAGE, "200 OK", "text/html"),
}


@pytest.mark.parametrize("answer", MEANS_LEGACY.values(), ids=MEANS_LEGACY)
def test_legacy_is_what_answers_the_probe_with(answer):
    with ScriptedMCP(server__discover=answer) as server:
        assert era_of(server) == "legacy"
        assert server.methods[:4] == [
            "server/discover",
            "initialize",
            "notifications/initialized",
            "tools/call",
        ]


MEANS_MODERN = {
    "a result": lambda r: result(r, DISCOVERED),
    "a result with more versions": lambda r: result(
        r, {**DISCOVERED, "supportedVersions": ["2099-01-01", MODERN, "2025-11-25"]}
    ),
    "a header mismatch": refusal(-32020),
    "a missing capability": refusal(-32021, data={"requiredCapabilities": {}}),
    "a header mismatch with an id": refusal(-32020, request_id=1),
}


@pytest.mark.parametrize("answer", MEANS_MODERN.values(), ids=MEANS_MODERN)
def test_modern_is_what_answers_the_probe_with(answer):
    with ScriptedMCP(server__discover=answer) as server, Client(server.url) as client:
        client.call_tool("add")
        assert server.methods == ["server/discover", "tools/call"]


SAYS_NOTHING = {
    "401": (Reply(b"", "401 Unauthorized", ""), AuthorizationRequired),
    "401 with an error": (refusal(-32601, "401 Unauthorized"), AuthorizationRequired),
    "403": (Reply(b"", "403 Forbidden", ""), MCPSyncError),
    "403 for want of scope": (
        Reply(
            b"",
            "403 Forbidden",
            "",
            {"WWW_Authenticate": 'Bearer error="insufficient_scope", scope="a b"'},
        ),
        InsufficientScope,
    ),
    "429": (Reply(b"", "429 Too Many Requests", ""), RateLimited),
    "a gateway without a server": (
        Reply(b"", "503 Service Unavailable", ""),
        HTTPStatusError,
    ),
    "a redirect elsewhere": (
        Reply(b"", "302 Found", "", {"Location": "/login"}),
        HTTPStatusError,
    ),
    "no version in common": (
        refusal(-32022, data={"supported": ["2099-01-01"]}),
        UnsupportedProtocolVersion,
    ),
    "a result of later versions": (
        lambda r: result(r, {**DISCOVERED, "supportedVersions": ["2099-01-01"]}),
        UnsupportedProtocolVersion,
    ),
}


@pytest.mark.parametrize(("answer", "expected"), SAYS_NOTHING.values(), ids=SAYS_NOTHING)
def test_no_verdict_and_no_handshake_follows_from(answer, expected):
    with ScriptedMCP(server__discover=answer) as server, Client(server.url) as client:
        with pytest.raises(expected) as caught:
            client.call_tool("add")
        assert set(server.methods) == {"server/discover"}
        assert not caught.value.maybe_executed
        assert eras._found == {}


def test_credentials_that_are_accepted_later_are_enough():
    with LocalServer("legacy", auth_token="t") as server, Client(server.url) as client:
        with pytest.raises(AuthError):
            client.call_tool("add", {"a": 1, "b": 2})
        found = client.call_tool("add", {"a": 1, "b": 2}, headers={"Authorization": "Bearer t"})
        assert found.structured_content == {"sum": 3}


def test_the_challenge_of_a_401_is_kept():
    with (
        LocalServer(auth_token="t") as server,
        Client(server.url) as client,
        pytest.raises(AuthorizationRequired) as caught,
    ):
        client.connect()
    assert caught.value.challenge.startswith("Bearer resource_metadata=")


def test_what_is_lacking_in_scope_is_told():
    answer, _ = SAYS_NOTHING["403 for want of scope"]
    with (
        ScriptedMCP(server__discover=answer) as server,
        Client(server.url) as client,
        pytest.raises(InsufficientScope) as caught,
    ):
        client.connect()
    assert caught.value.required_scopes == ("a", "b")
    assert "insufficient_scope" in caught.value.challenge


def test_an_unsupported_version_tells_what_would_be():
    answer, _ = SAYS_NOTHING["no version in common"]
    with (
        ScriptedMCP(server__discover=answer) as server,
        Client(server.url) as client,
        pytest.raises(UnsupportedProtocolVersion, match="2099-01-01") as caught,
    ):
        client.connect()
    assert caught.value.supported == ("2099-01-01",)
    assert MODERN in str(caught.value)


def test_trouble_on_the_way_is_no_verdict():
    with Client(f"http://127.0.0.1:{free_port()}/mcp") as client, pytest.raises(ConnectError):
        client.connect()
    with RawServer(lambda peer: peer.read()) as server, Client(server.url) as client:
        with pytest.raises(ConnectionLost):
            client.connect()
        assert server.accepted <= 2
    with LocalServer("legacy") as server, Client(server.url) as client:
        server.inject(Fault.HANG, "server/discover")
        with pytest.raises(TimeoutError):
            client.connect(timeout=BUDGET)
        assert {request.rpc_method for request in server.requests} == {"server/discover"}
    assert eras._found == {}


# -- what was found is remembered ------------------------------------------------------------


def test_the_era_of_an_origin_is_asked_once():
    with LocalServer("legacy") as server:
        for _ in range(3):
            with Client(server.url) as client:
                client.connect()
        with Client(server.url + "2") as client:  # another path of the same origin
            client.connect()
        methods = [request.rpc_method for request in server.requests]
    assert methods.count("server/discover") == 1
    assert methods.count("initialize") == 4


def test_a_modern_origin_is_not_asked_again_at_all():
    with LocalServer("modern") as server:
        for _ in range(3):
            with Client(server.url) as client:
                client.call_tool("add", {"a": 1, "b": 2})
                assert client.protocol_version == MODERN
        methods = [request.rpc_method for request in server.requests]
    assert methods == ["server/discover", "tools/call", "tools/call", "tools/call"]


def test_another_origin_is_another_question():
    with LocalServer("modern") as one, LocalServer("legacy") as other:
        for server in (one, other):
            with Client(server.url) as client:
                client.connect()
        assert one.requests[0].rpc_method == other.requests[0].rpc_method == "server/discover"


def test_an_origin_that_became_modern_is_found_out():
    with LocalServer("modern") as server:
        eras.remember(("http", "127.0.0.1", int(server.url.split(":")[2].split("/")[0])), LEGACY)
        assert era_of_local(server) == MODERN
        assert era_of_local(server) == MODERN
        methods = [request.rpc_method for request in server.requests]
    assert methods == ["initialize", "server/discover", "tools/call", "tools/call"]


def era_of_local(server):
    with Client(server.url, timeout=LONG) as client:
        client.call_tool("counter")
        return client.protocol_version


def test_an_origin_that_became_legacy_is_found_out_and_the_call_is_made_once():
    with LocalServer("legacy") as server:
        port = int(server.url.split(":")[2].split("/")[0])
        eras.remember(("http", "127.0.0.1", port), Verdict(Era.MODERN, MODERN))
        assert era_of_local(server) == "2025-11-25"
        assert server.executions == {"counter": 1}
        methods = [request.rpc_method for request in server.requests]
    assert methods[:3] == ["tools/call", "server/discover", "initialize"]
    assert methods[4] == "tools/call"
    assert eras.get(("http", "127.0.0.1", port)) == LEGACY


@pytest.mark.parametrize(
    "answer",
    [
        Reply(PAGE, "404 Not Found", "text/html"),
        Reply(b"", "405 Method Not Allowed", ""),
        Reply(b"Bad Request", "400 Bad Request", "text/plain"),
        refusal(-32000),
    ],
    ids=["404", "405", "400", "400 with an error"],
)
def test_what_puts_an_assumed_era_in_doubt(answer):
    def call(request):
        return answer if "mcp-method" in request.headers else result(request, {"content": []})

    with ScriptedMCP(tools__call=call, server__discover=answer) as server:
        eras.remember(("http", "127.0.0.1", server.port), Verdict(Era.MODERN, MODERN))
        with Client(server.url) as client:
            client.call_tool("add")
        assert server.methods[:3] == ["tools/call", "server/discover", "initialize"]
        assert server.methods.count("tools/call") == 2


def test_an_era_that_has_proved_right_is_not_doubted_any_more():
    with LocalServer("modern") as server:
        with Client(server.url) as first:
            first.connect()
        with Client(server.url) as client:
            client.call_tool("add", {"a": 1, "b": 2})
            with pytest.raises(MCPError):
                client.call_tool("nope")
        methods = [request.rpc_method for request in server.requests]
    assert methods == ["server/discover", "tools/call", "tools/call"]


def test_what_is_remembered_has_an_end(monkeypatch):
    monkeypatch.setattr(opening, "MAX_ORIGINS", 2)
    remembered = Eras()
    for origin in ("a", "b", "a", "c"):
        remembered.remember(origin, LEGACY)
    assert [remembered.get(origin) for origin in "abc"] == [None, LEGACY, LEGACY]
    remembered.forget("b")
    assert remembered.get("b") is None
    remembered.remember(None, LEGACY)
    assert remembered.get(None) is None


# -- pinned ----------------------------------------------------------------------------------


def test_a_pinned_era_is_not_asked_for():
    with LocalServer() as server:
        with Client(server.url, mode="legacy") as client:
            assert client.protocol_version == "2025-11-25"
        with Client(server.url, mode=MODERN) as client:
            assert client.protocol_version == MODERN
            client.call_tool("add", {"a": 1, "b": 2})
        methods = [request.rpc_method for request in server.requests]
    assert methods == ["initialize", "notifications/initialized", None, "tools/call"]


def test_a_pinned_legacy_client_of_a_modern_server_is_told():
    with (
        LocalServer("modern") as server,
        Client(server.url, mode="legacy") as client,
        pytest.raises(MCPSyncError) as caught,
    ):
        client.connect()
    assert MODERN in str(caught.value) or "2025-11-25" in str(caught.value)


def test_a_pinned_modern_client_of_a_legacy_server_is_told():
    with LocalServer("legacy") as server, Client(server.url, mode=MODERN) as client:
        with pytest.raises(MCPError, match="not initialized"):
            client.call_tool("add", {"a": 1, "b": 2})
        assert server.executions == {}


# -- the handshake ---------------------------------------------------------------------------


def test_the_handshake_does_not_carry_the_probes_version():
    with LocalServer("legacy") as server, Client(server.url) as client:
        client.connect()
        initialize = next(r for r in server.requests if r.rpc_method == "initialize")
    assert "mcp-protocol-version" not in initialize.headers
    assert "mcp-method" not in initialize.headers
    assert "mcp-session-id" not in initialize.headers
    assert initialize.body["params"]["protocolVersion"] == "2025-11-25"
    assert "_meta" not in initialize.body["params"]


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_an_older_version_is_taken(version):
    hello = {**INITIALIZED, "protocolVersion": version}
    with ScriptedMCP(initialize=lambda r: result(r, hello)) as server:
        with Client(server.url, mode="legacy") as client:
            client.call_tool("add")
            assert client.protocol_version == version
        sent = [r.headers.get("mcp-protocol-version") for r in server.requests]
    expected = version if version >= "2025-06-18" else None
    assert sent == [None, expected, expected]


@pytest.mark.parametrize("version", ["1.0", "2099-01-01", MODERN, None, 5])
def test_a_version_we_do_not_speak_is_hung_up_on(version):
    hello = {**INITIALIZED, "protocolVersion": version}
    answer = {"headers": {"Mcp_Session_Id": "s1"}}
    with ScriptedMCP(initialize=lambda r: result(r, hello, **answer)) as server:
        with (
            Client(server.url, mode="legacy") as client,
            pytest.raises(UnsupportedProtocolVersion) as caught,
        ):
            client.connect()
        assert server.methods == ["initialize", "DELETE"]
        assert server.requests[-1].headers["mcp-session-id"] == "s1"
    assert caught.value.supported == (str(version),)


def test_a_handshake_that_is_refused_for_its_version_says_so():
    data = {"supported": ["2099-01-01"], "requested": "2025-11-25"}
    with (
        ScriptedMCP(initialize=lambda r: error(r, -32602, "Unsupported", data)) as server,
        Client(server.url, mode="legacy") as client,
        pytest.raises(UnsupportedProtocolVersion) as caught,
    ):
        client.connect()
    assert caught.value.supported == ("2099-01-01",)


def test_a_server_that_was_slow_to_start_is_modern_after_all():
    answers = iter([Reply(PAGE, "404 Not Found", "text/html")])

    def discover(request):
        return next(answers, None) or result(request, DISCOVERED)

    late = refusal(-32022, data={"supported": [MODERN], "requested": "2025-11-25"})
    with ScriptedMCP(server__discover=discover, initialize=late) as server:
        with Client(server.url) as client:
            client.call_tool("add")
            assert client.protocol_version == MODERN
        assert server.methods == ["server/discover", "initialize", "server/discover", "tools/call"]


def test_a_server_that_refuses_both_ways_is_asked_no_third_time():
    page = Reply(PAGE, "404 Not Found", "text/html")
    late = refusal(-32022, data={"supported": [MODERN]})
    with ScriptedMCP(server__discover=page, initialize=late) as server:
        with Client(server.url) as client, pytest.raises(MCPSyncError):
            client.connect()
        assert len(server.requests) <= 3


def test_a_server_of_pages_is_named_for_what_it_is():
    page = Reply(PAGE, "200 OK", "text/html")
    with (
        ScriptedMCP(server__discover=page, initialize=page) as server,
        Client(server.url) as client,
        pytest.raises(MCPSyncError, match="text/html") as caught,
    ):
        client.connect()
    assert "is the URL that of an MCP endpoint?" in str(caught.value)
    assert server.url in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [{}, {"protocolVersion": "2025-11-25"}, {**INITIALIZED, "capabilities": "none"}],
    ids=["empty", "half", "odd"],
)
def test_a_handshake_that_is_none_is_not_taken(bad):
    with ScriptedMCP(initialize=lambda r: result(r, bad)) as server:
        with Client(server.url, mode="legacy") as client, pytest.raises(MCPSyncError) as caught:
            client.call_tool("add")
        assert "tools/call" not in server.methods
    assert not caught.value.maybe_executed


def test_a_handshake_that_was_asked_for_says_nothing_about_the_era():
    with LocalServer("both") as server:
        with Client(server.url, mode="legacy") as client:
            assert client.protocol_version == "2025-11-25"
        with Client(server.url) as client:
            assert client.protocol_version == MODERN


def test_a_server_known_to_be_legacy_that_asks_for_patience_is_not_probed():
    with LocalServer("legacy") as server:
        with Client(server.url) as client:
            client.connect()
        server.inject(Fault.RATE_LIMITED, "initialize")
        before = len(server.requests)
        with Client(server.url) as client, pytest.raises(RateLimited):
            client.connect()
        assert [r.rpc_method for r in list(server.requests)[before:]] == ["initialize"]


# -- HTTP+SSE (N4) -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "405 Method Not Allowed"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_where_initialize_is_refused_http_sse_is_tried_on_the_same_url(status, mode):
    refused = Reply(PAGE, status, "text/html")
    with ScriptedSSE(refusal=refused) as server, Client(server.url, mode=mode) as client:
        assert client.call_tool("add").content
    asked = [(r.rpc or r.method) for r in server.requests if r.target == "/sse"]
    assert asked == ["server/discover"] * (mode == "auto") + ["initialize", "GET"]


@pytest.mark.parametrize("status", [401, 403, 406, 429, 500, 503])
def test_other_refusals_of_initialize_are_not_taken_for_http_sse(status):
    with ScriptedMCP(initialize=Reply(b"", f"{status} No", "")) as server:
        with Client(server.url, mode="legacy") as client, pytest.raises(MCPSyncError):
            client.connect()
        assert "GET" not in server.methods


@pytest.mark.parametrize("code", [-32020, -32021, -32022])
def test_a_modern_error_is_not_taken_for_http_sse(code):
    with ScriptedMCP(initialize=refusal(code, request_id=1)) as server:
        with Client(server.url, mode="legacy") as client, pytest.raises(MCPError):
            client.connect()
        assert "GET" not in server.methods


NO_STREAMS = {
    "405": Reply(b"", "405 Method Not Allowed", ""),
    "404": Reply(PAGE, "404 Not Found", "text/html"),
    "page": Reply(PAGE, "200 OK", "text/html"),
    "500": Reply(b"", "500 Oh", ""),
    "other stream": stream(event({"jsonrpc": "2.0", "method": "notifications/x"})),
    "empty stream": stream(),
}


@pytest.mark.parametrize("found", NO_STREAMS.values(), ids=NO_STREAMS)
def test_without_such_a_stream_the_first_error_is_what_the_caller_gets(found):
    first = Reply(b"no", "400 Bad Request", "text/plain")
    with ScriptedMCP(server__discover=first, initialize=first, GET=found) as server:
        with Client(server.url) as client, pytest.raises(HTTPStatusError) as caught:
            client.connect()
        assert caught.value.status == 400
        assert server.methods == ["server/discover", "initialize", "GET"]


def test_a_stream_that_says_nothing_is_not_waited_for_to_the_end(monkeypatch):
    monkeypatch.setattr(opening, "STREAM_PATIENCE", BUDGET)
    with ScriptedSSE(endpoint=None) as server, Client(server.url) as client:
        with within(BUDGET, BUDGET + SOON), pytest.raises(HTTPStatusError) as caught:
            client.connect(timeout=LONG)
        assert caught.value.status == 405


def test_a_stream_that_leads_to_another_origin_is_refused_in_the_fallback_as_well():
    with ScriptedSSE(endpoint="http://localhost:1/message") as server:
        with Client(server.url) as client, pytest.raises(RefusedError):
            client.connect()
        assert server.methods == ["server/discover", "initialize", "GET"]


def test_http_sse_is_remembered_for_the_url_and_says_nothing_of_the_origin():
    with ScriptedSSE() as server:
        with Client(server.url) as client:
            client.connect()
        before = len(server.requests)
        with Client(server.url) as client:
            assert client.call_tool("add").content
        assert server.methods[before:] == [
            "GET",
            "initialize",
            "notifications/initialized",
            "tools/call",
        ]
        with Client(server.modern_url) as client:
            assert client.protocol_version == MODERN


def test_http_sse_is_found_beside_a_modern_endpoint_of_the_same_origin():
    with ScriptedSSE() as server:
        with Client(server.modern_url) as client:
            assert client.protocol_version == MODERN
            client.call_tool("add")
        with Client(server.url) as client:
            assert client.call_tool("add").content
            assert client.protocol_version == "2025-11-25"
        before = len(server.requests)
        with Client(server.url) as client:
            client.connect()
        assert server.methods[before] == "GET"


def test_a_url_that_speaks_streamable_http_by_now_is_noticed():
    with ScriptedSSE() as server:
        with Client(server.url) as client:
            client.connect()
        server.opening = Reply(b"", "405 Method Not Allowed", "")
        server.refusal = lambda r: result(r, INITIALIZED) if "id" in r.json else TAKEN
        with Client(server.url) as client:
            assert client.protocol_version == "2025-11-25"
        before = len(server.requests)
        with Client(server.url) as client:
            client.connect()
        assert "GET" not in server.methods[before:]
