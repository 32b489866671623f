"""Calls that a server carries out as tasks: asking after one until it is over.

There are two forms. In 2025-11-25 (requirements 4.6) the client asks for a task, and
``tasks/result`` brings what the call would have brought. In the extension of 2026-07-28
(SEP-2663) the server decides, and ``tasks/get`` brings state, questions and result in one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from .._runtime.backoff import doubled, pause
from ..errors import (
    InputRequired,
    LimitExceeded,
    MCPSyncError,
    MessageInvalid,
    RateLimited,
    TaskCancelled,
    TransportError,
)
from ..protocol import codec
from ..protocol.versions import Era
from .answers import Refusal
from .base import Call
from .wire import validated

LEAST_INTERVAL = 0.1  # seconds between two looks, however little the server wants
MOST_INTERVAL = 60.0
FIRST_INTERVAL, USUAL_INTERVAL = 0.1, 2.0  # where the server says nothing: growing from, up to
LAST_LOOK = 1.0  # seconds before the deadline, if the next look would come after it
MOST_FAILURES = 20  # in a row
MOST_INPUTS = 100  # questions that one task may have

_MODERN_NAMES = {"ttlMs": "ttl", "pollIntervalMs": "pollInterval"}

Request: TypeAlias = Callable[[str, Mapping[str, Any] | None, Call], dict[str, Any]]
"""Makes a request over the session of the moment, and returns its result as it came."""

Answer: TypeAlias = Callable[[str, Mapping[str, Any], str], Mapping[str, Any]]
"""Answers a request of the server, given its method, params and key, with a result."""


@dataclass(frozen=True, slots=True)
class Task:
    """A call that goes on at the server, as it was when it was asked after.

    Attributes:
        task_id: What the server calls it; keep it to come back later, from any process.
        status: ``"working"``, ``"input_required"``, ``"completed"``, ``"failed"`` or
            ``"cancelled"``.
        created_at: When it was begun, as the server wrote it (ISO 8601).
        last_updated_at: When its state last changed.
        status_message: What the server says of its state.
        ttl: Seconds for which the server keeps it, from when it was begun; None for always.
        poll_interval: Seconds that the server wants between two looks.
        input_requests: What a modern server wants to know before it goes on, by its keys.
        result: What a modern server gives when it is completed, as it came.
        error: What a modern server gives when it failed: a JSON-RPC error.
    """

    task_id: str
    status: str
    created_at: str
    last_updated_at: str
    status_message: str | None = None
    ttl: float | None = None
    poll_interval: float | None = None
    input_requests: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is completed, failed or cancelled, and will not change any more."""
        return self.status in ("completed", "failed", "cancelled")


