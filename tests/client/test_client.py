"""The facade: arguments, results, properties, options, and its end."""

import copy
import math
import pickle

import mcp_types
import pytest

import mcpsync
from mcpsync import (
    Client,
    ConfigurationError,
    ConnectionClosed,
    Limits,
    MCPError,
    MessageInvalid,
    RequestTimeout,
    StdioServerParameters,
)
from mcpsync.config import HttpServerConfig
from mcpsync.protocol.lifecycle import State
from mcpsync.testing import Fault, LocalServer
from support.processes import free_port
from transports.door import BUDGET, LONG, SOON, within
from transports.peer import ScriptedMCP, result

SECRET = "s3cr3t-t0ken"


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    with LocalServer(request.param) as running:
        yield running
        assert running.violations == []


@pytest.fixture
def client(server):
    with Client(server.url, timeout=LONG) as connected:
        yield connected


# -- what can be asked -----------------------------------------------------------------------


def test_a_tool_is_called(client):
    found = client.call_tool("add", {"a": 1, "b": 2})
    assert isinstance(found, mcp_types.CallToolResult)
    assert found.structured_content == {"sum": 3}
    assert not found.is_error


def test_a_tool_without_arguments_is_called(client):
    assert client.call_tool("counter").structured_content == {"count": 1, "total": 1}


def test_a_tool_that_fails_is_a_result(client):
    found = client.call_tool("fail", {"message": "broken"})
    assert found.is_error
    assert found.content[0].text == "broken"


def test_a_tool_that_does_not_exist(client):
    with pytest.raises(MCPError, match="Unknown tool: nope") as caught:
        client.call_tool("nope")
    assert caught.value.code == -32602
    assert not caught.value.maybe_executed
    assert caught.value.tool_name == "nope"


def test_text_of_every_kind_comes_back_as_it_was(client):
    for text in ("", "Zwölf ✓ 🎉", '"\\\n\r\t\0', "</script>", "\u2028"):
        assert client.call_tool("echo", {"text": text}).content[0].text == text


def test_a_page_of_tools_and_all_tools(client):
    page = client.list_tools()
    assert isinstance(page, mcp_types.ListToolsResult)
    assert [tool.name for tool in client.tools()] == [tool.name for tool in page.tools]
    assert "add" in {tool.name for tool in page.tools}


def test_resources(client):
    assert [resource.name for resource in client.resources()] == ["one", "two", "dot"]
    assert client.read_resource("test://notes/two").contents[0].text == "Zwölf Boxkämpfer. ✓"
    assert client.read_resource("test://dot.png").contents[0].mime_type == "image/png"


def test_resource_templates(client):
    (template,) = client.resource_templates()
    assert client.list_resource_templates().resource_templates == [template]
    assert client.read_resource("test://greeting/ada").contents[0].text == "Hello, ada!"


def test_a_resource_that_does_not_exist(client):
    with pytest.raises(MCPError, match="Resource not found"):
        client.read_resource("test://nope")


def test_prompts(client):
    assert [prompt.name for prompt in client.prompts()] == ["summary", "greet"]
    found = client.get_prompt("greet", {"name": "ada"})
    assert found.messages[0].content.text == "Greet ada in english."
    assert client.get_prompt("summary").messages


@pytest.mark.parametrize(
    "ref",
    [
        mcp_types.PromptReference(type="ref/prompt", name="greet"),
        {"type": "ref/prompt", "name": "greet"},
    ],
    ids=["model", "mapping"],
)
def test_completion(client, ref):
    found = client.complete(ref, {"name": "language", "value": "fr"}, {"name": "ada"})
    assert found.completion.values == ["french", "frisian"]


def test_completion_of_a_template(client):
    ref = mcp_types.ResourceTemplateReference(type="ref/resource", uri="test://greeting/{name}")
    assert client.complete(ref, {"name": "name", "value": "g"}).completion.values == ["grace"]


def test_ping_and_log_level_are_of_the_legacy_era():
    with LocalServer("legacy") as server, Client(server.url) as client:
        client.send_ping()
        client.set_logging_level("error")
    with (
        LocalServer("modern") as server,
        Client(server.url) as client,
        pytest.raises(MCPError) as caught,
    ):
        client.send_ping()
    assert caught.value.code == -32601


# -- what the server says of itself ----------------------------------------------------------


def test_the_facts_are_there_on_first_access(server, client):
    assert client.server_info.name == "mcpsync-testing"
    assert client.server_capabilities.tools is not None
    assert client.instructions.startswith("A server for tests")
    assert client.protocol_version in ("2025-11-25", "2026-07-28")


def test_the_facts_are_asked_once(server, client):
    for _ in range(3):
        assert client.server_info is not None
        assert client.protocol_version
    methods = [request.rpc_method for request in server.requests]
    assert methods.count("server/discover") == 1
    assert methods.count("initialize") <= 1


def test_a_pinned_client_asks_for_the_facts_when_they_are_wanted():
    with LocalServer("modern") as server, Client(server.url, mode="2026-07-28") as client:
        client.call_tool("add", {"a": 1, "b": 2})
        assert [request.rpc_method for request in server.requests] == ["tools/call"]
        assert client.server_info.name == "mcpsync-testing"
        assert client.instructions


