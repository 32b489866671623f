"""What a client does with what it knows of tools: headers that mirror, tools left out. (5.7)"""

import logging

import pytest

import mcpsync
from mcpsync.client import known_tools
from mcpsync.client.known_tools import KnownTools
from mcpsync.errors import ConfigurationError, MCPError, RequestTimeout
from mcpsync.testing import Fault, LocalServer, stdio_command

MODERN = "2026-07-28"


def mirrored(name="where", header="Region", kind="string"):
    """A tool with one argument that goes along as a header."""
    schema = {"type": "object", "properties": {"region": {"type": kind, "x-mcp-header": header}}}
    return {"name": name, "inputSchema": schema}


@pytest.fixture
def server():
    """A modern server that checks headers against the body."""
    with LocalServer("modern") as server:
        yield server
    assert server.violations == []


@pytest.fixture
def client(server):
    """A client of it."""
    with mcpsync.Client(server.url, cache=None) as client:
        yield client


def calls(server):
    """The requests that called a tool."""
    return [request for request in server.requests if request.rpc_method == "tools/call"]


def listings(server):
    """The requests that listed tools."""
    return [request for request in server.requests if request.rpc_method == "tools/list"]


def sent(request):
    """What of a request's headers mirrors arguments."""
    return {name: v for name, v in request.headers.items() if name.startswith("mcp-param-")}


# -- mirroring -------------------------------------------------------------------------------------


def test_a_listed_tool_is_called_with_its_arguments_as_headers(server, client):
    server.tools = ["echo", mirrored()]
    client.list_tools()
    client.call_tool("where", {"region": "übersee"})
    client.call_tool("where", {"region": None})
    client.call_tool("echo", {"text": "x"})
    assert [sent(each) for each in calls(server)] == [
        {"mcp-param-region": "=?base64?w7xiZXJzZWU=?="},
        {},
        {},
    ]


def test_a_tool_that_was_never_listed_is_called_without_and_no_listing_is_made(server, client):
    server.tools = [mirrored()]
    client.call_tool("where", {})
    assert listings(server) == []
    assert [sent(each) for each in calls(server)] == [{}]


def test_a_refused_header_leads_to_a_listing_and_the_call_is_made_once_more(server, client):
    server.tools = [mirrored()]
    result = client.call_tool("where", {"region": "north"})
    assert result.content[0].text == "where was called"
    assert [sent(each) for each in calls(server)] == [{}, {"mcp-param-region": "north"}]
    assert len(listings(server)) == 1
    assert server.executions == {"where": 1}
    client.call_tool("where", {"region": "south"})
    assert len(calls(server)) == 3


def test_a_tool_that_changed_is_called_by_its_new_schema(server, client):
    server.tools = [mirrored(header="Old")]
    client.list_tools()
    server.tools = [mirrored(header="New")]
    client.call_tool("where", {"region": "north"})
    assert [sent(each) for each in calls(server)] == [
        {"mcp-param-old": "north"},
        {"mcp-param-new": "north"},
    ]


def test_the_tool_is_looked_for_on_every_page_but_not_beyond_its_own():
    with LocalServer("modern", page_size=1) as server, mcpsync.Client(server.url) as client:
        server.tools = ["echo", "add", mirrored(), "fail", "big"]
        client.call_tool("where", {"region": "north"})
        assert len(listings(server)) == 3


def test_a_kept_listing_is_not_believed_after_a_header_was_refused():
    with LocalServer("modern") as server, mcpsync.Client(server.url) as client:
        server.tools = [mirrored(header="Old")]
        client.list_tools()
        server.tools = [mirrored(header="New")]
        client.call_tool("where", {"region": "north"})
        assert len(listings(server)) == 2
        page = client.list_tools()
        assert page.tools[0].input_schema["properties"]["region"]["x-mcp-header"] == "New"


def test_a_refusal_that_no_listing_explains_is_raised_and_nothing_is_sent_again(server, client):
    server.tools = [mirrored()]
    with pytest.raises(MCPError, match="mirrors no argument") as caught:
        client.call_tool("where", {}, headers={"Mcp-Param-Region": "the caller's own"})
    assert caught.value.code == -32020
    assert caught.value.tool_name == "where"
    assert not caught.value.maybe_executed
    assert len(calls(server)) == 1
    assert len(listings(server)) == 1


def test_the_second_refusal_is_raised(server, client):
    server.tools = [mirrored()]
    with pytest.raises(MCPError, match="mirrors no argument"):
        client.call_tool("where", {"region": "a"}, headers={"Mcp-Param-Other": "b"})
    assert len(calls(server)) == 2


def test_a_listing_that_does_not_come_ends_with_the_call_which_was_not_run(server, client):
    server.tools = [mirrored()]
    client.connect()
    server.inject(Fault.HANG, "tools/list")
    with pytest.raises(RequestTimeout) as caught:
        client.call_tool("where", {"region": "north"}, timeout=0.5)
    assert caught.value.tool_name == "where"
    assert not caught.value.maybe_executed
    assert server.executions == {}
    server.release()


def test_a_refusal_after_something_may_have_run_is_not_answered_with_another_call(server, client):
    server.tools = [mirrored()]
    refusal = MCPError("Header mismatch", code=-32020, maybe_executed=True)
    call = client._call({})
    with pytest.raises(MCPError) as caught:
        client._mirroring_anew(call, "where", {"region": "north"}, refusal)
    assert caught.value is refusal


