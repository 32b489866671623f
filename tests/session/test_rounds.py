"""Multi round-trip requests: the answers go with the same request, under a new id. (5.4)"""

import copy
import itertools
import json
import pickle
import time

import mcp_types as types
import pytest

import mcpsync
from mcpsync import (
    Cancellation,
    Client,
    ConfigurationError,
    InputRequired,
    LimitExceeded,
    MessageInvalid,
    RequestCancelled,
    RequestTimeout,
)
from mcpsync.testing import Fault, LocalServer
from transports.door import LONG
from transports.peer import DONE, ScriptedMCP, result

MODERN = "2026-07-28"
STATE = ' {"a": "\\u00e9"}\t✓ '
NAME = {
    "method": "elicitation/create",
    "params": {
        "message": "Your name?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
    },
}
ADA = {"action": "accept", "content": {"name": "Ada"}}


@pytest.fixture
def server():
    with LocalServer("modern", asks=True) as server:
        yield server
        assert server.violations == []


def client_of(server, **options):
    return Client(server.url, mode=MODERN, timeout=LONG, **options)


def ada(*_):
    return ADA


def wanting(*results):
    """Answers to a request, one after the other: results that want input, and then none."""
    left = list(results)

    def answer(request):
        wanted = {"resultType": "input_required", **left.pop(0)} if left else DONE
        return result(request, wanted)

    return answer


def params_of(server):
    """What the requests to the server carried besides `_meta`."""
    return [
        {name: v for name, v in request.json["params"].items() if name != "_meta"}
        for request in server.requests
    ]


# -- what goes over the wire -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "rounds"),
    [("ask_form", {}, 2), ("ask_twice", {}, 3), ("ask_often", {"times": 10}, 11)],
)
def test_each_round_is_the_same_request_under_a_new_id(server, tool, arguments, rounds):
    def answer(_, params):
        fields = params.requested_schema["properties"]
        return {"action": "accept", "content": {"name": "Ada"} if "name" in fields else {}}

    with client_of(server, elicitation_callback=answer) as client:
        assert not client.call_tool(tool, arguments).is_error
    calls = [r.body for r in server.requests if r.rpc_method == "tools/call"]
    assert len(calls) == rounds
    assert len({call["id"] for call in calls}) == rounds
    assert {json.dumps(call["params"]["arguments"]) for call in calls} == {json.dumps(arguments)}


def test_the_state_is_returned_byte_for_byte():
    first = {"inputRequests": {"n": NAME}, "requestState": STATE}
    with (
        ScriptedMCP(tools__call=wanting(first)) as server,
        client_of(server, elicitation_callback=ada) as client,
    ):
        assert client.call_tool("t", {"x": 1}).content
        assert params_of(server) == [
            {"name": "t", "arguments": {"x": 1}},
            {
                "name": "t",
                "arguments": {"x": 1},
                "inputResponses": {"n": ADA},
                "requestState": STATE,
            },
        ]


def test_no_state_is_sent_where_none_was_given_and_the_latest_counts():
    rounds = [
        {"inputRequests": {"n": NAME}, "requestState": "one"},
        {"inputRequests": {"m": NAME}, "requestState": "two"},
        {"inputRequests": {"o": NAME}},
    ]
    with (
        ScriptedMCP(tools__call=wanting(*rounds)) as server,
        client_of(server, elicitation_callback=ada) as client,
    ):
        client.call_tool("t")
        client.call_tool("unrelated")
        sent = params_of(server)
    assert [each.get("requestState") for each in sent] == [None, "one", "two", None, None]
    assert "requestState" not in sent[3]
    assert [list(each.get("inputResponses", ())) for each in sent] == [[], ["n"], ["m"], ["o"], []]


def test_a_state_alone_is_returned_after_a_moment_that_doubles(server):
    with client_of(server) as client:
        client.call_tool("add", {"a": 1, "b": 2})
        began = time.monotonic()
        assert client.call_tool("come_again", {"times": 4}).structured_content == {"times": 4}
        took = time.monotonic() - began
    assert 0.05 + 0.1 + 0.2 + 0.25 <= took < LONG
    times = [r.received_at for r in server.requests if r.rpc_method == "tools/call"][1:]
    gaps = [later - before for before, later in itertools.pairwise(times)]
    least = [0.05, 0.1, 0.2, 0.25]
    assert all(gap >= wait for gap, wait in zip(gaps, least, strict=True))


def test_nobody_here_is_asked_before_everything_can_be_answered(server):
    asked = []

    def note(*_):
        asked.append(1)
        return ADA

    with client_of(server, elicitation_callback=note, list_roots_callback=note) as client:
        client.call_tool("ask_form")
    asked.clear()
    both = {"inputRequests": {"a": NAME, "b": {"method": "sampling/createMessage", "params": {}}}}
    with (
        ScriptedMCP(tools__call=wanting(both)) as peer,
        client_of(peer, elicitation_callback=note) as client,
        pytest.raises(InputRequired, match="Method not found: sampling/createMessage"),
    ):
        client.call_tool("t")
    assert asked == []


