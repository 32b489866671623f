"""Bytes and JSON-RPC messages: what is sent, what is taken, and what is turned down."""

import datetime
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpsync.errors import ConfigurationError, MCPError, MessageInvalid
from mcpsync.protocol import codec

REPLY = {"jsonrpc": "2.0", "id": 1, "result": {}}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def in_json(value):
    """*value* as bytes."""
    return json.dumps(value).encode()


# -- sending ---------------------------------------------------------------------------------------


def test_a_message_is_one_line_of_compact_utf_8():
    encoded = codec.encode({"text": "grüße\nzwei", "list": [1, 2.5, True, None]})
    assert encoded == '{"text":"grüße\\nzwei","list":[1,2.5,true,null]}'.encode()


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), max_size=5))
def test_whatever_is_sent_is_one_line_and_can_be_read_back(params):
    encoded = codec.encode(codec.notification("x", params))
    assert b"\n" not in encoded
    assert codec.decode(encoded) == [{"jsonrpc": "2.0", "method": "x", "params": params}]


def endless():
    """A list that contains itself."""
    found = []
    found.append(found)
    return found


def deep():
    """Lists in lists, deeper than any encoder goes."""
    found = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "argument",
    [
        datetime.datetime(2026, 7, 28),
        {1, 2},
        b"bytes",
        object(),
        float("nan"),
        float("inf"),
        -float("inf"),
        "\ud800",
        {("a", "tuple"): 1},
        endless(),
    ],
    ids=lambda argument: type(argument).__name__,
)
def test_arguments_that_json_has_no_word_for_are_the_callers_mistake(argument):
    message = codec.request(1, "tools/call", {"arguments": {"x": argument}})
    with pytest.raises(ConfigurationError, match="cannot be sent as JSON") as caught:
        codec.encode(message)
    assert caught.value.maybe_executed is False


def test_arguments_nested_too_deep_are_the_callers_mistake():
    with pytest.raises(ConfigurationError, match="cannot be sent as JSON"):
        codec.encode({"x": deep()})


def test_a_request_has_params_only_if_it_was_given_some():
    assert codec.request(7, "ping", None) == {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    assert codec.request("a", "tools/list", {}) == {
        "jsonrpc": "2.0",
        "id": "a",
        "method": "tools/list",
        "params": {},
    }


def test_a_notification_has_no_id():
    assert codec.notification("x") == {"jsonrpc": "2.0", "method": "x"}
    assert codec.notification("x", {"a": 1})["params"] == {"a": 1}


def test_replies_carry_the_id_of_what_they_answer():
    assert codec.result_reply("a", {"x": 1}) == {"jsonrpc": "2.0", "id": "a", "result": {"x": 1}}
    assert codec.error_reply(0, -32601, "no") == {
        "jsonrpc": "2.0",
        "id": 0,
        "error": {"code": -32601, "message": "no"},
    }


# -- taking ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        REPLY,
        PING,
        {"jsonrpc": "2.0", "id": "seven", "result": {}},
        {"jsonrpc": "2.0", "id": 1.5, "result": {}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "no"}},
        {"jsonrpc": "2.0", "method": "notifications/message"},
        {"jsonrpc": "2.0", "method": "x", "params": {}},
        {"jsonrpc": "2.0", "method": "x", "params": None},
        {"jsonrpc": "2.0", "id": 1, "result": None},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "unknown": [1]},
    ],
)
def test_a_message_is_taken_as_it_came(message):
    assert codec.decode(in_json(message)) == [message]
    assert codec.decode(json.dumps(message)) == [message]


def test_a_byte_order_mark_before_it_is_no_matter():
    assert codec.decode(b"\xef\xbb\xbf" + in_json(REPLY)) == [REPLY]