def test_a_number_that_no_header_may_have_is_refused_before_it_is_sent(server, client):
    server.tools = [mirrored(kind="integer")]
    client.list_tools()
    with pytest.raises(ConfigurationError, match="has to be an integer") as caught:
        client.call_tool("where", {"region": 2**53})
    assert caught.value.tool_name == "where"
    assert calls(server) == []


def test_before_the_modern_era_nothing_is_mirrored_and_no_tool_left_out():
    with LocalServer("legacy") as server, mcpsync.Client(server.url) as client:
        server.tools = [mirrored(), mirrored("broken", "")]
        assert [tool.name for tool in client.list_tools().tools] == ["where", "broken"]
        client.call_tool("where", {"region": "north"})
        assert sent(calls(server)[0]) == {}


def test_over_stdio_there_are_no_headers():
    command, *args = stdio_command()
    parameters = mcpsync.StdioServerParameters(command=command, args=args)
    with mcpsync.Client(parameters, mode=MODERN) as client:
        tool = client.list_tools().tools[0]
        tool.input_schema = mirrored("x", "")["inputSchema"]
        broken = page(tool.model_dump(by_alias=True, exclude_none=True))
        assert len(client._learn(broken, None).tools) == 1


# -- tools that must not be used -------------------------------------------------------------------


def test_a_tool_that_breaks_the_rules_is_left_out_and_the_others_stay(server, client, caplog):
    server.tools = [mirrored("broken", "a b"), "echo", mirrored()]
    with caplog.at_level(logging.WARNING, "mcpsync"):
        assert [tool.name for tool in client.tools()] == ["echo", "where"]
        assert [tool.name for tool in client.list_tools().tools] == ["echo", "where"]
    assert [record.getMessage() for record in caplog.records] == [
        "the tool 'broken' is left out of the listing: the x-mcp-header of 'region', 'a b', "
        "is no name of a header"
    ]


def test_a_kept_page_leaves_them_out_too(server):
    server.tools = [mirrored("broken", ""), "echo"]
    with mcpsync.Client(server.url) as client:
        assert [tool.name for tool in client.list_tools().tools] == ["echo"]
        assert [tool.name for tool in client.list_tools().tools] == ["echo"]
    assert len(listings(server)) == 1


# -- how much is known -----------------------------------------------------------------------------


def page(*tools, cursor=None):
    """A page of a listing."""
    from mcp_types import ListToolsResult

    return ListToolsResult.model_validate({"tools": list(tools), "nextCursor": cursor})


def test_what_is_listed_no_more_is_known_no_more():
    known = KnownTools(with_output=True)
    known.learn(page(mirrored("a"), mirrored("b")), is_whole=True, mirrors=True)
    known.learn(page(mirrored("b")), is_whole=True, mirrors=True)
    assert known.get("a") is None
    assert known.get("b") is not None
    known.learn(page({"name": "b", "inputSchema": {}}, cursor="x"), is_whole=False, mirrors=True)
    assert known.get("b") is None


def test_a_tool_that_breaks_the_rules_by_now_is_known_no_more():
    known = KnownTools(with_output=True)
    known.learn(page(mirrored("a"), cursor="x"), is_whole=False, mirrors=True)
    known.learn(page(mirrored("a", ""), cursor="x"), is_whole=False, mirrors=True)
    assert known.get("a") is None


def test_a_tool_with_nothing_to_heed_is_not_kept():
    known = KnownTools(with_output=False)
    promising = {"name": "a", "inputSchema": {}, "outputSchema": {"type": "object"}}
    known.learn(page(promising), is_whole=True, mirrors=True)
    assert known.get("a") is None


def test_a_server_cannot_make_the_client_know_without_end(monkeypatch):
    monkeypatch.setattr(known_tools, "MAX_TOOLS", 3)
    known = KnownTools(with_output=True)
    for number in range(10):
        known.learn(page(mirrored(str(number)), cursor="x"), is_whole=False, mirrors=True)
    assert [n for n in range(10) if known.get(str(n)) is not None] == [7, 8, 9]
    monkeypatch.setattr(known_tools, "MAX_BYTES", 100)
    big = {"name": "big", "inputSchema": {}, "outputSchema": {"description": "x" * 90}}
    known.learn(page(big, cursor="x"), is_whole=False, mirrors=True)
    assert known.get("9") is None


def test_a_server_cannot_fill_the_log(monkeypatch, caplog):
    monkeypatch.setattr(known_tools, "MAX_TOLD", 2)
    known = KnownTools(with_output=True)
    with caplog.at_level(logging.WARNING, "mcpsync"):
        for number in range(10):
            broken = mirrored(str(number), "")
            known.learn(page(broken), is_whole=True, mirrors=True)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_an_input_schema_keeps_every_keyword(era):
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/a",
        "$defs": {"b": {"$anchor": "b", "type": "string"}},
        "type": "object",
        "properties": {"c": {"$ref": "#/$defs/b"}, "d": {"anyOf": [{}, False]}},
        "allOf": [{"if": {"required": ["c"]}, "then": {"minProperties": 1}, "else": True}],
        "unevaluatedProperties": False,
        "x-own": {"kept": None},
    }
    with LocalServer(era) as server, mcpsync.Client(server.url) as client:
        server.tools = [{"name": "odd", "inputSchema": schema}]
        (tool,) = client.tools()
        assert tool.input_schema == schema
        assert tool.model_dump(by_alias=True, exclude_unset=True)["inputSchema"] == schema
