"""From a configuration to a connection: attempts, pauses, the breaker, and nothing left behind."""

import gc
import itertools
import logging
import socket
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mcpsync import BreakerPolicy, Cancellation, MCPManager, User
from mcpsync._runtime.breaker import CircuitBreaker
from mcpsync._runtime.deadline import Deadline
from mcpsync.config import parse_server
from mcpsync.connections.connection import Connection, ConnectionOptions, Key
from mcpsync.connections.factory import ATTEMPTS, BACKOFF, ConnectionFactory, Principal
from mcpsync.errors import (
    AuthorizationRequired,
    CircuitOpen,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    HTTPStatusError,
    MCPError,
    MCPSyncError,
    PlaceholderError,
    RateLimited,
    RequestCancelled,
    RequestTimeout,
    ServerExited,
)
from mcpsync.testing import FakeClock, Fault, LocalServer
from mcpsync.transports.base import CallScope
from support import processes
from support.processes import forget_as_forked
from support.threads import outcome, start, wait_until

ADA, BOB = User(id="ada"), User(id="bob")
CRM = Key("ada", "crm")
STEP = 0.01  # seconds before the second attempt, where it matters little
LOGGER = "mcpsync.connections.factory"


class Workshop:
    """A factory with what it was given, and the events it told."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.told: list[Any] = []
        self.breaker: CircuitBreaker[Principal] = CircuitBreaker(BreakerPolicy(), self.clock)
        self.on_event: Callable[[Any], None] = lambda event: None
        given: dict[str, Any] = {"backoff": STEP, "random": lambda: 0.0, **options}
        self.factory = ConnectionFactory(
            clock=self.clock, breaker=self.breaker, emit=self._emit, timeout=60, **given
        )

    def _emit(self, event: Any) -> None:
        self.told.append(event)
        self.on_event(event)

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.told]

    def create(
        self,
        config: Any,
        key: Key = CRM,
        scope: CallScope | None = None,
        *,
        ephemeral: bool = False,
        **options: Any,
    ) -> Connection:
        """Make a connection for *key* from what would be written for its server."""
        parsed = parse_server(key.server_name, config)
        user = None if key.user_id is None else User(id=key.user_id)
        made_from = ConnectionOptions(parsed, user, **options)
        return self.factory.create(key, made_from, scope or within(20), ephemeral=ephemeral)

    def fail(self, config: Any, *arguments: Any, **options: Any) -> MCPSyncError:
        """Return the error that creating ends with."""
        with pytest.raises(MCPSyncError) as caught:
            self.create(config, *arguments, **options)
        return caught.value


def within(seconds: float, cancel: Cancellation | None = None, **options: Any) -> CallScope:
    return CallScope(Deadline(seconds), cancel, **options)


@pytest.fixture
def shop() -> Workshop:
    return Workshop()


@pytest.fixture(params=["legacy", "modern"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with LocalServer(request.param) as server:
        yield server


@pytest.fixture
def nobody() -> str:
    """Return the URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/mcp"


def at(server: LocalServer, **more: Any) -> dict[str, Any]:
    return {"url": server.url, **more}


# -- attempts --------------------------------------------------------------------------------------


def test_the_times_are_the_seeds() -> None:
    assert (ATTEMPTS, BACKOFF) == (3, 2.0)


def test_what_may_pass_is_tried_three_times_and_then_its_own_error_is_raised(
    shop: Workshop, server: LocalServer
) -> None:
    server.inject(Fault.HTTP_503, times=None)
    error = shop.fail(at(server))
    assert isinstance(error, HTTPStatusError)
    assert error.status == 503
    assert len(server.requests) == 3


def test_a_success_ends_the_attempts(shop: Workshop, server: LocalServer) -> None:
    server.inject(Fault.HTTP_503, times=2)
    connection = shop.create(at(server))
    assert connection.is_connected
    connection.close()
    assert shop.names() == ["ConnectionRetried", "ConnectionRetried"]


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_how_often_is_for_the_application_to_say(nobody: str, attempts: int) -> None:
    shop = Workshop(attempts=attempts)
    shop.breaker._policy = BreakerPolicy(max_failed_rounds=10)
    shop.fail({"url": nobody})
    assert shop.names() == ["ConnectionRetried"] * (attempts - 1)


