"""Whatever bytes a server sends: messages, or one of our errors, in bounded time and memory."""

import itertools
import json
import re
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.profiles import examples
from mcpsync.errors import MCPError, MCPSyncError, MessageInvalid, ResponseTooLarge
from mcpsync.protocol import codec
from mcpsync.protocol.headers import challenged_scopes, header_value, is_session_id
from mcpsync.protocol.sse import SSEDecoder

pytestmark = pytest.mark.once  # what is made up is as good with any Python

LINE, EVENT = 40, 120

# -- event streams ---------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b":", b" ", b"\0"),
        *(b"data:", b"data", b"event:", b"id:", b"retry:", b"\xef\xbb\xbf", b"\xef\xbb"),
        *(b"x" * 39, b"x" * 41, b"data: 1\n" * 12, b"data\n" * 30, b":\n" * 70),
        *("日\u2028\x85\x04".encode(), b"\xff", b"\xe6\x97", b"7", b"9" * 30, b"-1"),
    ]
)
streams = st.lists(pieces | st.binary(max_size=8), max_size=40).map(b"".join)


@st.composite
def cut(draw):
    """A stream, and the same in chunks."""
    stream = draw(streams)
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return stream, [stream[a:b] for a, b in itertools.pairwise([0, *places, len(stream)])]


def decoded(chunks):
    """The events in *chunks* up to what is no event, and the kind of error that it is."""
    decoder, events = SSEDecoder(LINE, EVENT), []
    for chunk in chunks:
        try:
            events += decoder.feed(chunk)
        except MCPSyncError as error:
            return events, type(error)
        assert len(decoder._buffer) <= EVENT + LINE + 2
    return events, None


@examples(400)
@given(cut())
def test_an_event_stream_is_the_same_however_it_is_cut(both):
    stream, chunks = both
    events, error = decoded(chunks)
    slowly, slow_error = decoded(stream[i : i + 1] for i in range(len(stream)))
    assert error in {None, MessageInvalid, ResponseTooLarge}
    assert (error is None) == (slow_error is None)
    assert events == slowly[: len(events)]  # a chunk with an error in it is refused whole
    if error is None:
        assert events == slowly


@examples(200)
@given(cut())
def test_no_event_is_longer_than_its_limit(both):
    events, _ = decoded(both[1])
    for event in events:
        assert len((event.data or "").encode()) <= EVENT
        assert not re.search("[\r\n]", event.event + (event.id or ""))
        assert event.retry is None or 0 <= event.retry < 10**9


# -- JSON-RPC --------------------------------------------------------------------------------------

texts = st.text(max_size=8) | st.sampled_from(["2.0", "\ud800", "\0", "method", "ping"])
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(2**63), 2**53 + 1, 1e308])
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
keys = ["jsonrpc", "id", "method", "params", "result", "error", "code", "message", "data", "_meta"]
messages = st.dictionaries(
    st.sampled_from(keys),
    json_values | st.just("2.0") | st.just({"code": -32601, "message": "no"}),
).map(lambda message: {"jsonrpc": "2.0"} | message)
bodies = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    messages.map(lambda message: json.dumps(message).encode()),
    st.lists(messages, max_size=4).map(lambda batch: json.dumps(batch).encode()),
    messages.map(lambda message: json.dumps(message, ensure_ascii=False).encode(errors="replace")),
    st.sampled_from([b"[", b'{"a":', b'[{"x":']).flatmap(
        lambda piece: st.integers(1, 20_000).map(lambda count: piece * count)
    ),
    st.integers(1, 20_000).map(lambda count: b"[" * count + b"]" * count),
    st.integers(4000, 6000).map(lambda count: b'{"jsonrpc":"2.0","id":' + b"9" * count + b"}"),
)


@examples(400)
@given(bodies)
@example(b'{"jsonrpc": "2.0", "id": NaN, "result": {}}')
@example(b'{"jsonrpc": "2.0", "id": 1, "result": {"x": -Infinity}}')
@example(b'{"jsonrpc": "2.0", "id": 1, "error": {"code": true}}')
@example(b'{"jsonrpc": "2.0", "method": null, "result": "2.0"}')
@example(b"\xff\xfe{\0}\0")
def test_bytes_are_messages_or_invalid(body):
    for data in (body, body.decode("utf-8", "replace")):
        try:
            found = codec.decode(data)
        except MessageInvalid:
            continue
        assert found
        for message in found:
            judge(message)


def judge(message):
    """What can be said of any message that was taken."""
    assert message["jsonrpc"] == "2.0"
    assert not isinstance(message.get("id"), dict | list)
    assert "NaN" not in json.dumps({key: message.get(key) for key in ("id", "method")})
    assert codec.is_reply(message) or isinstance(message["method"], str)
    assert isinstance(codec.params_of(message), dict)
    codec.is_request(message)
    if codec.is_reply(message):
        try:
            assert isinstance(codec.result_of(message), dict)
        except MCPError as error:
            judge_error(error)
        except MessageInvalid:
            return


def judge_error(error):
    """What can be said of any error that a server sent."""
    assert type(error.code) is int
    assert str(error)


@examples(200)
@given(bodies)
def test_the_error_in_a_failed_answer_is_found_or_there_is_none(body):
    error = codec.find_error(body)
    assert error is None or type(error.code) is int


def test_no_body_takes_much_more_memory_than_it_is_long():
    """Nested as deep as the decoder goes, flat as wide as the limit allows."""
    for body in (b"[" * 2**20, b"[" + b"0," * 2**19 + b"0]", b'"' + b"x" * 2**20 + b'"'):
        tracemalloc.start()
        try:
            codec.find_error(body)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 24 * len(body)


# -- headers ---------------------------------------------------------------------------------------

any_text = st.text() | st.text("=?base64 x\n\r\t\x7fé", max_size=24)


@examples(300)
@given(any_text)
def test_a_mirrored_header_is_one_line_of_printable_ascii(value):
    try:
        sent = header_value(value)
    except UnicodeEncodeError:
        assert re.search("[\ud800-\udfff]", value)  # what codec.encode refuses before
        return
    assert re.fullmatch(r"([!-~]([ -~]*[!-~])?)?", sent)


@examples(300)
@given(any_text | st.text('scope="', max_size=40) | st.text().map('Bearer scope="{}"'.format))
def test_scopes_of_any_challenge_are_words(challenge):
    for scope in challenged_scopes(challenge):
        assert scope
        assert not re.search(r'["\s]', scope)


def test_a_challenge_that_looks_promising_all_along_does_not_take_long():
    tracemalloc.start()
    try:
        for challenge in ("scope=" * 20_000, ' scope="' * 20_000, "," * 100_000, " " * 100_000):
            challenged_scopes(challenge)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@examples(300)
@given(any_text)
def test_a_session_id_that_is_taken_can_be_sent(value):
    if is_session_id(value):
        assert value.encode("ascii").decode() == value.strip()
