"""What a server asks is answered by one mechanism, over both transports and in both eras."""

import logging
import threading

import mcp_types as types
import pytest

import mcpsync
from mcpsync import Client, InputRequired
from mcpsync.config import StdioServerConfig
from mcpsync.session.answers import Answers
from mcpsync.testing import LocalServer, stdio_command
from transports.door import LONG

MODERN = "2026-07-28"
WAYS = ["http legacy", "http modern", "stdio legacy", "stdio modern"]
DEFAULTS = {
    "name": "Ada",
    "age": 36,
    "height": 1.65,
    "newsletter": True,
    "colour": "green",
    "size": "s",
    "days": ["Friday"],
}
URLS = types.ElicitationCapability(url=types.UrlElicitationCapability())


@pytest.fixture(params=WAYS)
def target(request):
    transport, era = request.param.split()
    if transport == "stdio":
        command, *arguments = stdio_command(era, asks=True)
        yield StdioServerConfig(command=command, args=tuple(arguments))
        return
    with LocalServer(era, asks=True) as server:
        yield server.url
        assert server.violations == []


def accepting(**content):
    """A callback that fills in the form like this."""
    return lambda *_: types.ElicitResult(action="accept", content=content)


def answered(target, tool="ask_form", /, **options):
    """What the tool was answered."""
    with Client(target, timeout=LONG, **options) as client:
        return client.call_tool(tool).structured_content


# -- forms -----------------------------------------------------------------------------------------


def test_a_form_is_filled_in_on_the_thread_that_waits(target):
    heard = []

    def fill_in(context, params):
        heard.append((threading.current_thread(), context, params))
        return types.ElicitResult(action="accept", content={"name": "Grace", "days": ["Monday"]})

    with Client(target, timeout=LONG, server_name="crm", elicitation_callback=fill_in) as client:
        found = client.call_tool("ask_form").structured_content
    content = {**DEFAULTS, "name": "Grace", "days": ["Monday"]}
    assert found == {"action": "accept", "content": content}
    ((thread, context, params),) = heard
    assert thread is threading.current_thread()
    assert isinstance(params, types.ElicitRequestFormParams)
    assert (params.message, set(params.requested_schema["properties"]) > set(DEFAULTS)) == (
        "Who are you?",
        True,
    )
    assert (context.server_name, context.user_id) == ("crm", None)
    assert context.method == "elicitation/create"
    assert context.request_id


def test_what_is_left_out_gets_its_default(target):
    found = answered(target, elicitation_callback=mcpsync.accept_defaults)
    assert found == {"action": "accept", "content": DEFAULTS}


def test_a_field_can_be_left_empty_in_spite_of_its_default(target):
    found = answered(target, elicitation_callback=accepting(age=None, colour=None))
    left = {name: v for name, v in DEFAULTS.items() if name not in ("age", "colour")}
    assert found["content"] == left


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_to_decline_and_to_cancel_are_answers(target, action):
    found = answered(
        target,
        elicitation_callback=lambda *_: types.ElicitResult(action=action, content={"name": "x"}),
    )
    assert found == {"action": action}


def test_a_mapping_will_do_for_an_answer(target):
    assert answered(target, elicitation_callback=lambda *_: {"action": "decline"}) == {
        "action": "decline"
    }


def test_nothing_is_declared_without_a_callback(target):
    with Client(target, timeout=LONG) as client:
        for tool in ("ask_form", "ask_url", "ask_model", "ask_roots"):
            result = client.call_tool(tool)
            assert result.is_error
            assert "has not declared" in result.structured_content["error"]["message"]


def test_url_mode_is_declared_only_when_it_is_said(target):
    found = answered(target, "ask_url", elicitation_callback=mcpsync.accept_defaults)
    assert found["error"]["message"] == "the client has not declared URLs"


# -- pages to visit --------------------------------------------------------------------------------


