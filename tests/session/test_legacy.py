"""Sessions that servers forget, and who notices: nobody, but for the second time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import (
    Client,
    ConnectionLost,
    HTTPStatusError,
    MCPSyncError,
    MessageInvalid,
    SessionExpired,
)
from mcpsync.testing import Fault, LocalServer
from support.processes import wait_until
from transports.door import BUDGET, LONG, SOON
from transports.peer import DONE, INITIALIZED, Reply, ScriptedMCP, result


@pytest.fixture
def server():
    with LocalServer("legacy") as running:
        yield running
        assert running.violations == []


@pytest.fixture
def client(server):
    with Client(server.url, timeout=LONG) as connected:
        connected.connect()
        yield connected


def count(client, **options):
    return client.call_tool("counter", **options).structured_content["total"]


def methods(server):
    return [request.rpc_method or request.http_method for request in server.requests]


def test_a_forgotten_session_is_begun_anew_without_the_caller_noticing(server, client):
    assert count(client) == 1
    server.expire_sessions()
    assert count(client) == 2
    assert methods(server)[-4:] == [
        "tools/call",
        "initialize",
        "notifications/initialized",
        "tools/call",
    ]


def test_the_new_handshake_carries_no_session(server, client):
    server.expire_sessions()
    count(client)
    initialize = server.requests[-3]
    assert "mcp-session-id" not in initialize.headers
    assert "mcp-protocol-version" not in initialize.headers
    assert server.requests[-1].session_id == server.open_sessions[0]


def test_ids_go_on_in_the_new_session(server, client):
    count(client)
    server.expire_sessions()
    count(client)
    ids = [r.request_id for r in server.requests if r.request_id is not None]
    assert len(ids) == len(set(ids))


def test_20_threads_share_one_new_session_and_each_call_runs_once(server, client):
    barrier = threading.Barrier(20)

    def call(_):
        barrier.wait(LONG)
        return count(client)

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(call, range(20))) == [*range(1, 21)]
        server.expire_sessions()
        assert sorted(pool.map(call, range(20))) == [*range(21, 41)]
    assert server.executions == {"counter": 40}
    assert methods(server).count("initialize") == 2
    assert len(server.open_sessions) == 1


def test_a_call_that_comes_while_the_session_is_begun_anew_waits_for_it(server, client):
    server.expire_sessions()
    server.inject(Fault.HANG, "initialize")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(count, client)
        assert server.wait_for(lambda s: s.hanging)
        second = pool.submit(count, client)
        assert not server.wait_for(lambda s: methods(s).count("tools/call") > 1, BUDGET)
        server.release()
        assert sorted([first.result(LONG), second.result(LONG)]) == [1, 2]
    assert methods(server).count("initialize") == 2


def test_a_call_that_comes_before_the_new_session_is_announced_waits_for_it(server, client):
    server.expire_sessions()
    server.inject(Fault.HANG, "notifications/initialized")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(count, client)
        assert server.wait_for(lambda s: s.hanging)
        second = pool.submit(count, client)
        assert not server.wait_for(lambda s: methods(s).count("tools/call") > 1, BUDGET)
        server.release()
        assert sorted([first.result(LONG), second.result(LONG)]) == [1, 2]


def test_a_session_forgotten_before_the_handshake_is_over_is_told_as_such():
    with LocalServer(era="legacy") as server, Client(server.url, mode="legacy") as client:
        server.inject(Fault.SESSION_404, "notifications/initialized")
        with pytest.raises(SessionExpired) as caught:
            client.connect()
        assert caught.value.retryable
        assert not caught.value.maybe_executed


def test_a_session_that_is_forgotten_twice_is_expired(server, client):
    server.inject(Fault.SESSION_404, "tools/call", times=2)
    with pytest.raises(SessionExpired) as caught:
        count(client)
    assert not caught.value.maybe_executed
    assert caught.value.retryable
    assert server.executions == {}
    assert count(client) == 1


def test_a_new_session_that_cannot_be_had_was_not_run(server, client):
    server.expire_sessions()
    server.inject(Fault.HTTP_500, "initialize")
    with pytest.raises(HTTPStatusError) as caught:
        count(client)
    assert not caught.value.maybe_executed
    assert caught.value.tool_name == "counter"
    assert count(client) == 1


def test_a_new_session_that_is_cut_off_was_not_run(server, client):
    server.expire_sessions()
    server.inject(Fault.DIE_BEFORE_ANSWER, "initialize", times=2)
    with pytest.raises(ConnectionLost) as caught:
        count(client)
    assert not caught.value.maybe_executed


def test_each_waiter_has_his_own_patience_for_the_new_session(server, client):
    server.expire_sessions()
    server.inject(Fault.HANG, "initialize")
    with ThreadPoolExecutor(2) as pool:
        hasty = pool.submit(count, client, timeout=BUDGET)
        assert server.wait_for(lambda s: s.hanging)
        patient = pool.submit(count, client, timeout=LONG)
        error = hasty.exception(SOON)
        assert isinstance(error, TimeoutError)
        assert not error.maybe_executed
        assert patient.result(LONG) == 1


def test_a_404_without_a_session_is_just_a_404():
    with ScriptedMCP(
        initialize=lambda r: result(r, INITIALIZED),
        tools__call=Reply(b"", "404 Not Found", ""),
    ) as server:
        with Client(server.url, mode="legacy") as client, pytest.raises(HTTPStatusError) as caught:
            client.call_tool("add")
        assert caught.value.status == 404
        assert server.methods.count("initialize") == 1


def test_a_server_without_sessions_is_called_without_one():
    with LocalServer("legacy", sessions=False) as server:
        with Client(server.url) as client:
            assert count(client) == 1
        assert all("mcp-session-id" not in request.headers for request in server.requests)
        assert "DELETE" not in methods(server)


@pytest.mark.parametrize("session_id", ["a b", "ä", "a\tb"])
def test_a_session_id_that_is_not_visible_ascii_is_refused(session_id):
    def hello(request):
        return result(request, INITIALIZED, headers={"Mcp_Session_Id": session_id})

    with (
        ScriptedMCP(initialize=hello) as server,
        Client(server.url, mode="legacy") as client,
        pytest.raises(MessageInvalid, match="visible ASCII"),
    ):
        client.connect()


def test_the_cookie_of_a_load_balancer_is_kept_through_a_new_session():
    with LocalServer("legacy", set_cookie="lb={n}") as server, Client(server.url) as client:
        client.connect()
        server.expire_sessions()
        count(client)
        initialize = [r for r in server.requests if r.rpc_method == "initialize"]
        assert initialize[-1].headers.get("cookie", "").startswith("lb=")


def test_two_conversations_have_two_sessions(server):
    with Client(server.url) as one, Client(server.url) as other:
        one.connect()
        other.connect()
        assert len(server.open_sessions) == 2
    assert server.open_sessions == []
    assert len(server.deleted_sessions) == 2


def test_who_waits_for_a_new_session_is_woken_by_close(server):
    client = Client(server.url)
    client.connect()
    server.expire_sessions()
    server.inject(Fault.HANG, "initialize")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(count, client) for _ in range(4)]
        assert server.wait_for(lambda s: s.hanging)
        wait_until(
            lambda: methods(server).count("tools/call") >= 1 and server.hanging, "one begins anew"
        )
        client.close()
        assert all(isinstance(call.exception(SOON), MCPSyncError) for call in calls)


def test_closing_while_a_new_session_is_begun_ends_the_new_one_too(server):
    client = Client(server.url, timeout=LONG)
    client.connect()
    server.expire_sessions()
    server.inject(Fault.HANG, "notifications/initialized")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(count, client)
        assert server.wait_for(lambda s: s.hanging)
        client.close()
        assert isinstance(call.exception(SOON), MCPSyncError)
    server.release()
    assert server.wait_for(lambda s: not s.open_sessions)


def test_a_404_whose_body_is_cut_says_the_same():
    cut = b"HTTP/1.1 404 Not Found\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhalf"
    asked = []

    def call(request):
        asked.append(request.json["id"])
        return cut if len(asked) == 1 else result(request, DONE)

    with ScriptedMCP(tools__call=call) as server, Client(server.url, mode="legacy") as client:
        assert client.call_tool("add").content
        assert server.methods.count("initialize") == 2
