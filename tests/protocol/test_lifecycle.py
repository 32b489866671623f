"""The states of a connection, all of them, and every step in each."""

import itertools

import pytest

from mcpsync.protocol.lifecycle import State, Step, after

# One row a state, one column a step; "-" cannot happen.
TABLE = """
            connect      succeed  fail     forget   close
new         connecting   -        -        new      closed
connecting  -            open     failed   new      closed
open        -            -        failed   new      closed
failed      connecting   -        -        new      closed
closed      -            -        -        closed   closed
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = {(row[0], step): cell for row in ROWS for step, cell in zip(HEAD, row[1:], strict=True)}


def test_the_table_names_every_state_and_every_step():
    assert set(CELLS) == {(str(a), str(b)) for a, b in itertools.product(State, Step)}


@pytest.mark.parametrize(("state", "step"), list(CELLS))
def test_every_step_leads_where_the_table_says_and_no_other_is_taken(state, step):
    expected = CELLS[state, step]
    if expected != "-":
        assert after(State(state), Step(step)) is State(expected)
        return
    with pytest.raises(ValueError, match=f"a connection that is {state} cannot {step}"):
        after(State(state), Step(step))


def test_what_is_closed_stays_closed():
    for step in (Step.CLOSE, Step.FORGET):
        assert after(State.CLOSED, step) is State.CLOSED


@pytest.mark.parametrize("state", list(State))
def test_every_state_can_be_closed_and_survives_a_fork(state):
    assert after(state, Step.CLOSE) is State.CLOSED
    assert after(state, Step.FORGET) in (State.NEW, State.CLOSED)
