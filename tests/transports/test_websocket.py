"""MCP over WebSocket, against a server of another library."""

import contextlib
import gc
import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from mcpsync import (
    AuthorizationRequired,
    Cancellation,
    Client,
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    HTTPStatusError,
    Limits,
    MessageInvalid,
    RequestCancelled,
    RequestTimeout,
    ResponseTooLarge,
)
from mcpsync.config import WebSocketServerConfig, fingerprint, parse_server
from mcpsync.http import websocket
from support.guards import library_threads
from support.processes import free_port, wait_until
from transports.door import BUDGET, LONG, SOON, within
from transports.forking import in_child
from transports.peer import RawServer, always, deaf, response, silent
from transports.ws_peer import Handler, Server, ignore


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    with contextlib.ExitStack() as stack:

        def starting(options: dict[str, Any] | None = None, **handlers: Handler) -> Server:
            named = {name.replace("__", "/"): handler for name, handler in handlers.items()}
            server = Server(named, **(options or {}))
            stack.callback(server.close)
            return server

        yield starting


def readers():
    return [thread for thread in library_threads() if thread.name == "mcpsync-websocket"]


def add(client, **options):
    return client.call_tool("add", **options).content[0].text


# -- the handshake -----------------------------------------------------------------------------


def test_a_ws_url_is_a_websocket_of_the_legacy_era(start):
    server = start()
    with Client(server.url, timeout=LONG) as client:
        assert add(client) == "done"
        assert client.protocol_version == "2025-11-25"
    assert server.methods[:3] == ["initialize", "notifications/initialized", "tools/call"]


def test_the_handshake_names_the_subprotocol_and_no_origin_and_no_headers_of_ours(start):
    server = start()
    session = requests.Session()
    session.headers["X-Secret"] = "s"
    session.auth = ("ada", "pw")
    with Client(server.url, timeout=LONG, session=session) as client:
        client.connect()
    request = server.connections[0].request
    assert request.path == "/mcp?key=1"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["sec-websocket-protocol"] == "mcp"
    assert not {"origin", "x-secret", "authorization", "cookie"} & {
        name.lower() for name in request.headers
    }


def test_cookies_are_neither_kept_nor_sent_nor_shared_by_the_process(start):
    from websocket._handshake import CookieJar

    def with_cookies(connection, request, answer):
        for domain in ("127.0.0.1", ".1", "localhost"):
            answer.headers["Set-Cookie"] = f"a=b; Domain={domain}"

    server = start({"process_response": with_cookies})
    for _ in range(2):
        with Client(server.url, timeout=LONG) as client:
            client.connect()
    assert "cookie" not in server.connections[-1].request.headers
    assert CookieJar.jar == {}


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthorizationRequired), (403, HTTPStatusError), (404, HTTPStatusError)],
)
def test_a_server_that_refuses_says_why(status, error, start):
    server = start({"process_request": lambda connection, _: connection.respond(status, "no")})
    with Client(server.url, timeout=LONG) as client:
        with within(0, SOON), pytest.raises(error, match=str(status)) as caught:
            add(client)
        assert not caught.value.maybe_executed


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(status, serve):
    with RawServer(silent) as other:
        location = other.url.replace("http", "ws")
        server = serve(always(response(status=status, Location=location)))
        with Client(ws(server), timeout=LONG) as client, pytest.raises(HTTPStatusError):
            client.connect()
        assert other.accepted == 0


def test_a_server_that_does_not_agree_to_the_subprotocol_is_no_mcp_server(start):
    server = start({"subprotocols": None})
    with Client(server.url, timeout=LONG) as client, pytest.raises(MessageInvalid):
        client.connect()


def ws(server):
    return server.url.replace("http", "ws", 1)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (always(response(b"<html>", kind="text/html")), HTTPStatusError),
        (always(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), MessageInvalid),
        (always(b"no HTTP at all\r\n\r\n"), MessageInvalid),
        (always(b"HTTP/1.1 101 X\r\nA: " + b"b" * 100_000), MessageInvalid),
        (lambda peer: peer.read(), ConnectionLost),
    ],
)
def test_what_is_no_websocket_is_told(script, error, serve):
    with Client(ws(serve(script)), timeout=LONG) as client:
        with within(0, SOON), pytest.raises(error) as caught:
            add(client)
        assert not caught.value.maybe_executed


@pytest.mark.parametrize("script", [silent, deaf, lambda peer: peer.drip(b"HTTP/1.1 " * 999)])
def test_a_handshake_that_does_not_end_ends_with_the_deadline(script, serve):
    with (
        Client(ws(serve(script))) as client,
        within(BUDGET, BUDGET + SOON),
        pytest.raises(RequestTimeout),
    ):
        add(client, timeout=BUDGET)


def test_connecting_is_cancelled(serve):
    cancel = Cancellation()
    server = serve(silent)
    with Client(ws(server), timeout=LONG) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(add, client, cancel=cancel)
        wait_until(lambda: server.accepted, "it connects")
        with within(0, SOON):
            cancel.cancel()
            assert isinstance(waiting.exception(SOON), RequestCancelled)


