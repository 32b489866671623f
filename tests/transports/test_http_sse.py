"""HTTP+SSE of 2024-11-05: requirements 4.3, on what a server really got to see."""

import gc
import itertools
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import (
    AuthorizationRequired,
    Cancellation,
    Client,
    ConfigurationError,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    HTTPStatusError,
    InsufficientScope,
    Limits,
    MCPError,
    MessageInvalid,
    RateLimited,
    RefusedError,
    RequestCancelled,
    RequestTimeout,
    ResponseTooLarge,
)
from mcpsync.config import HttpServerConfig
from mcpsync.testing import LocalServer
from mcpsync.transports import _mail
from support.guards import library_threads
from support.processes import wait_until
from transports.door import BUDGET, LONG, SOON, within
from transports.forking import in_child
from transports.peer import DONE, RawServer, Reply, always, response
from transports.sse_peer import (
    HEAD,
    TAKEN,
    ScriptedSSE,
    many_lines,
    notification,
    reply_to,
)


@pytest.fixture
def server():
    with LocalServer(transport="sse") as running:
        yield running
        assert running.violations == []


@pytest.fixture
def client(server):
    with over_sse(server) as client:
        yield client


def over_sse(server, **options):
    """A client that was told that this is HTTP+SSE, so that nothing else is tried."""
    config = HttpServerConfig(
        url=server.url, type="sse", connect_timeout=options.pop("connect_timeout", 30)
    )
    return Client(config, **{"timeout": LONG, **options})


def add(client, **options):
    return client.call_tool("add", {"a": 1, "b": 2}, **options).content[0].text


def readers():
    return [thread for thread in library_threads() if thread.name == "mcpsync-sse"]


# -- the stream and the messages ---------------------------------------------------------------


def test_one_stream_is_opened_and_every_message_is_posted_where_it_says(server, client):
    assert add(client) == "3"
    assert len(list(client.tools())) > 3
    get, *posts = server.requests
    assert (get.http_method, get.path) == ("GET", "/sse")
    assert {post.http_method for post in posts} == {"POST"}
    (path,) = {post.path for post in posts}
    assert path == f"/message?sessionId={server.open_sessions[0]}"
    assert [post.rpc_method for post in posts[:3]] == [
        "initialize",
        "notifications/initialized",
        "tools/call",
    ]


def test_the_stream_asks_for_events_and_a_message_says_that_it_is_json(server, client):
    add(client)
    get, *posts = server.requests
    assert get.headers["accept"] == "text/event-stream"
    assert {post.headers["content-type"] for post in posts} == {"application/json"}


def test_no_header_of_later_transports_is_sent(server, client):
    add(client)
    for request in server.requests:
        assert not {"mcp-session-id", "mcp-protocol-version", "mcp-method"} & set(request.headers)


def test_a_later_version_may_be_negotiated_over_it(client):
    assert client.protocol_version == "2025-11-25"


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [
        ("/message?s=1", "/message?s=1"),
        ("message?s=1", "/message?s=1"),
        ("?s=1", "/sse?s=1"),
        ("{origin}/a/b?s=%20", "/a/b?s=%20"),
        ("./deep/../message", "/message"),
    ],
)
def test_the_endpoint_may_be_relative_or_absolute(endpoint, target):
    with ScriptedSSE() as server:
        server.endpoint = endpoint.format(origin=server.origin)
        with over_sse(server) as client:
            client.connect()
        assert server.requests[1].target == target


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost:{port}/message",
        "//localhost:{port}/message",
        "https://127.0.0.1:{port}/message",
        "http://127.0.0.1:{other}/message",
        "ftp://127.0.0.1/x",
        "http://[::1/",
    ],
)
def test_another_origin_is_refused_and_nothing_is_sent_there(endpoint):
    with RawServer(always(response())) as other, ScriptedSSE() as server:
        server.endpoint = endpoint.format(port=server.port, other=other.port)
        with over_sse(server, headers={"X-Key": "k"}) as client:
            with pytest.raises(RefusedError, match="nothing was sent there") as caught:
                add(client)
            assert not caught.value.maybe_executed
        assert server.methods == ["GET"]
        assert other.accepted == 0
    assert readers() == []


