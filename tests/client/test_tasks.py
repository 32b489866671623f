"""Calls that a server carries out as tasks, in both forms, as a client's user sees them."""

import itertools
import json
import os
import signal
import threading
import time

import mcp_types
import pytest

import mcpsync
from mcpsync import (
    Client,
    ConfigurationError,
    FeatureUnsupported,
    InputRequired,
    MCPError,
    MessageInvalid,
    RequestCancelled,
    RequestTimeout,
    StdioServerParameters,
    Task,
    TaskCancelled,
    TasksExtension,
)
from mcpsync.testing import Fault, LocalServer, stdio_command
from transports.peer import ScriptedMCP, result

both_eras = pytest.mark.parametrize("era", ["legacy", "modern"])


@pytest.fixture
def era():
    """The era of a test that is not about one."""
    return "modern"


@pytest.fixture
def server(era):
    """A server with tasks."""
    with LocalServer(era, tasks=True) as server:
        yield server
        assert server.violations == []


@pytest.fixture
def client(server):
    """A client that takes them."""
    with Client(server.url, extensions=[TasksExtension()]) as client:
        yield client


def asked(server, *methods):
    """The methods that were asked for, of these or of all."""
    found = [each.rpc_method for each in server.requests if each.rpc_method]
    return [method for method in found if not methods or method in methods]


# -- call_tool hides them --------------------------------------------------------------------------


@both_eras
def test_call_tool_returns_what_the_task_came_to(server, client):
    outcome = client.call_tool("job", {"seconds": 0.15})
    assert isinstance(outcome, mcp_types.CallToolResult)
    assert outcome.content[0].text == "done"
    assert len(server.tasks.records) == 1
    assert server.executions["job"] == 1


@both_eras
def test_a_tool_that_fails_within_a_task_is_a_result(client):
    assert client.call_tool("job", {"outcome": "tool-error"}).is_error is True


@both_eras
def test_a_task_that_failed_raises_what_the_call_would_have_raised(server, client):
    with pytest.raises(MCPError) as caught:
        client.call_tool("job", {"outcome": "failed"})
    assert (caught.value.code, caught.value.message) == (-32050, "the job failed")
    assert caught.value.tool_name == "job"
    assert caught.value.task_id == server.tasks.records[0].id
    assert caught.value.maybe_executed is True


@both_eras
def test_a_task_that_was_cancelled_by_somebody_is_an_error_of_its_own(server, client):
    with pytest.raises(TaskCancelled) as caught:
        client.call_tool("job", {"outcome": "cancelled"})
    assert caught.value.task_id == server.tasks.records[0].id
    assert caught.value.maybe_executed is True


@both_eras
def test_the_deadline_of_the_call_bounds_the_task_and_the_server_is_told_to_cancel_it(
    server, client
):
    client.connect()
    began = time.monotonic()
    with pytest.raises(RequestTimeout) as caught:
        client.call_tool("job", {"seconds": 60}, timeout=0.5)
    assert 0.4 < time.monotonic() - began < 2
    (record,) = server.tasks.records
    assert caught.value.task_id == record.id
    assert caught.value.maybe_executed is True
    assert server.wait_for(lambda _: record.cancelled)
    assert asked(server, "notifications/cancelled") == []
    assert server.cancelled == []


@both_eras
def test_a_caller_who_cancels_ends_the_wait_at_once_and_the_task_with_it(server, client):
    cancel = mcpsync.Cancellation()
    client.connect()

    def stop():
        server.wait_for(lambda _: server.tasks.records)
        (record,) = server.tasks.records
        record.interval = 30_000  # which the client hears when it looks
        server.wait_for(lambda _: record.looks)
        cancel.cancel("user left")

    thread = threading.Thread(target=stop)
    thread.start()
    began = time.monotonic()
    with pytest.raises(RequestCancelled) as caught:
        client.call_tool("job", {"seconds": 60}, cancel=cancel)
    thread.join(5)
    assert time.monotonic() - began < 5
    (record,) = server.tasks.records
    assert caught.value.task_id == record.id
    assert caught.value.maybe_executed is True
    assert server.wait_for(lambda _: record.cancelled)
    assert server.cancelled == []