@pytest.mark.parametrize(("chance", "delays"), [(0.0, [0.02, 0.04]), (1.0, [0.025, 0.05])])
def test_each_pause_is_a_step_longer_and_chance_adds_a_quarter_at_most(
    nobody: str, chance: float, delays: list[float]
) -> None:
    shop = Workshop(backoff=0.02, random=lambda: chance)
    began = time.monotonic()
    shop.fail({"url": nobody})
    assert time.monotonic() - began >= sum(delays)
    assert [event.delay for event in shop.told if hasattr(event, "delay")] == delays
    assert [event.attempt for event in shop.told if hasattr(event, "attempt")] == [1, 2]


def test_the_first_pause_is_two_seconds_and_a_cancellation_ends_it_at_once(nobody: str) -> None:
    shop, cancel = Workshop(backoff=BACKOFF), Cancellation()
    shop.on_event = lambda event: cancel.cancel("enough")  # the pause begins after it
    began = time.monotonic()
    error = shop.fail({"url": nobody}, scope=within(60, cancel))
    assert isinstance(error, RequestCancelled)
    assert error.reason == "enough"
    assert time.monotonic() - began < 1
    assert [event.delay for event in shop.told] == [2.0]


def test_a_pause_that_has_begun_is_ended_too(nobody: str) -> None:
    shop, cancel = Workshop(backoff=60), Cancellation()
    config = {"url": nobody, "connect_timeout": 600}
    call = start(lambda: shop.create(config, scope=within(600, cancel)))
    wait_until(lambda: shop.names() == ["ConnectionRetried"] and bool(cancel._wakers))
    cancel.cancel()
    assert isinstance(outcome(call), RequestCancelled)


def test_a_cancellation_ends_an_attempt_under_way(shop: Workshop, server: LocalServer) -> None:
    server.inject(Fault.HANG)
    cancel = Cancellation()
    call = start(lambda: shop.create(at(server), scope=within(60, cancel)))
    assert server.wait_for(lambda server: server.hanging == 1)
    cancel.cancel()
    assert isinstance(outcome(call), RequestCancelled)
    server.release()


def test_after_a_cancellation_nothing_is_sent(shop: Workshop, server: LocalServer) -> None:
    cancel = Cancellation()
    cancel.cancel()
    assert isinstance(shop.fail(at(server), scope=within(60, cancel)), RequestCancelled)
    assert server.requests == []


# -- one deadline ----------------------------------------------------------------------------------


def test_a_pause_that_does_not_fit_is_not_begun_and_the_last_real_error_is_raised(
    nobody: str,
) -> None:
    shop = Workshop(backoff=30)
    began = time.monotonic()
    error = shop.fail({"url": nobody}, scope=within(20))
    assert time.monotonic() - began < 5
    assert isinstance(error, ConnectError)
    assert not isinstance(error, ConnectTimeout)
    assert shop.told == []


@pytest.mark.parametrize("fields", [{"connect_timeout": 5}, {}], ids=["configured", "of the call"])
def test_a_pause_has_to_fit_into_the_time_for_connecting_too(
    nobody: str, fields: dict[str, Any]
) -> None:
    shop = Workshop(backoff=10)
    options = {} if fields else {"connection_timeout": 5.0}
    assert isinstance(shop.fail({"url": nobody, **fields}, **options), ConnectError)
    assert shop.told == []


def test_if_the_callers_time_ran_out_the_error_says_so(shop: Workshop, server: LocalServer) -> None:
    server.inject(Fault.HANG)
    error = shop.fail(at(server, connect_timeout=20), scope=within(0.2))
    assert isinstance(error, RequestTimeout)
    assert error.timeout == 0.2
    server.release()


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"connect_timeout": 0.2}, {}),
        ({"connect_timeout": 20}, {"connection_timeout": 0.2}),
        ({"connect_timeout": 0.1}, {"connection_timeout": 0.2}),
    ],
)
def test_if_the_time_for_connecting_ran_out_the_error_says_so(
    shop: Workshop, server: LocalServer, fields: dict[str, Any], options: dict[str, Any]
) -> None:
    server.inject(Fault.HANG)
    error = shop.fail(at(server, **fields), **options)
    assert isinstance(error, ConnectTimeout)
    assert "did not begin a conversation within 0.2 s" in error.message
    server.release()