def test_members_that_are_null_are_not_there():
    """As serialisers write them that know no other way to leave one out."""
    (reply,) = codec.decode(in_json(REPLY | {"method": None, "params": None, "error": None}))
    assert codec.is_reply(reply)
    assert not codec.is_request(reply)
    assert codec.result_of(reply) == {}
    (told,) = codec.decode(in_json({"jsonrpc": "2.0", "id": None, "method": "x", "result": None}))
    assert not codec.is_reply(told)
    assert not codec.is_request(told)


def test_a_batch_is_taken_in_its_order():
    assert codec.decode(in_json([PING, REPLY])) == [PING, REPLY]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"hello",
        b"<html></html>",
        b'{"jsonrpc": "2.0", "id": 1, "result": {}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {}} extra',
        b"\xff\xfe\xff",
        b'{"jsonrpc": "2.0", "id": 1, "result": {"x": NaN}}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {"x": [Infinity]}}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {"x": -Infinity}}',
        '{"jsonrpc": "2.0", "id": 1, "result": {}}'.encode("utf-16"),
        b'{"jsonrpc": "2.0", "id": 1, "result": {"x": "\xed\xa0\x80"}}',
        b'"\xff"',
        b"\0",
        b"{'jsonrpc': '2.0'}",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b', "result": {}}',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_not_json_is_said_to_be_none(data):
    with pytest.raises(MessageInvalid, match="something that is not JSON"):
        codec.decode(data)


@pytest.mark.parametrize("data", [b"[]", b"null", b"true", b"7", b'"text"'])
def test_json_that_is_no_message_at_all_is_turned_down(data):
    with pytest.raises(MessageInvalid, match=r"JSON that is not a JSON-RPC message\."):
        codec.decode(data)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"id": 1, "result": {}},
        {"jsonrpc": "1.0", "id": 1, "result": {}},
        {"jsonrpc": 2.0, "id": 1, "result": {}},
        {"jsonrpc": "2.0"},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "method": None},
        {"jsonrpc": "2.0", "method": 7},
        {"jsonrpc": "2.0", "method": ["ping"], "id": 1},
        {"jsonrpc": "2.0", "id": [1], "result": {}},
        {"jsonrpc": "2.0", "id": {}, "method": "ping"},
    ],
    ids=json.dumps,
)
def test_an_object_that_is_no_message_is_turned_down_alone_and_in_a_batch(message):
    with pytest.raises(MessageInvalid):
        codec.decode(in_json(message))
    with pytest.raises(MessageInvalid):
        codec.decode(in_json([REPLY, message]))


@pytest.mark.parametrize("item", [None, 7, "text", [], [REPLY]])
def test_a_batch_holds_messages_only(item):
    with pytest.raises(MessageInvalid):
        codec.decode(in_json([REPLY, item]))


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_whatever_raise_anything_else(data):
    try:
        messages = codec.decode(data)
    except MessageInvalid:
        return
    assert all(isinstance(message, dict) for message in messages)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "code"]),
            inner | st.just("2.0"),
            max_size=5,
        )
    ),
)


@settings(deadline=None)
@given(json_values)
def test_no_json_whatever_raises_anything_else(value):
    try:
        for message in codec.decode(in_json(value)):
            if codec.is_reply(message):
                codec.result_of(message)
    except (MessageInvalid, MCPError):
        pass
    assert codec.find_error(in_json(value)) is None or "error" in json.dumps(value)


@pytest.mark.parametrize(
    ("message", "reply", "request_"),
    [
        (REPLY, True, False),
        ({"jsonrpc": "2.0", "error": {}}, True, False),
        (PING, False, True),
        ({"jsonrpc": "2.0", "id": 0, "method": "ping"}, False, True),
        ({"jsonrpc": "2.0", "method": "x"}, False, False),
    ],
)
def test_a_message_answers_or_asks_or_tells(message, reply, request_):
    assert codec.is_reply(message) is reply
    assert codec.is_request(message) is request_


