"""What tools each connection's server has: asked once, asked again when it says they changed."""

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mcp_types import ListToolsResult, ServerCapabilities, Tool, ToolListChangedNotification

from mcpsync import events
from mcpsync._runtime.cancel import Cancellation, Watch
from mcpsync._runtime.deadline import Deadline
from mcpsync.config import fingerprint, parse_server
from mcpsync.connections import listing, relisting
from mcpsync.connections.catalogue import ToolCatalogues
from mcpsync.connections.connection import Key
from mcpsync.errors import (
    AuthError,
    ConnectError,
    ConnectionClosed,
    LimitExceeded,
    MCPError,
    MCPSyncError,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.protocol.lifecycle import State
from mcpsync.session.facts import ServerFacts
from mcpsync.testing import FakeClock
from mcpsync.transports.base import CallScope
from support.threads import Gate, outcome, start, wait_until

CHANGED = ToolListChangedNotification()


def tool(name: str, **more: Any) -> Tool:
    return Tool(name=name, input_schema={"type": "object"}, **more)


class Talker:
    """Stands for a connection: what a catalogue asks of one, and its server's answers."""

    def __init__(self, user: str | None = "ada", server: str = "crm", *names: str) -> None:
        self.key = Key(user, server)
        self.user_id, self.server_name = self.key
        self.fingerprint = "here"
        self.state = State.OPEN
        self.catalogue: Any = None
        self.protocol_version = "2025-11-25"
        self.has_tools = True
        self.pages: list[list[Tool]] = [[tool(name) for name in names or ("add", "echo")]]
        self.listings = 0
        self.before: Callable[[CallScope, int], Any] = lambda scope, page: None

    def connect(self, **options: Any) -> None:
        if self.state is State.CLOSED:
            raise ConnectionClosed("the client is closed.")

    def facts(self, **options: Any) -> ServerFacts:
        capabilities = {"tools": {}} if self.has_tools else {}
        return ServerFacts("", ServerCapabilities.model_validate(capabilities), None, None)

    def list_tools(self, *, cursor: str | None = None, **options: Any) -> ListToolsResult:
        page = int(cursor or 0)
        self.listings += not page
        pages = self.pages  # as they are when the server reads them
        scope = CallScope(options["timeout"], options["cancel"], options["headers"])
        self.before(scope, page)
        following = str(page + 1) if page + 1 < len(pages) else None
        return ListToolsResult(tools=[*pages[page]], next_cursor=following)

    def offers(self, *names: str) -> None:
        self.pages = [[tool(name) for name in names]]


class Hanging:
    """A server that does not answer until it is let go, or whoever asks has had enough."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.over = threading.Event()
        self.open = self.over.set

    def __call__(self, scope: CallScope, page: int) -> None:
        self.reached.set()
        cancelled: list[RequestCancelled] = []

        def abort(error: RequestCancelled) -> None:
            cancelled.append(error)
            self.over.set()

        watch = Watch(scope.cancel, abort)
        self.over.wait(min(scope.deadline.remaining(), 10))
        watch.end()
        if cancelled:
            raise cancelled[0]
        scope.deadline.check("waiting")

    def wait_reached(self) -> None:
        assert self.reached.wait(10)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def make(clock: FakeClock, told: list[Any]) -> Iterator[Callable[..., ToolCatalogues]]:
    made: list[ToolCatalogues] = []

    def make(**options: Any) -> ToolCatalogues:
        given = {"random": lambda: 0.0, "monotonic": clock.monotonic, **options}
        made.append(ToolCatalogues(told.append, **given))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def catalogues(make: Callable[..., ToolCatalogues]) -> ToolCatalogues:
    return make()


@pytest.fixture
def heard(catalogues: ToolCatalogues) -> list[Any]:
    """What a subscriber is told: the user, and the names of the tools."""
    heard: list[Any] = []
    catalogues.subscribe(lambda server, user, tools: heard.append((user, [t.name for t in tools])))
    return heard


@pytest.fixture
def pass_time(catalogues: ToolCatalogues, clock: FakeClock) -> Callable[[float], None]:
    def pass_time(seconds: float) -> None:
        clock.advance(seconds)
        for bell in list(catalogues._relisting._bells.values()):
            bell.put(None)

    return pass_time


def soon(seconds: float = 10.0, cancel: Cancellation | None = None) -> CallScope:
    return CallScope(Deadline(seconds), cancel)


def names(catalogues: ToolCatalogues, talker: Any, scope: CallScope | None = None) -> list[str]:
    return [each.name for each in catalogues.tools(talker, scope or soon())]


def until_due(catalogues: ToolCatalogues, server: str = "crm") -> float:
    """Return the seconds until a server is asked again, once its thread waits for that."""
    relisting = catalogues._relisting

    def waits() -> list[float]:
        due = list(relisting._due.get(server, {}).values())
        return [round(each.at - relisting._monotonic(), 6) for each in due if each.cancel is None]

    wait_until(lambda: min(waits(), default=0) > 0, "that something waits to be asked")
    return min(waits())


def idle(catalogues: ToolCatalogues) -> bool:
    """Whether nothing is to be asked, and no thread is there to do it."""
    return not catalogues._relisting._due and not catalogues._relisting._bells


# Asking.


def test_what_was_asked_once_is_known(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    assert names(catalogues, crm) == names(catalogues, crm) == ["add", "echo"]
    assert crm.listings == 1


def test_many_who_ask_at_the_same_time_ask_once(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    gate = Gate()
    crm.before = lambda scope, page: gate()
    callers = [start(names, catalogues, crm) for _ in range(16)]
    wait_until(lambda: catalogues._flight.joined == 15)
    gate.open()
    assert [outcome(caller) for caller in callers] == [["add", "echo"]] * 16
    assert crm.listings == 1


def test_who_joins_waits_by_his_own_deadline(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    crm.before = hanging = Hanging()
    leader = start(names, catalogues, crm)
    hanging.wait_reached()
    with pytest.raises(RequestTimeout):
        names(catalogues, crm, soon(0.05))
    hanging.open()
    assert outcome(leader) == ["add", "echo"]


def test_who_is_cancelled_leaves_the_others_their_answer(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    crm.before = hanging = Hanging()
    cancel = Cancellation()
    leader = start(names, catalogues, crm, soon(cancel=cancel))
    hanging.wait_reached()
    joiner = start(names, catalogues, crm)
    wait_until(lambda: catalogues._flight.joined == 1)
    crm.before = lambda scope, page: None
    cancel.cancel()
    assert isinstance(outcome(leader), RequestCancelled)
    assert outcome(joiner) == ["add", "echo"], "he has asked himself"
    assert crm.listings == 2


def test_all_who_ask_share_an_error_and_the_next_tries_again(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    gate = Gate()

    def fail(scope: CallScope, page: int) -> None:
        gate()
        raise ConnectError("nobody listens there.")

    crm.before = fail
    callers = [start(names, catalogues, crm) for _ in range(4)]
    wait_until(lambda: catalogues._flight.joined == 3)
    gate.open()
    assert {str(outcome(caller)) for caller in callers} == {"nobody listens there."}
    assert crm.listings == 1
    crm.before = lambda scope, page: None
    assert names(catalogues, crm) == ["add", "echo"]


def test_what_is_refused_for_one_callers_own_headers_is_not_the_others_affair(
    catalogues: ToolCatalogues,
) -> None:
    crm = Talker()
    gate = Gate()

    def refuse(scope: CallScope, page: int) -> None:
        if scope.headers:
            gate()
            raise AuthError("that token is not good.")

    crm.before = refuse
    mine = CallScope(Deadline(10), None, {"Authorization": "Bearer x"})
    leader = start(names, catalogues, crm, mine)
    gate.wait_reached()
    joiner = start(names, catalogues, crm)
    wait_until(lambda: catalogues._flight.joined == 1)
    gate.open()
    assert isinstance(outcome(leader), AuthError)
    assert outcome(joiner) == ["add", "echo"]


def test_users_who_got_equal_lists_share_one(catalogues: ToolCatalogues) -> None:
    ada, bob, eve = Talker("ada"), Talker("bob"), Talker("eve", "crm", "add")
    for talker in (ada, bob, eve):
        names(catalogues, talker)
    assert ada.catalogue is bob.catalogue
    assert ada.catalogue is not eve.catalogue


def test_in_another_order_they_are_the_same_tools(catalogues: ToolCatalogues) -> None:
    ada, bob = Talker("ada", "crm", "add", "echo"), Talker("bob", "crm", "echo", "add")
    names(catalogues, ada)
    names(catalogues, bob)
    assert ada.catalogue is bob.catalogue


def test_lists_that_differ_in_a_description_are_two(catalogues: ToolCatalogues) -> None:
    ada, bob = Talker("ada"), Talker("bob")
    bob.pages = [[tool("add"), tool("echo", description="Say it again.")]]
    names(catalogues, ada)
    names(catalogues, bob)
    assert ada.catalogue is not bob.catalogue


def test_what_nobody_has_any_more_is_forgotten(catalogues: ToolCatalogues) -> None:
    ada = Talker()
    names(catalogues, ada)
    shared = weakref.ref(ada.catalogue)
    del ada
    gc.collect()
    assert shared() is None
    assert len(catalogues._known) == 0


def test_a_legacy_server_that_does_not_say_it_has_tools_is_not_asked(
    catalogues: ToolCatalogues,
) -> None:
    crm = Talker()
    crm.has_tools = False
    assert names(catalogues, crm) == []
    assert crm.listings == 0


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_a_server_that_does_not_know_the_word_has_no_tools(
    catalogues: ToolCatalogues, version: str
) -> None:
    crm = Talker()
    crm.protocol_version = version
    crm.before = _raise(MCPError("Method not found", code=-32601))
    assert names(catalogues, crm) == []


def test_another_error_does_not_say_that_it_has_none(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    crm.before = _raise(MCPError("Internal error", code=-32603))
    with pytest.raises(MCPError):
        names(catalogues, crm)


def test_what_is_not_known_on_the_second_page_is_an_error(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    crm.pages = [[tool("add")], [tool("echo")]]
    crm.before = lambda scope, page: _raise(MCPError("?", code=-32601))() if page else None
    with pytest.raises(MCPError):
        names(catalogues, crm)


# What is not whole.


def _raise(error: Exception) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def _page_that_fails(crm: Talker) -> None:
    crm.pages = [[tool("add")], [tool("echo")], [tool("slow")]]
    crm.before = lambda scope, page: _raise(ConnectError("gone."))() if page == 2 else None


def _cursor_that_comes_twice(crm: Talker) -> None:
    page = ListToolsResult(tools=[tool("add")], next_cursor="x")
    crm.list_tools = lambda **_: page  # type: ignore[method-assign]


def _too_many_tools(crm: Talker) -> None:
    crm.pages = [[tool(f"t{n}") for n in range(1001)]]


def _too_many_pages(crm: Talker) -> None:
    crm.pages = [[tool(f"t{n}")] for n in range(51)]


def _too_many_bytes(crm: Talker) -> None:
    crm.pages = [[tool(f"t{n}", description="x" * 2**20)] for n in range(6)]


def _too_deep(crm: Talker) -> None:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"items": schema}
    crm.pages = [[Tool.model_construct(name="add", input_schema=schema)]]


def _too_slow(crm: Talker) -> None:
    crm.before = Hanging()


INCOMPLETE = [
    _page_that_fails,
    _cursor_that_comes_twice,
    _too_many_tools,
    _too_many_pages,
    _too_many_bytes,
    _too_deep,
    _too_slow,
]


@pytest.mark.parametrize("spoil", INCOMPLETE)
def test_a_list_that_is_not_whole_is_an_error_that_says_whose(
    catalogues: ToolCatalogues, spoil: Callable[[Talker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LISTING_TIMEOUT", 0.5)
    crm = Talker()
    spoil(crm)
    with pytest.raises(MCPSyncError) as caught:
        names(catalogues, crm)
    assert crm.catalogue is None
    if spoil is not _page_that_fails:
        assert isinstance(caught.value, LimitExceeded)
        assert (caught.value.server_name, caught.value.user_id) == ("crm", "ada")


@pytest.mark.parametrize("spoil", INCOMPLETE)
def test_a_list_that_is_not_whole_never_takes_the_place_of_a_good_one(
    catalogues: ToolCatalogues,
    heard: list[Any],
    told: list[Any],
    spoil: Callable[[Talker], None],
    pass_time: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "LISTING_TIMEOUT", 0.5)
    crm = Talker()
    names(catalogues, crm)
    good = crm.catalogue
    spoil(crm)
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    assert until_due(catalogues) == 0.25
    assert crm.catalogue is good
    assert names(catalogues, crm) == ["add", "echo"]
    assert (heard, told) == ([], [])


@pytest.mark.parametrize("spoil", [_too_many_tools, _too_many_pages, _too_many_bytes])
def test_what_is_just_within_the_limits_is_taken(
    catalogues: ToolCatalogues, spoil: Callable[[Talker], None]
) -> None:
    crm = Talker()
    spoil(crm)
    del crm.pages[-1][-1:]
    if not crm.pages[-1]:
        del crm.pages[-1]
    if spoil is _too_many_bytes:
        crm.pages[-1][-1] = tool("last")
    assert len(names(catalogues, crm)) == sum(map(len, crm.pages))


def test_the_callers_own_time_is_his_own_error(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    crm.before = Hanging()
    with pytest.raises(RequestTimeout):
        names(catalogues, crm, soon(0.05))


# Asking again.


def test_a_change_is_asked_for_and_told(
    catalogues: ToolCatalogues,
    heard: list[Any],
    told: list[Any],
    pass_time: Callable[[float], None],
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.offers("add", "weather")
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert names(catalogues, crm) == ["add", "weather"]
    assert heard == [("ada", ["add", "weather"])]
    assert told == [events.ToolsChanged("crm", "ada", 2)]


def test_a_hundred_notifications_are_one_listing(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.offers("weather")
    for _ in range(100):
        catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert crm.listings == 2, "the first, and one for them all"
    assert heard == [("ada", ["weather"])]


def test_a_hundred_more_during_the_listing_are_one_more(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.before = hanging = Hanging()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    hanging.wait_reached()
    crm.offers("weather")
    for _ in range(100):
        catalogues.notified(crm, CHANGED)
    hanging.open()
    pass_time(until_due(catalogues))
    wait_until(lambda: idle(catalogues))
    assert crm.listings == 3
    assert heard == [("ada", ["weather"])]


def test_a_change_during_the_first_listing_is_not_missed(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    crm.before = hanging = Hanging()
    first = start(names, catalogues, crm)
    hanging.wait_reached()
    crm.offers("weather")
    catalogues.notified(crm, CHANGED)
    hanging.open()
    assert outcome(first) == ["add", "echo"], "as the server read them before"
    pass_time(until_due(catalogues))
    wait_until(lambda: idle(catalogues))
    assert names(catalogues, crm) == ["weather"]


def test_what_is_asked_again_takes_no_answer_from_before(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    crm.before = hanging = Hanging()
    first = start(names, catalogues, crm)
    hanging.wait_reached()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: catalogues._flight.waited == 1, "that it waits for the one under way")
    crm.offers("weather")
    hanging.open()
    assert outcome(first) == ["add", "echo"]
    wait_until(lambda: idle(catalogues))
    assert names(catalogues, crm) == ["weather"]


def test_who_comes_while_it_is_asked_again_for_the_first_time_does_not_ask(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    crm.before = hanging = Hanging()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    hanging.wait_reached()
    caller = start(names, catalogues, crm)
    wait_until(lambda: catalogues._flight.waited == 1)
    hanging.open()
    assert outcome(caller) == ["add", "echo"]
    assert crm.listings == 1


def test_of_two_changes_the_older_is_not_told_after_the_newer(
    catalogues: ToolCatalogues, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    crm = Talker()
    names(catalogues, crm)
    land, overtaken = catalogues._flight.do, []

    def land_and_be_overtaken(*args: Any, **options: Any) -> None:
        land(*args, **options)
        if not overtaken:
            overtaken.append(True)
            crm.offers("newer")
            catalogues._ask_again(crm, Cancellation())  # type: ignore[arg-type]

    monkeypatch.setattr(catalogues._flight, "do", land_and_be_overtaken)
    crm.offers("older")
    catalogues._ask_again(crm, Cancellation())  # type: ignore[arg-type]
    assert heard == [("ada", ["newer"])]


def test_what_fails_is_tried_again_ever_more_rarely(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.before = _raise(ConnectError("gone."))
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    waits = []
    for _ in range(9):
        waits.append(until_due(catalogues))
        pass_time(waits[-1])
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_chance_adds_a_quarter_at_most(
    make: Callable[..., ToolCatalogues], clock: FakeClock
) -> None:
    catalogues = make(random=lambda: 1.0)
    crm = Talker()
    names(catalogues, crm)
    crm.before = _raise(ConnectError("gone."))
    catalogues.notified(crm, CHANGED)
    clock.advance(relisting.SETTLE)
    catalogues._relisting._bells["crm"].put(None)
    assert until_due(catalogues) == pytest.approx(0.25 * 1.25)


def test_the_last_good_list_holds_until_there_is_a_new_one(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.offers("weather")
    crm.before = _raise(ConnectError("gone."))
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait = until_due(catalogues)
    assert (names(catalogues, crm), heard) == (["add", "echo"], [])
    crm.before = hanging = Hanging()
    pass_time(wait)
    hanging.wait_reached()
    assert names(catalogues, crm) == ["add", "echo"], "nobody waits for it"
    hanging.open()
    wait_until(lambda: idle(catalogues))
    assert (names(catalogues, crm), heard) == (["weather"], [("ada", ["weather"])])


def test_a_notification_does_not_hasten_the_next_attempt(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.before = _raise(ConnectError("gone."))
    catalogues.notified(crm, CHANGED)
    for wait in (relisting.SETTLE, 0.25, 0.5):
        pass_time(wait)
        until_due(catalogues)
    catalogues.notified(crm, CHANGED)
    assert until_due(catalogues) == 1


def test_a_server_that_says_so_with_every_listing_is_asked_ever_more_rarely(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.before = lambda scope, page: catalogues.notified(crm, CHANGED)
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    waits = []
    for _ in range(9):
        waits.append(until_due(catalogues))
        pass_time(waits[-1])
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    wait_until(lambda: idle(catalogues))
    assert crm.listings == 11


def test_what_was_given_up_is_asked_again_for_the_next_who_wants_it(
    catalogues: ToolCatalogues,
    pass_time: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.before = _raise(ConnectError("gone."))
    catalogues.notified(crm, CHANGED)
    for wait in (relisting.SETTLE, 0.25, 0.5, 1, 2, 4, 8, 16, 30):
        pass_time(wait)
        until_due(catalogues)
    pass_time(30)
    wait_until(lambda: idle(catalogues))
    assert [record.getMessage() for record in caplog.records] == [
        "[MCP][crm] its new tools cannot be had"
    ]
    crm.before = lambda scope, page: None
    crm.offers("weather")
    assert names(catalogues, crm) == ["add", "echo"], "what is known, at once"
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert names(catalogues, crm) == ["weather"]
    assert idle(catalogues)


def test_without_a_thread_to_be_had_the_next_who_wants_it_has_it_asked(
    catalogues: ToolCatalogues,
    pass_time: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.offers("weather")
    with monkeypatch.context() as patched:
        patched.setattr(relisting, "start_thread", _raise(RuntimeError("can't start new thread")))
        catalogues.notified(crm, CHANGED)
    assert idle(catalogues)
    names(catalogues, crm)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert names(catalogues, crm) == ["weather"]


def test_a_capability_that_vanished_leaves_an_empty_list(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.has_tools = False
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert (names(catalogues, crm), heard) == ([], [("ada", [])])


def test_a_new_conversation_has_it_asked_again(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.offers("weather")
    catalogues.notified(crm, None)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert heard == [("ada", ["weather"])]


def test_other_notifications_are_none_of_its_business(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    names(catalogues, crm)
    catalogues.notified(crm, object())
    assert idle(catalogues)


def test_a_change_of_what_nobody_asked_for_is_not_asked_for(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    catalogues.notified(crm, CHANGED)
    assert idle(catalogues)
    assert crm.listings == 0


def test_a_change_of_what_nobody_knew_is_news_for_who_wants_to_hear(
    catalogues: ToolCatalogues,
    heard: list[Any],
    told: list[Any],
    pass_time: Callable[[float], None],
) -> None:
    crm = Talker()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert heard == [("ada", ["add", "echo"])]
    assert told == [events.ToolsChanged("crm", "ada", 2)]


def test_a_first_listing_is_no_change(
    catalogues: ToolCatalogues, heard: list[Any], told: list[Any]
) -> None:
    names(catalogues, Talker())
    assert (heard, told) == ([], [])


def test_the_same_list_again_is_no_change(
    catalogues: ToolCatalogues,
    heard: list[Any],
    told: list[Any],
    pass_time: Callable[[float], None],
) -> None:
    crm = Talker()
    names(catalogues, crm)
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert crm.listings == 2
    assert (heard, told) == ([], [])


def test_the_thread_that_hears_of_it_waits_for_nothing(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.before = hanging = Hanging()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    hanging.wait_reached()
    hearing = start(catalogues.notified, crm, CHANGED)
    assert outcome(hearing) is None, "while the server hangs"
    assert not hanging.over.is_set()
    hanging.open()


def test_a_server_that_hangs_delays_no_other(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm, wiki = Talker("ada", "crm"), Talker("ada", "wiki")
    names(catalogues, crm)
    names(catalogues, wiki)
    crm.before = hanging = Hanging()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    hanging.wait_reached()
    wiki.offers("search")
    catalogues.notified(wiki, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: heard == [("ada", ["search"])])
    assert not hanging.over.is_set()


def test_the_users_of_a_server_are_asked_one_after_the_other_on_one_thread(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    users = [Talker(name) for name in ("ada", "bob", "eve")]
    for user in users:
        names(catalogues, user)
        user.offers("weather")
        catalogues.notified(user, CHANGED)
    assert len(catalogues._relisting._bells) == 1
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert sorted(heard) == [(name, ["weather"]) for name in ("ada", "bob", "eve")]
    assert len({id(user.catalogue) for user in users}) == 1


# Not after the end.


def test_nothing_is_asked_after_close(catalogues: ToolCatalogues, heard: list[Any]) -> None:
    crm = Talker()
    names(catalogues, crm)
    catalogues.close()
    catalogues.close()
    catalogues.notified(crm, CHANGED)
    assert not catalogues._relisting._due
    assert (crm.listings, heard) == (1, [])


def test_close_ends_a_listing_that_hangs(
    catalogues: ToolCatalogues,
    heard: list[Any],
    told: list[Any],
    pass_time: Callable[[float], None],
) -> None:
    crm = Talker()
    names(catalogues, crm)
    crm.before = hanging = Hanging()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    hanging.wait_reached()
    crm.offers("weather")
    catalogues.close()
    wait_until(lambda: idle(catalogues))
    assert (heard, told) == ([], [])


def test_what_comes_in_after_close_is_not_told(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker(None)
    names(catalogues, crm)
    crm.offers("weather")
    crm.before = lambda scope, page: catalogues.close()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert heard == []
    assert set(catalogues.last_functions(crm.key) or {}) == {"add_mcp_crm", "echo_mcp_crm"}


def test_what_comes_in_after_its_connection_was_closed_is_not_told(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm = Talker(None)
    names(catalogues, crm)
    crm.offers("weather")

    def close(scope: CallScope, page: int) -> None:
        crm.state = State.CLOSED

    crm.before = close
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert (crm.listings, heard) == (2, [])
    assert "weather_mcp_crm" not in (catalogues.last_functions(crm.key) or {})


def test_a_connection_that_was_closed_is_not_tried_again(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)

    def close(scope: CallScope, page: int) -> None:
        crm.state = State.CLOSED
        raise ConnectionClosed("closed.")

    crm.before = close
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert crm.listings == 2


@pytest.mark.parametrize("when", ["before it is asked", "while it is asked"])
def test_what_a_connection_says_that_was_replaced_meanwhile_is_discarded(
    make: Callable[..., ToolCatalogues], clock: FakeClock, when: str
) -> None:
    held: list[Any] = []
    catalogues = make(holds=lambda connection: connection in held)
    heard: list[Any] = []
    catalogues.subscribe(lambda *change: heard.append(change))
    crm = Talker(None)
    held.append(crm)
    names(catalogues, crm)
    crm.offers("weather")
    crm.before = lambda scope, page: held.clear()
    catalogues.notified(crm, CHANGED)
    if when == "before it is asked":
        held.clear()
    clock.advance(relisting.SETTLE)
    catalogues._relisting._bells["crm"].put(None)
    wait_until(lambda: idle(catalogues))
    assert crm.listings == (1 if when == "before it is asked" else 2)
    assert heard == []
    assert "weather_mcp_crm" not in (catalogues.last_functions(crm.key) or {})


def test_the_thread_ends_when_there_is_nothing_to_do(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    names(catalogues, crm)
    before = {thread for thread in threading.enumerate() if "catalogue" in thread.name}
    catalogues.notified(crm, CHANGED)
    (mine,) = {thread for thread in threading.enumerate() if "catalogue" in thread.name} - before
    pass_time(relisting.SETTLE)
    mine.join(10)
    assert not mine.is_alive()
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: crm.listings == 3, "that another thread did it")


class Owner:
    """Stands for a manager: it has the catalogues, and hears of events."""

    def __init__(self, clock: FakeClock) -> None:
        self.catalogues = ToolCatalogues(
            self.emit, holds=self.holds, random=lambda: 0.0, monotonic=clock.monotonic
        )

    def emit(self, event: Any) -> None:
        pass

    def holds(self, connection: Any) -> bool:
        return True


@pytest.mark.parametrize("state", ["waiting", "asking"])
def test_the_thread_keeps_nobody_alive(clock: FakeClock, state: str) -> None:
    owner = Owner(clock)
    crm = Talker()
    names(owner.catalogues, crm)
    crm.before = hanging = Hanging()
    owner.catalogues.notified(crm, CHANGED)
    bell = owner.catalogues._relisting._bells["crm"]
    if state == "asking":
        clock.advance(relisting.SETTLE)
        bell.put(None)
        hanging.wait_reached()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    hanging.open()  # and the thread ends: a guard of these tests looks


def test_a_forked_child_has_nothing_to_do_and_can_begin(
    catalogues: ToolCatalogues, heard: list[Any], pass_time: Callable[[float], None]
) -> None:
    crm, other = Talker(), Talker()
    names(catalogues, crm)
    catalogues.notified(crm, CHANGED)
    bells = dict(catalogues._relisting._bells)
    catalogues._forget()  # as in the child, where the thread is not there
    assert idle(catalogues)
    names(catalogues, other)
    other.offers("weather")
    catalogues.notified(other, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: heard == [("ada", ["weather"])])
    bells["crm"].put(None)


# Telling.


def test_a_subscriber_that_fails_is_logged_and_the_others_are_told(
    catalogues: ToolCatalogues,
    pass_time: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Any] = []
    catalogues.subscribe(_raise(ZeroDivisionError()))
    catalogues.subscribe(lambda *change: heard.append(change))
    crm = Talker()
    names(catalogues, crm)
    crm.offers("weather")
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert len(heard) == 1
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        "a subscriber to the tools of crm failed"
    ]


def test_who_has_enough_is_told_no_more(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    heard: list[Any] = []

    def hear(*change: Any) -> None:
        heard.append(change)

    undo = catalogues.subscribe(hear)
    catalogues.subscribe(hear)
    undo()
    undo()
    crm = Talker()
    names(catalogues, crm)
    crm.offers("weather")
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert len(heard) == 1, "he had subscribed twice, and undone it once"


def test_a_subscriber_may_ask_and_change_what_he_got(
    catalogues: ToolCatalogues, pass_time: Callable[[float], None]
) -> None:
    crm = Talker()
    seen: list[Any] = []

    def hear(server: str, user: str | None, tools: list[Tool]) -> None:
        tools[0].input_schema["type"] = "array"
        seen.append(catalogues.functions(crm, soon()))

    catalogues.subscribe(hear)
    names(catalogues, crm)
    crm.offers("weather")
    catalogues.notified(crm, CHANGED)
    pass_time(relisting.SETTLE)
    wait_until(lambda: idle(catalogues))
    assert seen[0]["weather_mcp_crm"]["function"]["parameters"] == {"type": "object"}


# Functions by key.


def test_functions_are_the_callers_own(catalogues: ToolCatalogues) -> None:
    crm = Talker()
    one, other = (catalogues.functions(crm, soon()) for _ in range(2))
    assert one is not None
    one["add_mcp_crm"]["function"]["parameters"]["additionalProperties"] = False
    assert other is not None
    assert other["add_mcp_crm"]["function"]["parameters"] == {"type": "object"}
    assert catalogues.tools(crm, soon())[0].input_schema == {"type": "object"}  # type: ignore[arg-type]


def test_what_the_application_was_offered_last_is_not_forgotten(
    catalogues: ToolCatalogues, caplog: pytest.LogCaptureFixture
) -> None:
    crm, again = Talker(None), Talker(None)
    names(catalogues, crm)
    again.before = _raise(ConnectError("gone."))
    functions = catalogues.functions(again, soon())
    assert set(functions or {}) == {"add_mcp_crm", "echo_mcp_crm"}
    assert "[MCP][crm] its tools cannot be listed: gone." in caplog.messages


def test_what_one_user_was_offered_is_no_answer_for_another(catalogues: ToolCatalogues) -> None:
    ada, bob = Talker("ada"), Talker("bob")
    names(catalogues, ada)
    bob.before = _raise(ConnectError("gone."))
    assert catalogues.functions(bob, soon()) is None


def test_what_the_application_was_offered_is_no_answer_for_a_user(
    catalogues: ToolCatalogues,
) -> None:
    ours, bob = Talker(None), Talker("bob")
    names(catalogues, ours)
    bob.before = _raise(ConnectError("gone."))
    assert catalogues.functions(bob, soon()) is None


def test_an_application_connection_that_was_replaced_tells_what_changed(
    catalogues: ToolCatalogues, heard: list[Any]
) -> None:
    old, new = Talker(None), Talker(None)
    new.offers("weather")
    names(catalogues, old)
    names(catalogues, new)
    assert heard == [(None, ["weather"])]


CRM: dict[str, Any] = {"url": "http://127.0.0.1:9/mcp"}


@pytest.mark.parametrize(
    ("config", "known"),
    [
        (CRM, True),
        ({**CRM, "title": "The same place"}, True),
        ({"url": "http://127.0.0.1:9/elsewhere"}, False),
        ({**CRM, "scope": "user"}, False),
        (None, False),
    ],
)
def test_what_was_offered_last_holds_for_the_same_configuration(
    make: Callable[..., ToolCatalogues], config: dict[str, Any] | None, known: bool
) -> None:
    configs = {"crm": parse_server("crm", CRM)}
    catalogues = make(find=configs.get)
    crm = Talker(None)
    crm.fingerprint = fingerprint(configs["crm"])
    names(catalogues, crm)
    if config is None:
        del configs["crm"]
    else:
        configs["crm"] = parse_server("crm", config)
    assert (catalogues.last_functions(crm.key) is not None) is known


def test_the_tools_of_a_shadowed_server_have_no_keys(
    make: Callable[..., ToolCatalogues], caplog: pytest.LogCaptureFixture
) -> None:
    catalogues = make(names=lambda _: ["my crm", "my_crm"])
    identity, shadowed = Talker(None, "my_crm"), Talker(None, "my crm")
    assert set(catalogues.functions(identity, soon()) or {}) == {
        "add_mcp_my_crm",
        "echo_mcp_my_crm",
    }
    for _ in range(3):
        assert catalogues.functions(shadowed, soon()) == {}
        assert not catalogues.last_functions(shadowed.key)
    assert shadowed.listings == 0
    assert caplog.messages == [
        "[MCP][my crm] its tools have no keys: they would be taken for those of 'my_crm'; "
        "give it another name"
    ]