# -- when it connects, and when it ends ------------------------------------------------------


def test_nothing_is_sent_before_it_is_used():
    with LocalServer() as server:
        with Client(server.url) as client:
            assert client.state is State.NEW
        assert server.connections_opened == 0
        assert client.state is State.CLOSED


def test_connecting_is_done_once(server):
    with Client(server.url) as client:
        assert client.connect() is client
        assert client.state is State.OPEN
        before = len(server.requests)
        client.connect()
        assert len(server.requests) == before


def test_a_client_that_could_not_connect_may_try_again():
    with Client(f"http://127.0.0.1:{free_port()}/mcp") as client:
        for _ in range(2):
            with pytest.raises(mcpsync.ConnectError):
                client.connect()
            assert client.state is State.FAILED
    with LocalServer() as server, Client(server.url) as client:
        server.inject(Fault.HTTP_500, times=2)
        with pytest.raises(mcpsync.HTTPStatusError):
            client.connect()
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_a_closed_client_is_closed(server):
    client = Client(server.url)
    client.connect()
    client.close()
    client.close()
    before = len(server.requests)
    for use in (client.connect, client.list_tools, lambda: client.server_info):
        with pytest.raises(ConnectionClosed) as caught:
            use()
        assert not caught.value.maybe_executed
        assert caught.value.server_name == server.url
    assert len(server.requests) == before


def test_with_closes_it_when_the_block_raises(server):
    def use():
        with client.connect():
            raise KeyError

    client = Client(server.url)
    with pytest.raises(KeyError):
        use()
    assert client.state is State.CLOSED


def test_the_repr_says_server_and_state(server):
    with Client(server.url, server_name="crm") as client:
        assert repr(client) == "<Client 'crm' new>"
        client.connect()
        assert repr(client) == "<Client 'crm' open>"


# -- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["timeout", "read_timeout_seconds"])
def test_a_call_has_a_timeout_of_its_own(server, client, option):
    client.connect()
    server.inject(Fault.HANG, "tools/call")
    with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
        client.call_tool("add", {"a": 1, "b": 2}, **{option: BUDGET})
    assert caught.value.timeout == BUDGET
    assert caught.value.maybe_executed
    assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


@pytest.mark.parametrize("option", ["timeout", "read_timeout_seconds"])
def test_a_client_has_a_timeout_for_all_calls(server, option):
    with Client(server.url, **{option: BUDGET}) as client:
        client.connect(timeout=LONG)
        server.inject(Fault.HANG, "tools/list")
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
            client.list_tools()


def test_the_timeout_of_the_configuration_counts_unless_the_client_has_one(server):
    config = HttpServerConfig(url=server.url, timeout=BUDGET)
    with Client(config) as client:
        client.connect(timeout=LONG)
        server.inject(Fault.HANG, "tools/list")
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout):
            client.list_tools()


@pytest.mark.parametrize("timeout", [1e7, 1e9, 1e12, math.inf])
def test_a_very_long_timeout_is_one(server, timeout):
    with Client(server.url, timeout=timeout) as client:
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "5", True])
def test_a_timeout_is_a_positive_number(server, client, timeout):
    with pytest.raises(ConfigurationError, match="timeout"):
        client.call_tool("add", {"a": 1, "b": 2}, timeout=timeout)
    with pytest.raises(ConfigurationError, match="timeout"):
        Client(server.url, timeout=timeout)


def test_the_timeout_bounds_connecting_and_the_call_together():
    with LocalServer("legacy") as server, Client(server.url) as client:
        server.inject(Fault.DRIP, "initialize")
        with within(BUDGET, BUDGET + SOON), pytest.raises(mcpsync.MCPSyncError) as caught:
            client.call_tool("add", {"a": 1, "b": 2}, timeout=BUDGET)
        assert isinstance(caught.value, TimeoutError)
        assert not caught.value.maybe_executed


def test_the_headers_of_a_call_go_with_that_call_only(server, client):
    who = client.call_tool("whoami", headers={"X-User": "ada"}).structured_content
    assert who["user"] == "ada"
    assert client.call_tool("whoami").structured_content["user"] is None


def test_meta_goes_along(server, client):
    client.call_tool("add", {"a": 1, "b": 2}, meta={"example.com/trace": "t1"})
    meta = server.requests[-1].body["params"]["_meta"]
    assert meta["example.com/trace"] == "t1"


def test_it_introduces_itself_as_it_is_told(server):
    info = mcp_types.Implementation(name="mine", version="9", title="Mine")
    with Client(server.url, client_info=info) as client:
        client.connect()
    sent = [request.body["params"] for request in server.requests if request.request_id]
    said = [
        params.get("clientInfo") or params["_meta"]["io.modelcontextprotocol/clientInfo"]
        for params in sent
    ]
    assert said
    assert all(one == {"name": "mine", "title": "Mine", "version": "9"} for one in said)


