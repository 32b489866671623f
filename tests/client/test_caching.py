"""Answers that may be given again for a while, and those that may not. (5.6, S14)"""

import multiprocessing
import threading

import pytest

import mcpsync
from mcpsync import CacheConfig
from mcpsync.client.caching import MAX_TTL_MS, AnswerStore, ResponseCache
from mcpsync.errors import ConfigurationError, ConnectionClosed, HTTPStatusError, MCPError
from mcpsync.session.callbacks import Callbacks, dispatcher
from mcpsync.testing import FakeClock, Fault, LocalServer

NOTE = "test://notes/one"
LISTINGS = {
    "tools/list": "list_tools",
    "resources/list": "list_resources",
    "resources/templates/list": "list_resource_templates",
    "prompts/list": "list_prompts",
}
CHANGES = {
    "notifications/tools/list_changed": {"list_tools"},
    "notifications/prompts/list_changed": {"list_prompts"},
    "notifications/resources/list_changed": {"list_resources", "list_resource_templates"},
}


@pytest.fixture
def server():
    """A modern server; what it lists is good for a minute."""
    with LocalServer("modern") as server:
        yield server


@pytest.fixture
def clock():
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def client(server, clock):
    """A client that keeps answers by that clock."""
    with keeping(server, clock) as client:
        yield client


def keeping(server, clock):
    """A client that keeps answers by *clock*."""
    return mcpsync.Client(server.url, cache=CacheConfig(clock=clock.monotonic))


def asked(server, method):
    """How often the server was asked."""
    return sum(request.rpc_method == method for request in server.requests)


# -- what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "name"), LISTINGS.items())
def test_a_listing_is_asked_for_once_while_it_is_good(server, client, clock, method, name):
    first = getattr(client, name)()
    clock.advance(59.9)
    assert getattr(client, name)() == first
    assert asked(server, method) == 1
    clock.advance(0.2)
    assert getattr(client, name)() == first
    assert asked(server, method) == 2


def test_a_resource_is_read_once_while_it_is_good(server, client, clock):
    assert client.read_resource(NOTE) == client.read_resource(NOTE)
    assert asked(server, "resources/read") == 1
    client.read_resource("test://notes/two")
    assert asked(server, "resources/read") == 2


def test_this_is_so_without_a_word(server):
    with mcpsync.Client(server.url) as client:
        assert list(client.tools()) == list(client.tools())
    assert asked(server, "tools/list") == 1


@pytest.mark.parametrize("ttl_ms", [0, None])
def test_what_is_good_for_no_time_is_not_kept(server, client, ttl_ms):
    server.set_cache_hint("tools/list", ttl_ms)
    client.list_tools()
    client.list_tools()
    assert asked(server, "tools/list") == 2


def test_a_server_that_says_nothing_is_kept_for_as_long_as_the_caller_says(server, clock):
    server.set_cache_hint("tools/list", None)
    config = CacheConfig(default_ttl_ms=1000, clock=clock.monotonic)
    with mcpsync.Client(server.url, cache=config) as client:
        client.list_tools()
        clock.advance(0.9)
        client.list_tools()
        assert asked(server, "tools/list") == 1
        server.set_cache_hint("tools/list", 0)
        clock.advance(0.2)
        client.list_tools()
        client.list_tools()
        assert asked(server, "tools/list") == 3


def test_what_is_too_old_is_not_given_even_if_the_server_fails(server, client, clock):
    client.list_tools()
    clock.advance(61)
    server.inject(Fault.HTTP_500, "tools/list")
    with pytest.raises(HTTPStatusError):
        client.list_tools()


def test_nobody_asks_by_himself_when_the_time_has_passed(server, client, clock):
    client.list_tools()
    clock.advance(3600)
    client.call_tool("add", {"a": 1, "b": 2})
    assert asked(server, "tools/list") == 1


def test_nothing_is_good_for_longer_than_a_day(server, client, clock):
    server.set_cache_hint("tools/list", MAX_TTL_MS * 1000)
    client.list_tools()
    clock.advance(MAX_TTL_MS / 1000 + 1)
    client.list_tools()
    assert asked(server, "tools/list") == 2


