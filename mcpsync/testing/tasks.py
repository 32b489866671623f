"""Tools of the test server that run as tasks, in the forms of both eras."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .call import Call
from .journal import Journal
from .jsonrpc import (
    INVALID_PARAMS,
    META_CAPABILITIES,
    METHOD_NOT_FOUND,
    Era,
    JSONObject,
    RPCError,
    meta_of,
)

TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
TASKS_CAPABILITY: JSONObject = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
RELATED_TASK = "io.modelcontextprotocol/related-task"
MISSING_CAPABILITY = -32021
POLL_INTERVAL = 100  # milliseconds
TICK = 0.02
ANSWER_TIMEOUT = 30.0

_SCHEMA: JSONObject = {
    "type": "object",
    "properties": {
        "seconds": {"type": "number"},
        "ask": {"type": "string"},
        "outcome": {"type": "string", "enum": ["completed", "tool-error", "failed", "cancelled"]},
    },
}
_WHAT = "Work for so many seconds, ask a question if there is one, and end in this way."


def _tool(name: str, support: str) -> JSONObject:
    execution = {"taskSupport": support}
    return {"name": name, "description": _WHAT, "inputSchema": _SCHEMA, "execution": execution}


TASK_TOOLS = (_tool("job", "required"), _tool("errand", "optional"))
TASK_TOOL_NAMES = ("job", "errand")
_FORM: JSONObject = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}

Handler = Callable[[Call], JSONObject]


@dataclass(slots=True)
class TaskRecord:
    """One task; its state follows from the time and from what it was told.

    Attributes:
        id: What clients know it by.
        era: The form it has.
        question: What it wants to know before it is done, if anything.
        answer: What it was told.
        looks: How often clients have looked.
        told: How often it was told an answer.
        cancelled: Whether a client cancelled it.
    """

    id: str
    era: Era
    outcome: str
    ends_at: float
    question: str | None
    created: str
    ttl: int | None
    interval: int | None = POLL_INTERVAL
    token: object = None
    answer: JSONObject | None = None
    looks: int = 0
    told: int = 0
    cancelled: bool = False
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def status(self) -> str:
        """Its state now."""
        if self.cancelled:
            return "cancelled"
        if time.monotonic() < self.ends_at and not self.released.is_set():
            return "working"
        if self.question is not None and self.answer is None:
            return "input_required"
        return "completed" if self.outcome == "tool-error" else self.outcome

    def finish(self) -> None:
        """End its work now, whatever time it had."""
        self.released.set()

    def result(self) -> JSONObject:
        """What its tool returns.

        Raises:
            RPCError: It failed.
        """
        status = self.status
        if status == "failed":
            raise RPCError(-32050, "the job failed", {"task": self.id})
        if status == "cancelled":
            raise RPCError(INVALID_PARAMS, "the task was cancelled")
        text = "done"
        if self.answer is not None:
            content = self.answer.get("content") or {}
            text = f"done: {self.answer.get('action')} {content.get('answer')}"
        is_error = self.outcome == "tool-error"
        return {"content": [{"type": "text", "text": text}], "isError": is_error}

    def legacy(self) -> JSONObject:
        """What 2025-11-25 says of it."""
        found: JSONObject = {
            "taskId": self.id,
            "status": self.status,
            "statusMessage": f"it is {self.status}",
            "createdAt": self.created,
            "lastUpdatedAt": self.created,
            "ttl": self.ttl,
        }
        return found if self.interval is None else {**found, "pollInterval": self.interval}

    def modern(self) -> JSONObject:
        """What the extension of 2026-07-28 says of it, without what its state brings."""
        names = {"ttl": "ttlMs", "pollInterval": "pollIntervalMs"}
        return {names.get(key, key): value for key, value in self.legacy().items()}

    def detailed(self) -> JSONObject:
        """All that the extension says of it."""
        found = self.modern()
        status = found["status"]
        if status == "input_required":
            found["inputRequests"] = {
                "question": {"method": "elicitation/create", "params": self.form()}
            }
        elif status == "completed":
            found["result"] = self.result()
        elif status == "failed":
            try:
                self.result()
            except RPCError as error:
                found["error"] = error.to_message(None)["error"]
        return found

    def form(self) -> JSONObject:
        """The question, as the params of ``elicitation/create``."""
        return {"mode": "form", "message": self.question, "requestedSchema": _FORM}


class TaskStore:
    """The tasks of the test server; safe to use from many threads.

    Lock: _lock guards _records.

    Attributes:
        poll_interval: Milliseconds that clients are asked to leave between two looks; None to
            leave that to them. For tasks that are begun from now on.
    """

    def __init__(self, journal: Journal) -> None:
        self.poll_interval: int | None = POLL_INTERVAL
        self._journal = journal
        self._lock = threading.Lock()
        self._records: dict[str, TaskRecord] = {}

    @property
    def records(self) -> list[TaskRecord]:
        """The tasks, oldest first."""
        with self._lock:
            return list(self._records.values())

    def forget(self) -> None:
        """Know no task any more."""
        with self._lock:
            self._records.clear()

    def legacy_handlers(self) -> Mapping[str, Handler]:
        """The methods of 2025-11-25."""
        return {
            "tasks/get": lambda call: self._find(call).legacy(),
            "tasks/result": self._result,
            "tasks/list": lambda _: {"tasks": [record.legacy() for record in self.records]},
            "tasks/cancel": lambda call: self._cancel(call).legacy(),
        }

    def modern_handlers(self) -> Mapping[str, Handler]:
        """The methods of the extension."""
        return {
            "tasks/get": lambda call: self._declared(call).detailed(),
            "tasks/update": self._update,
            "tasks/cancel": self._acknowledge,
        }

    def create(self, call: Call, arguments: JSONObject) -> JSONObject:
        """Begin a task, or carry the call out if it is not to be one.

        Raises:
            RPCError: It is one that has to be a task.
        """
        asked = call.params.get("task")
        required = call.params["name"] == "job"
        if call.era == "legacy" and asked is None:
            if required:
                raise RPCError(METHOD_NOT_FOUND, "job has to be called as a task")
            return {"content": [{"type": "text", "text": "done at once"}]}
        if call.era == "modern" and not _declares(call):
            if required:
                raise _undeclared()
            return {"content": [{"type": "text", "text": "done at once"}]}
        record = TaskRecord(
            uuid.uuid4().hex,
            call.era,
            arguments.get("outcome", "completed"),
            time.monotonic() + arguments.get("seconds", 0),
            arguments.get("ask"),
            datetime.now(UTC).isoformat(),
            (asked or {}).get("ttl"),
            self.poll_interval,
            meta_of(call.params).get("progressToken"),
        )
        with self._lock:
            self._records[record.id] = record
        self._journal.note_change()
        if call.era == "legacy":
            return {"task": record.legacy()}
        return {"resultType": "task", **record.modern()}

    def _find(self, call: Call) -> TaskRecord:
        with self._lock:
            record = self._records.get(str(call.params.get("taskId")))
        if record is None or record.era != call.era:
            raise RPCError(INVALID_PARAMS, "there is no such task")
        record.looks += 1
        self._journal.note_change()
        if call.era == "legacy" and record.token is not None:
            params = {"progressToken": record.token, "progress": record.looks}
            call.channel.send(
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            )
        return record

    def _declared(self, call: Call) -> TaskRecord:
        if not _declares(call):
            raise _undeclared()
        return self._find(call)

    def _cancel(self, call: Call) -> TaskRecord:
        record = self._declared(call) if call.era == "modern" else self._find(call)
        if record.status in ("completed", "failed", "cancelled"):
            raise RPCError(INVALID_PARAMS, f"the task is {record.status} already")
        record.cancelled = True
        self._journal.note_change()
        return record

    def _acknowledge(self, call: Call) -> JSONObject:
        self._cancel(call)
        return {}

    def _update(self, call: Call) -> JSONObject:
        record = self._declared(call)
        answers = call.params.get("inputResponses")
        if isinstance(answers, dict) and isinstance(answers.get("question"), dict):
            record.told += 1
            record.answer = record.answer or answers["question"]
        return {}

    def _result(self, call: Call) -> JSONObject:
        """Wait until the task is over; what it wants to know is asked on this stream."""
        record = self._find(call)
        asked = False
        while record.status in ("working", "input_required"):
            if record.status == "input_required" and not asked:
                asked = True
                record.answer = self._ask(call, record)
                record.told += 1
            call.pause(TICK)
        meta = {RELATED_TASK: {"taskId": record.id}}
        return {**record.result(), "_meta": meta}

    def _ask(self, call: Call, record: TaskRecord) -> JSONObject:
        request_id = f"ask-{record.id}"
        meta = {RELATED_TASK: {"taskId": record.id}}
        call.channel.send(
            {
                "jsonrpc": "2.0",
                "id": request_id,
                "method": "elicitation/create",
                "params": {**record.form(), "_meta": meta},
            }
        )
        reply = self._journal.wait_for_reply(call.session.id, request_id, ANSWER_TIMEOUT)
        if reply is not None and "result" in reply:
            if meta_of(reply["result"]) != meta:
                self._journal.add_violation("an answer to a task does not say which task it is of")
            found: JSONObject = reply["result"]
            return found
        return {"action": "unavailable"}


def _declares(call: Call) -> bool:
    capabilities = meta_of(call.params).get(META_CAPABILITIES)
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    return isinstance(extensions, dict) and TASKS_EXTENSION in extensions


def _undeclared() -> RPCError:
    needed: JSONObject = {"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}}
    return RPCError(MISSING_CAPABILITY, "Missing required client capability", needed)
