"""The states of a connection, as a table.

``NEW → CONNECTING → OPEN → CLOSED``; a failed attempt ends in ``FAILED``, from which one may
connect again. What is closed stays closed. That a user must sign in first is a reason to have
failed, not a state. What is not in the table is an error, and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a connection stands."""

    NEW = "new"
    CONNECTING = "connecting"
    OPEN = "open"
    FAILED = "failed"
    CLOSED = "closed"


class Step(StrEnum):
    """What can happen to a connection."""

    CONNECT = "connect"
    SUCCEED = "succeed"
    FAIL = "fail"
    FORGET = "forget"  # the process forked: what the parent has is not ours
    CLOSE = "close"


_TABLE: dict[tuple[State, Step], State] = {
    (State.NEW, Step.CONNECT): State.CONNECTING,
    (State.FAILED, Step.CONNECT): State.CONNECTING,
    (State.CONNECTING, Step.SUCCEED): State.OPEN,
    (State.CONNECTING, Step.FAIL): State.FAILED,
    (State.OPEN, Step.FAIL): State.FAILED,
    (State.NEW, Step.CLOSE): State.CLOSED,
    (State.CONNECTING, Step.CLOSE): State.CLOSED,
    (State.OPEN, Step.CLOSE): State.CLOSED,
    (State.FAILED, Step.CLOSE): State.CLOSED,
    (State.CLOSED, Step.CLOSE): State.CLOSED,
    (State.NEW, Step.FORGET): State.NEW,
    (State.CONNECTING, Step.FORGET): State.NEW,
    (State.OPEN, Step.FORGET): State.NEW,
    (State.FAILED, Step.FORGET): State.NEW,
    (State.CLOSED, Step.FORGET): State.CLOSED,
}


def after(state: State, step: Step) -> State:
    """Return the state that follows *step* in *state*.

    Raises:
        ValueError: That cannot happen there.
    """
    try:
        return _TABLE[state, step]
    except KeyError:
        raise ValueError(f"a connection that is {state} cannot {step}") from None