def test_headers_and_credentials_go_with_the_stream_and_with_each_message(server):
    with over_sse(server, headers={"X-User": "ada"}, auth=("ada", "pw")) as client:
        add(client, headers={"X-Tenant": "blue"})
        add(client)
    assert {request.headers["x-user"] for request in server.requests} == {"ada"}
    assert all(r.headers["authorization"].startswith("Basic ") for r in server.requests)
    tenants = [request.headers.get("x-tenant") for request in server.requests]
    assert tenants == ["blue"] * 4 + [None]


def test_a_cookie_of_the_stream_goes_with_the_messages():
    with ScriptedSSE() as server, over_sse(server) as client:
        add(client)
        assert [request.headers.get("cookie") for request in server.requests[1:]] == ["node=7"] * 3


def test_many_calls_at_once_share_the_stream_and_each_gets_its_own_answer(server, client):
    def call(number):
        return client.call_tool("add", {"a": number, "b": 0}).content[0].text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(60))) == [str(number) for number in range(60)]
    assert [r.http_method for r in server.requests].count("GET") == 1
    assert len(readers()) == 1


def test_progress_is_reported_on_the_thread_of_its_caller(client):
    threads = set()

    def call(_):
        seen = []

        def on_progress(*_):
            threads.add((threading.current_thread().name, thread))
            seen.append(1)

        thread = threading.current_thread().name
        client.call_tool("slow", {"seconds": 0.1, "steps": 3}, progress_callback=on_progress)
        return len(seen)

    with ThreadPoolExecutor(3) as pool:
        assert all(count >= 3 for count in pool.map(call, range(3)))
    assert all(ran_on == caller for ran_on, caller in threads)


def test_there_is_no_goodbye(server):
    with over_sse(server) as client:
        add(client)
    assert server.deleted_sessions == []
    assert {request.http_method for request in server.requests} == {"GET", "POST"}
    assert server.wait_for(lambda s: s.open_sessions == [])


# -- what comes on the stream ------------------------------------------------------------------


def test_a_ping_between_calls_is_answered_with_the_headers_of_whoever_connected():
    with ScriptedSSE() as server, over_sse(server) as client:
        client.connect(headers={"Authorization": "Basic eA=="})
        server.say({"jsonrpc": "2.0", "id": "p1", "method": "ping"})
        wait_until(lambda: None in [r.rpc for r in server.requests[1:]], "the ping is answered")
        answer = next(r for r in server.requests[1:] if r.rpc is None)
        assert answer.json == {"jsonrpc": "2.0", "id": "p1", "result": {}}
        assert answer.headers["authorization"] == "Basic eA=="


def test_a_notification_between_calls_is_handed_over_with_the_next():
    seen = []
    with ScriptedSSE() as server, over_sse(server, logging_callback=seen.append) as client:
        client.connect()
        server.say(notification("notifications/message", level="info", data="early"))
        add(client)
    assert [message.data for message in seen] == ["early"]


def test_heartbeats_and_unknown_events_are_skipped():
    def call(server, request):
        answer = reply_to(request, DONE)
        server.say(b": beat\n\n", b"event: ping\ndata: now\n\n", b"id: 3\n\n", b"data:\n\n", answer)
        return TAKEN

    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client:
        assert add(client) == "done"


def test_a_batch_on_the_stream_is_taken():
    def call(server, request):
        server.say([notification("notifications/message", level="info", data=1)])
        server.say([notification("x"), reply_to(request, DONE)])
        return TAKEN

    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client:
        assert add(client) == "done"