def test_it_says_so_even_if_the_callers_ran_out_while_it_was_tidied_up(
    shop: Workshop, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = within(0.4)
    close = Connection.close

    def dawdle(self: Connection, **options: Any) -> None:
        wait_until(lambda: scope.deadline.expired)
        close(self, **options)

    monkeypatch.setattr(Connection, "close", dawdle)
    server.inject(Fault.HANG)
    error = shop.fail(at(server), scope=scope, connection_timeout=0.2)
    assert isinstance(error, ConnectTimeout)
    server.release()


def test_the_time_is_for_all_attempts_together(shop: Workshop, server: LocalServer) -> None:
    server.inject(Fault.HTTP_503)
    server.inject(Fault.HANG)
    began = time.monotonic()
    error = shop.fail(at(server, connect_timeout=0.5))
    assert isinstance(error, ConnectTimeout)
    assert 0.4 < time.monotonic() - began < 1.5
    assert len(server.requests) == 2
    server.release()


def test_a_call_may_give_the_server_more_time_than_its_configuration(
    shop: Workshop, server: LocalServer
) -> None:
    server.inject(Fault.HANG)
    making = start(lambda: shop.create(at(server, connect_timeout=0.1), connection_timeout=20.0))
    assert server.wait_for(lambda server: server.hanging == 1)
    time.sleep(0.2)  # longer than the configuration says
    server.release()
    connection = outcome(making)
    assert connection.is_connected
    connection.close()


# -- what is never tried again ---------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.HTTP_500, Fault.REDIRECT_302])
def test_what_will_not_pass_is_not_tried_again(
    shop: Workshop, server: LocalServer, fault: Fault
) -> None:
    if fault is Fault.HTTP_500:  # the probe may take that for the other era
        server.inject(fault, method="server/discover", times=None)
        server.inject(fault, method="initialize", times=None)
    else:
        server.inject(fault, times=None)
    shop.fail(at(server))
    assert "ConnectionRetried" not in shop.names()


def test_credentials_that_are_refused_are_not_sent_again(shop: Workshop) -> None:
    with LocalServer(auth_token="s3cret") as server:
        assert isinstance(shop.fail(at(server)), AuthorizationRequired)
        assert len(server.requests) == 1
    assert shop.told == []


def test_a_missing_command_is_not_looked_for_again(shop: Workshop) -> None:
    error = shop.fail({"command": "/nowhere/no-such-program"})
    assert isinstance(error, ConnectError)
    assert shop.told == []


def test_a_value_that_is_missing_does_not_come_by_waiting(
    shop: Workshop, server: LocalServer
) -> None:
    config = at(server, headers={"X-Key": "{{KEY}}"}, custom_user_vars={"KEY": {}})
    assert isinstance(shop.fail(config), PlaceholderError)
    assert (server.requests, shop.told, shop.factory.breakers()) == ([], [], [])


# -- 429 -------------------------------------------------------------------------------------------


@pytest.fixture
def refusing() -> Iterator[Callable[[str | None], str]]:
    """Return what starts a server that answers 429 with a Retry-After, and returns its URL."""
    servers: list[ThreadingHTTPServer] = []

    def serve(retry_after: str | None) -> str:
        class Refusing(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(429)
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        servers.append(server)
        start(server.serve_forever, 0.01)
        return f"http://127.0.0.1:{server.server_address[1]}/mcp"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


IN_TWO_MINUTES = object()


@pytest.mark.parametrize(
    ("retry_after", "at_least", "at_most"),
    [
        ("120", 120, 120),
        (IN_TWO_MINUTES, 110, 120),
        (None, 30, 30),
        ("when it is over", 30, 30),
        ("99999999999", 86_400, 86_400),
    ],
)
def test_a_server_that_asks_for_patience_is_left_alone_for_as_long_as_it_says(
    shop: Workshop,
    refusing: Callable[[str | None], str],
    retry_after: Any,
    at_least: float,
    at_most: float,
) -> None:
    if retry_after is IN_TWO_MINUTES:
        retry_after = format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)
    config = {"url": refusing(retry_after)}
    assert isinstance(shop.fail(config), RateLimited)
    refused = shop.fail(config)
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_after is not None
    assert at_least <= refused.retry_after <= at_most


def test_a_server_that_asks_for_no_patience_gets_none(
    shop: Workshop, refusing: Callable[[str | None], str]
) -> None:
    config = {"url": refusing("0")}
    assert isinstance(shop.fail(config), RateLimited)
    assert isinstance(shop.fail(config), RateLimited)


def test_nothing_is_sent_to_it_for_that_user_until_then(
    shop: Workshop, server: LocalServer
) -> None:
    server.inject(Fault.RATE_LIMITED)
    shop.fail(at(server))
    shop.clock.advance(6.9)
    assert isinstance(shop.fail(at(server)), CircuitOpen)
    assert len(server.requests) == 1
    shop.create(at(server), Key("bob", "crm")).close()
    shop.clock.advance(0.1)
    shop.create(at(server)).close()


# -- nothing is left open --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["server/discover", "initialize", "notifications/initialized"])
@pytest.mark.parametrize("fault", [Fault.HTTP_500, Fault.HTTP_503, Fault.HTML, Fault.EMPTY_202])
def test_an_attempt_that_fails_leaves_no_session_and_no_socket(
    shop: Workshop, method: str, fault: Fault
) -> None:
    with LocalServer("legacy") as server:
        server.inject(fault, method=method, times=None)
        made = outcome(start(shop.create, at(server)))
        if isinstance(made, Connection):  # it could do without that answer
            made.close()
        assert server.wait_for(lambda server: server.open_sessions == [])

        def nothing_is_open() -> bool:
            server.drop_idle_connections()  # the process's own, kept for others
            return server.open_connections == 0

        wait_until(nothing_is_open)


def test_nor_does_one_that_is_cancelled_or_out_of_time(shop: Workshop) -> None:
    for scope in (within(0.2), within(20, Cancellation())):
        with LocalServer("legacy") as server:
            server.inject(Fault.HANG, method="notifications/initialized")
            making = start(lambda: shop.create(at(server), scope=scope))  # noqa: B023
            assert server.wait_for(lambda server: server.hanging == 1)
            if scope.cancel is not None:
                scope.cancel.cancel()
            assert isinstance(outcome(making), RequestTimeout | RequestCancelled)
            server.release()
            assert server.wait_for(lambda server: server.open_sessions == [])


STDIO = [sys.executable, "-m", "mcpsync.testing", "--stdio"]


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (["exit-mid-call:server/discover"], ServerExited),
        (["garbage:initialize", "garbage:server/discover"], RequestTimeout),
        (["hang:initialize", "hang:server/discover"], RequestTimeout),
        (["stubborn", "hang:initialize", "hang:server/discover"], RequestTimeout),
    ],
)
def test_an_attempt_that_fails_leaves_no_child(faults: list[str], error: type[Exception]) -> None:
    shop = Workshop(attempts=1)
    before = processes.children()
    config = {
        "command": STDIO[0],
        "args": [*STDIO[1:], *itertools.chain(*(("--fault", fault) for fault in faults))],
    }
    assert isinstance(shop.fail(config, scope=within(1.5)), error)
    assert processes.children() == before


