"""Server-sent events: the standard's rules, wherever the chunks are cut."""

import contextlib
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpsync.errors import MessageInvalid, ResponseTooLarge
from mcpsync.protocol.sse import MAX_EVENT_BYTES, MAX_EVENT_LINES, ServerSentEvent, SSEDecoder

LIMIT = 1000


def decode(*chunks, limit=LIMIT, event_limit=MAX_EVENT_BYTES):
    """The events in *chunks*."""
    decoder = SSEDecoder(limit, event_limit)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def message(data, event="message", id=None, retry=None):  # noqa: A002 - as the field is called
    """An event that is a message unless it says otherwise."""
    return ServerSentEvent(event, data, id, retry)


# -- one event -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "event"),
    [
        (b"data: x", message("x")),
        (b"data:x", message("x")),
        (b"data:  x ", message(" x ")),
        (b"data: a\ndata: b", message("a\nb")),
        (b"data: a\ndata:\ndata: b", message("a\n\nb")),
        (b"data:", message("")),
        (b"data", message("")),
        (b"data\ndata", message("\n")),
        (b"data: a: b", message("a: b")),
        (b"data: \xe6\x97\xa5\xe6\x9c\xac", message("日本")),
        (b"data: a\x85b\xc2\x85c".replace(b"\x85b", b"b"), message("ab\x85c")),
        (b"data: \xe2\x80\xa8x", message("\N{LINE SEPARATOR}x")),
        (b"data: \x04", message("\x04")),
        (b"data: \x04\ndata: \x04", message("\x04\n\x04")),
        (b"data: \xef\xbb\xbfx", message("\ufeffx")),
        (b"data: x\0y", message("x\0y")),
        (b"event: ping\ndata: x", message("x", "ping")),
        (b"event:\ndata: x", message("x")),
        (b"event: a\nevent: b\ndata: x", message("x", "b")),
        (b"id: 7\ndata: x", message("x", id="7")),
        (b"id:\ndata: x", message("x", id="")),
        (b"id\ndata: x", message("x", id="")),
        (b"id: 7\0\ndata: x", message("x")),
        (b"retry: 1500\ndata: x", message("x", retry=1500)),
        (b"retry: 0\ndata: x", message("x", retry=0)),
        (b": a comment\ndata: x", message("x")),
        (b":\ndata: x", message("x")),
        (b"data: x\n: data: y", message("x")),
        (b"unknown: y\ndata: x", message("x")),
        (b"Data: y\ndata: x", message("x")),
        (b" data: y\ndata: x", message("x")),
        (b"no colon at all\ndata: x", message("x")),
        (b"__class__: y\n__dict__: z\ndata: x", message("x")),
        (b"   \ndata: x", message("x")),
    ],
    ids=repr,
)
def test_an_event_is_what_its_fields_say(block, event):
    assert decode(block + b"\n\n") == [event]


@pytest.mark.parametrize(
    "retry", [b"soon", b"-1", b"1.5", b" 7 7", b"7s", b"", "\u0663".encode(), b"1_000", b"9" * 5000]
)
def test_a_retry_that_is_no_number_is_ignored(retry):
    assert decode(b"retry: " + retry + b"\ndata: x\n\n", limit=10_000) == [message("x")]


@pytest.mark.parametrize(
    ("block", "event"),
    [
        (b"retry: 1500", message(None, retry=1500)),
        (b"id: 7", message(None, id="7")),
        (b"id: 7\nretry: 5", message(None, id="7", retry=5)),
        (b"id: 7\ndata:", message("", id="7")),
        (b"event: ping", message(None, "ping")),
        (b": keep-alive", message(None)),
    ],
)
def test_an_event_without_data_is_not_lost(block, event):
    """The first edge of sseclient: a server may prime a stream, or say when to come back."""
    assert decode(block + b"\n\n") == [event]


@pytest.mark.parametrize("cut", range(4))
def test_a_byte_order_mark_does_not_cost_the_first_event(cut):
    """The second edge of sseclient."""
    data = b"\xef\xbb\xbfdata: x\n\n"
    assert decode(data[:cut], data[cut:]) == [message("x")]


def test_only_one_byte_order_mark_is_one():
    mark = b"\xef\xbb\xbf"
    assert decode(mark + mark + b"data: x\n\n") == [message(None)]
    assert decode(mark, mark + b"data: x\n\n") == [message(None)]
    assert decode(mark, mark, b"data: x\n\n") == [message(None)]