def test_the_answer_may_come_before_the_post_is_answered():
    def call(server, request):
        server.say(reply_to(request, DONE))  # and the POST never is

    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client, within(0, SOON):
        assert add(client) == "done"
        assert add(client) == "done"


def test_what_the_server_asks_is_answered_although_the_post_is_not():
    def call(server, request):
        """As servers do that handle a request within its POST."""
        server.say({"jsonrpc": "2.0", "id": 7, "method": "roots/list"})
        wait_until(lambda: server.requests[-1].rpc is None, "the client answers")
        server.say(reply_to(request, DONE))
        return TAKEN

    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client, within(0, SOON):
        assert add(client) == "done"
        assert server.requests[-1].json["error"]["code"] == -32601


def test_progress_is_reported_although_the_post_is_not_answered():
    seen = threading.Event()

    def call(server, request):
        token = request.json["params"]["_meta"]["progressToken"]
        server.say(notification("notifications/progress", progressToken=token, progress=0.5))
        assert seen.wait(LONG)
        server.say(reply_to(request, DONE))
        return TAKEN

    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client, within(0, SOON):
        assert add(client, progress_callback=lambda *_: seen.set()) == "done"


def test_the_stream_may_hold_more_than_one_answer_may():
    limits = Limits(max_response_bytes=100_000)
    with LocalServer(transport="sse") as server, over_sse(server, limits=limits) as client:
        for _ in range(12):
            assert len(client.call_tool("big", {"bytes": 20_000}).content[0].text) == 20_000
        assert [r.http_method for r in server.requests].count("GET") == 1


@pytest.mark.parametrize("lines", ["one", "many"])
def test_an_event_that_is_too_large_ends_the_stream_for_all(lines):
    limits = Limits(max_response_bytes=50_000, max_line_bytes=20_000)

    def call(server, request):
        answer = reply_to(request, DONE)
        if lines == "one":
            server.say(b"data: " + b" " * 30_000)
        else:
            server.say(many_lines(answer, 100_000))
        return TAKEN

    with (
        ScriptedSSE(tools__call=call) as server,
        over_sse(server, limits=limits) as client,
        within(0, SOON),
    ):
        with pytest.raises(ResponseTooLarge) as caught:
            add(client)
        assert caught.value.maybe_executed
        client.send_ping()
        assert server.methods.count("GET") == 2


def test_an_event_that_is_not_a_message_ends_the_stream():
    def call(server, request):
        server.say(b"data: }{\n\n")
        return TAKEN

    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client:
        with pytest.raises(MessageInvalid) as caught:
            add(client)
        assert caught.value.maybe_executed


def test_an_answer_nobody_asked_for_is_an_error_and_the_stream_goes_on():
    answers = iter([99_999, None])

    def call(server, request):
        wrong = next(answers)
        server.say(reply_to(request, DONE) | ({} if wrong is None else {"id": wrong}))
        return TAKEN

    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client:
        with pytest.raises(MessageInvalid, match="99999"):
            add(client)
        assert add(client) == "done"
        assert server.methods.count("GET") == 1


# -- refusals ------------------------------------------------------------------------------------

TURNED_DOWN = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "x"}}
CHALLENGE = {"WWW_Authenticate": 'Bearer error="insufficient_scope", scope="a b"'}


@pytest.mark.parametrize(
    ("status", "more", "error", "maybe"),
    [
        ("401 Unauthorized", {}, AuthorizationRequired, False),
        ("403 Forbidden", {"headers": CHALLENGE}, InsufficientScope, False),
        ("403 Forbidden", {}, HTTPStatusError, False),
        ("429 Too Many Requests", {"headers": {"Retry_After": "7"}}, RateLimited, False),
        ("400 Bad Request", {}, HTTPStatusError, False),
        ("500 Oh", {}, HTTPStatusError, True),
        ("400 Bad", {"body": TURNED_DOWN}, MCPError, False),
    ],
)
def test_a_post_that_is_refused_says_why_and_the_stream_goes_on(status, more, error, maybe):
    more = {"body": b"no", "kind": "text/plain", **more}
    with ScriptedSSE(tools__call=Reply(status=status, **more)) as server:
        with over_sse(server) as client:
            with pytest.raises(error) as caught:
                add(client)
            assert type(caught.value) is error
            assert caught.value.maybe_executed is maybe
            client.send_ping()
        assert server.methods.count("GET") == 1


