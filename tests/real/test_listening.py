"""Hearing of changes, and cut answers, with servers that somebody else wrote."""

import pytest

import mcpsync
from mcpsync.http.exchange import shut_down
from support.counterparts import kinds

PATIENCE = 20.0
FEATURE = "demo://resource/static/document/features.md"


@kinds("sdk1-http", "sdk1-stdio", "sdk2-http-modern", "sdk2-stdio-modern", "sdk2-stdio-legacy")
def test_new_tools_are_heard_of(counterpart):
    with (
        counterpart.client(timeout=PATIENCE) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        client.call_tool("change", {})
        assert changes.next_event(PATIENCE) == mcpsync.ToolsListChanged()


@kinds("sdk2-http-modern", "sdk2-stdio-modern")
def test_a_resource_that_changes_is_heard_of(counterpart):
    with (
        counterpart.client(timeout=PATIENCE) as client,
        client.listen(resource_subscriptions=["config://app"]) as changes,
    ):
        assert changes.honored.resource_subscriptions == ["config://app"]
        client.call_tool("change", {"uri": "config://other"})
        client.call_tool("change", {"uri": "config://app"})
        assert changes.next_event(PATIENCE) == mcpsync.ResourceUpdated("config://app")


@kinds("everything-http", "everything-stdio")
def test_a_resource_of_a_legacy_server_is_subscribed_to(counterpart):
    with (
        counterpart.client(timeout=PATIENCE) as client,
        client.listen(resource_subscriptions=[FEATURE]) as changes,
    ):
        assert changes.honored.resource_subscriptions == [FEATURE]
        client.call_tool("toggle-subscriber-updates", {})
        assert changes.next_event(PATIENCE) == mcpsync.ResourceUpdated(FEATURE)
        client.call_tool("toggle-subscriber-updates", {})


@kinds("sdk2-http-modern", "everything-http", "everything-stdio", "sdk2-stdio-modern")
def test_a_subscription_is_closed_and_calls_go_on(counterpart):
    with counterpart.client(timeout=PATIENCE) as client:
        changes = client.listen(tools_list_changed=True)
        changes.close()
        assert changes.next_event(0) is None
        assert client.call_tool(counterpart.words.add, {"a": 1, "b": 2})


@kinds("everything-http")
def test_a_cut_answer_is_gone_on_with(counterpart):
    heard = []
    with counterpart.client(timeout=PATIENCE) as client:
        client.connect()
        endpoint = client._keeper._session._transport._endpoint

        def cut_once(progress, total, message):
            heard.append(progress)
            if len(heard) == 1:
                for exchange in list(endpoint._active):
                    shut_down(exchange.socket)

        result = client.call_tool(
            "trigger-long-running-operation",
            {"duration": 1, "steps": 2},  # over when we ask: this server replays, and no more
            progress_callback=cut_once,
        )
    assert not result.is_error
    assert heard == [1, 2]


@kinds("sdk1-http")
def test_a_cut_answer_that_cannot_be_gone_on_with_is_a_truthful_error(counterpart):
    with counterpart.client(timeout=PATIENCE) as client:
        client.connect()
        endpoint = client._keeper._session._transport._endpoint

        def cut(progress, total, message):
            for exchange in list(endpoint._active):
                shut_down(exchange.socket)

        with pytest.raises(mcpsync.ConnectionLost) as caught:
            client.call_tool("slow", {"seconds": 1.0, "steps": 2}, progress_callback=cut)
    assert caught.value.maybe_executed
