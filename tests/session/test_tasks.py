"""Asking after one task until it is over: answers, limits, trouble on the way."""

import mcp_types
import pytest

from mcpsync import (
    ConnectionLost,
    HTTPStatusError,
    InputRequired,
    LimitExceeded,
    MCPError,
    MessageInvalid,
    RateLimited,
    RequestTimeout,
    TransportError,
)
from mcpsync._runtime.deadline import Deadline
from mcpsync.protocol.versions import Era
from mcpsync.session import tasks as module
from mcpsync.session.answers import Refusal
from mcpsync.session.base import Call
from mcpsync.session.callbacks import Callbacks, dispatcher
from mcpsync.session.tasks import TaskWatch, task_of
from mcpsync.transports.base import CallScope

MODERN = {
    "taskId": "t1",
    "status": "working",
    "createdAt": "2026-11-23T10:00:00Z",
    "lastUpdatedAt": "2026-11-23T10:00:01Z",
    "ttlMs": 60_000,
    "pollIntervalMs": 1,
}
LEGACY = {
    "taskId": "t1",
    "status": "working",
    "createdAt": "2026-11-23T10:00:00Z",
    "lastUpdatedAt": "2026-11-23T10:00:01Z",
    "ttl": 60_000,
    "pollInterval": 1,
}
RESULT = {"content": []}
DONE = {**MODERN, "status": "completed", "result": RESULT}


def asking(*keys):
    """A task that wants to know so many things."""
    request = {"method": "elicitation/create", "params": {"message": "?"}}
    return {**MODERN, "status": "input_required", "inputRequests": dict.fromkeys(keys, request)}


