"""Subscriptions on scripted servers: requirements 5.5 and section 12.1, and servers that flood."""

import json

import pytest

from mcpsync import (
    Client,
    Limits,
    ListenNotSupported,
    MCPError,
    MCPSyncError,
    RequestTimeout,
    ResponseTooLarge,
    ToolsListChanged,
)
from mcpsync.client import subscriptions
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import RawServer, Reply, ScriptedMCP, chunk, error, event, result, stream

MODERN = "2026-07-28"
KEY = "io.modelcontextprotocol/subscriptionId"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHANGED = "notifications/tools/list_changed"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(subscriptions, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(subscriptions, "LAST_RETRY", 0.05)


def note(method, subscription=None, **params):
    if subscription is not None:
        params["_meta"] = {KEY: subscription}
    return {"jsonrpc": "2.0", "method": method, "params": params}


def acknowledged(number, **honored):
    return note(
        "notifications/subscriptions/acknowledged",
        number,
        notifications=honored or {"toolsListChanged": True},
    )


def ended(number):
    return {
        "jsonrpc": "2.0",
        "id": number,
        "result": {"resultType": "complete", "_meta": {KEY: number}},
    }


def cancelled(number):
    return note("notifications/cancelled", requestId=number)


def serving(*steps, end=True):
    """A server whose answer to a subscription is these messages; functions get the request's id."""

    def answer(request):
        number = request.json["id"]
        events = [event(step(number) if callable(step) else step) for step in steps]
        return stream(*events) if end else HEAD + b"".join(map(chunk, events))

    return ScriptedMCP(subscriptions__listen=answer)


def changed(number):
    return note(CHANGED, number)


def heard_from(server, **options):
    """All that a subscription to new tools brings."""
    with (
        server,
        Client(server.url, mode=MODERN, timeout=LONG) as client,
        client.listen(tools_list_changed=True, **options) as changes,
    ):
        return list(changes)


@pytest.mark.parametrize(
    "ending", [[ended], [cancelled], [ended, cancelled], [cancelled, ended]], ids=str
)
def test_a_subscription_ends_with_a_result_or_a_cancelled_or_both(ending):
    assert heard_from(serving(acknowledged, changed, *ending)) == [ToolsListChanged()]


def test_the_request_says_what_is_wanted():
    server = serving(acknowledged, ended)
    with server, Client(server.url, mode=MODERN, timeout=LONG) as client:
        client.listen(prompts_list_changed=True, resource_subscriptions=["a://b"]).close()
        (request,) = server.requests
    assert request.rpc == "subscriptions/listen"
    assert request.json["params"]["notifications"] == {
        "promptsListChanged": True,
        "resourceSubscriptions": ["a://b"],
    }
    assert request.headers["mcp-method"] == "subscriptions/listen"


def test_what_bears_the_id_of_another_subscription_is_not_told():
    stray = note(CHANGED, 4711)
    assert heard_from(serving(acknowledged, stray, changed, ended)) == [ToolsListChanged()]
    assert heard_from(serving(acknowledged, stray, stray, ended)) == []


def test_what_comes_before_the_acknowledgement_is_not_lost():
    assert heard_from(serving(changed, acknowledged, ended)) == [ToolsListChanged()]


def test_a_subscription_that_ends_before_it_began_has_no_changes():
    assert heard_from(serving(ended)) == []


def test_the_acknowledgement_may_be_less_than_was_asked_for():
    server = serving(lambda number: acknowledged(number, promptsListChanged=True), ended)
    with server, Client(server.url, mode=MODERN, timeout=LONG) as client:
        changes = client.listen(tools_list_changed=True, prompts_list_changed=True)
        assert changes.honored.prompts_list_changed
        assert not changes.honored.tools_list_changed
        changes.close()


def test_a_server_that_does_not_acknowledge_has_the_time_of_the_call():
    server = serving(changed, end=False)
    with (
        server,
        Client(server.url, mode=MODERN, timeout=BUDGET) as client,
        within(0, SOON),
        pytest.raises(RequestTimeout),
    ):
        client.listen(tools_list_changed=True)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda request: error(request, -32601), ListenNotSupported),
        (lambda request: error(request, -32601, status="404 Not Found"), ListenNotSupported),
        (lambda request: error(request, -32603), MCPError),
        (lambda request: result(request, {}), None),
        (Reply(b"<p>", kind="text/html"), MCPSyncError),
        (Reply(b"", status="500 Oops", kind=""), MCPSyncError),
    ],
)
def test_an_answer_that_is_no_stream(answer, kind):
    with (
        ScriptedMCP(subscriptions__listen=answer) as server,
        Client(server.url, mode=MODERN, timeout=LONG) as client,
    ):
        if kind is None:
            assert list(client.listen(tools_list_changed=True)) == []
            return
        with pytest.raises(kind) as caught:
            client.listen(tools_list_changed=True)
        assert caught.value.server_name == server.url