# -- limits ----------------------------------------------------------------------------------------


def test_there_are_ten_rounds_and_no_more(server):
    with client_of(server, elicitation_callback=ada) as client:
        assert client.call_tool("ask_often", {"times": 10}).content
        with pytest.raises(LimitExceeded, match="10 rounds") as caught:
            client.call_tool("ask_often", {"times": 11})
    assert caught.value.maybe_executed


def test_the_number_of_rounds_is_the_clients_to_say(server):
    with client_of(server, elicitation_callback=ada, input_required_max_rounds=2) as client:
        assert client.call_tool("ask_often", {"times": 2}).content
        with pytest.raises(LimitExceeded, match="2 rounds"):
            client.call_tool("ask_often", {"times": 3})


@pytest.mark.parametrize("rounds", [-1, True, "3", 1.5, None])
def test_a_number_of_rounds_that_is_none_is_refused(rounds):
    with pytest.raises(ConfigurationError, match="input_required_max_rounds"):
        Client("https://example.com/mcp", input_required_max_rounds=rounds)


def test_a_server_that_asks_too_much_at_once_asks_in_vain():
    many = {"inputRequests": {str(n): NAME for n in range(101)}}
    with (
        ScriptedMCP(tools__call=wanting(many)) as server,
        client_of(server, elicitation_callback=ada) as client,
        pytest.raises(LimitExceeded, match="101 things"),
    ):
        client.call_tool("t")


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"inputRequests": {}},
        {"inputRequests": [NAME]},
        {"inputRequests": {"n": "elicitation/create"}},
        {"inputRequests": None, "requestState": None},
        {"requestState": 7},
    ],
)
def test_a_server_that_does_not_say_what_it_wants_breaks_the_rules(wanted):
    with (
        ScriptedMCP(tools__call=wanting(wanted)) as server,
        client_of(server, elicitation_callback=ada) as client,
        pytest.raises(MessageInvalid) as caught,
    ):
        client.call_tool("t")
    assert caught.value.maybe_executed


def test_only_three_methods_may_want_input():
    with (
        ScriptedMCP(tools__list=wanting({"requestState": "s"})) as server,
        client_of(server) as client,
        pytest.raises(MessageInvalid, match="tools/list with input_required"),
    ):
        client.list_tools()


def test_the_deadline_is_one_for_all_rounds(server):
    with client_of(server) as client:
        client.connect()
        with pytest.raises(RequestTimeout) as caught:
            client.call_tool("come_again", {"times": 10}, timeout=0.4)
    assert caught.value.timeout == 0.4
    assert caught.value.maybe_executed


def test_the_call_can_be_cancelled_between_rounds(server):
    cancel = Cancellation()

    def answer(request):
        if "requestState" in request.json["params"]:
            cancel.cancel("enough")
        return result(request, {"resultType": "input_required", "requestState": "s"})

    with (
        ScriptedMCP(tools__call=answer) as peer,
        client_of(peer) as client,
        pytest.raises(RequestCancelled, match="enough") as caught,
    ):
        client.call_tool("t", cancel=cancel)
    assert caught.value.maybe_executed


def test_a_round_that_fails_says_that_the_rounds_before_may_have_done_something(server):
    def answer(*_):
        server.inject(Fault.HTTP_503, "tools/call")
        return ADA

    answers = [lambda: ADA, answer]
    with (
        client_of(server, elicitation_callback=lambda *_: answers.pop(0)()) as client,
        pytest.raises(mcpsync.HTTPStatusError) as caught,
    ):
        client.call_tool("ask_often", {"times": 3})
    assert caught.value.maybe_executed


def test_what_answers_went_into_is_not_to_be_kept(server):
    with client_of(server, elicitation_callback=ada) as client:
        asked = client.read_resource("test://asked/name")
        plain = client.read_resource("test://notes/one")
    assert plain.ttl_ms == 60_000
    assert not asked.ttl_ms


# -- answering later -------------------------------------------------------------------------------


def required_by(client, *call):
    with pytest.raises(InputRequired) as caught:
        client.call_tool(*call)
    return caught.value