class Server:
    """Answers with what is written down, the last of it for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def request(self, method, params, call):
        self.asked.append((method, params))
        if method == "tasks/update":
            return {}
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def asked_for(self, method):
        return [params for each, params in self.asked if each == method]


def watch(server, era=Era.MODERN, answer=None, timeout=5.0):
    """What asks this server."""
    return TaskWatch(server.request, Call(CallScope(Deadline(timeout))), era, answer)


# -- what a task is --------------------------------------------------------------------------------


@pytest.mark.parametrize(("record", "era"), [(MODERN, Era.MODERN), (LEGACY, Era.LEGACY)])
def test_both_forms_are_read_and_their_milliseconds_become_seconds(record, era):
    task = task_of(record, era)
    assert (task.task_id, task.status, task.ttl, task.poll_interval) == (
        "t1",
        "working",
        60.0,
        0.001,
    )
    assert (task.created_at, task.last_updated_at) == (
        "2026-11-23T10:00:00Z",
        "2026-11-23T10:00:01Z",
    )


def test_a_task_that_is_kept_for_ever_has_no_time_to_live():
    assert task_of({**MODERN, "ttlMs": None}, Era.MODERN).ttl is None


@pytest.mark.parametrize(
    "change",
    [
        {"status": "asleep"},
        {"taskId": 1},
        {"createdAt": None},
        {"inputRequests": []},
        {"result": "done"},
        {"error": 1},
    ],
)
def test_what_is_no_task_is_invalid(change):
    with pytest.raises(MessageInvalid):
        task_of({**MODERN, **change}, Era.MODERN)


# -- what it wants to know -------------------------------------------------------------------------


def test_what_it_wants_to_know_is_answered_once_however_often_it_is_seen():
    server = Server(asking("a"), asking("a"), asking("a", "b"), DONE)
    heard = []

    def answer(method, params, key):
        heard.append((method, params["message"], key))
        return {"action": "decline"}

    assert watch(server, answer=answer).result_of("t1") == RESULT
    assert heard == [("elicitation/create", "?", "a"), ("elicitation/create", "?", "b")]
    assert server.asked_for("tasks/update") == [
        {"taskId": "t1", "inputResponses": {"a": {"action": "decline"}}},
        {"taskId": "t1", "inputResponses": {"b": {"action": "decline"}}},
    ]


def test_where_one_question_has_no_answer_none_is_sent_and_the_error_has_them_all():
    server = Server(asking("a", "b"))

    def answer(method, params, key):
        if key == "b":
            raise Refusal(-32601, "nobody is there")
        return {"action": "decline"}

    with pytest.raises(InputRequired) as caught:
        watch(server, answer=answer).result_of("t1")
    assert set(caught.value.result["inputRequests"]) == {"a", "b"}
    assert (caught.value.task_id, caught.value.maybe_executed) == ("t1", True)
    assert server.asked_for("tasks/update") == []


def test_a_task_that_asks_on_and_on_is_given_up():
    pages = [asking(*(f"{n}-{m}" for m in range(60))) for n in range(3)]
    server = Server(*pages)
    with pytest.raises(LimitExceeded, match="100 questions"):
        watch(server, answer=lambda *_: {"action": "decline"}).result_of("t1")


@pytest.mark.parametrize("wanted", ["?", {}, {"method": 1}])
def test_what_is_no_request_is_invalid(wanted):
    record = {**MODERN, "status": "input_required", "inputRequests": {"a": wanted}}
    with pytest.raises(MessageInvalid):
        watch(Server(record), answer=lambda *_: {}).result_of("t1")


def test_a_legacy_task_that_wants_to_know_something_is_asked_for_its_result_at_once():
    server = Server({**LEGACY, "status": "input_required"}, RESULT)
    assert watch(server, Era.LEGACY).result_of("t1") == RESULT
    assert [method for method, _ in server.asked] == ["tasks/get", "tasks/result"]


# -- how it ends -----------------------------------------------------------------------------------


def test_a_failed_task_raises_its_error_with_all_that_came_with_it():
    failed = {**MODERN, "status": "failed", "error": {"code": -1, "message": "no", "data": [1]}}
    with pytest.raises(MCPError) as caught:
        watch(Server(failed)).result_of("t1")
    assert (caught.value.code, caught.value.message, caught.value.data) == (-1, "no", [1])


def test_it_may_have_run_though_its_error_would_say_otherwise_of_a_call():
    failed = {**MODERN, "status": "failed", "error": {"code": -32602, "message": "no"}}
    with pytest.raises(MCPError) as caught:
        watch(Server(failed)).result_of("t1")
    assert caught.value.maybe_executed is True


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_task_that_is_over_and_does_not_say_how_is_invalid(status):
    with pytest.raises(MessageInvalid):
        watch(Server({**MODERN, "status": status})).result_of("t1")


# -- trouble on the way ----------------------------------------------------------------------------


def test_trouble_on_the_way_is_no_reason_to_stop():
    server = Server(
        ConnectionLost("cut.", maybe_executed=True),
        RateLimited("slow down.", status=429, retry_after=0.05),
        HTTPStatusError("busy.", status=503, retryable=True),
        DONE,
    )
    assert watch(server).result_of("t1") == RESULT
    assert len(server.asked) == 4


def test_a_server_that_stays_away_is_given_up_in_the_end(monkeypatch):
    monkeypatch.setattr(module, "MOST_FAILURES", 3)
    server = Server(ConnectionLost("cut."))
    with pytest.raises(ConnectionLost) as caught:
        watch(server).result_of("t1")
    assert len(server.asked) == 4
    assert (caught.value.task_id, caught.value.maybe_executed) == ("t1", True)


def test_what_trying_again_does_not_help_is_raised_at_once():
    server = Server(HTTPStatusError("gone.", status=410))
    with pytest.raises(TransportError):
        watch(server).result_of("t1")
    assert len(server.asked) == 1


def test_the_deadline_bounds_the_trouble_too():
    with pytest.raises(RequestTimeout) as caught:
        watch(Server(ConnectionLost("cut.")), timeout=0.3).result_of("t1")
    assert caught.value.task_id == "t1"


def test_a_server_that_asks_for_more_patience_than_there_is_costs_no_more_than_that():
    server = Server(RateLimited("slow down.", status=429, retry_after=3600.0))
    with pytest.raises(RequestTimeout):
        watch(server, timeout=0.2).result_of("t1")
    assert len(server.asked) == 1


# -- what a legacy server asks about a task --------------------------------------------------------


def test_the_answer_to_a_request_about_a_task_says_which_task():
    related = {"io.modelcontextprotocol/related-task": {"taskId": "t1"}}
    callbacks = Callbacks(mcp_types.Implementation(name="x", version="1"))
    dispatch = dispatcher(callbacks, None, None)
    ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    assert dispatch({**ping, "params": {"_meta": related}})["result"] == {"_meta": related}
    assert dispatch({**ping, "params": {"_meta": {}}})["result"] == {}
    assert dispatch(ping)["result"] == {}
