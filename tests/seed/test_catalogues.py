"""What tools a server has, whole; and again when it says they changed. (8.4)"""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mcpsync import LimitExceeded, MCPManager
from mcpsync._runtime.backoff import exponential
from mcpsync.connections import listing, relisting
from mcpsync.testing import FakeClock, Fault, LocalServer
from seed.servers import lists, offer
from seed.things import count, manager_of, methods, raised, wait_for_hanging
from support.guards import library_threads
from support.threads import outcome, start, wait_until

BACK_OFF = (relisting.FIRST_RETRY, relisting.LAST_RETRY)


@pytest.fixture(params=["legacy", "modern"])
def changing(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(request.param) as server:
        offer(server, "one", "two")
        yield server
        server.clear_faults()
        assert server.violations == []


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relisting, "SETTLE", 0.01)
    monkeypatch.setattr(relisting, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(relisting, "LAST_RETRY", 0.02)


def nobody_lists() -> bool:
    """Whether there is no thread that asks servers for their tools."""
    return not any("catalogue" in thread.name for thread in library_threads())


class Hearing:
    """A manager with a subscriber that keeps what it is told."""

    def __init__(self, server: LocalServer, told: list[Any], **options: Any) -> None:
        self.server = server
        self.manager: MCPManager = manager_of(server, on_event=told.append, **options)
        self.heard: list[list[str]] = []
        self.manager.on_tools_changed(self._hear)

    def _hear(self, server: str, user: str | None, tools: list[Any]) -> None:
        assert server == "crm"
        self.heard.append([tool.name for tool in tools])

    def change(self, times: int = 1, user: str = "ada") -> None:
        """Have the server say so often that its tools changed."""
        self.server.announce_tools_changed(times)
        self.manager.call_tool("crm", "change", user=user)

    def names(self, user: str = "ada") -> list[str]:
        """The tools, as the manager knows them."""
        functions = self.manager.get_server_tool_functions(user, "crm")
        assert functions is not None
        return [key.removesuffix("_mcp_crm") for key in functions]


@pytest.fixture
def hearing(changing: LocalServer, told: list[Any], clock: FakeClock) -> Iterator[Hearing]:
    hearing = Hearing(changing, told, clock=clock)
    with hearing.manager:
        hearing.manager.get_user_connection("crm", user="ada")
        assert hearing.names() == ["change", "one", "two"]
        yield hearing


def test_subscribers_hear_of_new_tools_after_the_notification(
    hearing: Hearing, changing: LocalServer, told: list[Any]
) -> None:
    offer(changing, "three")
    hearing.change()
    wait_until(lambda: hearing.heard == [["change", "three"]])
    assert hearing.names() == ["change", "three"]
    assert count(told, "ToolsChanged") == 1


def test_without_a_notification_nothing_is_listed_again(
    hearing: Hearing, changing: LocalServer
) -> None:
    offer(changing, "three")
    assert hearing.names() == ["change", "one", "two"]
    assert lists(changing) == 1


def test_a_burst_of_notifications_is_one_listing_and_one_more(
    hearing: Hearing, changing: LocalServer
) -> None:
    offer(changing, "three")
    changing.inject(Fault.HANG, method="tools/list")
    hearing.change()
    wait_for_hanging(changing)  # the first is under way ...
    offer(changing, "four")
    hearing.change(20)  # ... and these come meanwhile
    changing.release()
    wait_until(lambda: hearing.heard[-1:] == [["change", "four"]])
    assert lists(changing) == 3


def test_a_listing_that_fails_is_tried_again_later_and_later(
    hearing: Hearing, changing: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relisting, "FIRST_RETRY", 0.05)
    monkeypatch.setattr(relisting, "LAST_RETRY", 10.0)
    changing.inject(Fault.HTTP_503, method="tools/list", times=3)
    offer(changing, "three")
    hearing.change()
    wait_until(lambda: hearing.heard == [["change", "three"]])
    times = [each.received_at for each in changing.requests if each.rpc_method == "tools/list"]
    assert len(times) == 5
    waits = [later - earlier for earlier, later in itertools.pairwise(times[1:])]
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True)), waits