def test_before_the_modern_era_hints_do_not_count(clock):
    with LocalServer("legacy") as server:
        for config, times in ((CacheConfig(), 2), (CacheConfig(default_ttl_ms=1000), 3)):
            with mcpsync.Client(server.url, cache=config) as client:
                client.list_tools()
                client.list_tools()
            assert asked(server, "tools/list") == times


def test_nothing_is_kept_without_a_cache(server):
    with mcpsync.Client(server.url, cache=None) as client:
        client.list_tools()
        client.list_tools(cache_mode="refresh")
    assert asked(server, "tools/list") == 2


def test_what_was_handed_out_may_be_changed_without_harm(server, client):
    page = client.list_tools()
    page.tools[0].input_schema["properties"].clear()
    page.tools.clear()
    again = client.list_tools()
    again.tools[0].input_schema["properties"].clear()
    assert client.list_tools().tools[0].input_schema["properties"]
    assert asked(server, "tools/list") == 1


def test_each_page_is_kept_on_its_own(clock):
    with LocalServer("modern", page_size=3) as server, keeping(server, clock) as client:
        names = [tool.name for tool in client.tools()]
        assert [tool.name for tool in client.tools()] == names
        assert asked(server, "tools/list") == 3
        second = client.list_tools().next_cursor
        client.list_tools(cursor=second, cache_mode="refresh")
        assert asked(server, "tools/list") == 4


def test_an_invalid_cursor_drops_every_page(clock):
    with LocalServer("modern", page_size=3) as server, keeping(server, clock) as client:
        list(client.tools())
        with pytest.raises(MCPError):
            client.list_tools(cursor="nonsense")
        list(client.tools())
        assert asked(server, "tools/list") == 7
        client.list_resources()
        with pytest.raises(MCPError):
            client.list_tools(cursor="nonsense")
        client.list_resources()
        assert asked(server, "resources/list") == 1


# -- what the caller wants -------------------------------------------------------------------------


def test_refresh_asks_and_keeps_the_answer(server, client):
    client.list_tools()
    server.tools = ["echo"]
    assert len(client.list_tools(cache_mode="refresh").tools) == 1
    assert len(client.list_tools().tools) == 1
    assert asked(server, "tools/list") == 2


def test_refresh_drops_what_was_kept_if_the_answer_is_not_to_be(server, client):
    client.list_tools()
    server.set_cache_hint("tools/list", 0)
    client.list_tools(cache_mode="refresh")
    client.list_tools()
    assert asked(server, "tools/list") == 3


def test_bypass_asks_and_leaves_what_is_kept_alone(server, client):
    client.list_tools()
    server.tools = ["echo"]
    assert len(client.list_tools(cache_mode="bypass").tools) == 1
    assert len(client.list_tools().tools) > 1
    assert asked(server, "tools/list") == 2


def test_iterators_take_a_mode_too(server, client):
    for items in (client.tools, client.prompts, client.resources, client.resource_templates):
        list(items())
        list(items(cache_mode="refresh"))
    assert [asked(server, method) for method in LISTINGS] == [2, 2, 2, 2]


@pytest.mark.parametrize("call", [{"meta": {"x": 1}}, {"headers": {"X-User": "ada"}}])
def test_a_call_with_something_of_its_own_goes_to_the_server_and_leaves_nothing(
    server, client, call
):
    client.list_tools(**call)
    client.list_tools()
    client.list_tools(**call)
    assert asked(server, "tools/list") == 3


def test_a_mode_that_there_is_not_is_refused(client):
    with pytest.raises(ConfigurationError, match="cache_mode"):
        client.list_tools(cache_mode="never")
    with pytest.raises(ConfigurationError, match="cache_mode"):
        client.tools(cache_mode="never")


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "1"])
def test_a_configuration_that_makes_no_sense_is_refused(wrong):
    for name in ("max_entries", "max_bytes", "default_ttl_ms"):
        with pytest.raises(ConfigurationError, match=name):
            CacheConfig(**{name: wrong})


def test_a_closed_client_gives_nothing_from_its_cache(server):
    client = mcpsync.Client(server.url)
    client.list_tools()
    client.close()
    with pytest.raises(ConnectionClosed):
        client.list_tools()


# -- what makes it stale ---------------------------------------------------------------------------


