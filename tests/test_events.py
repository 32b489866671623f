"""What observers may see: frozen records, each of which says whose and where."""

import dataclasses
import pickle

import pytest

from mcpsync import events

RECORDS = {
    "ConnectionCreated": {"seconds": 0.5},
    "ConnectionJoined": {},
    "ConnectionReused": {},
    "ConnectionFailed": {"error": "ConnectError"},
    "ConnectionRetried": {"attempt": 1, "delay": 2.0, "error": "ConnectError"},
    "ConnectionClosed": {"reason": "idle"},
    "BreakerOpened": {"seconds": 30.0, "cause": "failures"},
    "BreakerClosed": {},
    "ToolsChanged": {"tools": 7},
    "CallFinished": {"tool_name": "add", "seconds": 0.5, "error": None},
}


def made(name):
    """An event of that name."""
    return getattr(events, name)("crm", "42", **RECORDS[name])


def test_the_table_above_has_every_event():
    there = {name for name, kind in vars(events).items() if hasattr(kind, "server_name")}
    assert set(RECORDS) == there - {"Event"}


@pytest.mark.parametrize("name", list(RECORDS))
def test_every_event_says_which_server_and_whose_connection(name):
    event = made(name)
    assert isinstance(event, events.Event)
    assert (event.server_name, event.user_id) == ("crm", "42")
    assert dataclasses.asdict(event) == {"server_name": "crm", "user_id": "42", **RECORDS[name]}


@pytest.mark.parametrize("name", list(RECORDS))
def test_an_event_is_frozen_compares_by_value_and_pickles(name):
    event = made(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.server_name = "other"
    assert event == made(name)
    assert hash(event) == hash(made(name))
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301 - ours


@pytest.mark.parametrize("name", [*RECORDS, "SweepFinished"])
def test_an_event_is_one_small_object(name):
    assert not hasattr(getattr(events, name), "__dict__") or "__slots__" in vars(
        getattr(events, name)
    )


def test_two_kinds_of_event_are_never_equal():
    assert made("ConnectionJoined") != made("ConnectionReused")


def test_a_sweep_is_nobodys():
    event = events.SweepFinished(3)
    assert dataclasses.asdict(event) == {"closed": 3}
    assert not isinstance(event, events.Event)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.closed = 4


def test_anything_that_can_be_called_is_a_sink():
    told = []
    sink: events.EventSink = told.append
    sink(made("ConnectionReused"))
    assert told == [made("ConnectionReused")]