def test_the_back_off_is_a_quarter_second_and_doubles_up_to_thirty() -> None:
    assert BACK_OFF == (0.25, 30.0)  # as it was before the tests made it small
    delays = [exponential(n, *BACK_OFF, random=lambda: 0.0) for n in range(1, 10)]
    assert delays == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize("fault", [Fault.HTTP_500, Fault.REPEAT_CURSOR, Fault.DIE_MID_ANSWER])
def test_the_last_good_tools_are_kept_while_listing_fails(
    hearing: Hearing, changing: LocalServer, fault: Fault
) -> None:
    changing.inject(fault, method="tools/list", times=None)
    offer(changing, "three")
    hearing.change()
    assert changing.wait_for(lambda s: lists(s) >= 4)
    assert hearing.names() == ["change", "one", "two"]
    assert hearing.heard == []


def test_a_list_that_is_the_same_is_told_to_nobody(hearing: Hearing, changing: LocalServer) -> None:
    hearing.change()
    assert changing.wait_for(lambda s: lists(s) == 2)
    offer(changing, "three")
    hearing.change()
    wait_until(lambda: hearing.heard != [])
    assert hearing.heard == [["change", "three"]]


def test_the_tools_are_listed_anew_after_the_connection_was_made_anew(
    hearing: Hearing, changing: LocalServer
) -> None:
    offer(changing, "three")
    hearing.manager.get_user_connection("crm", user="ada", force_new=True)
    assert hearing.names() == ["change", "three"]


def test_the_tools_are_listed_anew_after_the_session_was_begun_anew(
    told: list[Any], clock: FakeClock
) -> None:
    """A server that forgot the session was most likely restarted, with other tools."""
    with LocalServer("legacy") as server, Hearing(server, told, clock=clock).manager as manager:
        offer(server, "one")
        manager.get_user_connection("crm", user="ada")
        assert "one_mcp_crm" in (manager.get_server_tool_functions("ada", "crm") or {})
        server.expire_sessions()
        offer(server, "three")
        manager.call_tool("crm", "change", user="ada")
        wait_until(
            lambda: "three_mcp_crm" in (manager.get_server_tool_functions("ada", "crm") or {})
        )


def test_a_listing_of_a_connection_that_was_closed_meanwhile_is_ignored(
    hearing: Hearing, changing: LocalServer
) -> None:
    connection = hearing.manager.get_user_connection("crm", user="ada")
    offer(changing, "stale")
    changing.inject(Fault.HANG, method="tools/list")
    hearing.change()
    wait_for_hanging(changing)
    offer(changing, "fresh")
    hearing.manager.disconnect_user_connection("ada", "crm")
    changing.release()
    hearing.manager.get_user_connection("crm", user="ada")
    assert hearing.names() == ["change", "fresh"]
    assert not connection.is_connected
    assert ["change", "stale"] not in hearing.heard


def test_a_server_whose_tools_capability_vanished_has_no_tools(
    hearing: Hearing, changing: LocalServer
) -> None:
    changing.tools = None
    hearing.manager.get_user_connection("crm", user="ada", force_new=True)
    assert hearing.names() == []
    is_legacy = "initialize" in methods(changing)
    assert lists(changing) == (1 if is_legacy else 2), "there is no need to ask"


def test_nothing_is_told_after_disposal(hearing: Hearing, changing: LocalServer) -> None:
    offer(changing, "three")
    changing.inject(Fault.HANG, method="tools/list")
    hearing.change()
    wait_for_hanging(changing)
    hearing.manager.close()
    changing.release()
    wait_until(nobody_lists)
    assert hearing.heard == []


def test_a_retry_that_waits_ends_with_the_disposal(
    hearing: Hearing, changing: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relisting, "FIRST_RETRY", 60.0)
    monkeypatch.setattr(relisting, "LAST_RETRY", 60.0)
    changing.inject(Fault.HTTP_500, method="tools/list")
    hearing.change()
    assert changing.wait_for(lambda s: lists(s) == 2)
    hearing.manager.close()
    wait_until(nobody_lists)
    assert lists(changing) == 2


def test_a_subscriber_that_is_undone_hears_no_more(hearing: Hearing, changing: LocalServer) -> None:
    others: list[int] = []
    undo = hearing.manager.on_tools_changed(lambda *_: others.append(1))
    undo()
    undo()
    offer(changing, "three")
    hearing.change()
    wait_until(lambda: hearing.heard == [["change", "three"]])
    assert others == []