WAYS = {
    "as it is": lambda error: error,
    "copied": copy.copy,
    "pickled": lambda error: pickle.loads(pickle.dumps(error)),  # noqa: S301 - ours
    "as JSON": lambda error: InputRequired.from_dict(json.loads(json.dumps(error.to_dict()))),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_asked_can_be_answered_later_by_another_client(server, way):
    with client_of(server, elicitation_callback=mcpsync.answer_later) as client:
        required = WAYS[way](required_by(client, "ask_form"))
    assert (required.method, required.params) == (
        "tools/call",
        {"name": "ask_form", "arguments": {}},
    )
    assert (required.tool_name, required.server_name) == ("ask_form", server.url)
    assert not required.maybe_executed
    request = required.requests["answer"]
    assert isinstance(request, types.ElicitRequest)
    assert request.params.message == "Who are you?"
    with client_of(server, elicitation_callback=mcpsync.answer_later) as other:
        answer = types.ElicitResult(action="accept", content={"name": "Eve", "age": 1})
        found = other.resume(required, {"answer": answer}).structured_content
    assert (found["content"]["name"], found["content"]["colour"]) == ("Eve", "green")


def test_prompts_and_resources_are_resumed_too(server):
    with client_of(server, elicitation_callback=mcpsync.answer_later) as client:
        with pytest.raises(InputRequired) as prompt:
            client.get_prompt("introduce")
        with pytest.raises(InputRequired) as resource:
            client.read_resource("test://asked/name")
        found = client.resume(prompt.value, {"name": ADA})
        assert found.messages[0].content.text == "Say hello to Ada."
        found = client.resume(resource.value, {"name": {"action": "decline"}})
        assert found.contents[0].text == "nobody"


def test_a_call_that_was_resumed_may_want_more(server):
    with client_of(server, elicitation_callback=mcpsync.answer_later) as client:
        first = required_by(client, "ask_twice")
        with pytest.raises(InputRequired) as caught:
            client.resume(first, {"name": ADA})
        second = caught.value
        assert second.maybe_executed
        assert "inputResponses" not in second.params
        found = client.resume(second, {"sure": {"action": "accept", "content": {"sure": True}}})
    assert found.structured_content["name"] == ADA


def test_what_has_been_answered_here_is_not_asked_again_later():
    both = {"inputRequests": {"a": NAME, "b": NAME}, "requestState": STATE}
    answers = [ADA]

    def once(context, params):
        return answers.pop() if answers else mcpsync.answer_later(context, params)

    with (
        ScriptedMCP(tools__call=wanting(both)) as server,
        client_of(server, elicitation_callback=once) as client,
    ):
        required = required_by(client, "t")
        assert required.responses == {"a": ADA}
        client.resume(required, {"b": {"action": "cancel"}})
        assert params_of(server)[-1]["inputResponses"] == {"a": ADA, "b": {"action": "cancel"}}


def test_a_call_that_only_has_to_come_again_is_resumed_without_answers(server):
    with client_of(server, input_required_max_rounds=0) as client:
        required = required_by(client, "come_again", {"times": 1})
        assert required.requests == {}
        assert client.resume(required, {}).structured_content == {"times": 1}


def test_it_can_be_done_by_hand(server):
    with client_of(server, elicitation_callback=ada, input_required_max_rounds=0) as client:
        required = required_by(client, "ask_twice")
        with pytest.raises(InputRequired) as caught:
            client.call_tool(
                "ask_twice",
                input_responses={"name": types.ElicitResult(**ADA)},
                request_state=required.request_state,
            )
    assert set(caught.value.requests) == {"sure"}


@pytest.mark.parametrize(
    ("responses", "says"),
    [
        ({}, "the answer to 'answer' is missing"),
        ({"answer": ADA, "other": ADA}, "did not ask for 'other'"),
        ({"answer": {"action": "accept", "content": {"age": "old"}}}, "must be an integer"),
        ({"answer": {"action": "perhaps"}}, "no answer to elicitation/create"),
        ({"answer": types.ErrorData(code=-1, message="no")}, "cannot be answered: no"),
        ([ADA], "mapping"),
    ],
)
def test_an_answer_that_is_none_is_refused_and_nothing_is_sent(server, responses, says):
    with client_of(server, elicitation_callback=mcpsync.answer_later) as client:
        required = required_by(client, "ask_form")
        before = len(server.requests)
        with pytest.raises(ConfigurationError, match=says):
            client.resume(required, responses)
        assert len(server.requests) == before


@pytest.mark.parametrize(
    "inputs", [{"input_responses": [ADA]}, {"request_state": 7}, {"request_state": b"s"}]
)
def test_inputs_that_are_none_are_refused(server, inputs):
    with client_of(server) as client:
        for call in (
            lambda: client.call_tool("echo", {"text": "x"}, **inputs),
            lambda: client.get_prompt("summary", **inputs),
            lambda: client.read_resource("test://notes/one", **inputs),
        ):
            with pytest.raises(ConfigurationError):
                call()
    assert server.requests == []


@pytest.mark.parametrize("thing", [None, InputRequired("x"), {}, ValueError("x")])
def test_what_is_no_call_cannot_be_resumed(server, thing):
    with client_of(server) as client, pytest.raises(ConfigurationError, match="nothing to resume"):
        client.resume(thing, {})


@pytest.mark.parametrize("kept", [{}, [], None, {"message": "x"}])
def test_what_was_not_kept_cannot_be_made_anew(kept):
    with pytest.raises(ConfigurationError, match="to_dict"):
        InputRequired.from_dict(kept)
