"""Multi round-trip requests: a modern server asks, and is asked again with the answers.

(Requirements 5.4.) The state it wants back is returned as it came, and looked at by nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._runtime.backoff import doubled, pause
from ..errors import InputRequired, LimitExceeded, MCPSyncError, MessageInvalid
from .answers import MOST_QUESTIONS, Answers, Refusal
from .base import Call
from .callbacks import Callbacks

INPUT_REQUIRED: Final = "input_required"
RESPONSES: Final = "inputResponses"
STATE: Final = "requestState"
METHODS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})

FIRST_PAUSE = 0.05  # seconds before a server that asks nothing is asked again
LONGEST_PAUSE = 0.25  # what that grows to, doubling

Ask = Callable[[str, Mapping[str, Any], Call], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made: its method and params, and what its caller gave along."""

    method: str
    params: Mapping[str, Any]
    call: Call


class _Wanted(NamedTuple):
    """What the server wants: its requests by key, and the state to give back."""

    requests: Mapping[str, Mapping[str, Any]]
    state: str | None


def go_on(result: dict[str, Any], asked: Asked, ask: Ask, callbacks: Callbacks) -> dict[str, Any]:
    """Answer what the server wants and ask it again, until it has no more to ask.

    Args:
        result: The ``InputRequiredResult`` that a request led to.
        asked: That request.
        ask: Makes a request, under a new id, and returns its result.
        callbacks: The client's: who answers, and how often.

    Raises:
        InputRequired: Nobody here answers what it wants; the caller may, later.
        LimitExceeded: The server asks on and on.
        MessageInvalid: The server must not ask here, or does not say what.
        RequestTimeout, RequestCancelled: The caller's patience is over.
    """
    if asked.method not in METHODS:
        text = f"the server answered {asked.method} with input_required, which is not allowed."
        raise MessageInvalid(text, maybe_executed=True)
    scope, pauses = asked.call.scope, 0
    for _ in range(callbacks.max_rounds):
        wanted = _wanted(result)
        params = {name: v for name, v in asked.params.items() if name not in (RESPONSES, STATE)}
        if wanted.requests:
            params[RESPONSES] = _answered(wanted, asked, result, callbacks.answers)
        if wanted.state is not None:
            params[STATE] = wanted.state
        with _telling_whether_it_ran(asked):
            if not wanted.requests:
                delay = doubled(FIRST_PAUSE, pauses, LONGEST_PAUSE)
                pause(delay, scope.deadline, scope.cancel, doing="waiting for the server to go on")
            asked = Asked(asked.method, params, asked.call)
            result = ask(asked.method, params, asked.call)
        pauses = 0 if wanted.requests else pauses + 1
        if result.get("resultType") != INPUT_REQUIRED:
            return _uncacheable(result) if asked.method == "resources/read" else result
    if callbacks.max_rounds == 0:
        raise _required("the server wants something of the user first.", asked, result)
    raise LimitExceeded(
        f"the server asked for more input after {callbacks.max_rounds} rounds.",
        maybe_executed=True,
    )


def _wanted(result: Mapping[str, Any]) -> _Wanted:
    requests, state = result.get("inputRequests"), result.get(STATE)
    requests = {} if requests is None else requests
    well_formed = (
        isinstance(requests, Mapping)
        and all(isinstance(each, Mapping) for each in requests.values())
        and (state is None or isinstance(state, str))
        and (requests or state is not None)
    )
    if not well_formed:
        raise MessageInvalid("the server wants input, and does not say which.", maybe_executed=True)
    if len(requests) > MOST_QUESTIONS:
        raise LimitExceeded(
            f"the server asks {len(requests)} things at once, and {MOST_QUESTIONS} is the limit.",
            maybe_executed=True,
        )
    return _Wanted(requests, state)


def _answered(
    wanted: _Wanted, asked: Asked, result: dict[str, Any], answers: Answers
) -> dict[str, Any]:
    """Return the answer to each request. Nobody is asked before all can be."""
    given: dict[str, Any] = {}
    try:
        for request in wanted.requests.values():
            answers.understood(str(request.get("method")), _params_of(request))
        for key, request in wanted.requests.items():
            given[key] = answers.answer(str(request["method"]), _params_of(request), key)
    except Refusal as refusal:
        why = refusal.text.rstrip(".")
        text = f"the server wants something of the user first, and got no answer: {why}."
        raise _required(text, asked, result, given) from refusal.__cause__
    return given


def _params_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    params = request.get("params")
    return params if isinstance(params, Mapping) else {}


def _required(
    text: str, asked: Asked, result: dict[str, Any], given: Mapping[str, Any] | None = None
) -> InputRequired:
    """Make the error with all that is needed to answer later.

    A server that was given no answer yet has not begun; after that, who knows.
    """
    wanted = _wanted(result)
    params = asked.params
    return InputRequired(
        text,
        method=asked.method,
        params={name: v for name, v in params.items() if name not in (RESPONSES, STATE, "_meta")},
        input_requests=wanted.requests,
        request_state=wanted.state,
        responses=given or {},
        result=result,
        maybe_executed=_has_begun(asked),
    )


def _has_begun(asked: Asked) -> bool:
    """Whether the server has been given something to go on with: it may have done its part."""
    return RESPONSES in asked.params or STATE in asked.params


@contextlib.contextmanager
def _telling_whether_it_ran(asked: Asked) -> Iterator[None]:
    """Have errors of the next round say that the rounds before may have done something."""
    try:
        yield
    except MCPSyncError as error:
        error.maybe_executed = error.maybe_executed or _has_begun(asked)
        raise


def _uncacheable(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result that is good for no time: what answers went into is for this once."""
    return {**result, "ttlMs": 0, "cacheScope": "private"}
