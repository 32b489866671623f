"""Tasks of 2025-11-25, at the server that somebody else wrote and that has them."""

import mcp_types
import pytest

from mcpsync import FeatureUnsupported, RequestTimeout, TaskCancelled
from support.counterparts import kinds

TOOL = "simulate-research-query"
TOPIC = {"topic": "blocking clients"}


@kinds("everything-http", "everything-stdio")
def test_a_tool_that_requires_a_task_is_called_like_any_other(client):
    heard = []
    outcome = client.call_tool(TOOL, TOPIC, progress_callback=lambda *what: heard.append(what))
    assert "Research Report: blocking clients" in outcome.content[0].text
    assert not outcome.is_error


@kinds("everything-http", "everything-stdio")
def test_a_task_is_begun_asked_after_listed_cancelled_and_found_cancelled(client):
    task = client.tasks.start(TOOL, TOPIC, ttl=60)
    assert (task.status, task.poll_interval) == ("working", 1.0)
    assert client.tasks.get(task.task_id).task_id == task.task_id
    assert task.task_id in {each.task_id for each in client.tasks.list()}
    client.tasks.cancel(task.task_id)
    with pytest.raises(TaskCancelled):
        client.tasks.result(task.task_id)


@kinds("everything-http")  # which knows the tasks of one session there only
def test_the_result_of_a_task_is_waited_for_as_often_as_it_takes(client):
    task = client.tasks.start(TOOL, TOPIC)
    with pytest.raises(RequestTimeout):
        client.tasks.result(task.task_id, timeout=0.2)
    assert "Research Report" in client.tasks.result(task.task_id).content[0].text


@kinds("everything-http", "everything-stdio")
def test_time_that_runs_out_cancels_the_task(client):
    with pytest.raises(RequestTimeout) as caught:
        client.call_tool(TOOL, TOPIC, timeout=0.5)
    assert caught.value.maybe_executed
    with pytest.raises(TaskCancelled):
        client.tasks.result(caught.value.task_id)


@kinds("sdk1-http", "sdk2-http-legacy", "sdk2-stdio-legacy")
def test_a_server_without_tasks_says_so_before_anything_is_called(client, counterpart):
    with pytest.raises(FeatureUnsupported):
        client.call_tool(counterpart.words.add, {"a": 1, "b": 2}, task=True)


@kinds("everything-http", "everything-stdio")
def test_a_task_that_wants_to_know_something_is_answered_and_goes_on(counterpart):
    def ask(context, params):
        assert "multiple interpretations" in params.message
        return mcp_types.ElicitResult(action="accept", content={"interpretation": "snake"})

    with counterpart.client(elicitation_callback=ask) as client:
        outcome = client.call_tool(TOOL, {"topic": "python", "ambiguous": True})
    assert "python (snake)" in outcome.content[0].text