@pytest.mark.parametrize(("notification", "dropped"), CHANGES.items())
def test_a_listing_that_changed_is_asked_for_again(server, client, notification, dropped):
    for name in LISTINGS.values():
        getattr(client, name)()
    server.announce_in_call(notification)
    client.call_tool("echo", {"text": "x"})
    for method, name in LISTINGS.items():
        getattr(client, name)()
        assert asked(server, method) == (2 if name in dropped else 1)


def test_a_resource_that_changed_is_read_again_and_no_other(server, client):
    client.read_resource(NOTE)
    client.read_resource("test://notes/two")
    server.announce_in_call("notifications/resources/updated", {"uri": NOTE})
    client.call_tool("echo", {"text": "x"})
    client.read_resource(NOTE)
    client.read_resource("test://notes/two")
    assert asked(server, "resources/read") == 3


def test_a_part_that_changed_makes_the_whole_stale():
    cache, kept = ResponseCache(CacheConfig(default_ttl_ms=1000)), {}
    for uri in ("file:///a", "file:///a/b", "file:///ab"):
        cache.keep(cache.ask("resources/read", uri), a_page(), is_modern=True)
    cache.notified("notifications/resources/updated", {"uri": "file:///a/b/c"})
    for uri in ("file:///a", "file:///a/b", "file:///ab"):
        kept[uri] = cache.look_up("resources/read", uri) is not None
    assert kept == {"file:///a": False, "file:///a/b": False, "file:///ab": True}
    cache.notified("notifications/resources/updated", {"uri": 5})
    assert cache.look_up("resources/read", "file:///ab") is None


def test_it_is_dropped_before_anybody_hears_of_the_change(server):
    heard = []

    def on_message(message):
        heard.append(len(client.list_tools().tools))

    with mcpsync.Client(server.url, message_handler=on_message) as client:
        client.list_tools()
        server.tools = ["echo"]
        server.announce_in_call("notifications/tools/list_changed")
        client.call_tool("echo", {"text": "x"})
    assert heard == [1]


def test_every_notification_is_seen_even_with_nobody_else_listening():
    seen = []
    callbacks = Callbacks(None, on_notification=lambda *args: seen.append(args))
    dispatch = dispatcher(callbacks, None, None)
    for method in ("notifications/progress", "notifications/message", "notifications/x"):
        dispatch({"jsonrpc": "2.0", "method": method, "params": {"a": 1}})
        assert seen.pop() == (method, {"a": 1})


def a_page(ttl_ms=None, scope=None):
    """A listing with these hints."""
    from mcp_types import ListToolsResult

    hints = {} if ttl_ms is None else {"ttlMs": ttl_ms}
    return ListToolsResult.model_validate({"tools": [], **hints, "cacheScope": scope or "private"})


def test_an_answer_that_was_under_way_when_the_listing_changed_is_not_kept():
    cache = ResponseCache(CacheConfig())
    under_way = cache.ask("tools/list", None)
    cache.notified("notifications/tools/list_changed", {})
    cache.keep(under_way, a_page(1000), is_modern=True)
    assert cache.look_up("tools/list", None) is None
    cache.keep(cache.ask("tools/list", None), a_page(1000), is_modern=True)
    assert cache.look_up("tools/list", None) is not None


# -- limits ----------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first():
    cache = ResponseCache(CacheConfig(max_entries=2))
    for uri in ("a", "b", "c"):
        cache.keep(cache.ask("resources/read", uri), a_page(1000), is_modern=True)
        cache.look_up("resources/read", "a")
    kept = [uri for uri in "abc" if cache.look_up("resources/read", uri) is not None]
    assert kept == ["a", "c"]


def test_a_server_cannot_make_the_cache_grow_without_end(server):
    config = CacheConfig(max_bytes=1500)
    with mcpsync.Client(server.url, cache=config) as client:
        for number in range(100):
            client.read_resource(f"test://greeting/{number}")
        client.list_tools()  # larger than all the room there is
        assert client._cache._own._bytes <= 1500
        client.list_tools()
        assert asked(server, "tools/list") == 2


def test_nothing_is_kept_in_no_room(server):
    for config in (CacheConfig(max_entries=0), CacheConfig(max_bytes=0)):
        with mcpsync.Client(server.url, cache=config) as client:
            client.list_prompts()
            client.list_prompts()
    assert asked(server, "prompts/list") == 4