def test_a_version_that_is_refused_is_negotiated_once():
    refused = []

    def answer(request):
        if not refused:
            refused.append(request)
            data = {"supported": [MODERN], "requested": MODERN}
            return error(request, -32022, data=data, status="400 Bad Request")
        number = request.json["id"]
        return stream(event(acknowledged(number)), event(ended(number)))

    assert heard_from(ScriptedMCP(subscriptions__listen=answer)) == []


def test_an_error_that_ends_it_is_raised():
    def failed(number):
        return {"jsonrpc": "2.0", "id": number, "error": {"code": -32603, "message": "tired"}}

    with pytest.raises(MCPError, match="tired"):
        heard_from(serving(acknowledged, failed))


def test_a_keep_alive_is_no_change():
    def answer(request):
        number = request.json["id"]
        pieces = [event(acknowledged(number)), b": still here\n\n" * 50, event(changed(number))]
        return stream(*pieces, event(ended(number)))

    assert heard_from(ScriptedMCP(subscriptions__listen=answer)) == [ToolsListChanged()]


def test_a_stream_may_bring_more_than_one_answer_may():
    def answer(request):
        number = request.json["id"]
        return stream(
            event(acknowledged(number)),
            *[b": %b\n\n" % (b"x" * 500) for _ in range(100)],
            event(changed(number)),
            event(ended(number)),
        )

    with (
        ScriptedMCP(subscriptions__listen=answer) as server,
        Client(
            server.url, mode=MODERN, timeout=LONG, limits=Limits(max_response_bytes=20_000)
        ) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        assert list(changes) == [ToolsListChanged()]


def test_an_event_without_an_end_is_refused():
    def answer(request):
        number = request.json["id"]
        lines = b"data: %b\n" % (b"x" * 500)
        return HEAD + chunk(event(acknowledged(number))) + chunk(lines * 100)

    with (
        ScriptedMCP(subscriptions__listen=answer) as server,
        Client(
            server.url, mode=MODERN, timeout=LONG, limits=Limits(max_response_bytes=20_000)
        ) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        with pytest.raises(ResponseTooLarge):
            list(changes)
        assert not changes.active


def test_a_request_on_the_stream_of_a_legacy_server_is_answered():
    ping = {"jsonrpc": "2.0", "id": "theirs", "method": "ping"}
    with (
        ScriptedMCP(
            GET=lambda _: HEAD + chunk(event(ping)) + chunk(event(note(CHANGED))),
        ) as server,
        Client(server.url, mode="legacy", timeout=LONG) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        assert changes.next_event(LONG) == ToolsListChanged()
        answers = [json.loads(r.body) for r in server.requests if b"theirs" in r.body]
    assert answers == [{"jsonrpc": "2.0", "id": "theirs", "result": {}}]


def test_a_poll_does_not_break_a_stream_that_drips():
    def drip(peer):
        request = peer.read()
        number = request.json["id"]
        data = chunk(event(acknowledged(number))) + chunk(event(changed(number)))
        peer.send(HEAD)
        peer.drip(data + chunk(event(ended(number))) + chunk(b""), 0.002)
        peer.wait_gone()

    with (
        RawServer(drip) as server,
        Client(server.url, mode=MODERN, timeout=LONG) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        found = None
        while found is None and changes.active:
            found = changes.next_event(0.001)
        assert found == ToolsListChanged()
        assert list(changes) == []