def test_connecting_is_cancelled_before_the_handshake_has_left(serve, monkeypatch):
    cancel, write = Cancellation(), websocket._Wire.write

    def too_late(wire, *args, **options):
        cancel.cancel("the user has left")
        return write(wire, *args, **options)

    monkeypatch.setattr(websocket._Wire, "write", too_late)
    with Client(ws(serve(silent)), timeout=LONG) as client:
        with pytest.raises(RequestCancelled, match="the user has left") as caught:
            add(client, cancel=cancel)
        assert not caught.value.maybe_executed


def test_where_nobody_listens_there_is_no_connection():
    with Client(f"ws://127.0.0.1:{free_port()}/") as client, pytest.raises(ConnectError):
        client.connect()


# -- messages ------------------------------------------------------------------------------------


def test_many_calls_at_once_share_the_connection(start):
    def echo(server, connection, message):
        said = {"content": [{"type": "text", "text": message["params"]["arguments"]["n"]}]}
        connection.send(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": said}))

    server = start(tools__call=echo)
    with Client(server.url, timeout=LONG) as client, ThreadPoolExecutor(8) as pool:
        texts = [str(number) * 1000 for number in range(60)]

        def call(text):
            return client.call_tool("echo", {"n": text}).content[0].text

        assert list(pool.map(call, texts)) == texts
        assert len(server.connections) == len(readers()) == 1


def test_a_long_message_goes_both_ways(start):
    def echo(server, connection, message):
        said = {"content": [{"type": "text", "text": message["params"]["arguments"]["n"]}]}
        text = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": said})
        connection.send([text[at : at + 100_000] for at in range(0, len(text), 100_000)])

    text = "ünï🐍" * 200_000
    with Client(start(tools__call=echo).url, timeout=LONG) as client:
        assert client.call_tool("echo", {"n": text}).content[0].text == text


def test_a_message_that_is_too_long_ends_the_connection(start):
    def call(server, connection, message):
        connection.send(["x" * 10_000] * 20)

    server = start(tools__call=call)
    with Client(server.url, limits=Limits(max_line_bytes=50_000), timeout=LONG) as client:
        with within(0, SOON), pytest.raises(ResponseTooLarge) as caught:
            add(client)
        assert caught.value.maybe_executed
        client.send_ping()
    assert len(server.connections) == 2


def test_a_message_without_end_is_not_read_on(start):
    sent, over = [], threading.Event()

    def endless():
        for _ in range(20_000):
            sent.append(1)
            yield "x" * 10_000

    def call(server, connection, message):
        try:
            connection.send(endless())
        finally:
            over.set()

    limits = Limits(max_line_bytes=50_000)
    with Client(start(tools__call=call).url, limits=limits, timeout=LONG) as client:
        with within(0, SOON), pytest.raises(ResponseTooLarge):
            add(client)
        assert over.wait(LONG)
    assert len(sent) < 20_000


def test_pings_of_the_library_are_answered_and_cost_nothing(start):
    server = start()
    with Client(server.url, limits=Limits(max_line_bytes=2000), timeout=LONG) as client:
        client.connect()
        for _ in range(100):
            assert server.connections[0].ping(b"x" * 100).wait(LONG)
        assert add(client) == "done"


def test_a_ping_of_the_protocol_is_answered_while_nobody_waits(start):
    server = start()
    with Client(server.url, timeout=LONG) as client:
        client.connect()
        server.connections[0].send(json.dumps({"jsonrpc": "2.0", "id": "p", "method": "ping"}))
        wait_until(lambda: {"jsonrpc": "2.0", "id": "p", "result": {}} in server.messages, "it is")


def test_what_is_not_json_ends_the_connection(start):
    server = start(tools__call=lambda server, connection, message: connection.send("}{"))
    with Client(server.url, timeout=LONG) as client, pytest.raises(MessageInvalid) as caught:
        add(client)
    assert caught.value.maybe_executed


def test_a_call_that_is_given_up_is_told_to_the_server(start):
    server = start(tools__call=ignore)
    with Client(server.url, timeout=LONG) as client:
        client.connect()
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
            add(client, timeout=BUDGET)
        assert caught.value.maybe_executed
        wait_until(lambda: server.methods[-1] == "notifications/cancelled", "the server is told")


def test_a_server_that_does_not_read_is_not_waited_for_longer_than_the_deadline(start):
    go_on = threading.Event()

    def stuck(server, connection, message):
        go_on.wait(LONG)

    server = start(notifications__initialized=stuck)
    text = "x" * 50_000_000
    with Client(server.url, timeout=LONG) as client:
        client.connect()
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
            client.call_tool("add", {"text": text}, timeout=BUDGET)
        assert not caught.value.maybe_executed
        go_on.set()
        assert add(client) == "done"
    assert len(server.connections) == 2


# -- its end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["said", "cut"])
def test_a_connection_that_ends_while_a_call_waits_fails_it(how, start):
    def call(server, connection, message):
        if how == "said":
            connection.close()
        else:
            connection.close_socket()

    server = start(tools__call=call)
    with Client(server.url, timeout=LONG) as client:
        with within(0, SOON), pytest.raises(ConnectionLost) as caught:
            add(client)
        assert caught.value.maybe_executed
        client.send_ping()
    assert server.methods.count("tools/call") == 1
    assert len(server.connections) == 2


def test_the_time_for_connecting_is_no_limit_for_the_conversation(start):
    gone = []

    def call(server, connection, message):
        threading.Event().wait(0.4)
        gone.append(connection.close_socket())

    config = WebSocketServerConfig(url=start(tools__call=call).url, connect_timeout=0.3)
    with Client(config, timeout=LONG) as client, pytest.raises(ConnectionLost):
        add(client)
    wait_until(lambda: gone == [None], "it has closed the socket")


def test_a_connection_that_ended_while_nobody_waited_is_opened_anew_without_a_word(start):
    server = start()
    with Client(server.url, timeout=LONG) as client:
        client.connect()
        server.connections[0].close()
        wait_until(lambda: not readers(), "the end is noticed")
        assert add(client) == "done"


def test_closing_says_goodbye_and_wakes_every_call(start):
    server = start(tools__call=ignore)
    client = Client(server.url, timeout=LONG)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(add, client) for _ in range(3)]
        wait_until(lambda: server.methods.count("tools/call") == 3, "they wait")
        with within(0, SOON):
            client.close()
            errors = [call.exception(SOON) for call in waiting]
    assert [type(error) for error in errors] == [ConnectionClosed] * 3
    assert all(error.maybe_executed for error in errors)
    wait_until(lambda: server.connections[0].close_code == 1000, "the server has heard it")


