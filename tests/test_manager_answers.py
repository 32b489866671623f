"""What servers ask of the users of a manager, now or later."""

import json

import mcp_types as types
import pytest

import mcpsync
from mcpsync import ConfigurationError, InputRequired, MCPManager, RefusedError, events
from mcpsync.testing import LocalServer
from transports.door import LONG

ADA = {"action": "accept", "content": {"name": "Ada"}}


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    with LocalServer(request.param, asks=True) as server:
        yield server


@pytest.fixture
def modern():
    with LocalServer("modern", asks=True) as server:
        yield server
        assert server.violations == []


def managing(server, **options):
    options.setdefault("elicitation_callback", mcpsync.answer_later)
    return MCPManager({"crm": {"url": server.url}}, timeout=LONG, **options)


def kept(manager, tool="ask_form", **options):
    """What a call led to, as it comes out of a store."""
    with pytest.raises(InputRequired) as caught:
        manager.call_tool("crm", tool, **options)
    return InputRequired.from_dict(json.loads(json.dumps(caught.value.to_dict())))


def test_callbacks_are_told_who_asks_and_for_whom(server):
    asked = []

    def answer(context, *_):
        asked.append((context.server_name, context.user_id, context.method))
        return ADA

    roots = types.ListRootsResult(roots=[])
    with managing(
        server,
        elicitation_callback=answer,
        list_roots_callback=lambda context: (answer(context), roots)[1],
    ) as manager:
        manager.call_tool("crm", "ask_form", user="42")
        manager.call_tool("crm", "ask_form", user="43")
        manager.call_tool("crm", "ask_roots", user="43")
        manager.call_tool("crm", "ask_form")
    assert asked == [
        ("crm", "42", "elicitation/create"),
        ("crm", "43", "elicitation/create"),
        ("crm", "43", "roots/list"),
        ("crm", None, "elicitation/create"),
    ]


def test_a_call_is_resumed_in_another_process_for_the_same_user(modern):
    with managing(modern) as manager:
        required = kept(manager, user="42")
    assert (required.server_name, required.user_id) == ("crm", "42")
    with managing(modern) as other:
        found = other.resume(required, {"answer": ADA})
        assert list(other.get_user_connections("42")) == ["crm"]
        assert other.get_connection_stats()["app_connection_count"] == 0
    assert found.structured_content["content"]["name"] == "Ada"


def test_what_the_application_was_asked_it_answers_itself(modern):
    with managing(modern) as manager:
        required = kept(manager)
        assert manager.resume(required, {"answer": ADA}).content
        assert manager.get_connection_stats()["tracked_users"] == 0


def test_what_one_user_was_asked_is_not_for_another_to_answer(modern):
    with managing(modern) as manager:
        required = kept(manager, user="42")
        before = len(modern.requests)
        with pytest.raises(RefusedError, match="not for another"):
            manager.resume(required, {"answer": ADA}, user="43")
        assert len(modern.requests) == before
        assert manager.resume(required, {"answer": ADA}, user=mcpsync.User(id="42")).content


def test_a_resumed_call_is_an_event_like_any_other(modern):
    told = []
    with managing(modern, on_event=told.append) as manager:
        required = kept(manager, "ask_twice", user="42")
        with pytest.raises(InputRequired) as caught:
            manager.resume(required, {"name": ADA})
        manager.resume(caught.value, {"sure": {"action": "decline"}})
    ends = [event for event in told if isinstance(event, events.CallFinished)]
    assert [(end.tool_name, end.user_id, end.error) for end in ends] == [
        ("ask_twice", "42", "InputRequired"),
        ("ask_twice", "42", "InputRequired"),
        ("ask_twice", "42", None),
    ]


@pytest.mark.parametrize("thing", [None, {}, InputRequired("x"), ValueError("x")])
def test_what_is_no_call_cannot_be_resumed(modern, thing):
    with managing(modern) as manager, pytest.raises(ConfigurationError, match="nothing to resume"):
        manager.resume(thing, {})


def test_a_server_that_is_not_configured_any_more_is_not_found(modern):
    with managing(modern) as manager:
        required = kept(manager, user="42")
    with MCPManager({}) as other, pytest.raises(mcpsync.ServerNotFound):
        other.resume(required, {"answer": ADA})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"elicitation_callback": "ask"}, ConfigurationError),
        ({"sampling_callback": 1}, ConfigurationError),
        ({"list_roots_callback": []}, ConfigurationError),
        ({"input_required_max_rounds": -1}, ConfigurationError),
        ({"elicitation_calback": print}, TypeError),
    ],
)
def test_what_cannot_answer_is_refused_at_once(options, error):
    with pytest.raises(error):
        MCPManager({}, **options)
    with pytest.raises(error):
        mcpsync.Client("https://example.com/mcp", **options)