def test_three_children_that_fail_are_all_gone(shop: Workshop) -> None:
    before = processes.children()
    args = ["-c", "import sys; sys.exit(3)"]
    error = shop.fail({"command": sys.executable, "args": args})
    assert isinstance(error, ServerExited | ConnectionLost)
    assert shop.names().count("ConnectionRetried") == 2
    assert processes.children() == before


def test_what_is_no_error_of_ours_closes_what_was_begun_too(
    shop: Workshop, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Connection] = []
    monkeypatch.setattr(Connection, "close", lambda self, **_: closed.append(self))

    def interrupted(self: Connection, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Connection, "connect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shop.create(at(server))
    assert len(closed) == 1


# -- whose error -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"connect_timeout": 0.001},
        {"headers": {"X-Key": "{{KEY}}"}, "custom_user_vars": {"KEY": {}}},
    ],
)
@pytest.mark.parametrize("key", [CRM, Key(None, "crm")])
def test_an_error_names_server_and_user_and_says_that_nothing_ran(
    shop: Workshop, nobody: str, fields: dict[str, Any], key: Key
) -> None:
    error = shop.fail({"url": nobody, **fields}, key)
    assert (error.server_name, error.user_id, error.maybe_executed) == (*key[::-1], False)


def test_so_do_the_error_of_a_breaker_of_a_pause_and_of_time(
    shop: Workshop, server: LocalServer, nobody: str
) -> None:
    for _ in range(3):
        shop.fail({"url": nobody})
    server.inject(Fault.HANG)
    cancel = Cancellation()
    shop.on_event = lambda event: cancel.cancel()
    errors = [
        shop.fail({"url": nobody}),
        shop.fail({"url": nobody, "headers": {"X-A": "b"}}, scope=within(20, cancel)),
        shop.fail(at(server), scope=within(0.2)),
    ]
    server.release()
    assert [type(error) for error in errors] == [CircuitOpen, RequestCancelled, RequestTimeout]
    for error in errors:
        assert (error.server_name, error.user_id) == ("crm", "ada")
        assert not error.maybe_executed


