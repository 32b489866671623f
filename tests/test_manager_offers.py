"""What a manager's servers offer, for a language model: functions, instructions, and changes."""

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import MCPManager, events
from mcpsync.config import split_tool_key
from mcpsync.connections import relisting
from mcpsync.testing import Fault, LocalServer
from support.threads import outcome, start, wait_until

TOOLS = ["add", "echo", "slow", "fail", "log", "big", "whoami", "counter"]
WORDS = "A server for tests. Call add to see that it works and slow to see it wait."


@pytest.fixture(params=["legacy", "modern"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(era=request.param) as server:
        yield server


@pytest.fixture
def legacy() -> Iterator[LocalServer]:
    with LocalServer(era="legacy") as server:
        yield server


def manager_of(*servers: LocalServer, **fields: Any) -> MCPManager:
    """Return a manager of the servers a, b, c … as they are given."""
    configs = {
        name: {"url": server.url, **fields} for name, server in zip("abc", servers, strict=False)
    }
    return MCPManager(configs, connect_attempts=1)


def keys(server: str, names: list[str] | None = None) -> set[str]:
    return {f"{name}_mcp_{server}" for name in names or TOOLS}


def listings(server: LocalServer) -> int:
    return sum(request.rpc_method == "tools/list" for request in server.requests)


def call(manager: MCPManager, user: str | None = None) -> None:
    manager.call_tool("a", "echo", {"text": "hi"}, user=user)


# Functions of the application's servers.


def test_the_tools_of_all_the_applications_servers_are_functions_by_key(
    server: LocalServer,
) -> None:
    with LocalServer() as other, manager_of(server, other) as manager:
        functions = manager.get_app_tool_functions()
        assert set(functions) == keys("a") | keys("b")
        assert functions["echo_mcp_a"] == {
            "type": "function",
            "function": {
                "name": "echo_mcp_a",
                "description": "Return the text it is given.",
                "parameters": {
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                },
            },
        }
        assert [split_tool_key(key) for key in functions][:2] == [("add", "a"), ("echo", "a")]


def test_servers_that_are_each_users_own_are_not_among_them(server: LocalServer) -> None:
    with manager_of(server, scope="user") as manager:
        assert manager.get_app_tool_functions() == {}
    assert server.requests == []


@pytest.mark.parametrize("method", ["initialize", "tools/list"])
def test_a_server_that_fails_is_left_out_and_logged(
    legacy: LocalServer, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    legacy.inject(Fault.HTTP_500, method, times=None)
    with LocalServer() as other, manager_of(legacy, other) as manager:
        assert set(manager.get_app_tool_functions()) == keys("b")
    assert any(text.startswith("[MCP][a] ") for text in caplog.messages)


def test_a_server_that_hangs_does_not_keep_the_others_out() -> None:
    with LocalServer() as one, LocalServer() as two, LocalServer() as three:
        for hanging in (one, two):
            hanging.inject(Fault.HANG, "tools/list", times=None)
        with manager_of(one, two, three) as manager:
            assert set(manager.get_app_tool_functions(timeout=0.7)) == keys("c")


def test_what_a_server_offered_is_not_forgotten_when_it_fails(legacy: LocalServer) -> None:
    with manager_of(legacy) as manager:
        assert set(manager.get_app_tool_functions()) == keys("a")
        call(manager)
        manager.registry.update_server("a", {"url": legacy.url, "title": "Renamed"})
        legacy.inject(Fault.HTTP_500, "initialize", times=None)
        legacy.expire_sessions()
        assert set(manager.get_app_tool_functions()) == keys("a")


def test_what_a_server_offered_at_another_address_is_forgotten(server: LocalServer) -> None:
    with manager_of(server) as manager:
        manager.get_app_tool_functions()
        manager.registry.update_server("a", {"url": "http://127.0.0.1:9/mcp"})
        assert manager.get_app_tool_functions(timeout=5) == {}


def test_what_a_server_offered_is_forgotten_when_it_is_removed(server: LocalServer) -> None:
    with manager_of(server) as manager:
        manager.get_app_tool_functions()
        manager.registry.remove_server("a")
        assert manager.get_app_tool_functions() == {}
        assert manager.get_server_tool_functions(None, "a") is None


def test_every_page_is_read() -> None:
    with LocalServer(page_size=3) as server, manager_of(server) as manager:
        assert set(manager.get_app_tool_functions()) == keys("a")
        assert listings(server) == 3


def test_the_tools_of_a_shadowed_server_have_no_keys_and_nobody_elses(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalServer() as other:
        other.tools = ["echo", {"name": "secret"}]
        configs = {"my crm": {"url": other.url}, "my_crm": {"url": server.url}}
        with MCPManager(configs) as manager:
            manager.get_connection("my crm")
            assert set(manager.get_app_tool_functions()) == keys("my_crm")
            assert manager.get_server_tool_functions(None, "my crm") == {}
            assert set(manager.get_server_tool_functions(None, "my_crm") or {}) == keys("my_crm")
            assert manager.call_tool("my crm", "secret").content, "by its name it can be called"
    assert [text for text in caplog.messages if "no keys" in text] == [
        "[MCP][my crm] its tools have no keys: they would be taken for those of 'my_crm'; "
        "give it another name"
    ]


# Functions of one server.


def test_no_connection_is_made_to_answer_what_a_server_offers(server: LocalServer) -> None:
    with manager_of(server) as manager:
        assert manager.get_server_tool_functions("ada", "a") is None
        assert manager.get_server_tool_functions(None, "a") is None
        assert manager.get_server_tool_functions("ada", "nothing") is None
    assert server.requests == []


def test_a_users_own_connection_is_asked_if_it_is_there(server: LocalServer) -> None:
    with manager_of(server, scope="user") as manager:
        call(manager, "ada")
        assert set(manager.get_server_tool_functions("ada", "a") or {}) == keys("a")
        assert manager.get_server_tool_functions("bob", "a") is None
        assert manager.get_server_tool_functions(None, "a") is None


def test_the_applications_connection_is_asked_first(server: LocalServer) -> None:
    with manager_of(server) as manager:
        call(manager, "ada")
        call(manager)
        manager.get_server_tool_functions("ada", "a")
        server.tools = ["add"]
        assert set(manager.get_server_tool_functions("bob", "a") or {}) == keys("a")
        assert listings(server) == 1


def test_a_users_own_that_is_there_is_asked_before_what_the_application_had_last(
    server: LocalServer,
) -> None:
    with manager_of(server) as manager:
        manager.get_app_tool_functions()
        server.tools = ["add"]
        call_user = manager.call_tool("a", "add", {"a": 1, "b": 2}, user="ada")
        assert call_user.structured_content == {"sum": 3}
        manager._app.disconnect("a")
        assert set(manager.get_server_tool_functions("ada", "a") or {}) == keys("a", ["add"])
        assert set(manager.get_server_tool_functions("bob", "a") or {}) == keys("a")


def test_a_failure_is_no_answer_and_is_logged(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.inject(Fault.HTTP_500, "tools/list")
    with manager_of(server) as manager:
        call(manager, "ada")
        assert manager.get_server_tool_functions("ada", "a") is None
        assert any("its tools cannot be listed" in text for text in caplog.messages)
        assert set(manager.get_server_tool_functions("ada", "a") or {}) == keys("a")


def test_threads_that_ask_at_the_same_time_ask_the_server_once(server: LocalServer) -> None:
    with manager_of(server) as manager:
        call(manager, "ada")
        server.inject(Fault.HANG, "tools/list")
        callers = [start(manager.get_server_tool_functions, "ada", "a") for _ in range(8)]
        wait_until(lambda: manager._catalogues._flight.joined == 7)
        server.release()
        assert [set(outcome(caller)) for caller in callers] == [keys("a")] * 8
        assert listings(server) == 1


# Instructions.


def test_instructions_are_given_only_where_they_are_wanted(server: LocalServer) -> None:
    with manager_of(server) as manager:
        assert manager.get_instructions() == {}
        assert manager.format_instructions_for_context() == ""
    assert server.requests == []


def test_the_servers_own_words_or_those_of_the_configuration(server: LocalServer) -> None:
    configs = {
        "own": {"url": server.url, "server_instructions": True},
        "ours": {"url": server.url, "server_instructions": "Only on Mondays."},
        "none": {"url": server.url, "server_instructions": False},
    }
    with MCPManager(configs) as manager:
        assert manager.get_instructions() == {"own": WORDS, "ours": "Only on Mondays."}
        assert manager.get_instructions(["ours", "unknown"]) == {"ours": "Only on Mondays."}
        text = manager.format_instructions_for_context()
        assert text.startswith("# MCP Server Instructions\n\n")
        assert f"## own MCP Server Instructions\n\n{WORDS}" in text
        assert "## ours MCP Server Instructions\n\nOnly on Mondays." in text
        assert "## none" not in text
        only = manager.format_instructions_for_context(["ours"])
        assert "## own" not in only


def test_a_server_whose_words_cannot_be_had_is_left_out(
    legacy: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    legacy.inject(Fault.HTTP_500, "initialize", times=None)
    with LocalServer() as other, manager_of(legacy, other, server_instructions=True) as manager:
        assert manager.get_instructions() == {"b": WORDS}
    assert any(text.startswith("[MCP][a] no instructions: ") for text in caplog.messages)


def test_the_words_of_a_server_that_is_each_users_own_are_not_asked_for(
    server: LocalServer,
) -> None:
    with manager_of(server, server_instructions=True, scope="user") as manager:
        assert manager.get_instructions() == {}
    assert server.requests == []


# Changes.


class Heard:
    """A subscriber, and what it was told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str | None, list[str]]] = []
        self.threads: set[str] = set()

    def __call__(self, server: str, user: str | None, tools: list[Any]) -> None:
        self.threads.add(threading.current_thread().name)
        self.changes.append((server, user, [tool.name for tool in tools]))


def test_a_change_that_is_said_in_the_midst_of_a_call_is_told_while_it_goes_on(
    server: LocalServer,
) -> None:
    heard = Heard()
    with manager_of(server) as manager:
        manager.on_tools_changed(heard)
        call(manager, "ada")
        manager.get_server_tool_functions("ada", "a")
        server.tools = ["slow", {"name": "weather"}]
        server.announce_tools_changed()
        calling = start(
            lambda: manager.call_tool("a", "slow", {"seconds": 30, "steps": 300}, user="ada")
        )
        wait_until(lambda: bool(heard.changes))
        assert heard.changes == [("a", "ada", ["slow", "weather"])]
        assert heard.threads == {"mcpsync-catalogue"}
        assert not calling.done()
        functions = manager.get_server_tool_functions("ada", "a")
        assert set(functions or {}) == keys("a", ["slow", "weather"])
        manager.close(timeout=0.5)
    assert isinstance(outcome(calling), Exception)


def test_a_server_that_is_configured_anew_is_not_listed_with_the_credentials_of_before(
    server: LocalServer,
) -> None:
    with manager_of(server) as manager:
        manager.on_tools_changed(Heard())
        with manager.connection("a", user="ada") as connection:
            manager.get_server_tool_functions("ada", "a")
            manager.registry.update_server("a", {"url": server.url, "headers": {"X-Key": "new"}})
            server.tools = ["echo"]
            server.announce_tools_changed()
            before = listings(server)
            connection.call_tool("echo", {"text": "x"})
            wait_until(lambda: not manager._catalogues._relisting._bells)
            assert listings(server) == before
        call(manager, "ada")
        assert server.requests[-1].headers["x-key"] == "new"


def test_a_hundred_notifications_are_two_listings_at_most(server: LocalServer) -> None:
    heard, told = Heard(), []
    manager = MCPManager({"a": {"url": server.url}}, on_event=told.append)
    with manager:
        manager.on_tools_changed(heard)
        call(manager, "ada")
        manager.get_server_tool_functions("ada", "a")
        server.tools = ["echo"]
        server.announce_tools_changed(times=100)
        call(manager, "ada")
        wait_until(lambda: bool(heard.changes))
        wait_until(lambda: not manager._catalogues._relisting._bells)
        assert listings(server) - 1 <= 2
        assert heard.changes == [("a", "ada", ["echo"])]
        changed = [event for event in told if isinstance(event, events.ToolsChanged)]
        assert changed == [events.ToolsChanged("a", "ada", 1)]


def test_a_listing_that_fails_is_tried_again_and_the_last_good_list_holds(
    server: LocalServer,
) -> None:
    heard = Heard()
    with manager_of(server) as manager:
        manager.on_tools_changed(heard)
        call(manager, "ada")
        manager.get_server_tool_functions("ada", "a")
        server.tools = ["echo"]
        server.inject(Fault.HTTP_500, "tools/list")
        server.announce_tools_changed()
        call(manager, "ada")
        assert server.wait_for(lambda server: listings(server) == 2)
        if not heard.changes:
            assert set(manager.get_server_tool_functions("ada", "a") or {}) == keys("a")
        wait_until(lambda: heard.changes == [("a", "ada", ["echo"])])
        assert listings(server) == 3
        second, third = [r.received_at for r in server.requests if r.rpc_method == "tools/list"][1:]
        assert third - second >= relisting.FIRST_RETRY


@pytest.mark.parametrize("fault", [Fault.REPEAT_CURSOR, Fault.DIE_MID_ANSWER, Fault.GARBAGE])
def test_a_list_that_is_not_whole_is_never_told(fault: Fault) -> None:
    heard = Heard()
    with LocalServer(era="legacy", page_size=3) as server, manager_of(server) as manager:
        manager.on_tools_changed(heard)
        call(manager, "ada")
        manager.get_server_tool_functions("ada", "a")
        server.tools = ["add", "echo", "slow", "fail"]
        server.inject(fault, "tools/list", times=2)
        server.announce_tools_changed()
        call(manager, "ada")
        wait_until(lambda: bool(heard.changes))
        assert heard.changes == [("a", "ada", ["add", "echo", "slow", "fail"])]


def test_tools_that_vanish_leave_an_empty_list(server: LocalServer) -> None:
    heard = Heard()
    with manager_of(server) as manager:
        manager.on_tools_changed(heard)
        call(manager)
        manager.get_server_tool_functions(None, "a")
        server.announce_tools_changed()
        call(manager)
        server.tools = None
        wait_until(lambda: bool(heard.changes))
        assert heard.changes == [("a", None, [])]
        assert manager.get_server_tool_functions(None, "a") == {}


def test_a_new_session_has_the_tools_listed_again(legacy: LocalServer) -> None:
    heard = Heard()
    with manager_of(legacy) as manager:
        manager.on_tools_changed(heard)
        call(manager, "ada")
        manager.get_server_tool_functions("ada", "a")
        legacy.tools = ["echo"]
        legacy.expire_sessions()
        call(manager, "ada")
        wait_until(lambda: heard.changes == [("a", "ada", ["echo"])])


def test_users_are_told_each_of_their_own(server: LocalServer) -> None:
    heard = Heard()
    with manager_of(server) as manager:
        manager.on_tools_changed(heard)
        for user in ("ada", "bob"):
            call(manager, user)
            manager.get_server_tool_functions(user, "a")
        server.tools = ["echo"]
        server.announce_tools_changed()
        call(manager, "ada")
        wait_until(lambda: heard.changes == [("a", "ada", ["echo"])])
        assert set(manager.get_server_tool_functions("bob", "a") or {}) == keys("a")


def test_users_with_equal_lists_share_one(server: LocalServer) -> None:
    with manager_of(server) as manager:
        for user in ("ada", "bob"):
            call(manager, user)
            manager.get_server_tool_functions(user, "a")
        one, other = (manager.get_user_connections(user)["a"] for user in ("ada", "bob"))
        assert one.catalogue is other.catalogue


def test_who_has_enough_is_told_no_more(server: LocalServer) -> None:
    heard, other = Heard(), Heard()
    with manager_of(server) as manager:
        stop = manager.on_tools_changed(heard)
        manager.on_tools_changed(other)
        stop()
        call(manager)
        manager.get_server_tool_functions(None, "a")
        server.tools = ["echo"]
        server.announce_tools_changed()
        call(manager)
        wait_until(lambda: bool(other.changes))
        assert heard.changes == []


def test_a_subscriber_that_fails_is_logged(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with manager_of(server) as manager:
        manager.on_tools_changed(fail)
        call(manager)
        server.announce_tools_changed()
        call(manager)
        wait_until(lambda: "a subscriber to the tools of a failed" in caplog.messages)
    assert [r.levelno for r in caplog.records if r.levelno > logging.INFO] == [logging.ERROR]


def test_a_subscriber_may_close_the_manager(server: LocalServer) -> None:
    closed = threading.Event()
    with manager_of(server) as manager:

        def close(*_: Any) -> None:
            manager.close()
            closed.set()

        manager.on_tools_changed(close)
        call(manager)
        server.announce_tools_changed()
        call(manager)
        assert closed.wait(10)


def test_a_connection_that_was_replaced_says_nothing_any_more(server: LocalServer) -> None:
    heard = Heard()
    with LocalServer() as elsewhere, manager_of(server) as manager:
        manager.on_tools_changed(heard)
        with manager.connection("a") as old:
            manager.get_server_tool_functions(None, "a")
            manager.registry.update_server("a", {"url": elsewhere.url})
            call(manager)
            manager.get_server_tool_functions(None, "a")
            before = listings(server)
            server.tools = ["echo"]
            server.announce_tools_changed()
            old.call_tool("echo", {"text": "hi"})
            wait_until(lambda: not manager._catalogues._relisting._bells)
            assert listings(server) == before
        assert set(manager.get_server_tool_functions(None, "a") or {}) == keys("a")
    assert heard.changes == []


def test_close_is_not_held_up_by_a_server_that_hangs(server: LocalServer) -> None:
    heard = Heard()
    manager = manager_of(server)
    manager.on_tools_changed(heard)
    call(manager)
    server.inject(Fault.HANG, "tools/list")
    server.announce_tools_changed()
    call(manager)
    assert server.wait_for(lambda server: server.hanging == 1)
    closing = start(manager.close)
    assert outcome(closing) is None
    wait_until(lambda: not manager._catalogues._relisting._bells, "that the thread has ended")
    assert heard.changes == []


@pytest.mark.parametrize("hangs", [True, False], ids=["asking", "waiting"])
def test_a_manager_that_nobody_has_any_more_is_collected(server: LocalServer, hangs: bool) -> None:
    manager = manager_of(server)
    call(manager)
    manager.get_server_tool_functions(None, "a")
    server.inject(Fault.HANG if hangs else Fault.HTTP_500, "tools/list", times=None)
    server.announce_tools_changed()
    call(manager)
    assert server.wait_for(lambda server: listings(server) == 2)
    gone = weakref.ref(manager)
    del manager
    gc.collect()
    assert gone() is None
    server.clear_faults()