def test_a_client_that_nobody_closed_leaves_no_thread_and_no_socket(start):
    client = Client(start().url, timeout=LONG)
    add(client)
    assert len(readers()) == 1
    del client
    gc.collect()
    wait_until(lambda: not readers(), "the reading thread ends")


def test_a_forked_child_opens_a_connection_of_its_own(start):
    server = start()
    with Client(server.url, timeout=LONG) as client:
        add(client)

        def use_and_close():
            text = add(client)
            client.close()
            return text

        assert in_child(use_and_close) == "done"
        in_child(client.close)
        assert add(client) == "done"
        assert len(server.connections) == 2


# -- the configuration -----------------------------------------------------------------------------


def test_it_is_written_as_a_url_or_by_its_type():
    by_url = parse_server("crm", {"url": "wss://crm.example.com/{{USER_ID}}"})
    by_type = parse_server("crm", {"url": "wss://crm.example.com/{{USER_ID}}", "type": "websocket"})
    assert by_url == by_type
    assert isinstance(by_url, WebSocketServerConfig)
    other = parse_server("crm", {"url": "https://crm.example.com/{{USER_ID}}"})
    assert fingerprint(by_url) == fingerprint(by_type) != fingerprint(other)


@pytest.mark.parametrize(
    ("written", "field", "problem"),
    [
        ({"url": "ws://a/", "headers": {"X": "y"}}, "headers", "headers cannot be sent"),
        ({"url": "ws://a/", "obo": {"scopes": "a"}}, "obo", "over HTTP only"),
        ({"url": "ws://ada:pw@a/"}, "url", "credentials"),
        ({"url": "http://a/", "type": "websocket"}, "url", "not a ws:// or wss:// URL"),
        ({"url": "ws://a/", "type": "sse"}, "url", "not an http:// or https:// URL"),
        ({"url": "ws://{{HOST}}:port/"}, "url", "is not a URL"),
    ],
)
def test_what_cannot_go_over_websocket_is_refused(written, field, problem):
    with pytest.raises(ConfigurationError) as caught:
        parse_server("crm", written)
    assert f"at {field!r}" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("options", [{"headers": {"A": "b"}}, {"auth": ("a", "b")}])
def test_headers_and_credentials_of_a_client_are_refused(options):
    with pytest.raises(ConfigurationError, match="over WebSocket"):
        Client("ws://127.0.0.1/", **options)


def test_headers_of_a_call_are_refused(start):
    with Client(start().url, timeout=LONG) as client:
        with pytest.raises(ConfigurationError, match="over WebSocket"):
            add(client, headers={"A": "b"})
        assert add(client) == "done"


def test_a_modern_version_is_not_spoken_over_it():
    with pytest.raises(ConfigurationError, match="WebSocket"):
        Client("ws://127.0.0.1/", mode="2026-07-28")


def test_a_proxy_is_refused():
    session = requests.Session()
    session.proxies = {"http": "http://127.0.0.1:1"}
    client = Client("ws://127.0.0.1:1/", session=session)
    with pytest.raises(ConfigurationError, match="prox"):
        client.connect()


def test_without_the_library_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "websocket", None)
    with pytest.raises(ConfigurationError, match=r"mcpsync\[websocket\]"):
        Client("ws://127.0.0.1/")
