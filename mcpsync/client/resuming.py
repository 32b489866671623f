"""Making a request again with the answers that the server wanted first. (Requirements 5.4)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigurationError, InputRequired
from ..session.answers import Refusal, answer_on_wire, plain, understood
from ..session.rounds import METHODS, RESPONSES, STATE


class Resumption(NamedTuple):
    """The call that goes on: a method of the client, and what it is called with."""

    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


def inputs_of(responses: Mapping[str, Any] | None, state: str | None) -> dict[str, Any] | None:
    """Return what goes into a request's params with the answers; None if there are none.

    Raises:
        ConfigurationError: They are no mapping, or the state is no text.
    """
    if responses is None and state is None:
        return None
    inputs: dict[str, Any] = {}
    if responses is not None:
        if not isinstance(responses, Mapping):
            kind = type(responses).__name__
            raise ConfigurationError(f"input_responses must be a mapping by key, not {kind}.")
        inputs[RESPONSES] = {key: plain(value) for key, value in responses.items()}
    if state is not None:
        if not isinstance(state, str):
            kind = type(state).__name__
            raise ConfigurationError(f"request_state must be the server's own text, not {kind}.")
        inputs[STATE] = state
    return inputs


def resumption_of(required: InputRequired, responses: Mapping[str, Any]) -> Resumption:
    """Return the call that goes on after *required* with *responses*.

    Raises:
        ConfigurationError: They do not answer what was asked.
    """
    if isinstance(required, InputRequired) and required.task_id is not None:
        return Resumption("_resume_task", (required.task_id, _checked(required, responses)), {})
    if not isinstance(required, InputRequired) or required.method not in METHODS:
        raise ConfigurationError("there is nothing to resume: this is no InputRequired of a call.")
    params = required.params
    keywords: dict[str, Any] = {"request_state": required.request_state}
    if required.input_requests:
        keywords["input_responses"] = _checked(required, responses)
    if required.method == "tools/call":
        return Resumption("call_tool", (params["name"], params.get("arguments")), keywords)
    if required.method == "prompts/get":
        return Resumption("get_prompt", (params["name"], params.get("arguments")), keywords)
    return Resumption("read_resource", (params["uri"],), keywords)


def _checked(required: InputRequired, responses: Mapping[str, Any]) -> dict[str, Any]:
    """Return all answers as they go over the wire: those of before, and these instead."""
    if not isinstance(responses, Mapping):
        raise ConfigurationError(f"responses are a mapping by key, not {responses!r:.40}.")
    strange = responses.keys() - required.input_requests.keys()
    if strange:
        raise ConfigurationError(f"the server did not ask for {min(map(str, strange))!r}.")
    found: dict[str, Any] = {}
    for key, request in required.input_requests.items():
        if key in responses:
            found[key] = _answer(key, request, responses[key])
        elif key in required.responses:
            found[key] = required.responses[key]
        else:
            raise ConfigurationError(f"the answer to {key!r} is missing.")
    return found


def _answer(key: str, request: Mapping[str, Any], given: Any) -> dict[str, Any]:
    method = str(request.get("method"))
    try:
        return answer_on_wire(method, understood(method, request.get("params") or {}), given)
    except Refusal as refusal:
        text = f"the request {key!r} cannot be answered: {refusal.text}."
        raise ConfigurationError(text) from refusal.__cause__
    except ConfigurationError as error:
        raise ConfigurationError(f"the answer to {key!r}: {error.message}") from error
