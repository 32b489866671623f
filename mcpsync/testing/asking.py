"""The server asks: elicitation, sampling, roots, in both eras.

In the legacy era it sends a request before its answer and waits for the reply; in the modern era
its answer is what it wants to know, and the client makes its request again.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from typing import NamedTuple

from .call import Call
from .journal import Journal
from .jsonrpc import (
    INVALID_PARAMS,
    META_CAPABILITIES,
    CallCancelled,
    JSONObject,
    RPCError,
    meta_of,
)

PATIENCE = 60.0
Questions = dict[str, tuple[str, JSONObject]]
"""What is asked, by key: the method and the params."""
Answers = dict[str, JSONObject]

_NEEDS = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class InputNeeded(Exception):
    """Raised inside a tool when the client has to answer something first (modern)."""

    def __init__(self, result: JSONObject) -> None:
        super().__init__("input needed")
        self.result = result


class Refused(Exception):
    """Raised inside a tool when the client gives no answer.

    Attributes:
        error: The client's error.
    """

    def __init__(self, error: JSONObject) -> None:
        super().__init__(str(error.get("message")))
        self.error = error


class _Given(NamedTuple):
    """What belongs to a state that a client was given."""

    request: JSONObject
    history: list[Answers]


class Asker:
    """Asks clients; safe to call from many threads.

    Lock: _lock guards _given.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._given: dict[str, _Given] = {}

    def begin(self, call: Call) -> Dialogue:
        """Begin to ask in a call, or go on.

        Raises:
            RPCError: What the client brings back is not what it was given.
        """
        history: list[Answers] = []
        token = call.params.get("requestState")
        if call.era == "modern":
            if token is not None:
                history = [*self._history_of(call, token)]
            if "inputResponses" in call.params:
                history.append(call.params["inputResponses"])
            elif token is not None:
                history.append({})
        return Dialogue(self, call, history, has_state=token is not None)

    def send(self, call: Call, method: str, params: JSONObject) -> JSONObject:
        """Send a request and return the client's answer (legacy).

        Raises:
            Refused: It answered with an error, or not at all.
            CallCancelled: The caller has cancelled or gone away.
        """
        request_id = f"asked-{next(self._ids)}"
        message: JSONObject = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params:
            message["params"] = params
        call.channel.send(message)
        gone = call.cancelled.is_set
        reply = self.journal.wait_for_reply(call.session.id, request_id, PATIENCE, gone)
        if call.cancelled.is_set():
            raise CallCancelled
        if reply is None:
            raise Refused({"message": "the client did not answer"})
        if "error" in reply:
            raise Refused(reply["error"])
        result: JSONObject = reply["result"]
        return result

    def give_state(self, call: Call, history: list[Answers]) -> str:
        """Return a state that is hard to bring back byte for byte."""
        token = f' {{"step": {len(history)}, "é": "\\u00e9"}}\t{uuid.uuid4().hex} ✓ '
        with self._lock:
            self._given[token] = _Given(_request_of(call), history)
        return token

    def _history_of(self, call: Call, token: object) -> list[Answers]:
        with self._lock:
            given = self._given.get(token) if isinstance(token, str) else None
        if given is None:
            raise self.violated("requestState is not what was given")
        if given.request != _request_of(call):
            raise self.violated("requestState came with another request")
        return given.history

    def violated(self, text: str) -> RPCError:
        """Note a broken rule, and return what the client is told."""
        self.journal.add_violation(text)
        return RPCError(INVALID_PARAMS, f"Invalid params: {text}")


class Dialogue:
    """What is asked in the course of one call."""

    def __init__(
        self, asker: Asker, call: Call, history: list[Answers], *, has_state: bool
    ) -> None:
        self._asker = asker
        self._call = call
        self._history = history
        self._has_state = has_state
        self._at = 0

    def ask(self, questions: Questions, *, state: bool = True) -> Answers:
        """Return the client's answers by key.

        Args:
            questions: What is asked; with nothing in it, the client is only to come again (modern).
            state: Whether the client gets a state to bring back (modern).

        Raises:
            InputNeeded: The client has to answer first (modern).
            Refused: The client did not answer, or has not said that it can.
            RPCError: What it brings back is not what it was given.
        """
        self._check(questions)
        if self._call.era == "legacy":
            return {key: self._asker.send(self._call, *asked) for key, asked in questions.items()}
        if self._at == len(self._history):
            raise InputNeeded(self._wanted(questions, state))
        answers = self._history[self._at]
        self._at += 1
        if state != self._has_state:
            raise self._asker.violated("requestState is missing or was not given")
        if set(answers) != set(questions):
            raise self._asker.violated(f"inputResponses are {sorted(answers)}")
        return answers

    def _check(self, questions: Questions) -> None:
        declared = capabilities_of(self._call)
        for method, params in questions.values():
            need = _NEEDS[method]
            if declared is not None and need not in declared:
                raise Refused({"message": f"the client has not declared {need}"})
            wants_url = params.get("mode") == "url"
            if declared is not None and wants_url and "url" not in declared[need]:
                raise Refused({"message": "the client has not declared URLs"})

    def _wanted(self, questions: Questions, has_state: bool) -> JSONObject:
        result: JSONObject = {"resultType": "input_required"}
        if questions:
            result["inputRequests"] = {
                key: {"method": method, **({"params": params} if params else {})}
                for key, (method, params) in questions.items()
            }
        if has_state:
            result["requestState"] = self._asker.give_state(self._call, self._history)
        return result


def capabilities_of(call: Call) -> JSONObject | None:
    """Return what the client has said that it can do; None if the server does not remember."""
    if call.era == "legacy":
        return call.session.capabilities
    found: JSONObject = meta_of(call.params).get(META_CAPABILITIES, {})
    return found


def _request_of(call: Call) -> JSONObject:
    left_out = ("_meta", "inputResponses", "requestState")
    kept = {name: value for name, value in call.params.items() if name not in left_out}
    return {"method": call.method, **kept}