def task_of(record: Mapping[str, Any], era: Era) -> Task:
    """Return the task that *record* tells of, in the words of either form.

    Raises:
        MessageInvalid: It is none.
    """
    from mcp_types import Task as WireTask

    named = {_MODERN_NAMES.get(key, key): value for key, value in record.items()}
    wire = validated(WireTask, {"ttl": None, **named})
    modern = record if era is Era.MODERN else {}
    return Task(
        wire.task_id,
        wire.status,
        wire.created_at,
        wire.last_updated_at,
        wire.status_message,
        _seconds(wire.ttl),
        _seconds(wire.poll_interval),
        _mapping(modern, "inputRequests") or {},
        _mapping(modern, "result"),
        _mapping(modern, "error"),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _mapping(record: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    found = record.get(key)
    if found is not None and not isinstance(found, Mapping):
        raise MessageInvalid(f"the server's task has {key!r} that is no object.")
    return found


class TaskWatch:
    """Asks after one task, on behalf of one caller, who waits. Not to be shared by threads.

    Losing the connection does not lose the task: looking is harmless, and is tried again as long
    as the caller's deadline allows.

    Args:
        request: Makes requests.
        call: The caller's: its deadline bounds everything, its cancellation ends it.
        era: Which form the server's tasks have.
        answer: Answers what the server wants to know; without it that is an ``InputRequired``.
    """

    def __init__(
        self, request: Request, call: Call, era: Era, answer: Answer | None = None
    ) -> None:
        self._request = request
        scope = replace(call.scope, mirrored=None)  # those are of the tool call alone
        self._call = replace(call, scope=scope)
        self._era = era
        self._answer = answer
        self._failures = 0
        self._looks = 0
        self._looked_last = False
        self._answered: set[str] = set()

    def result_of(self, task: Task | str) -> dict[str, Any]:
        """Wait until a task is over, and return what its call would have returned.

        Raises:
            MCPError: It failed, and this is what the call would have raised.
            TaskCancelled: It was cancelled.
            InputRequired: The server wants to know something, and nobody here can answer.
            RequestTimeout, RequestCancelled: As the call says. The task goes on.
            MCPSyncError: See :mod:`mcpsync.errors`. All name the task, and all say that it may
                have run.
        """
        task_id = task if isinstance(task, str) else task.task_id
        with _telling_which(task_id):
            if isinstance(task, str) or task.status != "working":
                task = self.look(task_id)  # what begins a task tells its state, and no more
            return self._follow(task)

    def go_on(self, task_id: str, responses: Mapping[str, Any]) -> dict[str, Any]:
        """Tell a task what it wanted to know, and wait as :meth:`result_of` does."""
        with _telling_which(task_id):
            self._ask("tasks/update", {"taskId": task_id, "inputResponses": responses})
        self._answered.update(responses)
        return self.result_of(task_id)

    def look(self, task_id: str) -> Task:
        """Ask how a task is getting on."""
        return task_of(self._ask("tasks/get", {"taskId": task_id}), self._era)

    def _follow(self, task: Task) -> dict[str, Any]:
        while True:
            if task.status == "cancelled":
                why = f": {task.status_message}" if task.status_message else "."
                raise TaskCancelled(f"the server's task was cancelled{why}")
            if self._era is Era.MODERN:
                if task.is_over:
                    return _outcome(task)
                if task.status == "input_required":
                    self._respond(task)
            elif task.is_over or task.status == "input_required":
                return self._ask("tasks/result", {"taskId": task.task_id})
            self._wait_after(task)
            task = self.look(task.task_id)

    def _respond(self, task: Task) -> None:
        """Answer what was not answered yet: a question may be seen again before it is settled."""
        fresh = {k: v for k, v in task.input_requests.items() if k not in self._answered}
        if not fresh:
            return
        if len(self._answered) + len(fresh) > MOST_INPUTS:
            raise LimitExceeded(f"the server's task has more than {MOST_INPUTS} questions.")
        responses = {key: self._answer_to(key, each, task) for key, each in fresh.items()}
        self._ask("tasks/update", {"taskId": task.task_id, "inputResponses": responses})
        self._answered.update(fresh)

    def _answer_to(self, key: str, wanted: Any, task: Task) -> Mapping[str, Any]:
        if not isinstance(wanted, Mapping) or not isinstance(wanted.get("method"), str):
            raise MessageInvalid("the server's task asks something that is no request.")
        refused: Refusal | None = None
        if self._answer is not None:
            try:
                return self._answer(wanted["method"], codec.params_of(wanted), key)
            except Refusal as refusal:
                refused = refusal
        raise InputRequired(
            "the server's task wants something of the user, and nobody here can answer; "
            "client.resume() goes on with the answers.",
            input_requests=dict(task.input_requests),
            result={"resultType": "input_required", "inputRequests": dict(task.input_requests)},
        ) from (refused.__cause__ if refused is not None else None)

    def _wait_after(self, task: Task) -> None:
        self._looks += 1
        if task.poll_interval is None:
            interval = doubled(FIRST_INTERVAL, self._looks - 1, USUAL_INTERVAL)
        else:
            interval = min(max(task.poll_interval, LEAST_INTERVAL), MOST_INTERVAL)
        scope = self._call.scope
        remaining = scope.deadline.remaining()
        if interval >= remaining and not self._looked_last:
            self._looked_last = True
            interval = remaining - min(LAST_LOOK, remaining / 2)
        pause(interval, scope.deadline, scope.cancel, doing="waiting for the server's task")

    def _ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Make a request that may be made twice; again, if it did not get there or back."""
        scope = self._call.scope
        while True:
            try:
                result = self._request(method, params, self._call)
            except TransportError as error:
                self._failures += 1
                if not error.retryable or self._failures > MOST_FAILURES:
                    raise
                wait = doubled(LEAST_INTERVAL, self._failures - 1, 5.0)
                if isinstance(error, RateLimited) and error.retry_after is not None:
                    wait = max(wait, error.retry_after)
            else:
                self._failures = 0
                return result
            pause(wait, scope.deadline, scope.cancel, doing="waiting for the server's task")


@contextlib.contextmanager
def _telling_which(task_id: str) -> Iterator[None]:
    """Have errors name the task, and say that it may have run."""
    try:
        yield
    except MCPSyncError as error:
        error.task_id = task_id
        error.maybe_executed = True
        raise


def _outcome(task: Task) -> dict[str, Any]:
    if task.status == "failed":
        raise codec.error_of({"error": task.error})
    if task.result is None:
        raise MessageInvalid("the server's task is completed and has no result.")
    return dict(task.result)
