"""All pages of a listing: lazily, to the end, and not in circles."""

from types import SimpleNamespace

import pytest

from mcpsync import Client, LimitExceeded, Limits
from mcpsync.client.paging import pages
from mcpsync.testing import Fault, LocalServer
from transports.peer import ScriptedMCP, result

LISTINGS = ("tools", "resources", "prompts")


def walk(*cursors, max_pages=1000):
    """Walk through pages that have these next cursors; return the items and the questions."""
    asked = []
    given = iter(cursors)

    def fetch(cursor):
        asked.append(cursor)
        return SimpleNamespace(items=[len(asked)], next=next(given))

    return pages(fetch, lambda page: page.items, lambda page: page.next, max_pages), asked


def test_one_page():
    items, asked = walk(None)
    assert list(items) == [1]
    assert asked == [None]


def test_an_empty_cursor_is_a_cursor():
    items, asked = walk("", "a", None)
    assert list(items) == [1, 2, 3]
    assert asked == [None, "", "a"]


def test_pages_are_asked_for_when_they_are_needed():
    items, asked = walk("a", "b", None)
    assert asked == []
    assert next(items) == 1
    assert asked == [None]


@pytest.mark.parametrize("cursors", [("a", "a"), ("a", "b", "a"), ("", "")])
def test_a_cursor_that_comes_again_ends_it(cursors):
    items, asked = walk(*cursors)
    with pytest.raises(LimitExceeded, match="goes round"):
        list(items)
    assert len(asked) == len(cursors)


def test_there_are_at_most_so_many_pages():
    items, asked = walk("a", "b", "c", None, max_pages=3)
    with pytest.raises(LimitExceeded, match="more than 3 pages"):
        list(items)
    assert len(asked) == 3
    items, _ = walk("a", "b", None, max_pages=3)
    assert list(items) == [1, 2, 3]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("listing", [*LISTINGS, "resource_templates"])
def test_every_page_of_a_server_is_walked(era, listing):
    with LocalServer(era, page_size=1) as server, Client(server.url) as client:
        found = list(getattr(client, listing)())
        asked = [r for r in server.requests if r.rpc_method.endswith("/list")]
        assert len(asked) == len(found) >= 1
        assert "cursor" not in (asked[0].body.get("params") or {})


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_one_page_is_the_one_its_cursor_stands_for(era):
    with LocalServer(era, page_size=2) as server, Client(server.url) as client:
        first = client.list_tools()
        second = client.list_tools(cursor=first.next_cursor)
        assert len(first.tools) == len(second.tools) == 2
        assert first.tools[0].name != second.tools[0].name


@pytest.mark.parametrize("listing", LISTINGS)
def test_a_server_whose_cursor_repeats_does_not_hold_us(listing):
    with LocalServer() as server, Client(server.url, server_name="crm") as client:
        server.inject(Fault.REPEAT_CURSOR, f"{listing}/list", times=None)
        with pytest.raises(LimitExceeded, match="same cursor twice") as caught:
            list(getattr(client, listing)())
    assert caught.value.server_name == "crm"


def test_a_server_without_a_last_page_does_not_hold_us():
    def endless(request):
        number = int(request.json["params"].get("cursor", "0"))
        return result(request, {"tools": [], "nextCursor": str(number + 1)})

    with (
        ScriptedMCP(tools__list=endless) as server,
        Client(server.url, limits=Limits(max_pages=5)) as client,
        pytest.raises(LimitExceeded, match="more than 5 pages"),
    ):
        list(client.tools())
    assert server.methods.count("tools/list") == 5


def test_an_empty_cursor_goes_out_as_one():
    def two_pages(request):
        cursor = request.json["params"].get("cursor")
        return result(request, {"tools": [], **({} if cursor == "" else {"nextCursor": ""})})

    with ScriptedMCP(tools__list=two_pages) as server, Client(server.url) as client:
        assert list(client.tools()) == []
    sent = [r.json["params"].get("cursor") for r in server.requests if r.rpc == "tools/list"]
    assert sent == [None, ""]


def test_the_options_go_with_every_page():
    with LocalServer(page_size=3) as server, Client(server.url) as client:
        list(client.tools(headers={"X-User": "ada"}))
        listed = [r for r in server.requests if r.rpc_method == "tools/list"]
        assert len(listed) == 3
        assert {r.headers["x-user"] for r in listed} == {"ada"}
