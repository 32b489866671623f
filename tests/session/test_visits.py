"""Error -32042: a page to visit first; the request was not run, and is made once more. (4.5)"""

import pickle

import mcp_types as types
import pytest

import mcpsync
from mcpsync import Client, MCPError, UrlElicitationRequired
from mcpsync.testing import LocalServer, stdio_command
from transports.door import LONG
from transports.peer import DONE, ScriptedMCP, error, result

URLS = types.ElicitationCapability(
    form=types.FormElicitationCapability(), url=types.UrlElicitationCapability()
)
CODE = -32042
PAGE = {
    "mode": "url",
    "elicitationId": "e1",
    "message": "Link your account.",
    "url": "https://accounts.example.com/link",
}


@pytest.fixture(params=["http", "stdio"])
def target(request):
    if request.param == "stdio":
        command, *arguments = stdio_command("legacy", asks=True)
        yield mcpsync.StdioServerParameters(command=command, args=arguments)
    else:
        with LocalServer("legacy", asks=True) as server:
            yield server.url


def visiting(asked, *actions):
    left = list(actions)

    def visit(_, params):
        asked.append(params)
        return types.ElicitResult(action=left.pop(0) if left else "accept")

    return {"elicitation_callback": visit, "elicitation_capabilities": URLS}


def test_without_a_callback_it_is_an_error_that_says_where_to_go(target):
    with Client(target, timeout=LONG) as client:
        with pytest.raises(UrlElicitationRequired, match="Visit a page first") as caught:
            client.call_tool("ask_url_first")
        (asked,) = caught.value.elicitations
        assert asked.url == "https://accounts.example.com/link?of=1"
        assert isinstance(asked, types.ElicitRequestURLParams)
        assert (caught.value.code, caught.value.maybe_executed) == (CODE, False)
        assert isinstance(caught.value, MCPError)
        again = client.call_tool("ask_url_first")  # the user has been there
        assert again.structured_content == {"visits": 1}


def test_with_a_callback_the_user_is_asked_and_the_request_made_once_more(target):
    asked = []
    with Client(target, timeout=LONG, **visiting(asked)) as client:
        assert client.call_tool("ask_url_first").structured_content == {"visits": 1}
    (params,) = asked
    assert params.message == "Link your account."


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_a_user_who_does_not_go_is_an_error(target, action):
    asked = []
    client = Client(target, timeout=LONG, **visiting(asked, action))
    with client, pytest.raises(UrlElicitationRequired):
        client.call_tool("ask_url_first")
    assert len(asked) == 1


def test_a_server_that_is_not_content_is_not_asked_a_third_time(target):
    asked = []
    client = Client(target, timeout=LONG, **visiting(asked))
    with client, pytest.raises(UrlElicitationRequired):
        client.call_tool("ask_url_first", {"times": 3})
    assert len(asked) == 1


def test_a_callback_that_was_declared_for_forms_alone_is_not_asked(target):
    asked = []
    callback = visiting(asked)["elicitation_callback"]
    client = Client(target, timeout=LONG, elicitation_callback=callback)
    with client, pytest.raises(UrlElicitationRequired):
        client.call_tool("ask_url_first")
    assert asked == []


@pytest.mark.parametrize("way", [{}, {"status": "400 Bad Request"}, {"status": "403 Forbidden"}])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_it_may_come_in_the_body_of_a_failed_answer(way, mode):
    left = [1]

    def answer(request):
        if left:
            left.pop()
            return error(request, CODE, data={"elicitations": [PAGE]}, **way)
        return result(request, DONE)

    asked = []
    with (
        ScriptedMCP(
            server__discover=lambda request: error(request, -32601), tools__call=answer
        ) as server,
        Client(server.url, mode=mode, timeout=LONG, **visiting(asked)) as client,
    ):
        assert client.call_tool("t").content
        calls = [r.json for r in server.requests if r.rpc == "tools/call"]
    assert [params.elicitation_id for params in asked] == ["e1"]
    assert len({call["id"] for call in calls}) == len(calls) == 2


