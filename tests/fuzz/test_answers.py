"""Whole answers of a server that means no good, through a real socket and the whole client."""

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.profiles import TIMES, examples
from fuzz.test_decoders import bodies, streams
from mcpsync import Client, Limits
from mcpsync.errors import ConnectionLost, MCPSyncError
from mcpsync.session.opening import eras
from transports.peer import Peer, ScriptedMCP, chunk

pytestmark = pytest.mark.once  # what is made up is as good with any Python

BUDGET, SOON = 0.15, 2.0 if TIMES == 1 else 10.0  # tens of thousands of examples make pauses
LIMITS = Limits(max_response_bytes=20_000, max_line_bytes=5_000, max_event_bytes=8_000)

# fmt: off
statuses = st.sampled_from([
    200, 200, 200, 200, 201, 202, 204, 206, 300, 301, 302, 304, 307, 308, 400, 401, 403, 404,
    405, 406, 407, 408, 409, 410, 415, 418, 421, 425, 429, 431, 451, 500, 502, 503, 504, 511,
    100, 101, 103, 199, 299, 599, 999, 0, 99, 1000, -1,
])
types = st.sampled_from([
    "application/json", "application/json; charset=utf-16", "text/event-stream", "text/html",
    "text/event-stream;charset=utf-8", "", "application/json, text/event-stream", "\xff", "a" * 300,
])
names = st.sampled_from([
    "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Location",
    "Retry-After", "WWW-Authenticate", "Mcp-Session-Id", "Set-Cookie", "Connection", "Date",
    "MCP-Protocol-Version", "Trailer", "Upgrade", "Content-Range", "X-Other", "", "Bad Name",
])
values = st.sampled_from([
    "0", "-1", "7", "9" * 30, "gzip", "deflate", "br", "chunked", "identity", "gzip, gzip",
    "/mcp", "//other.example/", "http://127.0.0.1:1/", "mailto:x", "?", "\t", "close",
    "Wed, 21 Oct 2026 07:28:00 GMT", "soon", 'Bearer scope="', "Bearer error=insufficient_scope",
    "insufficient_scope", "a=b; Domain=.example; Max-Age=-1", "x" * 70_000, "\xe9\xff", "",
    "keep-alive", "s 1", "2099-01-01", "=?base64??=",
]) | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
# fmt: on
replies = st.sampled_from(
    [
        {"result": {"content": [{"type": "text", "text": "done"}]}},
        {"result": {"content": "no list"}},
        {"result": {"content": [{"type": "unknown"}], "isError": "perhaps"}},
        {"result": {"content": [], "structuredContent": {"x": 10**400}}},
        {"result": {"content": [], "resultType": 7}},
        {"result": {"resultType": "input_required", "inputRequests": 3}},
        {"result": {"resultType": "input_required", "requestState": "x", "inputRequests": {"": 1}}},
        {"result": {"resultType": "task", "taskId": None}},
        {"result": {"content": [], "_meta": "none", "structuredContent": float("1e999")}},
        {"error": {"code": -32042, "message": None, "data": {"elicitations": 1}}},
        {"error": {"code": -32022, "message": "x", "data": {"supported": "x"}}},
        {"error": {"code": 10**30, "message": "\ud800"}},
        {"method": "ping"},
        {"method": "elicitation/create", "params": []},
        {"method": "sampling/createMessage", "params": {"messages": 3}},
    ]
)
NOTES = st.sampled_from(
    [
        {"method": "notifications/progress", "params": {"progress": None}},
        {"method": "notifications/progress", "params": {"progressToken": [1], "progress": "x"}},
        {"method": "notifications/message", "params": {"level": "loud"}},
        {"method": "notifications/tools/list_changed", "params": None},
        {"method": "notifications/cancelled", "params": {"requestId": {}}},
        {"method": "notifications/resources/updated"},
        {"method": "\ud800"},
        {"id": 1, "method": "roots/list"},
        {"id": None, "method": "ping"},
    ]
)