def test_everybody_who_waited_has_an_error_of_his_own_that_names_whose_it_is(
    nobody: str,
) -> None:
    with MCPManager({"crm": {"url": nobody}}, connect_backoff=STEP) as manager:
        calls = [start(lambda: manager.get_connection("crm", user="ada")) for _ in range(20)]
        errors = [outcome(call) for call in calls]
    assert len({id(error) for error in errors}) == 20
    for error in errors:
        assert isinstance(error, ConnectError | CircuitOpen)
        assert (error.server_name, error.user_id) == ("crm", "ada")
        assert not error.maybe_executed


# -- what belongs to the call ends with it ---------------------------------------------------------


class Headers(dict[str, str]):
    """Headers to which there can be a weak reference."""


class Time(Deadline):
    """A deadline to which there can be a weak reference."""


class Body(dict[str, Any]):
    """A body to which there can be a weak reference."""


class Flow:
    """What signs users in."""


@pytest.mark.parametrize("answer", ["json", "sse"])
def test_a_connection_keeps_nothing_of_the_call_that_made_it(
    shop: Workshop, server: LocalServer, answer: str
) -> None:
    def hear(message: Any) -> None:
        return None

    headers, cancel, deadline = Headers({"X-User": "ada"}), Cancellation(), Time(20)
    body, flow = Body(messageId="7"), Flow()
    scope = CallScope(deadline, cancel, headers, hear)
    options = ConnectionOptions(parse_server("crm", at(server)), ADA, None, body, 10.0, flow)
    connection = shop.factory.create(CRM, options, scope)
    assert cancel._wakers == []
    of_the_call = [headers, cancel, deadline, body, flow, hear]
    kept = [weakref.ref(thing) for thing in of_the_call]
    del headers, cancel, deadline, body, flow, hear, scope, options, of_the_call
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)
    connection.call_tool("add", {"a": 1, "b": 2})
    call = server.requests[-1]
    assert "x-user" not in call.headers
    connection.close()


def test_a_call_over_it_leaves_nothing_behind_either(shop: Workshop, server: LocalServer) -> None:
    def hear(*progress: Any) -> None:
        return None

    connection = shop.create(at(server))
    headers, cancel = Headers({"X-User": "ada"}), Cancellation()
    connection.call_tool(
        "slow",
        {"seconds": 0.02, "steps": 2},
        progress_callback=hear,
        headers=headers,
        cancel=cancel,
    )
    assert cancel._wakers == []
    kept = [weakref.ref(thing) for thing in (headers, cancel, hear)]
    del headers, cancel, hear
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)
    connection.close()


def test_the_cancellation_and_the_time_of_the_call_that_made_it_do_not_end_it(
    shop: Workshop, server: LocalServer
) -> None:
    cancel = Cancellation()
    scope = within(0.5, cancel)
    connection = shop.create(at(server), scope=scope)
    cancel.cancel()
    wait_until(lambda: scope.deadline.expired)
    assert connection.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
    connection.close()


def test_a_later_notification_still_reaches_the_handler_of_its_lifetime() -> None:
    heard: list[Any] = []
    shop = Workshop(on_notification=lambda connection, told: heard.append((connection, told)))
    with LocalServer("legacy", answer="sse") as server:
        connection = shop.create(at(server))
        gc.collect()
        connection.call_tool("log", {"level": "info", "message": "hello"})
        connection.close()
    assert [(source is connection, told.method) for source, told in heard] == [
        (True, "notifications/message")
    ]


def test_a_session_that_is_begun_anew_is_begun_without_the_headers_of_the_first_call(
    shop: Workshop,
) -> None:
    with LocalServer("legacy") as server:
        connection = shop.create(at(server), scope=within(20, headers={"X-User": "ada"}))
        server.expire_sessions()
        connection.call_tool("add", {"a": 1, "b": 2})
        first, second = [r for r in server.requests if r.rpc_method == "initialize"]
        assert first.headers["x-user"] == "ada"
        assert "x-user" not in second.headers
        connection.close()


# -- looking what there is -------------------------------------------------------------------------


def discover(shop: Workshop, server: LocalServer, scope: CallScope | None = None) -> Any:
    options = ConnectionOptions(parse_server("crm", at(server)), ADA)
    return shop.factory.discover_tools(CRM, options, scope or within(20))


def test_tools_are_discovered_over_a_connection_that_is_closed_at_once(
    shop: Workshop, server: LocalServer
) -> None:
    assert "add" in {tool.name for tool in discover(shop, server)}
    assert server.open_sessions == []


def test_it_is_closed_too_if_they_cannot_be_listed(shop: Workshop, server: LocalServer) -> None:
    server.inject(Fault.HTTP_500, method="tools/list")
    with pytest.raises(HTTPStatusError):
        discover(shop, server)
    assert server.open_sessions == []