@both_eras
@pytest.mark.parametrize("fault", [Fault.DIE_BEFORE_ANSWER, Fault.DIE_MID_ANSWER, Fault.HTTP_503])
def test_a_connection_lost_while_asking_after_it_does_not_lose_the_task(server, client, fault):
    client.connect()
    server.inject(fault, "tasks/get", times=3)
    assert client.call_tool("job", {"seconds": 0.1}).content[0].text == "done"
    assert server.executions["job"] == 1


def test_a_blocking_result_that_is_lost_is_asked_for_again():
    with LocalServer("legacy", tasks=True) as server, Client(server.url) as client:
        server.inject(Fault.DIE_BEFORE_ANSWER, "tasks/result", times=2)
        assert client.call_tool("job").content[0].text == "done"
        assert server.executions["job"] == 1


@both_eras
def test_a_server_that_is_not_asked_for_longer_than_the_call_has_is_asked_once_before_its_end(
    server, client
):
    server.tasks.poll_interval = 60_000
    assert client.call_tool("job", {"seconds": 0.1}, timeout=1.5).content[0].text == "done"


@both_eras
def test_looks_are_as_far_apart_as_the_server_wants(server, client):
    server.tasks.poll_interval = 400
    client.call_tool("job", {"seconds": 0.9})
    looks = [each.received_at for each in server.requests if each.rpc_method == "tasks/get"]
    assert len(looks) >= 2
    assert all(later - earlier >= 0.39 for earlier, later in itertools.pairwise(looks))


@both_eras
def test_a_server_that_wants_to_be_asked_all_the_time_is_not(server, client):
    server.tasks.poll_interval = 0
    client.call_tool("job", {"seconds": 0.5})
    assert server.tasks.records[0].looks <= 7


@both_eras
def test_without_a_word_from_the_server_looks_become_rarer(server, client):
    server.tasks.poll_interval = None
    client.call_tool("job", {"seconds": 1.2})
    assert 3 <= server.tasks.records[0].looks <= 6  # at 0.1, 0.3, 0.7 and 1.5 s


# -- who decides: 2025-11-25 -----------------------------------------------------------------------


@pytest.fixture
def legacy():
    """A server of 2025-11-25, with tasks."""
    with LocalServer("legacy", tasks=True) as server:
        yield server


def calls(server):
    """The params of each tool call."""
    return [each.body["params"] for each in server.requests if each.rpc_method == "tools/call"]


def test_a_tool_that_requires_it_is_called_as_a_task_without_being_asked_to(legacy):
    with Client(legacy.url) as client:
        client.call_tool("job")
    assert calls(legacy)[0]["task"] == {}


def test_a_tool_that_leaves_it_to_us_is_called_as_a_task_only_if_the_caller_says_so(legacy):
    with Client(legacy.url) as client:
        assert client.call_tool("errand").content[0].text == "done at once"
        assert client.call_tool("errand", task=True).content[0].text == "done"
        assert client.call_tool("errand", task=False).content[0].text == "done at once"
    assert ["task" in params for params in calls(legacy)] == [False, True, False]


def test_a_tool_that_does_not_speak_of_tasks_is_never_called_as_one(legacy):
    with Client(legacy.url) as client:
        client.call_tool("echo", {"text": "hello"})
        with pytest.raises(FeatureUnsupported, match="tasks of the tool 'echo'") as caught:
            client.call_tool("echo", {"text": "hello"}, task=True)
    assert caught.value.maybe_executed is False
    assert legacy.executions["echo"] == 1
    assert "task" not in calls(legacy)[0]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_server_without_tasks_is_not_asked_for_one(mode):
    with LocalServer("legacy") as server, Client(server.url, mode=mode) as client:
        client.call_tool("echo", {"text": "hello"})
        assert "tools/list" not in asked(server)
        with pytest.raises(FeatureUnsupported) as caught:
            client.call_tool("echo", {"text": "hello"}, task=True)
    assert caught.value.feature == "tasks.requests.tools.call"
    assert server.executions["echo"] == 1