def test_a_page_in_answer_to_a_post_is_no_success():
    page = Reply(b"<html>", "200 OK", "text/html")
    with (
        ScriptedSSE(tools__call=page) as server,
        over_sse(server) as client,
        pytest.raises(MessageInvalid, match="text/html"),
    ):
        add(client)


def test_a_stream_the_server_forgot_is_opened_anew_and_the_tool_runs_once(server, client):
    client.connect()
    server.expire_sessions()
    assert client.call_tool("counter").structured_content["total"] == 1
    assert [r.http_method for r in server.requests].count("GET") == 2


@pytest.mark.parametrize(
    ("opening", "error", "words"),
    [
        (Reply(b"<html>", "200 OK", "text/html"), MessageInvalid, "text/html"),
        (Reply({"a": 1}), MessageInvalid, "application/json"),
        (Reply(b"", "204 No Content", ""), MessageInvalid, "not an event stream"),
        (Reply(b"<html>", "404 Not Found", "text/html"), HTTPStatusError, "404"),
        (Reply(b"", "401 Unauthorized", ""), AuthorizationRequired, "401"),
        (Reply(b"", "429 Slow", ""), RateLimited, "429"),
        (HEAD + b"0\r\n\r\n", ConnectionLost, "before it had begun"),
        (HEAD + b'10\r\ndata: {"a": 1}\n\n\r\n', MessageInvalid, "where to send"),
        (Reply(b"", "302 Found", "", {"Location": "/other"}), HTTPStatusError, "not followed"),
    ],
)
def test_what_is_no_stream_is_told_and_nothing_is_left_open(opening, error, words):
    with ScriptedSSE(opening=opening) as server, over_sse(server) as client:
        with within(0, SOON), pytest.raises(error, match=words) as caught:
            add(client)
        assert not caught.value.maybe_executed
        assert set(server.methods) == {"GET"}
    assert readers() == []


# -- time ------------------------------------------------------------------------------------------


def test_an_endpoint_that_never_comes_ends_with_the_callers_deadline():
    with ScriptedSSE(endpoint=None) as server, over_sse(server) as client:
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
            add(client, timeout=BUDGET)
        assert not caught.value.maybe_executed
    assert readers() == []


def test_an_endpoint_that_never_comes_ends_with_the_time_for_connecting():
    with (
        ScriptedSSE(endpoint=None) as server,
        over_sse(server, connect_timeout=BUDGET) as client,
        within(BUDGET, BUDGET + SOON),
        pytest.raises(ConnectTimeout),
    ):
        add(client)


def test_an_answer_that_drips_ends_with_the_deadline_and_the_server_is_told(server, client):
    client.connect()
    server.inject("drip", "tools/call")
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
        add(client, timeout=BUDGET)
    assert caught.value.maybe_executed
    assert server.wait_for(lambda s: s.cancelled)


def test_a_call_that_is_cancelled_wakes_at_once_and_the_server_is_told(server, client):
    client.connect()
    cancel = Cancellation()

    def call():
        client.call_tool("slow", {"seconds": 30}, cancel=cancel)

    with ThreadPoolExecutor(1) as pool, within(0, SOON):
        waiting = pool.submit(call)
        assert server.wait_for(lambda s: s.executions.get("slow"))
        cancel.cancel("enough")
        error = waiting.exception(SOON)
    assert isinstance(error, RequestCancelled)
    assert error.maybe_executed
    assert server.wait_for(lambda s: s.cancelled)
    (told,) = server.cancelled
    assert (told.method, told.how, told.reason) == ("tools/call", "notification", "enough")