def test_the_user_is_asked_to_visit_a_page_and_we_do_not(target):
    asked = []

    def visit(_, params):
        asked.append(params)
        return types.ElicitResult(action="accept", content={"not": "sent"})

    found = answered(target, "ask_url", elicitation_callback=visit, elicitation_capabilities=URLS)
    assert found == {"action": "accept"}
    assert asked[0].url == "https://accounts.example.com/link?of=1"
    assert isinstance(asked[0], types.ElicitRequestURLParams)


# -- sampling and roots ----------------------------------------------------------------------------


def test_the_language_model_is_asked(target):
    def sample(context, params):
        assert context.method == "sampling/createMessage"
        said = params.messages[0].content.text
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(text=f"You said: {said}"),
            model="m1",
            stop_reason="endTurn",
        )

    assert answered(target, "ask_model", sampling_callback=sample) == {
        "role": "assistant",
        "content": {"type": "text", "text": "You said: Say hello."},
        "model": "m1",
        "stopReason": "endTurn",
    }


def test_the_roots_are_listed(target, tmp_path):
    def roots(context):
        assert context.method == "roots/list"
        return types.ListRootsResult(roots=[types.Root(uri=tmp_path.as_uri(), name="work")])

    assert answered(target, "ask_roots", list_roots_callback=roots) == {
        "roots": [{"uri": tmp_path.as_uri(), "name": "work"}]
    }


def test_several_things_are_asked_of_one_call(target):
    def sample(*_):
        text = types.TextContent(text="hello")
        return types.CreateMessageResult(role="assistant", content=text, model="m1")

    found = answered(
        target,
        "ask_all",
        elicitation_callback=mcpsync.accept_defaults,
        sampling_callback=sample,
        list_roots_callback=lambda _: types.ListRootsResult(roots=[]),
    )
    assert found["form"] == {"action": "accept", "content": DEFAULTS}
    assert found["model"]["model"] == "m1"
    assert found["roots"] == {"roots": []}


def test_one_question_may_follow_from_the_answer_to_another(target):
    asked = []

    def answer(_, params):
        asked.append(params.message)
        content = {"name": "Eve"} if len(asked) == 1 else {"sure": True}
        return types.ElicitResult(action="accept", content=content)

    found = answered(target, "ask_twice", elicitation_callback=answer)
    assert asked == ["Your name?", "Are you Eve?"]
    assert found["sure"] == {"action": "accept", "content": {"sure": True}}


def test_prompts_and_resources_may_ask_too(target):
    with Client(target, timeout=LONG, elicitation_callback=accepting(name="Ada")) as client:
        assert client.get_prompt("introduce").messages[0].content.text == "Say hello to Ada."
        assert client.read_resource("test://asked/name").contents[0].text == "Ada"


# -- callbacks that do more, or fail ---------------------------------------------------------------


def test_a_callback_may_call_the_same_client_and_be_asked_again(target):
    def answer(_, params):
        if params.message == "Who are you?":
            inner = client.call_tool("ask_twice").structured_content
            return types.ElicitResult(action="accept", content=inner["name"]["content"])
        content = {"name": "Ada"} if params.message == "Your name?" else {"sure": True}
        return types.ElicitResult(action="accept", content=content)

    with Client(target, timeout=LONG, elicitation_callback=answer) as client:
        found = client.call_tool("ask_form").structured_content
    assert found["content"]["name"] == "Ada"