def test_tools_are_asked_for_once_in_a_conversation(legacy):
    with Client(legacy.url) as client:
        for _ in range(3):
            client.call_tool("errand")
        assert asked(legacy, "tools/list") == ["tools/list"]
        legacy.expire_sessions()
        client.call_tool("errand")
        client.call_tool("errand")
    assert len(asked(legacy, "tools/list")) == 2


def test_a_tool_that_came_to_require_it_is_found_out_and_runs_once(legacy):
    with Client(legacy.url) as client:
        legacy.tools = ["echo", {"name": "job", "inputSchema": {"type": "object"}}]
        client.call_tool("echo", {"text": "hello"})
        legacy.tools = ["echo", "errand", {**JOB}]
        assert client.call_tool("job").content[0].text == "done"
    assert len(legacy.tasks.records) == 1


JOB = {
    "name": "job",
    "inputSchema": {"type": "object"},
    "execution": {"taskSupport": "required"},
}


def test_how_long_the_server_is_to_keep_it_may_be_said(legacy):
    with Client(legacy.url) as client:
        task = client.tasks.start("job", ttl=90)
    assert calls(legacy)[0]["task"] == {"ttl": 90_000}
    assert task.ttl == 90.0


def test_progress_goes_on_with_the_token_of_the_call(legacy):
    heard = []
    with Client(legacy.url) as client:
        client.call_tool(
            "job", {"seconds": 0.3}, progress_callback=lambda *what: heard.append(what[0])
        )
    assert heard[:2] == [1, 2]
    polls = [each.body["params"] for each in legacy.requests if each.rpc_method == "tasks/get"]
    assert all("progressToken" not in params.get("_meta", {}) for params in polls)


def test_a_call_that_times_out_before_its_task_is_there_is_not_cancelled_by_notification(legacy):
    legacy.inject(Fault.HANG, "tools/call")
    with Client(legacy.url) as client:
        with pytest.raises(RequestTimeout) as caught:
            client.call_tool("job", timeout=0.3)
        assert caught.value.maybe_executed is True
        assert caught.value.task_id is None
        client.send_ping()
    legacy.release()
    assert asked(legacy, "notifications/cancelled", "tasks/cancel") == []


def test_what_a_task_wants_to_know_is_asked_on_the_stream_of_its_result(legacy):
    with Client(legacy.url) as client:
        outcome = client.call_tool("job", {"ask": "Which one?"})
    assert "tasks/result" in asked(legacy)
    assert outcome.content[0].text == "done: unavailable None"  # nobody was there to answer


# -- who decides: 2026-07-28 -----------------------------------------------------------------------


def test_a_modern_server_decides_by_itself(server, client):
    assert client.call_tool("errand", {"seconds": 0.1}).content[0].text == "done"
    assert client.call_tool("echo", {"text": "hello"}, task=True).content[0].text == "hello"
    assert len(server.tasks.records) == 1


def test_a_modern_server_is_offered_tasks_only_if_the_application_wants_that(server):
    with Client(server.url) as client:
        assert client.call_tool("errand").content[0].text == "done at once"
        with pytest.raises(MCPError) as caught:
            client.call_tool("job")
        assert caught.value.code == -32021
        with pytest.raises(ConfigurationError, match="TasksExtension"):
            client.call_tool("errand", task=True)
    assert server.tasks.records == []


def test_every_request_about_a_task_carries_its_id_in_a_header(server, client):
    client.call_tool("job")
    with pytest.raises(MCPError, match="completed already"):
        client.tasks.cancel(server.tasks.records[0].id)
    about = [each for each in server.requests if each.rpc_method.startswith("tasks/")]
    assert {each.rpc_method for each in about} == {"tasks/get", "tasks/cancel"}
    assert {each.headers["mcp-name"] for each in about} == {server.tasks.records[0].id}