BAD_URLS = [
    "javascript:alert(1)",
    "file:///etc/passwd",
    "ftp://example.com/",
    "data:text/html,x",
    "https://",
    "//example.com/x",
    "link",
    "",
    "https://exa mple.com/",
    "https://example.com/\n",
    "https://[::1/",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_is_not_http_is_dropped(url, caplog):
    pages = [{**PAGE, "url": url}, PAGE, {"mode": "url"}, "page"]
    with (
        ScriptedMCP(
            tools__call=lambda request: error(request, CODE, data={"elicitations": pages})
        ) as server,
        Client(server.url, mode="legacy", timeout=LONG) as client,
        pytest.raises(UrlElicitationRequired) as caught,
    ):
        client.call_tool("t")
    assert [asked.url for asked in caught.value.elicitations] == [PAGE["url"]]
    assert "not http(s); dropped" in caplog.text


@pytest.mark.parametrize("url", BAD_URLS)
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_url_that_is_not_http_is_shown_to_nobody(url, era):
    asked = []
    with (
        LocalServer(era, asks=True) as server,
        Client(server.url, timeout=LONG, **visiting(asked)) as client,
    ):
        if era == "modern":
            with pytest.raises(mcpsync.InputRequired, match="must be http or https"):
                client.call_tool("ask_url", {"url": url})
        else:
            found = client.call_tool("ask_url", {"url": url}).structured_content
            assert found["error"]["code"] == -32602
    assert asked == []


@pytest.mark.parametrize("data", [None, {}, {"elicitations": "x"}, {"elicitations": []}, []])
def test_an_error_without_a_page_is_no_reason_to_ask_again(data):
    asked = []
    with (
        ScriptedMCP(tools__call=lambda request: error(request, CODE, data=data)) as server,
        Client(server.url, mode="legacy", timeout=LONG, **visiting(asked)) as client,
    ):
        with pytest.raises(UrlElicitationRequired) as caught:
            client.call_tool("t")
        assert server.methods.count("tools/call") == 1
    assert (asked, caught.value.elicitations) == ([], ())


def test_a_server_sends_nobody_to_a_hundred_pages():
    pages = [{**PAGE, "elicitationId": str(n)} for n in range(100)]
    with (
        ScriptedMCP(
            tools__call=lambda request: error(request, CODE, data={"elicitations": pages})
        ) as server,
        Client(server.url, mode="legacy", timeout=LONG) as client,
        pytest.raises(UrlElicitationRequired) as caught,
    ):
        client.call_tool("t")
    assert len(caught.value.elicitations) == 20


def test_the_error_can_be_pickled_with_its_pages():
    page = types.ElicitRequestURLParams(**PAGE)
    required = UrlElicitationRequired("x", elicitations=(page,))
    copied = pickle.loads(pickle.dumps(required))  # noqa: S301 - ours
    assert copied.elicitations == (page,)


def test_a_page_that_was_visited_is_told_to_the_message_handler_and_any_id_will_do():
    def answer(request):
        from transports.peer import event, stream

        said = {"method": "notifications/elicitation/complete", "params": {"elicitationId": "?"}}
        reply = {"jsonrpc": "2.0", "id": request.json["id"], "result": DONE}
        return stream(event({"jsonrpc": "2.0", **said}), event(reply))

    heard = []
    with ScriptedMCP(tools__call=answer) as server:
        with Client(server.url, mode="legacy", timeout=LONG) as client:
            assert client.call_tool("t").content  # nobody waits for that page: no matter
        with Client(
            server.url, mode="legacy", timeout=LONG, message_handler=heard.append
        ) as client:
            assert client.call_tool("t").content
    (notification,) = heard
    assert notification.params.elicitation_id == "?"
