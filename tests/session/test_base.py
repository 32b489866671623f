"""A call that is given up: the server is told, in the way of its era."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import Cancellation, Client, RequestCancelled, RequestTimeout
from mcpsync.testing import Fault, LocalServer
from support.processes import wait_until
from transports.door import BUDGET, LONG, SOON, within

SLOW = ("slow", {"seconds": 30, "steps": 600})


def courier_threads():
    return [t for t in threading.enumerate() if t.name == "mcpsync-courier"]


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    with LocalServer(request.param) as running:
        running.era = request.param
        yield running
        assert running.violations == []


@pytest.fixture
def client(server):
    with Client(server.url, timeout=LONG) as connected:
        connected.connect()
        yield connected


def cancel_during(client, server, reason=None, **options):
    """Start a slow call, cancel it once it runs, and return its error."""
    cancel = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.call_tool, *SLOW, cancel=cancel, **options)
        assert server.wait_for(lambda s: s.executions.get("slow"))
        cancel.cancel(reason)
        return call.exception(SOON)


@pytest.mark.parametrize("listening", [True, False])
def test_cancel_from_another_thread_ends_the_call_and_tells_the_server(server, client, listening):
    options = {"progress_callback": lambda *_: None} if listening else {}
    with within(0, SOON + 1):
        error = cancel_during(client, server, **options)
    assert isinstance(error, RequestCancelled)
    assert error.maybe_executed
    assert error.tool_name == "slow"
    assert server.wait_for(lambda s: s.cancelled)
    (told,) = server.cancelled
    assert told.method == "tools/call"
    assert told.how == ("notification" if server.era == "legacy" else "closed stream")
    assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_the_reason_is_in_the_error_and_goes_to_a_legacy_server(server, client):
    error = cancel_during(client, server, "the user has left")
    assert "the user has left" in str(error)
    assert server.wait_for(lambda s: s.cancelled)
    if server.era == "legacy":
        assert server.cancelled[0].reason == "the user has left"


def test_a_timeout_tells_the_server_too(server, client):
    with pytest.raises(RequestTimeout):
        client.call_tool(*SLOW, timeout=BUDGET)
    assert server.wait_for(lambda s: s.cancelled)
    (told,) = server.cancelled
    call = next(r for r in server.requests if r.rpc_method == "tools/call")
    assert told.request_id == call.request_id


def test_what_tells_the_server_carries_session_version_and_the_calls_headers():
    with LocalServer("legacy") as server, Client(server.url) as client:
        client.connect()
        with pytest.raises(RequestTimeout):
            client.call_tool(*SLOW, timeout=BUDGET, headers={"X-User": "ada"})
        assert server.wait_for(lambda s: s.cancelled)
        sent = server.requests[-1]
    assert sent.rpc_method == "notifications/cancelled"
    assert sent.session_id
    assert sent.headers["mcp-protocol-version"] == "2025-11-25"
    assert sent.headers["x-user"] == "ada"


def test_a_handshake_is_never_cancelled():
    with LocalServer("legacy") as server, Client(server.url) as client:
        server.inject(Fault.HANG, "initialize")
        with pytest.raises(TimeoutError):
            client.connect(timeout=BUDGET)
        wait_until(lambda: not courier_threads(), "nobody runs errands")
        assert "notifications/cancelled" not in {r.rpc_method for r in server.requests}


def test_a_server_that_does_not_listen_does_not_keep_the_caller():
    with LocalServer("legacy") as server, Client(server.url) as client:
        client.connect()
        server.inject(Fault.HANG, "notifications/cancelled")
        server.inject(Fault.HANG, "tools/call")
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
            client.call_tool("add", {"a": 1, "b": 2}, timeout=BUDGET)
        server.release()


def test_whoever_runs_the_errands_goes_home():
    with LocalServer("legacy") as server, Client(server.url) as client:
        cancel_during(client, server)
        assert server.wait_for(lambda s: s.cancelled)
        wait_until(lambda: not courier_threads(), "nobody runs errands")


def test_what_was_cancelled_beforehand_is_not_sent(server, client):
    cancel = Cancellation()
    cancel.cancel()
    before = len(server.requests)
    with pytest.raises(RequestCancelled) as caught:
        client.call_tool("add", {"a": 1, "b": 2}, cancel=cancel)
    assert not caught.value.maybe_executed
    assert str(caught.value).endswith("The server has not run it.")
    assert len(server.requests) == before


def test_a_cancel_that_comes_too_late_does_nothing(server, client):
    cancel = Cancellation()
    client.call_tool("add", {"a": 1, "b": 2}, cancel=cancel)
    cancel.cancel()
    assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
    assert server.cancelled == []


def test_one_cancellation_ends_many_calls(server, client):
    cancel = Cancellation()
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(client.call_tool, *SLOW, cancel=cancel) for _ in range(5)]
        assert server.wait_for(lambda s: s.executions.get("slow") == 5)
        cancel.cancel()
        assert all(isinstance(call.exception(SOON), RequestCancelled) for call in calls)
    assert server.wait_for(lambda s: len(s.cancelled) == 5)


def test_a_cancel_from_a_callback_ends_the_call(server, client):
    cancel = Cancellation()
    with pytest.raises(RequestCancelled):
        client.call_tool(*SLOW, cancel=cancel, progress_callback=lambda *_: cancel.cancel())
    assert server.wait_for(lambda s: s.cancelled)


def test_ids_are_never_used_twice(server, client):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.call_tool("echo", {"text": str(n)}), range(40)))
    ids = [r.request_id for r in server.requests if r.request_id is not None]
    assert len(ids) == len(set(ids)) >= 41
