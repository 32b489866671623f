"""What a client asks for, against servers that somebody else wrote."""

import mcp_types
import pytest

import mcpsync
from support.counterparts import kinds


@kinds()
def test_the_era_is_found_out_and_the_version_agreed_upon(client, kind):
    assert client.protocol_version == kind.version
    assert client.server_info.name in {"sdk1", "sdk2", "mcp-servers/everything"}
    assert client.server_capabilities.tools is not None


@kinds()
def test_the_servers_instructions_are_handed_over(client):
    assert client.instructions


@kinds()
def test_tools_are_listed_over_all_pages(client, counterpart):
    names = [tool.name for tool in client.tools()]
    assert counterpart.words.tools <= set(names)
    assert len(names) == len(set(names))


@kinds("sdk2-http-modern", "sdk2-http-legacy", "sdk2-stdio-modern", "sdk2-stdio-legacy")
def test_list_tools_is_one_page_and_its_cursor_leads_to_the_next(client):
    first = client.list_tools()
    second = client.list_tools(cursor=first.next_cursor)
    assert len(first.tools) == len(second.tools) == 3
    assert {tool.name for tool in first.tools}.isdisjoint(tool.name for tool in second.tools)


@kinds()
def test_a_tool_is_called(client, counterpart):
    result = client.call_tool(counterpart.words.add, {"a": 2, "b": 40})
    assert isinstance(result, mcp_types.CallToolResult)
    assert "42" in result.content[0].text
    assert not result.is_error


@kinds()
def test_structured_content_arrives_as_it_was_sent(client, counterpart):
    result = client.call_tool(*counterpart.words.weather)
    assert result.structured_content == counterpart.words.weather_answer


@kinds()
def test_a_tool_that_fails_gives_a_result_not_an_exception(client, counterpart):
    result = client.call_tool(*counterpart.words.failing)
    assert result.is_error
    assert result.content[0].text


@kinds()
def test_a_tool_that_does_not_exist_is_the_servers_word_to_say(client):
    result = client.call_tool("no-such-tool", {})  # all of these servers say it with a result
    assert result.is_error
    assert "no-such-tool" in result.content[0].text


@kinds()
def test_text_of_all_kinds_comes_back_unharmed(client):
    text = 'ünïcödé 🐍 \u2028 "quotes" \\ line\nbreak\ttab \x7f'
    key = "text" if client.server_info.name.startswith("sdk") else "message"
    result = client.call_tool("echo", {key: text})
    assert result.content[0].text.removeprefix("Echo: ") == text


@kinds()
def test_an_answer_of_a_megabyte_arrives_whole(client):
    text = "0123456789abcdef" * 65536
    key = "text" if client.server_info.name.startswith("sdk") else "message"
    result = client.call_tool("echo", {key: text})
    assert result.content[0].text.removeprefix("Echo: ") == text


@kinds()
def test_resources_are_listed_and_read(client, counterpart):
    assert counterpart.words.resource in {str(resource.uri) for resource in client.resources()}
    result = client.read_resource(counterpart.words.resource)
    assert result.contents[0].text


@kinds()
def test_resource_templates_are_listed_and_filled_in(client, counterpart):
    templates = {template.uri_template for template in client.resource_templates()}
    assert counterpart.words.template in templates
    uri, text = counterpart.words.filled_template
    assert client.read_resource(uri).contents[0].text.startswith(text)


@kinds()
def test_a_resource_that_does_not_exist_is_an_error_with_a_code(client):
    with pytest.raises(mcpsync.MCPError) as caught:
        client.read_resource("nowhere://at/all")
    assert caught.value.code in {-32602, -32002, 0}
    assert "nowhere" in str(caught.value)


@kinds()
def test_prompts_are_listed_and_got(client, counterpart):
    name, arguments, text = counterpart.words.prompt
    assert name in {prompt.name for prompt in client.prompts()}
    result = client.get_prompt(name, arguments)
    assert result.messages[0].content.text == text


@kinds()
def test_a_prompt_that_does_not_exist_is_an_error_with_a_code(client):
    with pytest.raises(mcpsync.MCPError) as caught:
        client.get_prompt("no-such-prompt")
    assert isinstance(caught.value.code, int)


@kinds()
def test_an_argument_of_a_prompt_is_completed_with_what_is_known_already(client, counterpart):
    name, argument, context, expected = counterpart.words.complete_prompt
    reference = mcp_types.PromptReference(name=name)
    assert client.complete(reference, argument, context).completion.values == expected


@kinds()
def test_an_argument_of_a_resource_template_is_completed(client, counterpart):
    uri, argument, expected = counterpart.words.complete_template
    reference = mcp_types.ResourceTemplateReference(uri=uri)
    assert client.complete(reference, argument).completion.values == expected


@kinds(notifies=True)
def test_progress_is_reported_while_the_call_runs(client, counterpart):
    name, arguments = counterpart.words.slow
    seen = []
    result = client.call_tool(
        name, arguments(0.2, ""), progress_callback=lambda *report: seen.append(report)
    )
    assert not result.is_error
    assert seen
    assert [report[0] for report in seen] == sorted(report[0] for report in seen)
    progress, total, _ = seen[-1]
    assert progress == total


@kinds(logs=True, version="2025-11-25")
def test_a_log_message_is_handed_over_after_a_level_was_set(counterpart):
    seen = []
    with counterpart.client(logging_callback=seen.append) as client:
        client.set_logging_level("info")
        client.call_tool("log", {"text": "hello"})
    (message,) = seen
    assert (message.level, message.data) == ("warning", "hello")


@kinds(logs=True, version="2026-07-28")
def test_a_log_message_is_handed_over_where_each_request_asks_for_it(counterpart):
    seen = []
    with counterpart.client(logging_callback=seen.append, log_level="info") as client:
        client.call_tool("log", {"text": "hello"})
    (message,) = seen
    assert (message.level, message.data) == ("warning", "hello")


@kinds("everything-stdio")
def test_a_log_message_between_two_answers_is_handed_over(counterpart):
    seen = []
    with counterpart.client(logging_callback=seen.append) as client:
        client.set_logging_level("debug")
        client.call_tool("toggle-simulated-logging")
        client.call_tool("toggle-simulated-logging")
    assert "-level message" in seen[0].data or "level-message" in seen[0].data


@kinds(version="2025-11-25")
def test_a_legacy_server_answers_a_ping(client):
    client.send_ping()


@kinds("sdk1-http", "sdk1-http-stateless-json", "sdk2-http-modern", "sdk2-http-legacy")
def test_headers_of_a_call_reach_the_server_and_only_with_that_call(client):
    result = client.call_tool("header", {"name": "x-tenant"}, headers={"X-Tenant": "blue"})
    assert result.content[0].text == "blue"
    assert client.call_tool("header", {"name": "x-tenant"}).content[0].text == ""
