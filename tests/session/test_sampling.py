"""What a server may have a language model asked, and what not. (L8, section 8)"""

import mcp_types as types
import pytest

from mcpsync import Client
from mcpsync.session.answers import Answers
from mcpsync.session.sampling import objection_to
from transports.door import LONG
from transports.peer import DONE, ScriptedMCP, event, stream

TEXT = {"type": "text", "text": "hi"}
USE = {"type": "tool_use", "id": "1", "name": "add", "input": {}}
OTHER_USE = {**USE, "id": "2"}
RESULT = {"type": "tool_result", "toolUseId": "1", "content": [TEXT]}
OTHER_RESULT = {**RESULT, "toolUseId": "2"}
TOOL = {"name": "add", "inputSchema": {"type": "object"}}
TOOLS = types.SamplingCapability(tools=types.SamplingToolsCapability())


def user(*content):
    return {"role": "user", "content": list(content)}


def model(*content):
    return {"role": "assistant", "content": list(content)}


def asked(*messages, **more):
    params = {"messages": list(messages), "maxTokens": 10, **more}
    return types.CreateMessageRequestParams.model_validate(params)


@pytest.mark.parametrize(
    "messages",
    [
        [user(TEXT)],
        [user(TEXT), model(USE), user(RESULT)],
        [user(TEXT), model(TEXT, USE, OTHER_USE), user(OTHER_RESULT, RESULT), model(TEXT)],
        [model(USE), user(RESULT), model(OTHER_USE), user(OTHER_RESULT)],
        [{"role": "user", "content": TEXT}],
    ],
)
def test_every_tool_use_is_followed_by_its_result(messages):
    assert objection_to(asked(*messages), True) is None


@pytest.mark.parametrize(
    "messages",
    [
        [model(USE)],
        [model(USE), user(TEXT)],
        [model(USE), user(TEXT), user(RESULT)],
        [user(RESULT)],
        [model(USE), user(OTHER_RESULT)],
        [model(USE, OTHER_USE), user(RESULT)],
        [model(USE), user(RESULT, OTHER_RESULT)],
        [model(USE), user(RESULT, TEXT)],
        [model(USE), model(RESULT)],
        [user(USE), user(RESULT)],
    ],
)
def test_a_loop_of_tools_that_is_broken_is_refused(messages):
    assert objection_to(asked(*messages), True)


@pytest.mark.parametrize("more", [{"tools": [TOOL]}, {"toolChoice": {"mode": "auto"}}])
def test_tools_are_refused_unless_they_were_declared(more):
    assert objection_to(asked(user(TEXT), **more), False)
    assert objection_to(asked(user(TEXT), **more), True) is None


def test_what_is_refused_is_invalid_params_and_the_model_is_not_asked():
    question = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "sampling/createMessage",
        "params": {"messages": [model(USE), user(RESULT, TEXT)], "maxTokens": 1},
    }
    asked = []

    def answer(request):
        if request.rpc != "tools/call":
            return DONE
        reply = {"jsonrpc": "2.0", "id": request.json["id"], "result": DONE}
        return stream(event(question), event(reply))

    with (
        ScriptedMCP(tools__call=answer) as server,
        Client(
            server.url,
            mode="legacy",
            timeout=LONG,
            sampling_callback=lambda *args: asked.append(args),
            sampling_capabilities=TOOLS,
        ) as client,
    ):
        assert client.call_tool("t").content
        (reply,) = [r.json for r in server.requests if r.rpc is None and "error" in r.json]
        declared = next(r.json for r in server.requests if r.rpc == "initialize")
    assert (reply["id"], reply["error"]["code"], asked) == (7, -32602, [])
    assert declared["params"]["capabilities"] == {"sampling": {"tools": {}}}


def test_what_a_tool_is_called_with_keeps_its_nulls():
    given = types.CreateMessageResultWithTools(
        role="assistant",
        content=[types.ToolUseContent(id="1", name="add", input={"a": None})],
        model="m",
        stop_reason="toolUse",
    )
    answers = Answers(sampling=lambda *_: given, sampling_capabilities=TOOLS)
    params = {"messages": [user(TEXT)], "maxTokens": 1, "tools": [TOOL]}
    found = answers.answer("sampling/createMessage", params, 1)
    assert found["content"] == [{**USE, "input": {"a": None}}]