def test_it_is_closed_too_if_nobody_waits_for_them(shop: Workshop, server: LocalServer) -> None:
    cancel = Cancellation()
    server.inject(Fault.HANG, method="tools/list")
    looking = start(discover, shop, server, within(20, cancel))
    assert server.wait_for(lambda server: server.hanging == 1)
    cancel.cancel()
    assert isinstance(outcome(looking), RequestCancelled)
    server.release()
    assert server.wait_for(lambda server: server.open_sessions == [])


def test_discovering_counts_for_no_breaker(shop: Workshop, server: LocalServer) -> None:
    server.inject(Fault.HTTP_503, times=9)
    for _ in range(3):
        with pytest.raises(HTTPStatusError):
            discover(shop, server)
    assert shop.factory.breakers() == []


def test_but_a_server_that_is_left_alone_is_not_asked_either(
    shop: Workshop, server: LocalServer
) -> None:
    server.inject(Fault.RATE_LIMITED)
    shop.fail(at(server))
    with pytest.raises(CircuitOpen) as caught:
        discover(shop, server)
    assert (caught.value.server_name, caught.value.user_id) == ("crm", "ada")
    assert len(server.requests) == 1


# -- the breaker -----------------------------------------------------------------------------------


def open_breaker(shop: Workshop, config: dict[str, Any], key: Key = CRM, **options: Any) -> None:
    """Fail until the breaker is open."""
    while not isinstance(shop.fail(config, key, **options), CircuitOpen):
        continue


def test_three_attempts_that_failed_open_it_and_the_error_is_theirs(
    shop: Workshop, nobody: str
) -> None:
    assert isinstance(shop.fail({"url": nobody}), ConnectError)
    refused = shop.fail({"url": nobody})
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_after == 30


def test_the_attempt_that_opens_it_is_the_last(nobody: str) -> None:
    shop = Workshop(attempts=5)
    assert isinstance(shop.fail({"url": nobody}), ConnectError)
    assert shop.names() == ["ConnectionRetried", "ConnectionRetried", "BreakerOpened"]


@pytest.mark.parametrize(
    ("key", "fields", "options"),
    [
        (Key("bob", "crm"), {}, {"custom_user_vars": {"KEY": "k"}}),
        (CRM, {}, {"custom_user_vars": {"KEY": "another"}}),
        (CRM, {"headers": {"X-Team": "b"}}, {"custom_user_vars": {"KEY": "k"}}),
        (Key("ada", "other"), {}, {"custom_user_vars": {"KEY": "k"}}),
    ],
    ids=["another user", "a changed credential", "a changed configuration", "another server"],
)
def test_it_is_open_for_one_user_of_one_server_with_one_credential(
    shop: Workshop, nobody: str, key: Key, fields: dict[str, Any], options: dict[str, Any]
) -> None:
    config = {
        "url": nobody,
        "headers": {"X-Key": "{{KEY}}"},
        "custom_user_vars": {"KEY": {}},
    }
    open_breaker(shop, config, custom_user_vars={"KEY": "k"})
    fresh = shop.fail({**config, **fields}, key, **options)
    assert isinstance(fresh, ConnectError)
    assert isinstance(shop.fail(config, custom_user_vars={"KEY": "k"}), CircuitOpen)


def test_a_configuration_that_is_merely_loaded_again_does_not_close_it(
    shop: Workshop, nobody: str
) -> None:
    open_breaker(shop, {"url": nobody})
    again = {"url": nobody, "title": "CRM", "timeout": 5, "updated_at": shop.clock.time()}
    assert isinstance(shop.fail(again), CircuitOpen)


def test_lost_connections_open_it(shop: Workshop, server: LocalServer) -> None:
    connection = shop.create(at(server))
    for _ in range(7):
        shop.factory.lost(connection)
    refused = shop.fail(at(server))
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_after == 15
    assert shop.names() == ["BreakerOpened"]
    connection.close()


@pytest.mark.parametrize(
    "options",
    [{"connection_timeout": 0.1}, {"scope": 0.1}],
    ids=["for connecting", "for the call"],
)
def test_a_caller_who_gives_little_time_does_not_open_it(
    shop: Workshop, server: LocalServer, options: dict[str, Any]
) -> None:
    server.inject(Fault.HANG, times=None)
    for _ in range(3):
        given = {**options, "scope": within(options.get("scope", 20))}
        assert isinstance(shop.fail(at(server), **given), TimeoutError)
    assert shop.factory.breakers() == []
    server.clear_faults()


