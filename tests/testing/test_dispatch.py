"""What the methods answer, held against the official models of every version."""

import base64

import pytest
from mcp_types.methods import parse_server_notification, parse_server_result

from mcpsync.testing import LocalServer

VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
REQUESTS = [
    ("tools/list", {}),
    ("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}),
    ("tools/call", {"name": "fail", "arguments": {"message": "no"}}),
    ("tools/call", {"name": "whoami", "arguments": {}}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "test://notes/two"}),
    ("resources/read", {"uri": "test://dot.png"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "greet", "arguments": {"name": "Ada"}}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "greet"},
            "argument": {"name": "language", "value": "fr"},
        },
    ),
]


@pytest.fixture
def server():
    with LocalServer() as server:
        yield server


@pytest.fixture
def client(server, connect):
    client = connect(server)
    client.handshake()
    return client


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("method", "params"), REQUESTS)
def test_every_result_satisfies_the_official_models(server, connect, version, method, params):
    client = connect(server)
    if version == "2026-07-28":
        answer = client.modern(method, params)
    else:
        client.handshake(version)
        answer = client.legacy(method, params)
    parse_server_result(method, version, answer.result)


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_the_handshake_satisfies_the_official_models(server, connect, version):
    parse_server_result("initialize", version, connect(server).handshake(version).result)


def test_discover_satisfies_the_official_models(server, connect):
    result = connect(server).modern("server/discover").result
    parse_server_result("server/discover", "2026-07-28", result)


def test_notifications_satisfy_the_official_models(client):
    sent = client.call("slow", {"progressToken": "t"}, seconds=0, steps=1).messages[:-1]
    sent += client.call("log", level="info", message="hello").messages[:-1]
    assert [m["method"] for m in sent] == ["notifications/progress", "notifications/message"]
    for message in sent:
        parse_server_notification(message["method"], "2025-11-25", message["params"])


def test_add_adds(client):
    result = client.call("add", a=1, b=2.5).result
    assert result["structuredContent"] == {"sum": 3.5}
    assert result["content"] == [{"type": "text", "text": "3.5"}]


def test_echo_returns_its_text(client):
    text = client.call("echo", text="Zoë ✓ \u2028\n").result["content"][0]["text"]
    assert text == "Zoë ✓ \u2028\n"


def test_fail_is_a_result_with_an_error(client):
    result = client.call("fail", message="no luck").result
    assert (result["isError"], result["content"][0]["text"]) == (True, "no luck")


def test_big_is_as_big_as_asked(client):
    assert len(client.call("big", bytes=300_000).result["content"][0]["text"]) == 300_000


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("add", {"a": 1}),
        ("add", {"a": 1, "b": "2"}),
        ("add", {"a": 1, "b": True}),
        ("echo", {"text": "x", "more": 1}),
        ("log", {"level": "loud", "message": "x"}),
        ("big", {"bytes": -1}),
        ("slow", {"seconds": 0, "steps": 0}),
    ],
)
def test_arguments_that_break_the_schema_are_an_error_result(server, client, tool, arguments):
    assert client.call(tool, **arguments).result["isError"] is True
    assert server.executions == {}


def test_unknown_tools_and_arguments_that_are_no_object_are_errors(client):
    assert client.call("dance").error["code"] == -32602
    answer = client.legacy("tools/call", {"name": "add", "arguments": [1, 2]})
    assert answer.error["code"] == -32602


def test_counter_counts_for_each_user_and_for_all(client):
    params = {"name": "counter"}
    for user in ("ada", "bob", "ada"):
        result = client.legacy("tools/call", params, X_User=user).result
    assert result["structuredContent"] == {"count": 2, "total": 3}


def test_counter_goes_on_counting_when_a_user_gets_a_new_session(server, client):
    client.legacy("tools/call", {"name": "counter"}, X_User="ada")
    client.headers.clear()
    client.handshake()
    result = client.legacy("tools/call", {"name": "counter"}, X_User="ada").result
    assert result["structuredContent"]["count"] == 2
    assert server.executions == {"counter": 2}


def test_whoami_tells_the_headers(client):
    answer = client.legacy(
        "tools/call", {"name": "whoami"}, Authorization="Bearer t", X_User="ada", Cookie="a=1"
    )
    assert answer.result["structuredContent"] == {
        "authorization": "Bearer t",
        "user": "ada",
        "cookie": "a=1",
        "session": client.headers["Mcp-Session-Id"],
    }


def test_resources_are_text_bytes_and_templates(client):
    def read(uri):
        return client.legacy("resources/read", {"uri": uri}).result["contents"][0]

    assert len(client.legacy("resources/list").result["resources"]) == 3
    assert read("test://notes/one")["text"] == "The first note."
    assert base64.b64decode(read("test://dot.png")["blob"]).startswith(b"\x89PNG")
    assert read("test://greeting/Ada")["text"] == "Hello, Ada!"


def test_a_missing_resource_has_the_code_of_its_era(client, connect, server):
    params = {"uri": "test://nowhere"}
    assert client.legacy("resources/read", params).error["code"] == -32002
    answer = connect(server).modern("resources/read", params)
    assert (answer.status, answer.error["code"]) == (400, -32602)


def test_prompts_take_arguments(client):
    prompts = client.legacy("prompts/list").result["prompts"]
    assert [prompt["name"] for prompt in prompts] == ["summary", "greet"]
    params = {"name": "greet", "arguments": {"name": "Ada", "language": "french"}}
    message = client.legacy("prompts/get", params).result["messages"][0]
    assert message["content"]["text"] == "Greet Ada in french."


@pytest.mark.parametrize(
    "params",
    [{"name": "greet"}, {"name": "dance"}, {"name": "greet", "arguments": {"name": 5}}],
)
def test_a_prompt_that_cannot_be_filled_in_is_an_error(client, params):
    assert client.legacy("prompts/get", params).error["code"] == -32602


def test_completion_goes_by_the_beginning(client):
    params = {
        "ref": {"type": "ref/resource", "uri": "test://greeting/{name}"},
        "argument": {"name": "name", "value": "a"},
    }
    completion = client.legacy("completion/complete", params).result["completion"]
    assert completion == {"values": ["ada", "alan"], "total": 2, "hasMore": False}
    params["ref"]["uri"] = "test://other"
    assert client.legacy("completion/complete", params).error["code"] == -32602


def test_pages_add_up_to_the_whole_list(client, connect):
    whole = client.legacy("tools/list").result["tools"]
    assert len(whole) == 8
    with LocalServer(page_size=3) as server:
        paging = connect(server)
        pages, params = [], {}
        while True:
            result = paging.modern("tools/list", params).result
            pages.append(result["tools"])
            if "nextCursor" not in result:
                break
            params = {"cursor": result["nextCursor"]}
    assert [len(page) for page in pages] == [3, 3, 2]
    assert [tool for page in pages for tool in page] == whole


@pytest.mark.parametrize("cursor", ["3", "%%%", "dG9vbHM6OTk=", "cHJvbXB0czowCg=="])
def test_an_invalid_cursor_is_an_error(client, cursor):
    assert client.legacy("tools/list", {"cursor": cursor}).error["code"] == -32602
