"""What a client asks for, against servers that somebody else wrote: what is not in the matrix."""

import pytest

import mcpsync
from support.counterparts import kinds


@kinds("sdk2-http-modern", "sdk2-http-legacy", "sdk2-stdio-modern", "sdk2-stdio-legacy")
def test_list_tools_is_one_page_and_its_cursor_leads_to_the_next(client):
    first = client.list_tools()
    second = client.list_tools(cursor=first.next_cursor)
    assert len(first.tools) == len(second.tools) == 3
    assert {tool.name for tool in first.tools}.isdisjoint(tool.name for tool in second.tools)


@kinds(offers="echo")
def test_text_of_all_kinds_comes_back_unharmed(client, counterpart):
    text = 'ünïcödé 🐍 \u2028 "quotes" \\ line\nbreak\ttab \x7f'
    tool, key = counterpart.words.echo
    result = client.call_tool(tool, {key: text})
    assert result.content[0].text.removeprefix("Echo: ") == text


@kinds(offers="echo")
def test_an_answer_of_a_megabyte_arrives_whole(client, counterpart):
    text = "0123456789abcdef" * 65536
    tool, key = counterpart.words.echo
    result = client.call_tool(tool, {key: text})
    assert result.content[0].text.removeprefix("Echo: ") == text


@kinds(offers="resource")
def test_a_resource_that_does_not_exist_is_an_error_with_a_code(client):
    with pytest.raises(mcpsync.MCPError) as caught:
        client.read_resource("nowhere://at/all")
    assert caught.value.code in {-32602, -32002, 0}
    assert "nowhere" in str(caught.value)


@kinds(offers="prompt")
def test_a_prompt_that_does_not_exist_is_an_error_with_a_code(client):
    with pytest.raises(mcpsync.MCPError) as caught:
        client.get_prompt("no-such-prompt")
    assert isinstance(caught.value.code, int)


@kinds(logs=True, version="2025-11-25", often=True)
def test_a_log_message_is_handed_over_after_a_level_was_set(counterpart):
    seen = []
    with counterpart.client(logging_callback=seen.append) as client:
        client.set_logging_level("info")
        client.call_tool("log", {"text": "hello"})
    (message,) = seen
    assert (message.level, message.data) == ("warning", counterpart.words.logged)


@kinds(logs=True, version="2026-07-28", often=True)
def test_a_log_message_is_handed_over_where_each_request_asks_for_it(counterpart):
    seen = []
    with counterpart.client(logging_callback=seen.append, log_level="info") as client:
        client.call_tool("log", {"text": "hello"})
    (message,) = seen
    assert (message.level, message.data) == ("warning", counterpart.words.logged)


@kinds("everything-stdio")
def test_a_log_message_between_two_answers_is_handed_over(counterpart):
    seen = []
    with counterpart.client(logging_callback=seen.append) as client:
        client.set_logging_level("debug")
        client.call_tool("toggle-simulated-logging")
        client.call_tool("toggle-simulated-logging")
    assert "-level message" in seen[0].data or "level-message" in seen[0].data


@kinds("filesystem-stdio")
def test_a_file_that_a_tool_wrote_is_there(client, counterpart):
    text = "grüße\n" * 1000
    client.call_tool("write_file", {"path": "written.txt", "content": text})
    assert (counterpart.folder / "written.txt").read_text("utf-8") == text
    result = client.call_tool("read_text_file", {"path": "written.txt"})
    assert result.structured_content == {"content": text}


@kinds("filesystem-stdio")
def test_what_lies_outside_of_the_folder_is_the_servers_to_refuse(client, tmp_path):
    (tmp_path / "secret").write_text("hunter2")
    result = client.call_tool("read_text_file", {"path": str(tmp_path / "secret")})
    assert result.is_error
    assert "hunter2" not in result.content[0].text


@kinds(
    "sdk1-http",
    "sdk1-http-stateless-json",
    "sdk2-http-modern",
    "sdk2-http-legacy",
    "fastmcp-http-modern",
    "fastmcp-http-legacy",
    "ts2-http-modern",
    "ts2-http-legacy",
)
def test_headers_of_a_call_reach_the_server_and_only_with_that_call(client):
    result = client.call_tool("header", {"name": "x-tenant"}, headers={"X-Tenant": "blue"})
    assert result.content[0].text == "blue"
    assert client.call_tool("header", {"name": "x-tenant"}).content[0].text == ""
