"""A client's one session under threads: opened once, shared, closed while others wait."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import (
    AuthorizationRequired,
    Cancellation,
    Client,
    ConnectionClosed,
    ConnectTimeout,
    HTTPStatusError,
    MCPError,
    MCPSyncError,
    RateLimited,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.protocol.lifecycle import State
from mcpsync.testing import Fault, LocalServer
from support.processes import wait_until
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import (
    ACCEPTED,
    DISCOVERED,
    INITIALIZED,
    Reply,
    ScriptedMCP,
    full_backlog,
    result,
)

ADD = ("add", {"a": 1, "b": 2})


def add(client, **options):
    return client.call_tool(*ADD, **options).structured_content


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    with LocalServer(request.param) as running:
        yield running
        assert running.violations == []


def beginnings(server):
    """How often somebody began a conversation."""
    return [r.rpc_method for r in server.requests].count("server/discover")


# -- connecting ------------------------------------------------------------------------------


def test_32_threads_connect_once(server):
    barrier = threading.Barrier(32)

    def call(n):
        barrier.wait(LONG)
        return client.call_tool("add", {"a": n, "b": 0}).structured_content["sum"]

    with Client(server.url) as client, ThreadPoolExecutor(32) as pool:
        assert list(pool.map(call, range(32))) == [*range(32)]
    assert beginnings(server) == 1
    assert [r.rpc_method for r in server.requests].count("initialize") <= 1


def test_who_waits_for_the_same_connection_shares_its_failure():
    joined = threading.Event()

    def refuse(_):
        joined.wait(LONG)
        return Reply(b"", "429 Too Many Requests")

    with (
        ScriptedMCP(server__discover=refuse) as server,
        Client(server.url) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        calls = [pool.submit(client.call_tool, "a") for _ in range(8)]
        wait_until(lambda: client._keeper._flight.joined == 7, "seven join the eighth")
        joined.set()
        errors = [call.exception(LONG) for call in calls]
    assert len(server.requests) == 1
    assert [type(error) for error in errors] == [RateLimited] * 8
    assert len({id(error) for error in errors}) == 8
    assert not any(error.maybe_executed for error in errors)


def test_each_who_waits_gets_an_error_of_his_own_with_his_own_context():
    with ScriptedMCP() as server, Client(server.url) as client, ThreadPoolExecutor(2) as pool:
        joined = threading.Event()

        def refuse(_):
            joined.wait(LONG)
            return Reply(b"", "401 Unauthorized")

        server.on("server/discover", refuse)
        one = pool.submit(client.call_tool, "one")
        wait_until(lambda: len(client._keeper._flight), "one connects")
        other = pool.submit(client.call_tool, "other")
        wait_until(lambda: client._keeper._flight.joined, "the other joins")
        joined.set()
        errors = [one.exception(LONG), other.exception(LONG)]
    assert [error.tool_name for error in errors] == ["one", "other"]
    assert all(isinstance(error, AuthorizationRequired) for error in errors)
    assert len(server.requests) == 1


def test_the_timeout_of_who_connects_is_not_that_of_who_joins():
    with LocalServer("modern") as server, Client(server.url) as client:
        server.inject(Fault.HANG, "server/discover")
        with ThreadPoolExecutor(2) as pool:
            hasty = pool.submit(add, client, timeout=BUDGET)
            wait_until(lambda: len(client._keeper._flight), "one connects")
            patient = pool.submit(add, client, timeout=LONG)
            assert isinstance(hasty.exception(LONG), TimeoutError)
            assert patient.result(LONG) == {"sum": 3}


def test_the_connect_timeout_of_who_connects_is_not_that_of_who_joins():
    with full_backlog() as port, ThreadPoolExecutor(2) as pool:
        client = Client(f"http://127.0.0.1:{port}/mcp")
        hasty = pool.submit(client.connect, timeout=BUDGET)
        wait_until(lambda: len(client._keeper._flight), "one connects")
        patient = pool.submit(client.connect, timeout=3 * BUDGET)
        assert isinstance(hasty.exception(LONG), ConnectTimeout)
        with within(BUDGET, SOON):
            assert f"{3 * BUDGET:g} s" in str(patient.exception(LONG))


def test_the_cancellation_of_who_connects_is_not_that_of_who_joins():
    cancel = Cancellation()
    with LocalServer("modern") as server, Client(server.url) as client:
        server.inject(Fault.HANG, "server/discover")
        with ThreadPoolExecutor(2) as pool:
            leaving = pool.submit(add, client, cancel=cancel)
            assert server.wait_for(lambda s: s.hanging)
            staying = pool.submit(add, client)
            wait_until(lambda: client._keeper._flight.joined, "the other joins")
            cancel.cancel()
            assert isinstance(leaving.exception(SOON), RequestCancelled)
            assert staying.result(LONG) == {"sum": 3}


def test_who_joins_may_leave_without_disturbing_who_connects():
    cancel = Cancellation()
    with LocalServer("modern") as server, Client(server.url) as client:
        server.inject(Fault.HANG, "server/discover")
        with ThreadPoolExecutor(3) as pool:
            staying = pool.submit(add, client)
            assert server.wait_for(lambda s: s.hanging)
            leaving = pool.submit(add, client, cancel=cancel)
            hasty = pool.submit(add, client, timeout=BUDGET)
            wait_until(lambda: client._keeper._flight.joined == 2, "both join")
            cancel.cancel()
            assert isinstance(leaving.exception(SOON), RequestCancelled)
            assert isinstance(hasty.exception(SOON), RequestTimeout)
            server.release()
            assert staying.result(LONG) == {"sum": 3}


def test_a_call_whose_own_credentials_were_refused_does_not_fail_the_others():
    def greet(request):
        joined.wait(LONG)
        if request.headers.get("authorization") != "Bearer good":
            return Reply(b"", "401 Unauthorized")
        return result(request, DISCOVERED)

    joined = threading.Event()
    with (
        ScriptedMCP(server__discover=greet) as server,
        Client(server.url) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        bad = pool.submit(client.call_tool, "a", headers={"Authorization": "Bearer bad"})
        wait_until(lambda: len(client._keeper._flight), "one connects")
        good = pool.submit(client.call_tool, "a", headers={"Authorization": "Bearer good"})
        wait_until(lambda: client._keeper._flight.joined, "the other joins")
        joined.set()
        assert isinstance(bad.exception(LONG), AuthorizationRequired)
        assert good.result(LONG).content


def test_what_connecting_failed_with_was_not_run():
    with LocalServer() as server, Client(server.url) as client:
        server.inject(Fault.DIE_MID_ANSWER, times=None)
        with pytest.raises(MCPSyncError) as caught:
            add(client)
    assert not caught.value.maybe_executed
    assert str(caught.value).endswith("The server has not run it.")


# -- closing ---------------------------------------------------------------------------------


def test_closing_wakes_every_call_that_waits(server):
    server.inject(Fault.HANG, "tools/call", times=4)
    with Client(server.url) as client, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(add, client) for _ in range(4)]
        assert server.wait_for(lambda s: s.hanging == 4)
        with within(0, SOON):
            client.close()
            errors = [call.exception(SOON) for call in calls]
    assert all(isinstance(error, ConnectionClosed) for error in errors)
    assert all(error.maybe_executed for error in errors)
    assert len({id(error) for error in errors}) == 4


@pytest.mark.parametrize("method", ["server/discover", "initialize"])
def test_closing_wakes_who_connects_and_who_waits_for_him(method):
    with LocalServer("legacy") as server, Client(server.url) as client:
        server.inject(Fault.HANG, method)
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(add, client, timeout=LONG) for _ in range(3)]
            assert server.wait_for(lambda s: s.hanging)
            wait_until(lambda: client._keeper._flight.joined == 2, "two join")
            with within(0, SOON):
                client.close()
                errors = [call.exception(SOON) for call in calls]
            server.release()
    assert [type(error) for error in errors] == [ConnectionClosed] * 3
    assert not any(error.maybe_executed for error in errors)
    assert client.state is State.CLOSED


def test_closing_wakes_who_waits_for_a_socket():
    with full_backlog() as port, ThreadPoolExecutor(1) as pool:
        client = Client(f"http://127.0.0.1:{port}/mcp")
        call = pool.submit(client.connect, timeout=LONG)
        wait_until(lambda: len(client._keeper._flight), "it connects")
        client.close()
        assert isinstance(call.exception(SOON), ConnectionClosed)


def test_closing_from_a_callback_ends_the_call(server):
    with Client(server.url) as client, pytest.raises(ConnectionClosed):
        client.call_tool(
            "slow",
            {"seconds": LONG, "steps": 50},
            progress_callback=lambda *_: client.close(),
        )


def test_many_threads_may_close_it(server):
    client = Client(server.url)
    client.connect()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(client.close) for _ in range(8)]:
            done.result(LONG)
    assert len(server.deleted_sessions) <= 1
    assert client.state is State.CLOSED


def test_a_client_closed_while_it_connects_leaves_no_session_behind():
    released = threading.Event()

    def slow(request):
        released.wait(LONG)
        return result(request, INITIALIZED, headers={"Mcp_Session_Id": "s1"})

    with ScriptedMCP(initialize=slow, DELETE=ACCEPTED) as server, ThreadPoolExecutor(1) as pool:
        client = Client(server.url, mode="legacy")
        call = pool.submit(client.connect, timeout=LONG)
        wait_until(lambda: server.requests, "it shakes hands")
        client.close()
        released.set()
        assert isinstance(call.exception(LONG), ConnectionClosed)
        with pytest.raises(ConnectionClosed):
            client.connect()


# -- the era that was assumed ----------------------------------------------------------------


def test_a_refused_call_is_not_repeated_when_the_assumed_era_was_right():
    ran = []

    def run(request):
        ran.append(request)
        return Reply(
            {
                "jsonrpc": "2.0",
                "id": request.json["id"],
                "error": {"code": -32603, "message": "it broke"},
            },
            "400 Bad Request",
        )

    with ScriptedMCP(tools__call=run) as server:
        with Client(server.url) as first:
            first.connect()
        with Client(server.url) as second, pytest.raises(MCPSyncError, match="it broke"):
            second.call_tool("add")
    assert len(ran) == 1


def test_an_unknown_method_does_not_put_the_assumed_era_in_doubt():
    with LocalServer("modern") as server:
        with Client(server.url) as first:
            first.connect()
        with Client(server.url) as second, pytest.raises(MCPSyncError):
            second.send_ping()
        assert [r.rpc_method for r in server.requests] == ["server/discover", "ping"]


def test_an_http_status_that_says_nothing_about_the_era_is_not_one():
    with LocalServer("modern") as server:
        with Client(server.url) as first:
            first.connect()
        server.inject(Fault.HTTP_503, "tools/call")
        with Client(server.url) as second:
            with pytest.raises(HTTPStatusError) as caught:
                add(second)
            assert add(second) == {"sum": 3}
        assert caught.value.status == 503
        assert beginnings(server) == 1


def test_a_call_under_way_survives_anothers_doubt_about_the_era():
    with LocalServer("modern") as server:
        with Client(server.url) as client:
            client.connect()
        with Client(server.url) as client, ThreadPoolExecutor(1) as pool:
            server.inject(Fault.HANG, "tools/call")
            slow = pool.submit(client.call_tool, "add", {"a": 1, "b": 2})
            assert server.wait_for(lambda s: s.hanging)
            with pytest.raises(MCPError, match="nonsense"):
                client.call_tool("nonsense")
            server.release()
            assert slow.result(LONG).structured_content == {"sum": 3}