# -- tools/list -------------------------------------------------------------------------------


def paged(**options: Any) -> LocalServer:
    return LocalServer("legacy", page_size=1, **options)


@pytest.mark.parametrize(("pages", "whole"), [(50, True), (51, False)])
def test_the_pages_of_a_listing_are_limited(pages: int, whole: bool) -> None:
    with paged() as server, manager_of(server) as manager:
        manager.get_user_connection("crm", user="ada")
        offer(server, *(f"t{n}" for n in range(pages - 1)))  # and `change`
        assert (manager.get_server_tool_functions("ada", "crm") is not None) == whole


def test_the_tools_of_a_listing_are_limited() -> None:
    with LocalServer("legacy", page_size=400) as server, manager_of(server) as manager:
        manager.get_user_connection("crm", user="ada")
        offer(server, *(f"t{n}" for n in range(1000)))  # and `change`
        assert manager.get_server_tool_functions("ada", "crm") is None
        offer(server, *(f"t{n}" for n in range(999)))
        assert len(manager.get_server_tool_functions("ada", "crm") or {}) == 1000


def test_the_bytes_of_a_listing_are_limited() -> None:
    """Five MiB in all, however many pages they come in: 2.1."""
    with paged() as server, manager_of(server) as manager:
        manager.get_user_connection("crm", user="ada")
        offer(server, *(f"t{n}" for n in range(6)), size=2**20)
        assert manager.get_server_tool_functions("ada", "crm") is None


def test_the_time_of_a_listing_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listing.LISTING_TIMEOUT == 30.0
    monkeypatch.setattr(listing, "LISTING_TIMEOUT", 0.3)
    with paged() as server, manager_of(server) as manager:
        manager.get_user_connection("crm", user="ada")
        offer(server, *(f"t{n}" for n in range(30)))
        server.inject(Fault.DRIP, method="tools/list", times=None)
        began = time.monotonic()
        assert manager.get_server_tool_functions("ada", "crm") is None
        assert time.monotonic() - began < 3


def test_a_cursor_that_comes_again_stops_a_listing(server: LocalServer) -> None:
    with manager_of(server) as manager:
        connection = manager.get_user_connection("crm", user="ada")
        server.inject(Fault.REPEAT_CURSOR, method="tools/list", times=None)
        assert isinstance(raised(lambda: list(connection.tools())), LimitExceeded)
        assert server.wait_for(lambda s: sum(r.rpc_method == "tools/list" for r in s.requests) < 4)


def test_what_was_listed_before_an_error_is_not_taken_for_all(clock: FakeClock) -> None:
    """The seed first returned what it had; since then, and here, it is not published."""
    with LocalServer("legacy", page_size=2) as server, manager_of(server) as manager:
        manager.get_user_connection("crm", user="ada")
        offer(server, *(f"t{n}" for n in range(6)))
        listing = iter(manager.get_user_connection("crm", user="ada").tools())
        assert next(listing).name == "change"  # what a caller reads himself comes page by page
        server.inject(Fault.HTTP_500, method="tools/list", times=None)
        assert raised(lambda: list(listing)).maybe_executed is False
        assert manager.get_server_tool_functions("ada", "crm") is None
        server.clear_faults()
        assert len(manager.get_server_tool_functions("ada", "crm") or {}) == 7


def test_an_incomplete_list_is_not_published_over_a_good_one(told: list[Any]) -> None:
    with LocalServer("legacy", page_size=2) as server:
        offer(server, *(f"t{n}" for n in range(6)))
        hearing = Hearing(server, told)
        with hearing.manager as manager:
            manager.get_user_connection("crm", user="ada")
            assert len(hearing.names()) == 7
            offer(server, "new")
            server.inject(Fault.REPEAT_CURSOR, method="tools/list", times=None)
            hearing.change()
            assert server.wait_for(lambda s: lists(s) > 8)
            assert len(hearing.names()) == 7
            assert hearing.heard == []


def test_callers_who_ask_while_it_is_listed_get_whole_lists(hearing: Hearing) -> None:
    connection = hearing.manager.get_user_connection("crm", user="ada")
    connection.catalogue = None
    asked = [start(hearing.names) for _ in range(8)]
    assert [outcome(each) for each in asked] == [["change", "one", "two"]] * 8
