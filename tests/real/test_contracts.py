"""What tools promise, and what they want, with servers that somebody else wrote."""

import pytest

import mcpsync
from support.counterparts import kinds


@kinds()
def test_structured_results_fit_what_their_tools_promise(client, counterpart):
    name, arguments = counterpart.words.weather
    promised = {tool.name: tool.output_schema for tool in client.tools()}
    assert promised[name] is not None
    result = client.call_tool(name, arguments)
    assert result.structured_content == counterpart.words.weather_answer


@kinds("sdk2-http-modern", "sdk2-http-legacy", "sdk2-stdio-modern", "sdk1-http")
def test_what_does_not_fit_is_told_with_the_result(counterpart):
    name, arguments = counterpart.words.weather
    with counterpart.client(timeout=20) as client:
        for tool in client.tools():
            if tool.name == name:
                impossible = {"type": "object", "required": ["nothing of this name"]}
                page = {"tools": [{**tool.model_dump(by_alias=True), "outputSchema": impossible}]}
                from mcp_types import ListToolsResult

                client._learn(ListToolsResult.model_validate(page), None)
        with pytest.raises(mcpsync.StructuredContentInvalid) as caught:
            client.call_tool(name, arguments)
        answer = counterpart.words.weather_answer
        assert caught.value.result.structured_content == answer


@kinds("sdk2-http-modern", "sdk2-http-legacy", "sdk2-stdio-modern", "sdk2-stdio-legacy")
def test_a_list_is_a_structured_result_too(counterpart):
    with counterpart.client(timeout=20) as client:
        assert any(tool.name == "scores" and tool.output_schema for tool in client.tools())
        found = client.call_tool("scores").structured_content
        assert found in ([1.5, 2.5], {"result": [1.5, 2.5]})


@kinds("sdk2-http-modern", "sdk2-http-legacy", "sdk2-stdio-modern", "sdk2-stdio-legacy")
@pytest.mark.parametrize("region", ["north", "über uns", " edge ", "", "=?base64?eA==?="])
def test_an_argument_that_is_mirrored_is_taken(counterpart, region):
    with counterpart.client(timeout=20) as client:
        assert any(tool.name == "locate" for tool in client.tools())
        assert client.call_tool("locate", {"region": region}).content[0].text == f"in {region}"


@kinds("sdk2-http-modern")
def test_a_tool_that_was_never_listed_is_refused_once_and_then_taken(counterpart):
    with counterpart.client(timeout=20) as client:
        assert client.call_tool("locate", {"region": "north"}).content[0].text == "in north"
        assert client._known.get("locate") is not None
