"""What servers that somebody else wrote ask of the client, in both eras."""

import mcp_types as types
import pytest

import mcpsync
from support.counterparts import kinds

URLS = types.ElicitationCapability(
    form=types.FormElicitationCapability(), url=types.UrlElicitationCapability()
)
PAGE = "https://accounts.example.com/link"


def text_of(result):
    assert not result.is_error, result
    return "\n".join(block.text for block in result.content)


def hello(*_):
    text = types.TextContent(text="hello from the model")
    return types.CreateMessageResult(role="assistant", content=text, model="m1")


@pytest.fixture
def asked():
    return []


@pytest.fixture
def client(counterpart, asked, tmp_path):
    def answer(_, params):
        asked.append(params)
        if params.mode == "url":
            return types.ElicitResult(action="accept")
        wanted = {"name": "Ada"} if "name" in params.requested_schema["properties"] else {}
        return types.ElicitResult(action="accept", content=wanted)

    with counterpart.client(
        timeout=20,
        elicitation_callback=answer,
        elicitation_capabilities=URLS,
        sampling_callback=hello,
        list_roots_callback=lambda _: types.ListRootsResult(
            roots=[types.Root(uri=tmp_path.as_uri(), name="work")]
        ),
    ) as client:
        yield client


@kinds(family="sdk2")
def test_the_user_is_asked_and_then_asked_again(client, asked):
    assert text_of(client.call_tool("introduce")) == "Ada, 36, True"
    assert [params.message for params in asked] == ["Who are you?", "Are you Ada?"]


@kinds(family="sdk2")
def test_the_language_model_is_asked(client):
    assert text_of(client.call_tool("greeting_of_the_model")) == "hello from the model"


@kinds(family="sdk2")
def test_the_roots_are_asked_for(client, tmp_path):
    assert text_of(client.call_tool("roots")) == tmp_path.as_uri()


@kinds(family="sdk2", version="2026-07-28")
def test_an_answer_can_come_from_another_client(counterpart):
    with counterpart.client(timeout=20, elicitation_callback=mcpsync.answer_later) as client:
        with pytest.raises(mcpsync.InputRequired) as caught:
            client.call_tool("introduce")
        first = mcpsync.InputRequired.from_dict(caught.value.to_dict())
        (key,) = first.requests
        with pytest.raises(mcpsync.InputRequired) as caught:
            client.resume(first, {key: {"action": "accept", "content": {"name": "Eve"}}})
        (key,) = caught.value.requests
        assert caught.value.requests[key].params.message == "Are you Eve?"
        found = client.resume(caught.value, {key: {"action": "accept"}})
    assert text_of(found) == "Eve, 36, True"


@kinds(family="everything")
def test_everything_is_given_the_form(client, asked):
    assert "Ada" in text_of(client.call_tool("trigger-elicitation-request"))
    (params,) = asked
    assert "firstLine" in params.requested_schema["properties"]


@kinds(family="everything")
def test_everything_samples(client):
    found = text_of(client.call_tool("trigger-sampling-request", {"prompt": "hi"}))
    assert "hello from the model" in found


@kinds(family="everything")
def test_everything_sends_the_user_to_a_page(client, asked):
    assert text_of(client.call_tool("trigger-url-elicitation", {"url": PAGE}))
    assert [params.url for params in asked] == [PAGE]


@kinds(family="everything")
def test_everything_refuses_until_a_page_was_visited(client, asked):
    arguments = {"url": PAGE, "errorPath": True}
    assert text_of(client.call_tool("trigger-url-elicitation", arguments))
    assert [params.url for params in asked] == ["https://modelcontextprotocol.io", PAGE]


@kinds("everything-stdio")
def test_everything_asks_for_the_roots(client, tmp_path):
    assert tmp_path.as_uri() in text_of(client.call_tool("get-roots-list"))