@st.composite
def answers(draw):
    """Bytes of an answer; IDENT in them stands for the id that was asked."""
    minor, reason = draw(st.sampled_from("01192")), draw(st.text("OK \t", max_size=3))
    head = f"HTTP/1.{minor} {draw(statuses)} {reason}\r\n"
    body = draw(
        st.one_of(
            bodies,
            streams,
            replies.map(as_json),
            st.lists(NOTES | replies, max_size=3).map(
                lambda found: b"".join(b"data: " + as_json(each) + b"\n\n" for each in found)
            ),
            st.lists(NOTES | replies, max_size=3).map(
                lambda found: b"[" + b",".join(map(as_json, found)) + b"]"
            ),
        )
    )
    headers = draw(st.lists(st.tuples(names, values), max_size=3))
    headers.append(("Content-Type", draw(types)))
    framing = draw(st.sampled_from(["length", "length", "chunked", "none", "short", "long"]))
    if framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        cut = draw(st.integers(0, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        sent = b"".join(map(chunk, parts)) + draw(st.sampled_from([chunk(b""), b"", b"zz\r\n"]))
    else:
        extra = {"length": 0, "short": -1, "long": 5}.get(framing)
        if extra is not None:
            headers.append(("Content-Length", str(max(0, len(body) + extra))))
        sent = body
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return head.encode("latin-1") + lines.encode("latin-1", "replace") + b"\r\n" + sent


def as_json(message):
    """A message that answers whatever was asked."""
    asked = {} if "method" in message else {"id": "IDENT"}
    return json.dumps({"jsonrpc": "2.0"} | asked | message).encode()


class Malicious(ScriptedMCP):
    """Answers the method it is told to with the bytes it is told to, then closes the connection."""

    method = "tools/call"
    answer = b""

    def _converse(self, peer: Peer) -> None:
        while (request := peer.read()) is not None:
            if (request.rpc or request.method) == self.method:
                ident = json.dumps(request.json.get("id")).encode() if request.body else b"0"
                peer.send(self.answer.replace(b'"IDENT"', ident))
                return
            decent = self._answer(request)
            peer.send(decent if isinstance(decent, bytes) else decent.to_bytes())


@pytest.fixture(scope="module")
def malicious():
    """One server for all the examples; it starts a thread for each connection."""
    with Malicious() as server:
        yield server


def try_it(server, mode, method, answer):
    """Call a tool; only our own errors, and in time."""
    server.method, server.answer = method, answer
    eras.reset()
    began = time.monotonic()
    heard = []
    with Client(
        server.url,
        mode=mode,
        limits=LIMITS,
        timeout=BUDGET,
        logging_callback=heard.append,
        message_handler=heard.append,
    ) as client:
        with contextlib.suppress(MCPSyncError):
            result = client.call_tool("any", progress_callback=lambda *report: heard.append(report))
            result.model_dump_json()
        took = time.monotonic() - began
        assert took < BUDGET + SOON, f"{took:.1f} s"
        server.method = "nothing"
        assert call_again(client).content[0].text == "done"


def call_again(client):
    """A good call; the socket that it finds in the pool may have been closed meanwhile."""
    try:
        return client.call_tool("any", timeout=5)
    except ConnectionLost as lost:
        if not lost.stale:
            raise
    return client.call_tool("any", timeout=5)


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_whatever_a_server_sends_ends_in_an_answer_or_in_one_of_our_errors(malicious, mode):
    @examples(150)
    @given(answers())
    def works(answer):
        try_it(malicious, mode, "tools/call", answer)

    works()


@pytest.mark.parametrize(
    ("mode", "method"), [("auto", "server/discover"), ("legacy", "initialize")]
)
def test_so_does_what_it_sends_while_we_connect(malicious, mode, method):
    @examples(100)
    @given(answers())
    def works(answer):
        try_it(malicious, mode, method, answer)

    works()