def test_a_call_is_cancelled_while_its_post_is_not_answered():
    posted = threading.Event()

    def call(server, request):
        posted.set()

    cancel = Cancellation()
    with ScriptedSSE(tools__call=call) as server, over_sse(server) as client:
        client.connect()
        with ThreadPoolExecutor(1) as pool, within(0, SOON):
            waiting = pool.submit(add, client, cancel=cancel)
            assert posted.wait(LONG)
            cancel.cancel()
            assert isinstance(waiting.exception(SOON), RequestCancelled)


def test_connecting_is_cancelled():
    cancel = Cancellation()
    with (
        ScriptedSSE(endpoint=None) as server,
        over_sse(server) as client,
        ThreadPoolExecutor(1) as pool,
        within(0, SOON),
    ):
        waiting = pool.submit(add, client, cancel=cancel)
        wait_until(lambda: server.streams, "the stream is asked for")
        cancel.cancel()
        assert isinstance(waiting.exception(SOON), RequestCancelled)


# -- the end of the stream --------------------------------------------------------------------


def calls_that_wait(pool, server, client, count):
    waiting = [pool.submit(client.call_tool, "slow", {"seconds": 30}) for _ in range(count)]
    assert server.wait_for(lambda s: s.executions.get("slow") == count)
    return waiting


@pytest.mark.parametrize("how", ["end", "cut"])
def test_a_stream_that_ends_while_calls_wait_fails_them_all(server, client, how):
    client.connect()
    with ThreadPoolExecutor(3) as pool, within(0, SOON):
        waiting = calls_that_wait(pool, server, client, 3)
        if how == "end":
            server.end_streams()
        else:
            server.inject("die-before-answer", "ping")
            with pytest.raises(ConnectionLost):
                client.send_ping()
        errors = [call.exception(SOON) for call in waiting]
    assert [type(error) for error in errors] == [ConnectionLost] * 3
    assert all(error.maybe_executed for error in errors)
    assert add(client) == "3"
    assert [r.http_method for r in server.requests].count("GET") == 2


def test_a_stream_that_ended_while_nobody_waited_is_opened_anew_without_a_word(server, client):
    client.connect()
    server.end_streams()
    wait_until(lambda: not readers(), "the stream's end is noticed")
    assert client.call_tool("counter").structured_content["total"] == 1


def test_a_cut_after_the_answer_does_no_harm(server, client):
    client.connect()
    server.inject("close-after-answer", "tools/call")
    assert client.call_tool("counter").structured_content["total"] == 1
    assert client.call_tool("counter").structured_content["total"] == 2


def test_a_post_that_is_cut_may_have_been_run_and_is_not_repeated():
    class Cutting(ScriptedSSE):
        def _answer(self, request):
            if request.rpc == "tools/call":
                raise OSError
            return super()._answer(request)

    with Cutting() as server, over_sse(server) as client:
        with pytest.raises(ConnectionLost) as caught:
            add(client)
        assert caught.value.maybe_executed
        assert server.methods.count("tools/call") == 1


def test_closing_wakes_every_call_that_waits(server, client):
    client.connect()
    with ThreadPoolExecutor(3) as pool, within(0, SOON):
        waiting = calls_that_wait(pool, server, client, 3)
        client.close()
        errors = [call.exception(SOON) for call in waiting]
    assert [type(error) for error in errors] == [ConnectionClosed] * 3
    assert all(error.maybe_executed for error in errors)
    wait_until(lambda: not readers(), "the reading thread ends")


def test_closing_while_it_connects_ends_that():
    with (
        ScriptedSSE(endpoint=None) as server,
        over_sse(server) as client,
        ThreadPoolExecutor(1) as pool,
        within(0, SOON),
    ):
        waiting = pool.submit(add, client)
        wait_until(lambda: server.streams, "the stream is asked for")
        client.close()
        assert isinstance(waiting.exception(SOON), ConnectionClosed)