@pytest.mark.parametrize("start", [b"\xef", b"\xef\xbb"])
def test_what_begins_like_a_byte_order_mark_and_is_none_is_no_utf_8(start):
    with pytest.raises(MessageInvalid, match="not UTF-8"):
        decode(start, b"data: x\n\n")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_an_unfinished_event_at_the_end_is_none(end):
    """The third edge of sseclient: half an answer is no answer."""
    assert decode(b"data: a\n\n", b"data: half of" + end) == [message("a")]


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n", b"\n\n\n", b"\r\r\r", b"\n\r\n\r"])
def test_blank_lines_are_no_events(data):
    assert decode(data) == []
    assert decode(data, b"data: x\n\n", data) == [message("x")]


@pytest.mark.parametrize("field", [b"data", b"event", b"id", b": comment", b"unknown"])
def test_an_event_that_is_not_utf_8_is_invalid(field):
    with pytest.raises(MessageInvalid, match="an event that is not UTF-8"):
        decode(field + b": \xff\n\n")


def test_the_events_before_one_that_is_not_utf_8_are_there():
    decoder = SSEDecoder(LIMIT)
    assert decoder.feed(b"data: x\n\n") == [message("x")]
    with pytest.raises(MessageInvalid):
        decoder.feed(b"data: \xff\n\n")


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\r", b"\r\n\r\n"])
@pytest.mark.parametrize("before", [b"", b"data: ok\n", b"data: ok\n\n"])
def test_a_line_beyond_the_limit_is_refused_over_or_not(before, end):
    """The fourth edge of sseclient: it buffers whatever comes."""
    with pytest.raises(ResponseTooLarge, match="a line of more than 20 bytes") as caught:
        decode(before + b"data: " + b"x" * 15 + end, limit=20)
    assert caught.value.limit == 20


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_a_line_as_long_as_the_limit_is_taken(end):
    assert decode(b"data: " + b"x" * 14 + end, limit=20) == [message("x" * 14)]


def test_a_line_that_comes_in_drops_is_refused_as_soon_as_it_is_too_long():
    decoder = SSEDecoder(20)
    for _ in range(20):
        assert decoder.feed(b"x") == []
    with pytest.raises(ResponseTooLarge):
        decoder.feed(b"x")


def test_the_limit_is_for_a_line_and_not_for_an_event_or_a_chunk():
    lines = b"data: " + b"x" * 14 + b"\n"
    assert decode(lines * 50 + b"\n", limit=20) == [message("\n".join(["x" * 14] * 50))]
    assert len(decode((lines + b"\n") * 50, limit=20)) == 50


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\r\r", b"\r\n\r\n"])
@pytest.mark.parametrize("before", [b"", b"\n", b"\r\n\r\n", b"data: ok\n\n"])
def test_an_event_beyond_its_limit_is_refused_over_or_not(before, end):
    with pytest.raises(ResponseTooLarge, match="an event of more than 40 bytes") as caught:
        decode(before + b"data: 1\n" * 5 + b"x" + end, limit=20, event_limit=40)
    assert caught.value.limit == 40


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_an_event_as_long_as_its_limit_is_taken(end):
    stream = (b"data: 1\n" * 5 + b"x" + end) * 3
    assert decode(stream, limit=20, event_limit=41) == [message("\n".join("11111"))] * 3


def test_an_event_of_too_many_lines_is_refused():
    with pytest.raises(ResponseTooLarge, match="lines"):
        decode(b"data\n" * (MAX_EVENT_LINES + 1) + b"\n")
    (event,) = decode(b"data\n" * MAX_EVENT_LINES + b"\n")
    assert event.data == "\n" * (MAX_EVENT_LINES - 1)


def test_lines_of_a_long_event_are_put_together_as_those_of_a_short_one_are():
    """A long event goes to sseclient in pieces, for its time grows with the square of the lines."""
    block = b"id: 1\nevent: a\n: x\ndata: b\nfeff\n" * 100 + b"retry: 5\n" + b"data:\n" * 100
    expected = message("\n".join(["b"] * 100 + [""] * 100), "a", "1", 5)
    assert decode(block + b"\n") == [expected]
    named = b"event:  two words \n" + b"data: x\n" * 100
    assert decode(named + b"\n")[0].event == " two words "
    assert decode(named + b"event:\n\n")[0].event == "message"
    assert decode(b":\n" * 100 + b"\n") == [message(None)]


