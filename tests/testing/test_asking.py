"""The test server holds its clients to what it gave them."""

import pytest

import mcpsync
from mcpsync import Client, InputRequired, MCPError
from mcpsync.testing import LocalServer

ANSWER = {"answer": {"action": "decline"}}


@pytest.fixture
def server():
    with LocalServer("modern", asks=True) as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.url, elicitation_callback=mcpsync.answer_later) as client:
        yield client


def asked(client, tool="ask_form", **arguments):
    with pytest.raises(InputRequired) as caught:
        client.call_tool(tool, arguments)
    return caught.value


@pytest.mark.parametrize(
    "spoil",
    [str.strip, lambda state: state + " ", lambda state: state.replace("é", "e"), lambda _: None],
)
def test_a_state_that_is_not_the_same_byte_for_byte_is_refused(server, client, spoil):
    state = asked(client).request_state
    with pytest.raises(MCPError, match="requestState"):
        client.call_tool("ask_form", input_responses=ANSWER, request_state=spoil(state))
    assert len(server.violations) == 1
    assert client.call_tool("ask_form", input_responses=ANSWER, request_state=state).content


def test_a_state_that_comes_with_another_request_is_refused(server, client):
    answers = {"name": {"action": "decline"}}
    state = asked(client, "ask_often", times=1).request_state
    for tool, arguments in (("ask_twice", {}), ("ask_often", {"times": 2})):
        with pytest.raises(MCPError, match="another request"):
            client.call_tool(tool, arguments, input_responses=answers, request_state=state)
    assert len(server.violations) == 2


@pytest.mark.parametrize("responses", [{}, {"other": {"action": "decline"}}])
def test_answers_to_something_else_are_refused(server, client, responses):
    state = asked(client).request_state
    with pytest.raises(MCPError, match="inputResponses"):
        client.call_tool("ask_form", input_responses=responses, request_state=state)
    assert len(server.violations) == 1


def test_what_asks_is_there_only_if_that_is_said():
    with LocalServer() as plain, Client(plain.url) as client:
        assert not any(tool.name.startswith("ask") for tool in client.tools())
        with pytest.raises(MCPError, match="Unknown tool"):
            client.call_tool("ask_form")
        with pytest.raises(MCPError, match="Unknown prompt"):
            client.get_prompt("introduce")
        with pytest.raises(MCPError, match="not found"):
            client.read_resource("test://asked/name")
    with LocalServer(asks=True) as asking, Client(asking.url) as client:
        assert {"ask_form", "come_again"} <= {tool.name for tool in client.tools()}
        assert "introduce" in {prompt.name for prompt in client.prompts()}
        assert "test://asked/name" in {str(resource.uri) for resource in client.resources()}
