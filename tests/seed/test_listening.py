"""What servers say by themselves: the GET stream, and the tools of the application. (8.3, 8.4)"""

import gc
import itertools
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import (
    Client,
    Gap,
    HTTPStatusError,
    ListenNotSupported,
    MCPManager,
    ResourceUpdated,
    SubscriptionLost,
    ToolsListChanged,
)
from mcpsync.client import subscriptions
from mcpsync.connections import hearing as hearing_module
from mcpsync.connections import relisting
from mcpsync.testing import Fault, LocalServer
from seed.servers import answer_get, lists, offer
from seed.things import manager_of, methods, raised
from support.guards import library_threads
from support.threads import wait_until

LONG = 5.0
ONE = "test://notes/one"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relisting, "SETTLE", 0.01)
    monkeypatch.setattr(subscriptions, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(subscriptions, "LAST_RETRY", 0.05)


@pytest.fixture
def client(legacy: LocalServer) -> Iterator[Client]:
    with Client(legacy.url, mode="legacy", timeout=LONG) as client:
        yield client


def listeners() -> int:
    """How many threads listen to servers."""
    return sum("listener" in thread.name for thread in library_threads())


def works(client: Client) -> bool:
    return client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


# -- the GET stream of a session ------------------------------------------------------------------


def test_400_to_the_get_stream_of_a_session_is_an_error(
    legacy: LocalServer, client: Client
) -> None:
    client.connect()
    answer_get(legacy, 400)
    error = raised(lambda: client.listen(tools_list_changed=True))
    assert isinstance(error, HTTPStatusError)
    assert error.status == 400
    assert works(client)


def test_405_to_the_get_stream_of_a_session_is_an_error(
    legacy: LocalServer, client: Client
) -> None:
    client.connect()
    answer_get(legacy, 405)
    assert isinstance(raised(lambda: client.listen(tools_list_changed=True)), ListenNotSupported)
    assert works(client)
    assert methods(legacy).count("initialize") == 1


def test_404_without_a_session_is_a_server_that_tells_nothing() -> None:
    with (
        LocalServer("legacy", sessions=False) as server,
        Client(server.url, mode="legacy", timeout=LONG) as client,
    ):
        client.connect()
        answer_get(server, 404)
        error = raised(lambda: client.listen(tools_list_changed=True))
        assert isinstance(error, ListenNotSupported)
        assert works(client)
        assert methods(server).count("initialize") == 1


def test_404_with_a_session_begins_a_new_one(legacy: LocalServer, client: Client) -> None:
    with client.listen(tools_list_changed=True, resource_subscriptions=[ONE]) as changes:
        legacy.expire_sessions()
        legacy.cut_streams()
        assert changes.next_event(LONG) == Gap()
        assert methods(legacy).count("initialize") == 2
        legacy.announce("resource", ONE)
        assert changes.next_event(LONG) == ResourceUpdated(ONE)


def test_409_begins_one_new_session_and_no_more(legacy: LocalServer, client: Client) -> None:
    client.connect()
    answer_get(legacy, 409, times=1)
    with client.listen(tools_list_changed=True) as changes:
        assert methods(legacy).count("initialize") == 2
        answer_get(legacy, 409, times=2)
        legacy.cut_streams()
        assert changes.next_event(LONG) == Gap()
        assert methods(legacy).count("initialize") == 2


def test_the_maximum_of_attempts_at_a_stream_is_real(legacy: LocalServer, client: Client) -> None:
    with client.listen(tools_list_changed=True) as changes:
        answer_get(legacy, 503)
        legacy.cut_streams()
        error = raised(lambda: list(changes))
    assert isinstance(error, SubscriptionLost)
    gets = [request for request in legacy.requests if request.http_method == "GET"]
    assert len(gets) == 1 + subscriptions.ATTEMPTS
    assert works(client)


def test_a_stream_that_is_listened_to_has_no_read_timeout(legacy: LocalServer) -> None:
    with (
        Client(legacy.url, mode="legacy", timeout=0.2) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        assert changes.next_event(0.4) is None
        legacy.announce("tools")
        assert changes.next_event(LONG) == ToolsListChanged()
    assert len([r for r in legacy.requests if r.http_method == "GET"]) == 1


# -- the application's servers --------------------------------------------------------------------


class Hearing:
    """A manager of an application's server, and a subscriber that keeps what it is told."""

    def __init__(self, server: LocalServer, **options: Any) -> None:
        self.server = server
        self.manager: MCPManager = manager_of(server, {"scope": "app"}, **options)
        self.heard: list[list[str]] = []
        self.undo = self.manager.on_tools_changed(
            lambda server, user, tools: self.heard.append([tool.name for tool in tools])
        )

    def call(self) -> None:
        self.manager.call_tool("crm", "change")


@pytest.fixture
def hearing(server: LocalServer) -> Iterator[Hearing]:
    offer(server, "one")
    hearing = Hearing(server)
    with hearing.manager:
        hearing.call()
        assert server.wait_for(lambda server: server.open_streams == 1)
        yield hearing
    wait_until(lambda: listeners() == 0, "no thread that listens")


def test_new_tools_are_heard_of_while_no_call_waits(server: LocalServer, hearing: Hearing) -> None:
    offer(server, "two")
    server.announce("tools")
    wait_until(lambda: hearing.heard == [["change", "two"]])


def test_new_tools_are_heard_of_after_the_stream_was_cut(
    server: LocalServer, hearing: Hearing
) -> None:
    server.announce("tools")
    wait_until(lambda: len(hearing.heard) == 1)
    offer(server, "two")
    server.cut_streams()
    wait_until(lambda: hearing.heard[1:] == [["change", "two"]])


def test_nobody_listens_if_nobody_subscribed(server: LocalServer) -> None:
    with manager_of(server, {"scope": "app"}) as manager:
        manager.call_tool("crm", "add", {"a": 1, "b": 2})
        assert listeners() == 0
        undo = manager.on_tools_changed(lambda *_: None)
        assert server.wait_for(lambda server: server.open_streams == 1)
        undo()
        assert server.wait_for(lambda server: server.open_streams == 0)
        wait_until(lambda: listeners() == 0)


def test_users_connections_have_no_thread(server: LocalServer) -> None:
    with manager_of(server) as manager:
        manager.on_tools_changed(lambda *_: None)
        manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada")
        assert listeners() == 0


def test_a_server_that_tells_nothing_is_asked_once_and_called_all_the_same() -> None:
    for era in ("legacy", "modern"):
        with LocalServer(era, streams=False) as server:
            offer(server, "one")
            hearing = Hearing(server)
            with hearing.manager:
                hearing.call()
                wait_until(lambda: listeners() == 0)
                offer(server, "two")
                server.announce_tools_changed()
                hearing.call()
                wait_until(lambda: hearing.heard == [["change", "two"]])  # noqa: B023
                asked = ("GET", "subscriptions/listen")
                assert sum(method in asked for method in methods(server)) == 1


def test_a_listener_goes_with_its_connection(server: LocalServer, hearing: Hearing) -> None:
    connection = hearing.manager.get_connection("crm")
    connection.close()
    wait_until(lambda: listeners() == 0)
    hearing.call()
    assert server.wait_for(lambda server: server.open_streams == 1)
    offer(server, "two")
    server.announce("tools")
    wait_until(lambda: hearing.heard == [["change", "two"]])


def test_a_listener_does_not_keep_a_manager_that_nobody_has(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing_module, "LOOK_UP", 0.05)
    hearing = Hearing(server)
    hearing.manager.call_tool("crm", "add", {"a": 1, "b": 2})
    assert server.wait_for(lambda server: server.open_streams == 1)
    alive = weakref.ref(hearing.manager)
    del hearing
    gc.collect()
    assert alive() is None
    wait_until(lambda: listeners() == 0)
    assert server.wait_for(lambda server: server.open_streams == 0)


def test_closing_the_manager_does_not_wait_for_a_server_that_says_nothing(
    server: LocalServer, hearing: Hearing
) -> None:
    hearing.manager.close()
    assert server.wait_for(lambda server: server.open_streams == 0)


def test_a_burst_on_the_stream_is_one_listing_or_two(server: LocalServer, hearing: Hearing) -> None:
    before = lists(server)
    offer(server, "two")
    for _ in itertools.repeat(None, 50):
        server.announce("tools")
    wait_until(lambda: hearing.heard[-1:] == [["change", "two"]])
    assert lists(server) - before < 10


def test_a_fault_of_the_stream_is_no_fault_of_the_calls(server: LocalServer) -> None:
    for method in ("GET", "subscriptions/listen"):
        server.inject(Fault.HTTP_500, method, times=None)
    with manager_of(server, {"scope": "app"}) as manager:
        manager.on_tools_changed(lambda *_: None)
        for _ in range(3):
            manager.call_tool("crm", "add", {"a": 1, "b": 2})