def answering(value):
    """A handler that answers with *value*."""
    return lambda request: result(request, value)


def test_a_task_that_nobody_offered_to_take_is_invalid():
    task = {
        "resultType": "task",
        "taskId": "t",
        "status": "working",
        "createdAt": "",
        "lastUpdatedAt": "",
        "ttlMs": None,
    }
    with (
        ScriptedMCP(tools__call=answering(task)) as mcp,
        Client(mcp.url, mode="2026-07-28") as client,
        pytest.raises(MessageInvalid, match="'task'"),
    ):
        client.call_tool("job")
    with (
        ScriptedMCP(prompts__get=answering(task)) as mcp,
        Client(mcp.url, mode="2026-07-28", extensions=[TasksExtension()]) as client,
        pytest.raises(MessageInvalid, match="'task'"),
    ):
        client.get_prompt("a prompt is never a task")


def test_what_a_modern_task_wants_to_know_is_an_error_that_tells_how_to_go_on(server, client):
    with pytest.raises(InputRequired) as caught:
        client.call_tool("job", {"ask": "Which one?"})
    error = caught.value
    (key,) = error.result["inputRequests"]
    assert error.result["inputRequests"][key]["params"]["message"] == "Which one?"
    with Client(server.url, extensions=[TasksExtension()]) as another:  # in another process, say
        assert another.tasks.get(error.task_id).input_requests == error.result["inputRequests"]
        another.tasks.update(
            error.task_id, {key: {"action": "accept", "content": {"answer": "this"}}}
        )
        assert another.tasks.result(error.task_id).content[0].text == "done: accept this"
    assert server.tasks.records[0].cancelled is False


# -- client.tasks shows them -----------------------------------------------------------------------


@both_eras
def test_a_task_is_begun_without_waiting_and_picked_up_by_another_client(server, client):
    task = client.tasks.start("job", {"seconds": 0.2})
    assert isinstance(task, Task)
    assert (task.status, task.is_over) == ("working", False)
    assert task.poll_interval == 0.1
    with Client(server.url, extensions=[TasksExtension()]) as another:
        assert another.tasks.get(task.task_id).task_id == task.task_id
        assert another.tasks.result(task.task_id).content[0].text == "done"
        assert another.tasks.get(task.task_id).is_over


@both_eras
def test_time_that_runs_out_while_waiting_for_a_result_leaves_the_task_alone(server, client):
    task = client.tasks.start("job", {"seconds": 60})
    with pytest.raises(RequestTimeout) as caught:
        client.tasks.result(task.task_id, timeout=0.3)
    assert caught.value.task_id == task.task_id
    client.tasks.get(task.task_id)
    assert "tasks/cancel" not in asked(server)
    server.tasks.records[0].finish()
    assert client.tasks.result(task.task_id).content[0].text == "done"


@both_eras
def test_a_task_is_cancelled_by_its_id(server, client):
    task = client.tasks.start("job", {"seconds": 60})
    client.tasks.cancel(task.task_id)
    assert client.tasks.get(task.task_id).status == "cancelled"
    with pytest.raises(TaskCancelled):
        client.tasks.result(task.task_id)


@both_eras
def test_a_task_that_the_server_does_not_know_is_its_word_to_say(server, client):
    for method in (client.tasks.get, client.tasks.result, client.tasks.cancel):
        with pytest.raises(MCPError) as caught:
            method("no-such-task")
        assert caught.value.code == -32602
        assert caught.value.task_id == "no-such-task"
        assert caught.value.server_name == server.url


@both_eras
def test_a_tool_that_is_no_task_may_answer_at_once(era, client):
    if era == "legacy":
        with pytest.raises(FeatureUnsupported):
            client.tasks.start("echo", {"text": "hello"})
    else:
        assert client.tasks.start("echo", {"text": "hello"}).content[0].text == "hello"