# -- what it does not take -------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[1], "text", 5, {1, 2}])
def test_arguments_that_are_no_object(arguments):
    with Client("http://127.0.0.1:9/mcp", server_name="crm") as client:
        with pytest.raises(ConfigurationError, match="arguments must be a mapping") as caught:
            client.call_tool("add", arguments)
        assert client.state is State.NEW
    assert (caught.value.server_name, caught.value.tool_name) == ("crm", "add")
    assert "'crm'" in str(caught.value)
    assert not caught.value.maybe_executed


@pytest.mark.parametrize("value", [object(), b"bytes", math.nan, math.inf, {1, 2}, "\ud800"])
def test_arguments_that_json_has_no_word_for(server, client, value):
    client.connect()
    before = len(server.requests)
    with pytest.raises(ConfigurationError, match="JSON") as caught:
        client.call_tool("echo", {"text": value})
    assert not caught.value.maybe_executed
    assert len(server.requests) == before


def test_arguments_that_go_round(server, client):
    arguments = {}
    arguments["self"] = arguments
    with pytest.raises(ConfigurationError, match="JSON"):
        client.call_tool("echo", arguments)


@pytest.mark.parametrize("server", [None, 5, b"http://x/", ["npx"], {"url": "http://x/"}])
def test_what_is_no_server(server):
    with pytest.raises(ConfigurationError, match="a server is"):
        Client(server)


@pytest.mark.parametrize("mode", ["modern", "2025-11-25", "", None])
def test_what_is_no_mode(mode):
    with pytest.raises(ConfigurationError, match="mode="):
        Client("http://127.0.0.1:9/mcp", mode=mode)


@pytest.mark.parametrize("url", ["mcp", "http://", f"htps://ada:{SECRET}@h/mcp?key={SECRET}", ""])
def test_what_is_no_url(url):
    with pytest.raises(ConfigurationError, match="URL") as caught:
        Client(url)
    assert SECRET not in str(caught.value)


def test_an_unknown_option_is_refused(client):
    with pytest.raises(TypeError):
        client.call_tool("add", {"a": 1, "b": 2}, tiemout=5)


# -- errors ----------------------------------------------------------------------------------


def test_an_error_names_server_tool_and_method():
    client = Client(f"http://127.0.0.1:{free_port()}/mcp", server_name="crm")
    with client, pytest.raises(mcpsync.ConnectError) as caught:
        client.call_tool("add", {"a": 1, "b": 2})
    error = caught.value
    assert (error.server_name, error.tool_name, error.method) == ("crm", "add", "tools/call")
    assert str(error).startswith("server 'crm', tool 'add': could not connect to 127.0.0.1:")
    assert str(error).endswith("The server has not run it.")


def test_an_error_hides_what_a_url_may_hide():
    url = f"http://ada:{SECRET}@127.0.0.1:{free_port()}/mcp?key={SECRET}"
    with Client(url) as client, pytest.raises(mcpsync.ConnectError) as caught:
        client.connect()
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(client)
    assert caught.value.server_name.endswith("/mcp")


def test_an_error_of_a_call_is_copied_and_pickled(server, client):
    with pytest.raises(MCPError) as caught:
        client.call_tool("nope")
    for twin in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301
        assert (str(twin), twin.code, twin.tool_name) == (str(caught.value), -32602, "nope")


def test_a_result_that_is_something_else_says_what():
    with (
        ScriptedMCP(tools__call=lambda r: result(r, {"content": "text"})) as server,
        Client(server.url) as client,
        pytest.raises(MessageInvalid) as caught,
    ):
        client.call_tool("add")
    assert "CallToolResult is wrong at 'content'" in str(caught.value)
    assert caught.value.maybe_executed


def test_what_a_newer_server_adds_to_a_result_is_no_matter():
    more = {"content": [{"type": "text", "text": "a", "new": 1}], "another": {"b": 2}}
    with ScriptedMCP(tools__call=lambda r: result(r, more)) as server, Client(server.url) as client:
        assert client.call_tool("add").content[0].text == "a"


def test_an_answer_larger_than_the_limit(server):
    with Client(server.url, limits=Limits(max_response_bytes=10_000)) as client:
        with pytest.raises(mcpsync.ResponseTooLarge) as caught:
            client.call_tool("big", {"bytes": 20_000})
        assert caught.value.maybe_executed
        assert client.call_tool("big", {"bytes": 5000}).content


def test_a_command_is_named_in_errors_and_its_environment_is_not():
    command = StdioServerParameters(command="no-such-command", env={"KEY": SECRET})
    with Client(command) as client, pytest.raises(mcpsync.ConnectError) as caught:
        client.connect()
    assert "no-such-command" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        mcpsync.HttpServerConfig(url="https://crm.example.com/{{USER_ID}}"),
        mcpsync.StdioServerParameters(command="crm", args=["--user={{USER_ID}}"]),
    ],
)
def test_a_placeholder_that_nobody_fills_in_is_refused_and_never_sent(config):
    with pytest.raises(mcpsync.PlaceholderError, match="USER_ID"):
        mcpsync.Client(config)