def test_a_client_that_nobody_closed_leaves_no_thread_and_no_socket(server):
    client = over_sse(server)
    add(client)
    assert len(readers()) == 1
    del client
    gc.collect()
    wait_until(lambda: not readers(), "the reading thread ends")
    assert server.wait_for(lambda s: s.open_sessions == [])


def test_the_kernel_looks_after_a_stream_on_which_nothing_comes(client):
    client.connect()
    sock = client._keeper._session._transport._mail._stream.response._exchange._socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


# -- fork --------------------------------------------------------------------------------------


def test_a_forked_child_opens_a_stream_of_its_own(server, client):
    assert add(client) == "3"

    def use_and_close():
        text = add(client)
        client.close()
        return text

    assert in_child(use_and_close) == "3"
    assert add(client) == "3"
    assert [r.http_method for r in server.requests].count("GET") == 2


def test_a_forked_child_that_only_closes_does_not_end_its_parents_stream(server, client):
    client.connect()
    in_child(client.close)
    assert add(client) == "3"
    assert [r.http_method for r in server.requests].count("GET") == 1


def test_a_fork_while_a_call_waits_leaves_that_alone(server, client):
    client.connect()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.call_tool, "slow", {"seconds": 0.5})
        assert server.wait_for(lambda s: s.executions.get("slow"))
        assert in_child(lambda: add(client)) == "3"
        assert waiting.result(LONG).content


# -- the configuration -----------------------------------------------------------------------------


def test_a_modern_version_is_not_spoken_over_it():
    config = HttpServerConfig(url="http://127.0.0.1/sse", type="sse")
    with pytest.raises(ConfigurationError, match="not spoken over HTTP"):
        Client(config, mode="2026-07-28")


def test_a_flood_of_notifications_does_not_grow_without_bound(monkeypatch):
    monkeypatch.setattr(_mail, "CROWD", 50)
    entered, go_on = threading.Event(), threading.Event()
    seen = []

    def slow(message):
        entered.set()
        go_on.wait(LONG)
        seen.append(message)

    def call(server, request):
        server.say(notification("notifications/message", level="info", data=0))
        threading.Thread(target=flood, args=(server, request)).start()
        return TAKEN

    def flood(server, request):
        assert entered.wait(LONG)
        for number in range(500):
            server.say(notification("notifications/message", level="info", data=number))
        server.say(reply_to(request, DONE))
        server.say({"jsonrpc": "2.0", "id": "p", "method": "ping"})
        wait_until(lambda: server.requests[-1].rpc is None, "all of it has come")
        go_on.set()

    with (
        ScriptedSSE(tools__call=call) as server,
        over_sse(server, logging_callback=slow) as client,
    ):
        assert add(client) == "done"
    assert len(seen) <= 51


def test_whatever_happens_to_the_stream_the_errors_tell_what_may_have_run(server, client):
    done = threading.Event()

    def disturb():
        breakages = itertools.cycle(
            [
                server.end_streams,
                server.expire_sessions,
                server.drop_idle_connections,
                lambda: server.inject("die-before-answer", "tools/call"),
                lambda: server.inject("die-mid-answer", "tools/call"),
            ]
        )
        while not done.wait(0.02):
            next(breakages)()

    def call(_):
        try:
            client.call_tool("counter")
        except ConnectionLost as error:
            return error.maybe_executed
        return None

    with ThreadPoolExecutor(9) as pool:
        disturbing = pool.submit(disturb)
        told = list(pool.map(call, range(600)))
        done.set()
        disturbing.result(LONG)
    server.clear_faults()
    assert told.count(None) <= server.executions["counter"] <= told.count(None) + told.count(True)
    assert told.count(None) > 100
    assert add(client) == "3"
    assert len(readers()) == 1