# -- cutting ---------------------------------------------------------------------------------------

STREAM = (
    "\ufeff: hello\r\n\r\nid: 1\rdata: ä\r\revent: e\ndata: b\r\ndata:\n\nretry: 5\r\r\n"
    "data: 日\n\r\ndata: c\r\n\ndata: half"
).encode()
EVENTS = [
    message(None),
    message("ä", id="1"),
    message("b\n", "e"),
    message(None, retry=5),
    message("日"),
    message("c"),
]


def test_line_ends_may_be_mixed():
    assert decode(STREAM) == EVENTS


def test_every_byte_may_come_alone():
    assert decode(*[STREAM[i : i + 1] for i in range(len(STREAM))]) == EVENTS


def test_empty_chunks_change_nothing():
    chunks = [STREAM[i : i + 1] for i in range(len(STREAM))]
    assert decode(*[part for chunk in chunks for part in (b"", chunk, b"")]) == EVENTS


def test_the_stream_may_be_cut_at_any_two_places():
    for first, second in itertools.combinations(range(len(STREAM) + 1), 2):
        chunks = STREAM[:first], STREAM[first:second], STREAM[second:]
        assert decode(*chunks) == EVENTS, (first, second)


def test_an_event_is_there_as_soon_as_its_blank_line_is():
    decoder = SSEDecoder(LIMIT)
    assert decoder.feed(b"data: x\r\n") == []
    assert decoder.feed(b"\r") == [message("x")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: y\n\n") == [message("y")]


def by_the_standard(data):
    """The events in *data*, by the algorithm of the HTML standard (9.2.6), told plainly."""
    lines = re.split("\r\n|\n|\r", data.decode().removeprefix("\ufeff"))[:-1]
    events, block = [], []
    for line in lines:
        if line:
            block.append(line)
        elif block:
            events.append(interpreted(block))
            block = []
    return events


def interpreted(block):
    """The event that some lines describe."""
    data, event, last_id, retry = [], "", None, None
    for line in block:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                data.append(value)
            case "event":
                event = value
            case "id":
                last_id = value
            case "retry":
                retry = int(value) if re.fullmatch("[0-9]{1,9}", value) else None
    return message("\n".join(data) if data else None, event or "message", last_id, retry)


values = st.text("ab: \x04ä日\u2028\ufeff\t7", max_size=6) | st.integers(0, 10**9 - 1).map(str)
fields = st.sampled_from(["data", "data", "event", "id", "retry", "", "other"])
lines = st.one_of(
    st.builds("{}:{}".format, fields, values),
    st.builds("{}: {}".format, fields, values),
    fields,
    st.just(""),
    st.just(""),
)
streams = st.builds(
    lambda mark, parts: (mark + "".join(line + end for line, end in parts)).encode(),
    st.sampled_from(["", "", "\ufeff"]),
    st.lists(st.tuples(lines, st.sampled_from(["\n", "\r", "\r\n"])), max_size=15),
)


@st.composite
def cut(draw, what):
    """A stream, and the same in chunks."""
    stream = draw(what)
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return stream, [stream[a:b] for a, b in itertools.pairwise([0, *places, len(stream)])]


@settings(deadline=None, max_examples=400)
@given(cut(streams))
def test_any_chunking_gives_the_events_of_the_standard(both):
    stream, chunks = both
    assert decode(*chunks) == decode(stream) == by_the_standard(stream)


@settings(deadline=None, max_examples=400)
@given(cut(streams), st.integers(1, 12))
def test_whether_a_line_is_too_long_does_not_depend_on_the_chunks(both, limit):
    stream, chunks = both
    longest = max(map(len, re.split(b"\r\n|\n|\r", stream)))
    for parts in (chunks, [stream]):
        try:
            assert decode(*parts, limit=limit) == by_the_standard(stream)
        except ResponseTooLarge:
            assert longest > limit
        else:
            assert longest <= limit


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20)))
def test_no_bytes_whatever_raise_anything_but_our_own_errors(chunks):
    with contextlib.suppress(MessageInvalid, ResponseTooLarge):
        decode(*chunks, limit=30)