def test_a_server_that_does_not_answer_in_its_own_time_does(
    shop: Workshop, server: LocalServer
) -> None:
    server.inject(Fault.HANG, times=None)
    for _ in range(3):
        assert isinstance(shop.fail(at(server, connect_timeout=0.1)), ConnectTimeout)
    assert isinstance(shop.fail(at(server, connect_timeout=0.1)), CircuitOpen)
    server.clear_faults()


@pytest.mark.parametrize("broken", ["credentials", "values", "headers"])
def test_what_is_the_callers_fault_does_not_open_it(shop: Workshop, broken: str) -> None:
    with LocalServer(auth_token="s3cret") as server:
        config, scope = at(server), within(20)
        if broken == "values":
            config |= {"headers": {"X-Key": "{{KEY}}"}, "custom_user_vars": {"KEY": {}}}
        if broken == "headers":
            scope = within(20, headers={"X-Key": "a\nb"})
        for _ in range(4):
            error = shop.fail(config, scope=scope)
            assert isinstance(error, AuthorizationRequired | ConfigurationError)
    assert shop.factory.breakers() == []


def test_an_ephemeral_connection_is_neither_counted_nor_refused(
    shop: Workshop, nobody: str
) -> None:
    for _ in range(4):
        assert isinstance(shop.fail({"url": nobody}, ephemeral=True), ConnectError)
    assert shop.factory.breakers() == []
    open_breaker(shop, {"url": nobody})
    assert isinstance(shop.fail({"url": nobody}, ephemeral=True), ConnectError)


def test_nor_does_its_success_or_a_429_of_its_own_count(shop: Workshop) -> None:
    with LocalServer("legacy") as server:
        server.inject(Fault.RATE_LIMITED)
        assert isinstance(shop.fail(at(server), ephemeral=True), RateLimited)
        assert shop.factory.breakers() == []
        server.inject(Fault.RATE_LIMITED)
        shop.fail(at(server))
        shop.create(at(server), ephemeral=True).close()
        assert isinstance(shop.fail(at(server)), CircuitOpen)


def test_clearing_it_is_for_one_user_or_for_everybody(shop: Workshop, nobody: str) -> None:
    keys = [CRM, Key("bob", "crm"), Key(None, "crm"), Key("ada", "other")]
    for key in keys:
        open_breaker(shop, {"url": nobody}, key)
    shop.factory.clear_cooldown("crm", "ada")
    is_open = [isinstance(shop.fail({"url": nobody}, key), CircuitOpen) for key in keys]
    assert is_open == [False, True, True, True]
    shop.factory.clear_cooldown("crm")
    is_open = [isinstance(shop.fail({"url": nobody}, key), CircuitOpen) for key in keys]
    assert is_open == [False, False, False, True]


def test_force_new_clears_it_for_its_user(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url}}, connect_backoff=STEP) as manager:
        for user in ("ada", "bob"):
            server.inject(Fault.RATE_LIMITED)
            assert isinstance(outcome(start(connect, manager, user)), RateLimited)
        assert isinstance(outcome(start(connect, manager, "ada")), CircuitOpen)
        assert connect(manager, "ada", force_new=True).is_connected
        assert isinstance(outcome(start(connect, manager, "bob")), CircuitOpen)
        manager.clear_cooldown("crm")
        assert connect(manager, "bob").is_connected


def connect(manager: MCPManager, user: str, **options: Any) -> Connection:
    return manager.get_user_connection("crm", user=user, **options)


def test_what_the_factory_says_of_its_breakers_is_for_people(shop: Workshop, nobody: str) -> None:
    shop.fail({"url": nobody})
    assert shop.factory.breakers() == [
        {
            "server_name": "crm",
            "user_id": "ada",
            "cycles": 0,
            "failed_rounds": 3,
            "open_for": 30.0,
        }
    ]


# -- telling, and no storm -------------------------------------------------------------------------