def test_threads_may_share_it():
    cache = ResponseCache(CacheConfig(max_entries=8))
    barrier, wrong = threading.Barrier(8), []

    def run(number):
        barrier.wait(10)
        try:
            for turn in range(200):
                uri = str((number + turn) % 12)
                cache.keep(cache.ask("resources/read", uri), a_page(1000), is_modern=True)
                cache.look_up("resources/read", uri)
                cache.drop("resources/read", uri)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert cache._own._bytes == sum(len(each.content) for each in cache._own._entries.values())


# -- whose it is -----------------------------------------------------------------------------------


def users_of(server, cache):
    """A manager for *server*, where each user has his own connection."""
    return mcpsync.MCPManager({"s": {"url": server.url}}, cache=cache)


def list_tools_as(manager, user):
    """List tools over the connection of *user*."""
    with manager.connection("s", user=user) as connection:
        return connection.list_tools()


@pytest.mark.parametrize("scope", ["public", "private"])
def test_users_of_a_manager_share_nothing_unless_they_are_told_to(server, scope):
    server.set_cache_hint("tools/list", 60_000, scope)
    with users_of(server, CacheConfig()) as manager:
        for user in ("ada", "bob", "ada"):
            list_tools_as(manager, user)
    assert asked(server, "tools/list") == 2


def test_public_answers_may_be_shared_and_private_ones_never(server):
    with users_of(server, CacheConfig(share_public=True)) as manager:
        list_tools_as(manager, "ada").tools.clear()
        assert list_tools_as(manager, "bob").tools
        assert asked(server, "tools/list") == 1
        server.set_cache_hint("tools/list", 60_000, "private")
        with manager.connection("s", user="ada") as connection:
            connection.list_tools(cache_mode="refresh")
        list_tools_as(manager, "bob")
    assert asked(server, "resources/read") == 0


def test_what_one_user_hears_of_drops_what_all_share(server):
    with users_of(server, CacheConfig(share_public=True)) as manager:
        list_tools_as(manager, "ada")
        server.tools = ["echo"]
        server.announce_in_call("notifications/tools/list_changed")
        manager.call_tool("s", "echo", {"text": "x"}, user="bob")
        assert len(list_tools_as(manager, "ada").tools) == 1


def test_what_becomes_private_is_shared_no_more(server):
    with users_of(server, CacheConfig(share_public=True)) as manager:
        list_tools_as(manager, "ada")
        server.set_cache_hint("tools/list", 60_000, "private")
        with manager.connection("s", user="ada") as connection:
            connection.list_tools(cache_mode="refresh")
        list_tools_as(manager, "bob")
        assert asked(server, "tools/list") == 3


def test_a_server_that_users_reach_with_values_of_their_own_shares_nothing(server):
    config = {"url": server.url, "headers": {"X-User": "{{LIBRECHAT_USER_ID}}"}}
    with mcpsync.MCPManager({"s": config}, cache=CacheConfig(share_public=True)) as manager:
        for user in ("ada", "bob"):
            list_tools_as(manager, mcpsync.User(id=user))
    assert asked(server, "tools/list") == 2


def test_what_a_managers_catalogue_has_is_not_kept_twice(server):
    with users_of(server, CacheConfig()) as manager:
        manager.call_tool("s", "echo", {"text": "x"}, user="ada")
        assert manager.get_server_tool_functions("ada", "s")
        with manager.connection("s", user="ada") as connection:
            assert connection._cache.look_up("tools/list", None) is None


def test_a_manager_without_a_cache_keeps_nothing(server):
    with users_of(server, None) as manager:
        list_tools_as(manager, "ada")
        list_tools_as(manager, "ada")
    assert asked(server, "tools/list") == 2


def test_a_forked_child_begins_with_nothing():
    store = AnswerStore(CacheConfig())
    cache = ResponseCache(CacheConfig(), store, "here")
    for scope in ("public", "private"):
        cache.keep(cache.ask("tools/list", scope), a_page(60_000, scope), is_modern=True)

    def look(answers):
        found = [cache.look_up("tools/list", scope) for scope in ("public", "private")]
        answers.put(found == [None, None])

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=look, args=(answers,))
    child.start()
    assert answers.get(timeout=30)
    child.join(30)
