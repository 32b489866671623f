"""Hearing of changes: in both eras, over HTTP and stdio; streams that are cut, and that end."""

import contextlib
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import (
    Cancellation,
    Client,
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    Gap,
    ListenNotSupported,
    PromptsListChanged,
    RequestCancelled,
    ResourcesListChanged,
    ResourceUpdated,
    StdioServerParameters,
    SubscriptionLost,
    ToolsListChanged,
)
from mcpsync.client import subscriptions
from mcpsync.testing import LocalServer
from support.guards import library_threads
from support.threads import wait_until
from transports.door import LONG, SOON, within

ONE, TWO = "test://notes/one", "test://notes/two"
ANNOUNCING = """
import sys
from mcpsync.testing import __main__ as served

served.STDIO_TOOLS = ({"name": "announce", "inputSchema": {"type": "object"}},)
sys.argv = ["server", "--stdio", "--era", sys.argv[1]]
served.main()
"""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(subscriptions, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(subscriptions, "LAST_RETRY", 0.05)


@pytest.fixture(params=["legacy", "modern"])
def era(request):
    return request.param


@pytest.fixture
def server(era):
    with LocalServer(era, retry=0.1) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def client(server):
    with Client(server.url, timeout=LONG) as client:
        yield client


@pytest.fixture
def by_stdio(era):
    command = StdioServerParameters(command=sys.executable, args=["-c", ANNOUNCING, era])
    with Client(command, timeout=2 * LONG) as client:
        yield client


@contextlib.contextmanager
def talking(era, **options):
    """A server, and a client of it."""
    with (
        LocalServer(era, **options) as server,
        Client(server.url, timeout=LONG) as client,
    ):
        yield server, client
        assert server.violations == []


def announce(client, what, uri=None):
    arguments = {"what": what} if uri is None else {"what": what, "uri": uri}
    client.call_tool("announce", arguments)


def wait_for_listener(changes):
    """Wait until somebody listens."""
    wait_until(lambda: changes._busy)


# -- what is heard ---------------------------------------------------------------------------


def test_every_kind_of_change_is_told(server, client):
    with client.listen(
        tools_list_changed=True,
        prompts_list_changed=True,
        resources_list_changed=True,
        resource_subscriptions=[ONE],
    ) as changes:
        server.announce("tools")
        server.announce("prompts")
        server.announce("resources")
        server.announce("resource", ONE)
        heard = [changes.next_event(LONG) for _ in range(4)]
    assert heard == [
        ToolsListChanged(),
        PromptsListChanged(),
        ResourcesListChanged(),
        ResourceUpdated(ONE),
    ]


def test_only_what_was_asked_for_is_told(server, client):
    with client.listen(tools_list_changed=True, resource_subscriptions=[ONE]) as changes:
        server.announce("prompts")
        server.announce("resource", TWO)
        server.announce("tools")
        assert changes.next_event(LONG) == ToolsListChanged()
        assert changes.next_event(0.1) is None


def test_the_server_says_what_it_will_tell(client):
    with client.listen(tools_list_changed=True, resource_subscriptions=[ONE]) as changes:
        honored = changes.honored
    assert honored.tools_list_changed
    assert not honored.prompts_list_changed
    assert honored.resource_subscriptions == [ONE]


def test_the_message_handler_hears_it_first(server):
    heard = []
    with (
        Client(server.url, timeout=LONG, message_handler=heard.append) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        server.announce("tools")
        assert changes.next_event(LONG) == ToolsListChanged()
        assert [note.method for note in heard] == ["notifications/tools/list_changed"]


def test_calls_go_on_while_somebody_listens(server, client):
    with client.listen(tools_list_changed=True):
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_there_is_no_thread_behind_it(client):
    with client.listen(tools_list_changed=True) as changes:
        assert changes.next_event(0.05) is None
        ours = [thread.name for thread in library_threads() if "courier" not in thread.name]
        assert [name for name in ours if "testing" not in name] == []


def test_a_stream_outlives_the_time_of_a_call(server):
    with (
        Client(server.url, timeout=0.3) as client,
        client.listen(tools_list_changed=True) as changes,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(next, changes)
        time.sleep(0.5)  # longer than the timeout: that is what is tested
        server.announce("tools")
        assert waiting.result(LONG) == ToolsListChanged()


def test_a_short_look_finds_what_is_there_and_nothing_else(server, client):
    with client.listen(tools_list_changed=True) as changes:
        with within(0, SOON):
            assert changes.next_event(0) is None
        server.announce("tools")
        deadline = time.monotonic() + LONG
        while (found := changes.next_event(0)) is None:
            assert time.monotonic() < deadline
        assert found == ToolsListChanged()


@pytest.mark.parametrize("asked", [{}, {"resource_subscriptions": "test://notes/one"}])
def test_listening_to_nothing_is_an_error_before_anything_is_sent(server, client, asked):
    with pytest.raises(ConfigurationError):
        client.listen(**asked)
    assert server.requests == []


# -- how it ends -----------------------------------------------------------------------------


def test_closing_from_another_thread_ends_the_iteration_at_once(server, client):
    with client.listen(tools_list_changed=True) as changes, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, changes)
        wait_for_listener(changes)
        with within(0, SOON):
            changes.close()
            assert waiting.result(LONG) == []
    assert server.wait_for(lambda server: server.open_streams == 0)


def test_a_modern_server_knows_that_nobody_listens_any_more():
    with talking("modern") as (server, client):
        client.listen(tools_list_changed=True).close()
        assert server.wait_for(lambda server: server.cancelled)
        (cancelled,) = server.cancelled
        assert (cancelled.method, cancelled.how) == ("subscriptions/listen", "closed stream")


def test_closing_the_client_ends_it_with_an_error(client):
    with client.listen(tools_list_changed=True) as changes, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, changes)
        wait_for_listener(changes)
        client.close()
        assert isinstance(waiting.exception(LONG), ConnectionClosed)
        assert not changes.active


def test_cancelling_ends_it_with_an_error(client):
    cancel = Cancellation()
    with (
        client.listen(tools_list_changed=True, cancel=cancel) as changes,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(list, changes)
        wait_for_listener(changes)
        cancel.cancel("enough")
        error = waiting.exception(LONG)
    assert isinstance(error, RequestCancelled)
    assert error.reason == "enough"


def test_a_closed_subscription_has_no_more_changes(client):
    changes = client.listen(tools_list_changed=True)
    changes.close()
    changes.close()
    assert changes.next_event(0) is None
    assert list(changes) == []
    assert not changes.active


def test_a_modern_server_that_ends_it_in_good_order_ends_the_iteration():
    with talking("modern") as (server, client):
        changes = client.listen(tools_list_changed=True)
        server.announce("tools")
        server.end_streams()
        assert list(changes) == [ToolsListChanged()]
        assert server.cancelled == []


def test_two_threads_do_not_listen_to_one_subscription(client):
    with client.listen(tools_list_changed=True) as changes, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, changes)
        wait_for_listener(changes)
        with pytest.raises(ConfigurationError):
            changes.next_event(0)
        changes.close()
        assert waiting.result(LONG) == []


# -- a stream that is cut --------------------------------------------------------------------


def test_a_cut_modern_stream_is_begun_anew_and_that_is_told():
    with talking("modern") as (server, client), client.listen(tools_list_changed=True) as changes:
        server.cut_streams()
        server.announce("tools")  # nobody hears it: the modern era has no replay
        assert changes.next_event(LONG) == Gap()
        server.announce("tools")
        assert changes.next_event(LONG) == ToolsListChanged()


def test_what_was_kept_before_a_gap_is_asked_for_again():
    with talking("modern") as (server, client), client.listen(tools_list_changed=True) as changes:
        client.list_tools()
        server.tools = ["echo"]
        server.cut_streams()
        assert changes.next_event(LONG) == Gap()
        assert [tool.name for tool in client.tools()] == ["echo"]


def test_a_cut_legacy_stream_with_ids_is_gone_on_with_and_nothing_is_missed():
    with talking("legacy", retry=0.1) as (server, client):
        with client.listen(tools_list_changed=True) as changes:
            server.cut_streams()
            server.announce("tools")
            assert changes.next_event(LONG) == ToolsListChanged()
        gets = [request for request in server.requests if request.http_method == "GET"]
    assert "last-event-id" not in gets[0].headers
    assert all("last-event-id" in get.headers for get in gets[1:])


def test_a_cut_legacy_stream_without_ids_is_begun_anew_and_that_is_told():
    with talking("legacy") as (server, client):
        with client.listen(tools_list_changed=True, resource_subscriptions=[ONE]) as changes:
            server.cut_streams()
            assert changes.next_event(LONG) == Gap()
            server.announce("resource", ONE)
            assert changes.next_event(LONG) == ResourceUpdated(ONE)
        asked = [r for r in server.requests if r.rpc_method == "resources/subscribe"]
        assert len(asked) == 1  # the session remembers


def test_a_short_look_is_short_while_a_stream_is_begun_anew(monkeypatch, server, client):
    monkeypatch.setattr(subscriptions, "FIRST_RETRY", 30.0)
    monkeypatch.setattr(subscriptions, "LAST_RETRY", 30.0)
    with client.listen(tools_list_changed=True) as changes:
        server.cut_streams()
        with within(0, SOON):
            assert changes.next_event(0.2) is None
            assert changes.next_event(0) is None
        assert changes.active


def test_a_server_that_is_gone_for_good_is_given_up():
    server = LocalServer("modern")
    server.start()
    with Client(server.url, timeout=LONG) as client:
        changes = client.listen(tools_list_changed=True)
        server.close()
        with pytest.raises(SubscriptionLost) as caught:
            list(changes)
        assert isinstance(caught.value.__cause__, ConnectError)
        assert caught.value.server_name == server.url
        assert not changes.active
        assert list(changes) == []


def test_a_legacy_session_that_was_forgotten_is_begun_anew():
    with (
        talking("legacy") as (server, client),
        client.listen(tools_list_changed=True, resource_subscriptions=[ONE]) as changes,
    ):
        server.expire_sessions()
        server.cut_streams()
        assert changes.next_event(LONG) == Gap()
        server.announce("resource", ONE)
        assert changes.next_event(LONG) == ResourceUpdated(ONE)


def test_a_call_that_begins_a_new_session_takes_the_stream_along():
    with talking("legacy") as (server, client), client.listen(tools_list_changed=True) as changes:
        server.expire_sessions()  # the old stream stays open, and is silent for ever
        client.call_tool("add", {"a": 1, "b": 2})
        assert changes.next_event(LONG) == Gap()


# -- servers that tell nothing ---------------------------------------------------------------


def test_a_server_that_tells_nothing_says_so(era):
    with talking(era, streams=False) as (server, client):
        with pytest.raises(ListenNotSupported) as caught:
            client.listen(tools_list_changed=True)
        assert caught.value.server_name == server.url
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_a_legacy_server_gives_one_stream_to_a_client():
    with talking("legacy") as (server, client), client.listen(tools_list_changed=True) as changes:
        with pytest.raises(ListenNotSupported, match="another subscription"):
            client.listen(prompts_list_changed=True)
        server.announce("tools")
        assert changes.next_event(LONG) == ToolsListChanged()


def test_a_modern_server_gives_as_many_as_are_asked_for():
    with (
        talking("modern") as (server, client),
        client.listen(tools_list_changed=True) as tools,
        client.listen(prompts_list_changed=True) as prompts,
    ):
        server.announce("prompts")
        server.announce("tools")
        assert tools.next_event(LONG) == ToolsListChanged()
        assert prompts.next_event(LONG) == PromptsListChanged()


# -- resources -------------------------------------------------------------------------------


def test_leaving_unsubscribes_from_a_legacy_server():
    with talking("legacy") as (server, client):
        with client.listen(resource_subscriptions=[ONE, TWO]):
            pass
        assert server.wait_for(
            lambda server: (
                [r.body["params"]["uri"] for r in server.requests if "unsub" in str(r.rpc_method)]
                == [ONE, TWO]
            )
        )


def test_a_legacy_server_is_asked_by_hand():
    with talking("legacy") as (server, client):
        client.subscribe_resource(ONE)
        client.unsubscribe_resource(ONE)
        sent = [(r.rpc_method, r.body["params"]) for r in server.requests[-2:]]
    assert sent == [
        ("resources/subscribe", {"uri": ONE}),
        ("resources/unsubscribe", {"uri": ONE}),
    ]


# -- over stdio ------------------------------------------------------------------------------


def test_several_listen_to_one_child(by_stdio):
    with (
        by_stdio.listen(tools_list_changed=True, resource_subscriptions=[ONE]) as first,
        by_stdio.listen(tools_list_changed=True, prompts_list_changed=True) as second,
    ):
        announce(by_stdio, "tools")
        announce(by_stdio, "prompts")
        announce(by_stdio, "resource", ONE)
        assert [first.next_event(LONG) for _ in range(2)] == [
            ToolsListChanged(),
            ResourceUpdated(ONE),
        ]
        assert [second.next_event(LONG) for _ in range(2)] == [
            ToolsListChanged(),
            PromptsListChanged(),
        ]
        second.close()
        announce(by_stdio, "tools")
        assert first.next_event(LONG) == ToolsListChanged()
        assert second.next_event(0) is None


def test_what_is_said_twice_before_anybody_looks_is_told_once(by_stdio):
    with by_stdio.listen(tools_list_changed=True) as changes:
        for _ in range(3):
            announce(by_stdio, "tools")
        assert changes.next_event(LONG) == ToolsListChanged()
        assert changes.next_event(0.1) is None


def test_a_child_that_ends_is_started_anew_and_that_is_told(by_stdio):
    with by_stdio.listen(tools_list_changed=True) as changes:
        os.kill(by_stdio._keeper._session._transport.pid, 9)
        assert changes.next_event(2 * LONG) == Gap()
        announce(by_stdio, "tools")
        assert changes.next_event(LONG) == ToolsListChanged()


def test_closing_ends_the_wait_for_a_child_at_once(by_stdio):
    with by_stdio.listen(tools_list_changed=True) as changes, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(list, changes)
        wait_for_listener(changes)
        with within(0, SOON):
            changes.close()
            assert waiting.result(LONG) == []


def test_the_handler_hears_each_thing_once_though_a_call_waits_and_two_listen(era):
    heard = []
    command = StdioServerParameters(command=sys.executable, args=["-c", ANNOUNCING, "legacy"])
    with (
        Client(command, timeout=2 * LONG, message_handler=heard.append) as client,
        client.listen(tools_list_changed=True) as first,
        client.listen(tools_list_changed=True) as second,
    ):
        announce(client, "tools")
        assert first.next_event(LONG) == second.next_event(LONG) == ToolsListChanged()
    assert len(heard) == 1


# -- in a forked child -----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_listen_and_disturbs_nobody(server, client):
    with client.listen(tools_list_changed=True) as changes:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                changes.next_event(0)
            except ConnectionClosed:
                changes.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        server.announce("tools")
        assert changes.next_event(LONG) == ToolsListChanged()


def test_listening_leaves_no_waker_behind(client):
    cancel = Cancellation()
    client.listen(tools_list_changed=True, cancel=cancel).close()
    assert cancel._wakers == []