def test_an_interrupt_in_a_callback_is_not_swallowed(target):
    def interrupt(*_):
        raise KeyboardInterrupt

    with Client(target, timeout=LONG, elicitation_callback=interrupt) as client:
        with pytest.raises(KeyboardInterrupt):
            client.call_tool("ask_form")
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_a_call_whose_callback_takes_too_long_has_timed_out(target):
    over = threading.Event()

    def dawdle(*_):
        over.wait(0.3)
        return types.ElicitResult(action="decline")

    with Client(target, timeout=LONG, elicitation_callback=dawdle) as client:
        client.connect()
        with pytest.raises(mcpsync.RequestTimeout):
            client.call_tool("ask_form", timeout=0.2)
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_a_call_can_be_cancelled_by_its_own_callback(target):
    cancel = mcpsync.Cancellation()

    def give_up(*_):
        cancel.cancel("the user went home")
        return types.ElicitResult(action="cancel")

    with Client(target, timeout=LONG, elicitation_callback=give_up) as client:
        with pytest.raises(mcpsync.RequestCancelled, match="went home"):
            client.call_tool("ask_form", cancel=cancel)
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_each_thread_answers_for_its_own_call(era):
    def answer(*_):
        return {"action": "accept", "content": {"name": threading.current_thread().name}}

    found = {}

    def call(client):
        name = threading.current_thread().name
        found[name] = client.call_tool("ask_form").structured_content["content"]["name"]

    with (
        LocalServer(era, asks=True) as server,
        Client(server.url, timeout=LONG, elicitation_callback=answer) as client,
    ):
        threads = [threading.Thread(target=call, args=(client,), name=f"t{n}") for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert found == {f"t{n}": f"t{n}" for n in range(8)}


BAD = {
    "the callback is broken": None,
    "must be an integer": accepting(age="old"),
    "must be at most 150": accepting(age=151),
    "must be one of 'red', 'green'": accepting(colour="blue"),
    "must be one of 's', 'l'": accepting(size="m"),
    "must be among 'Monday', 'Friday'": accepting(days=["Sunday"]),
    "must have the format email": accepting(email="nobody"),
    "'name' is required": accepting(name=None),
    "the form has no field 'nmae'": accepting(nmae="Ada"),
    "is no answer to elicitation/create": lambda *_: None,
}


@pytest.mark.parametrize("says", BAD)
def test_an_answer_that_is_none_is_logged_and_never_sent(target, says, caplog):
    def fail(*_):
        raise RuntimeError("the callback is broken")

    with Client(target, timeout=LONG, elicitation_callback=BAD[says] or fail) as client:
        if client.protocol_version == MODERN:  # there is no error to answer with
            with pytest.raises(InputRequired, match="got no answer") as caught:
                client.call_tool("ask_form")
            assert set(caught.value.requests) == {"answer"}
            assert not caught.value.maybe_executed
        else:
            result = client.call_tool("ask_form")
            assert result.structured_content["error"]["code"] == -32603
    assert says in caplog.text
    assert any(record.levelno >= logging.ERROR for record in caplog.records)


def test_what_a_callback_raised_is_not_told_to_the_server():
    def fail(*_):
        raise RuntimeError("the password is swordfish")

    with LocalServer("legacy", asks=True) as server:
        found = answered(server.url, elicitation_callback=fail)
    assert "swordfish" not in str(found)


# -- what only legacy servers hear -----------------------------------------------------------------


@pytest.fixture(params=["http", "stdio"])
def legacy(request):
    if request.param == "stdio":
        command, *arguments = stdio_command("legacy", asks=True)
        yield StdioServerConfig(command=command, args=tuple(arguments))
    else:
        with LocalServer("legacy", asks=True) as server:
            yield server.url


def test_a_refusal_of_the_user_reaches_the_server_as_it_is(legacy):
    refused = types.ErrorData(code=-1, message="User rejected sampling request", data={"by": "u"})
    found = answered(legacy, "ask_model", sampling_callback=lambda *_: refused)
    assert found == {
        "error": {"code": -1, "message": "User rejected sampling request", "data": {"by": "u"}}
    }


def test_a_form_that_is_left_for_later_is_cancelled_in_the_legacy_era(legacy):
    assert answered(legacy, elicitation_callback=mcpsync.answer_later) == {"action": "cancel"}
    found = answered(legacy, "ask_model", sampling_callback=mcpsync.answer_later)
    assert found["error"]["code"] == -32603


def test_one_call_answers_a_hundred_questions_and_no_more(legacy, caplog):
    with Client(legacy, timeout=LONG, elicitation_callback=accepting(name="x")) as client:
        enough = client.call_tool("ask_often", {"times": 100})
        assert len(enough.structured_content["answers"]) == 100
        too_many = client.call_tool("ask_often", {"times": 101})
    assert too_many.structured_content["error"]["code"] == -32603
    assert caplog.text.count("over 100 times") == 1


def test_a_legacy_server_is_told_that_the_roots_have_changed():
    with LocalServer("legacy") as server:
        roots = lambda _: types.ListRootsResult(roots=[])  # noqa: E731
        with Client(server.url, timeout=LONG, list_roots_callback=roots) as client:
            client.send_roots_list_changed()
            server.expire_sessions()
            client.send_roots_list_changed()
            assert client.call_tool("echo", {"text": "x"}).content
        said = [request.rpc_method for request in server.requests]
        assert said.count("notifications/roots/list_changed") == 2
        assert said.count("initialize") == 2
        declared = server.requests[said.index("initialize")].body["params"]["capabilities"]
        assert declared["roots"] == {"listChanged": True}


def test_a_modern_server_is_told_nothing_of_roots():
    with LocalServer("modern") as server:
        roots = lambda _: types.ListRootsResult(roots=[])  # noqa: E731
        with Client(server.url, timeout=LONG, list_roots_callback=roots) as client:
            client.send_roots_list_changed()
        assert {request.rpc_method for request in server.requests} == {"server/discover"}


def test_there_are_no_roots_to_change_without_a_callback():
    with LocalServer() as server, Client(server.url) as client:
        with pytest.raises(mcpsync.ConfigurationError, match="list_roots_callback"):
            client.send_roots_list_changed()
        assert server.requests == []


def test_a_mode_that_was_not_declared_is_invalid_params():
    only_urls = Answers(elicitation=mcpsync.accept_defaults, elicitation_capabilities=URLS)
    only_forms = Answers(elicitation=mcpsync.accept_defaults)
    form = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
    url = {"mode": "url", "message": "?", "url": "https://example.com/", "elicitationId": "1"}
    for answers, params in ((only_urls, form), (only_forms, url), (only_forms, {"mode": "x"})):
        reply = answers.reply_to({"id": 1, "method": "elicitation/create", "params": params})
        assert reply["error"]["code"] == -32602
    assert only_forms.answer("elicitation/create", form, 1) == {"action": "accept", "content": {}}


@pytest.mark.parametrize("params", [None, {}, [], "x", {"message": 7}, {"message": "?"}])
def test_a_question_that_is_none_is_invalid_params_and_nobody_is_asked(params):
    asked = []
    answers = Answers(
        elicitation=lambda *args: asked.append(args), sampling=lambda *args: asked.append(args)
    )
    for method in ("elicitation/create", "sampling/createMessage"):
        reply = answers.reply_to({"id": 1, "method": method, "params": params})
        assert reply["error"]["code"] == -32602
    assert asked == []


@pytest.mark.parametrize("uri", ["https://example.com/", "/srv", "srv", "", "data:x"])
def test_roots_are_files_and_nothing_else(uri, caplog):
    answers = Answers(roots=lambda _: {"roots": [{"uri": uri}]})
    reply = answers.reply_to({"id": 1, "method": "roots/list"})
    assert reply["error"]["code"] == -32603
    assert "this is no answer to roots/list" in caplog.text


def test_an_answer_that_is_not_json_leaves_no_server_waiting(legacy):
    refused = types.ErrorData(code=-1, message="no", data={"when": {1, 2}})
    found = answered(legacy, "ask_model", sampling_callback=lambda *_: refused)
    assert found == {"error": {"code": -1, "message": "no"}}
    found = answered(legacy, elicitation_callback=accepting(name="\ud800"))
    assert found["error"]["code"] == -32603