def test_opening_and_closing_are_told_once_each_by_an_event_and_a_line(
    shop: Workshop, server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.inject(Fault.HTTP_503, times=3)
    with caplog.at_level(logging.INFO, LOGGER):
        shop.fail(at(server))
        for _ in range(5):
            assert isinstance(shop.fail(at(server)), CircuitOpen)
        shop.clock.advance(30)
        for _ in range(3):
            shop.create(at(server)).close()
    assert shop.names() == [
        "ConnectionRetried",
        "ConnectionRetried",
        "BreakerOpened",
        "BreakerClosed",
    ]
    opened = shop.told[2]
    assert (opened.server_name, opened.user_id, opened.seconds) == ("crm", "ada", 30)
    assert opened.cause == "HTTPStatusError"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert [record.getMessage() for record in caplog.records] == [
        "[MCP][User: ada][crm] circuit breaker open for 30 s: HTTPStatusError",
        "[MCP][User: ada][crm] circuit breaker closed",
    ]


def test_so_is_clearing_one_that_is_open(shop: Workshop, nobody: str) -> None:
    shop.fail({"url": nobody})
    for _ in range(3):
        shop.factory.clear_cooldown("crm")
    assert shop.names().count("BreakerClosed") == 1


def test_a_429_says_why_it_is_open(shop: Workshop, server: LocalServer) -> None:
    server.inject(Fault.RATE_LIMITED)
    shop.fail(at(server))
    (opened,) = shop.told
    assert (opened.seconds, opened.cause) == (7, "the server asked for patience (429)")


def test_two_hundred_callers_of_a_dead_server_make_three_attempts_and_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Any] = []
    with (
        LocalServer() as server,
        MCPManager(
            {"crm": {"url": server.url}}, connect_backoff=STEP, on_event=told.append
        ) as manager,
        caplog.at_level(logging.INFO, "mcpsync"),
    ):
        server.inject(Fault.HTTP_503, times=None)
        calls = [
            start(lambda: manager.call_tool("crm", "add", {"a": 1, "b": 2}, user="ada"))
            for _ in range(200)
        ]
        errors = [outcome(call) for call in calls]
        assert len(server.requests) == 3
    assert {type(error) for error in errors} <= {HTTPStatusError, CircuitOpen}
    assert not any(error.maybe_executed for error in errors)
    lines = [record for record in caplog.records if record.name.startswith("mcpsync.connections")]
    assert len(lines) == 1
    assert [type(event).__name__ for event in told].count("BreakerOpened") == 1


def test_two_hundred_users_of_a_dead_server_have_three_attempts_and_one_line_each(
    nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    with (
        MCPManager(
            {"crm": {"url": nobody}}, connect_backoff=0.001, on_event=told.append
        ) as manager,
        caplog.at_level(logging.INFO, "mcpsync.connections"),
    ):
        for turn, user in itertools.product(range(3), range(200)):
            error = outcome(start(connect, manager, str(user)))
            assert isinstance(error, ConnectError if turn == 0 else CircuitOpen)
    assert len(caplog.records) == 200
    assert [type(event).__name__ for event in told].count("ConnectionRetried") == 400


def test_nothing_that_is_logged_or_told_holds_a_secret(
    shop: Workshop, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = {
        "url": f"{nobody}?token={{{{KEY}}}}",
        "headers": {"X-Key": "{{KEY}}"},
        "custom_user_vars": {"KEY": {}},
    }
    with caplog.at_level(logging.DEBUG):
        error = shop.fail(config, custom_user_vars={"KEY": "s3cret"})
    assert "s3cret" not in f"{caplog.text}{error}{shop.told}{shop.factory.breakers()}"


# -- a forked child --------------------------------------------------------------------------------


def test_a_forked_child_has_a_lock_of_its_own(shop: Workshop) -> None:
    lock = shop.breaker._lock
    with lock:  # as if another thread had held it at the fork
        forget_as_forked(shop.breaker)
    assert shop.breaker._lock is not lock


def test_the_settings_of_a_server_are_worked_out_once_until_it_changes(
    shop: Workshop, server: LocalServer
) -> None:
    config = parse_server("crm", at(server))
    kept = []
    for made_from in (config, config, parse_server("crm", at(server, headers={"X-A": "b"}))):
        shop.factory.create(CRM, ConnectionOptions(made_from, ADA), within(20)).close()
        kept.append(shop.factory._settings["crm"][1])
    assert kept[0] is kept[1]
    assert kept[2].headers["x-a"] == "b"


def test_no_users_own_values_are_in_settings_that_others_share(
    shop: Workshop, server: LocalServer
) -> None:
    config = at(server, headers={"X-User": "{{USER_ID}}"})
    seen = []
    for key in (CRM, Key("bob", "crm")):
        connection = shop.create(config, key)
        seen.append(connection.call_tool("whoami").structured_content["user"])
        connection.close()
    assert seen == ["ada", "bob"]
    assert shop.factory._settings == {}


def test_an_answer_with_an_error_is_an_error_and_counts(shop: Workshop) -> None:
    with LocalServer("legacy") as server:
        server.inject(Fault.WRONG_ID, method="initialize")
        error = shop.fail(at(server))
        assert not isinstance(error, MCPError)
        assert shop.factory.breakers()[0]["failed_rounds"] == 1