def test_tasks_are_listed_by_servers_that_list_them(legacy):
    with Client(legacy.url) as client:
        ids = [client.tasks.start("job").task_id for _ in range(3)]
        assert [task.task_id for task in client.tasks.list()] == ids


def test_a_modern_server_never_lists_them(client):
    with pytest.raises(FeatureUnsupported) as caught:
        list(client.tasks.list())
    assert caught.value.feature == "tasks.list"


@both_eras
def test_a_child_process_has_tasks_too(era):
    command, *arguments = stdio_command(era, tasks=True)
    parameters = StdioServerParameters(command=command, args=arguments)
    with Client(parameters, extensions=[TasksExtension()]) as client:
        assert client.call_tool("job", {"seconds": 0.15}).content[0].text == "done"
        with pytest.raises(RequestTimeout) as caught:
            client.call_tool("job", {"seconds": 60}, timeout=0.4)
        wait = threading.Event()
        for _ in range(50):
            if client.tasks.get(caught.value.task_id).status == "cancelled":
                break
            wait.wait(0.05)
        else:
            pytest.fail("the child was not told to cancel its task")


def test_a_child_that_ended_takes_its_tasks_with_it():
    command, *arguments = stdio_command("legacy", tasks=True)
    parameters = StdioServerParameters(command=command, args=arguments)
    with Client(parameters) as client:
        task = client.tasks.start("job", {"seconds": 60})
        os.kill(client.call_tool("environment").structured_content["pid"], signal.SIGKILL)
        with pytest.raises(MCPError, match="no such task") as caught:
            client.tasks.result(task.task_id, timeout=10)
    assert caught.value.maybe_executed is True


@both_eras
def test_a_users_call_through_a_manager_waits_for_its_task(server):
    config = {"crm": {"url": server.url}}
    with mcpsync.MCPManager(config, extensions=[TasksExtension()]) as manager:
        assert manager.call_tool("crm", "job", {"seconds": 0.1}, user="42").content
        with pytest.raises(RequestTimeout) as caught:
            manager.call_tool("crm", "job", {"seconds": 60}, user="42", timeout=0.4)
        assert caught.value.user_id == "42"
        with manager.connection("crm", user="42") as connection:
            assert connection.tasks.get(caught.value.task_id).task_id == caught.value.task_id


# -- the same callbacks answer for tasks -----------------------------------------------------------


@both_eras
def test_what_a_task_wants_to_know_is_asked_where_the_call_waits(era):
    threads = []

    def ask(context, params):
        threads.append(threading.current_thread())
        assert params.message == "Which one?"
        return mcp_types.ElicitResult(action="accept", content={"answer": "this"})

    with (
        LocalServer(era, tasks=True) as server,
        Client(server.url, extensions=[TasksExtension()], elicitation_callback=ask) as client,
    ):
        outcome = client.call_tool("job", {"ask": "Which one?", "seconds": 0.1})
        assert outcome.content[0].text == "done: accept this"
        assert threads == [threading.current_thread()]
        assert server.tasks.records[0].told == 1
        assert server.violations == []


def test_a_task_that_waits_for_an_answer_is_resumed_like_any_other_call(server):
    offered = [TasksExtension()]
    with (
        Client(server.url, extensions=offered, elicitation_callback=mcpsync.answer_later) as client,
        pytest.raises(InputRequired) as caught,
    ):
        client.call_tool("job", {"ask": "Which one?", "seconds": 0.1})
    kept = json.loads(json.dumps(caught.value.to_dict()))
    with Client(server.url, extensions=offered) as another:
        outcome = another.resume(
            InputRequired.from_dict(kept),
            {"question": {"action": "accept", "content": {"answer": "this"}}},
        )
    assert outcome.content[0].text == "done: accept this"
    assert server.tasks.records[0].told == 1