@pytest.mark.parametrize(
    "method", ["tools/call", "resources/subscribe", "notifications/cancelled", "made/up"]
)
def test_what_may_change_something_is_not_repeated(method):
    assert method not in codec.SAFE_METHODS


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "server/discover", "tools/list", "resources/read"]
)
def test_what_only_looks_may_be_repeated(method):
    assert method in codec.SAFE_METHODS


# -- results and errors ----------------------------------------------------------------------------


def test_the_result_of_a_reply_is_an_object():
    assert codec.result_of({"result": {"x": 1}}) == {"x": 1}


@pytest.mark.parametrize("result", [None, [], "text", 7, True])
def test_any_other_result_is_invalid_and_the_request_may_have_run(result):
    with pytest.raises(MessageInvalid, match="a result that is not an object") as caught:
        codec.result_of({"id": 1, "result": result})
    assert caught.value.maybe_executed is True


def test_an_error_reply_is_raised_with_all_it_says():
    with pytest.raises(MCPError) as caught:
        codec.result_of({"error": {"code": -32002, "message": "not found", "data": [1]}})
    error = caught.value
    assert (error.code, error.message, error.data) == (-32002, "not found", [1])


@pytest.mark.parametrize(
    "error",
    [[], "text", {}, {"message": "no"}, {"code": "7"}, {"code": True}, {"code": 1.0}],
    ids=json.dumps,
)
def test_an_error_without_a_code_is_invalid_and_the_request_may_have_run(error):
    with pytest.raises(MessageInvalid, match="an error without a code") as caught:
        codec.result_of({"id": 1, "error": error})
    assert caught.value.maybe_executed is True


def test_an_error_that_is_null_is_none():
    assert codec.result_of({"id": 1, "result": {"a": 1}, "error": None}) == {"a": 1}


@pytest.mark.parametrize("text", [None, "", 7, []])
def test_an_error_without_words_gets_some(text):
    assert codec.error_of({"error": {"code": 1, "message": text}}).message == (
        "the server gave no reason."
    )


@pytest.mark.parametrize(
    ("code", "maybe_executed"),
    [
        (-32700, False),
        (-32600, False),
        (-32601, False),
        (-32602, False),
        (-32020, False),
        (-32021, False),
        (-32022, False),
        (-32603, True),
        (-32000, True),
        (-32002, True),
        (0, True),
        (1, True),
    ],
)
def test_only_codes_that_turn_a_request_down_say_that_it_has_not_run(code, maybe_executed):
    error = codec.error_of({"error": {"code": code, "message": "no"}})
    assert error.maybe_executed is maybe_executed


@pytest.mark.parametrize("request_id", [None, 1, "server-error", 7.5])
def test_the_error_in_a_failed_answer_is_found_whatever_its_id(request_id):
    body = {"jsonrpc": "2.0", "id": request_id, "error": {"code": -32600, "message": "no"}}
    assert codec.find_error(in_json(body)).code == -32600


def test_the_error_in_a_failed_answer_is_found_without_an_id_and_in_a_batch():
    body = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "no"}}
    assert codec.find_error(in_json(body)).code == -32600
    assert codec.find_error(in_json([body])).code == -32600


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Method Not Allowed",
        b"<html></html>",
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        in_json(REPLY),
        in_json(PING),
        in_json({"error": {"code": 1, "message": "no"}}),
        in_json({"jsonrpc": "2.0", "error": "invalid_token"}),
        in_json({"jsonrpc": "2.0", "error": {"message": "no"}}),
        in_json({"error": "invalid_token", "error_description": "OAuth, not JSON-RPC"}),
    ],
)
def test_a_failed_answer_without_a_json_rpc_error_has_none(body):
    assert codec.find_error(body) is None


@pytest.mark.parametrize("params", [[1], "a", 7, None])
def test_params_that_are_no_object_are_none(params):
    (message,) = codec.decode(json.dumps({"jsonrpc": "2.0", "method": "x", "params": params}))
    assert codec.params_of(message) == {}
