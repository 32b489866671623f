"""What is kept for one listener, and how much of it."""

import threading

import pytest

from mcpsync import ConnectionLost
from mcpsync._runtime.deadline import Deadline
from mcpsync.protocol.listening import SUBSCRIPTION_KEY
from mcpsync.transports import _mailbox
from mcpsync.transports._mailbox import Mailbox
from mcpsync.transports.base import MISSED

NOW = Deadline(0)
TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"


def note(method, subscription=None, **params):
    if subscription is not None:
        params["_meta"] = {SUBSCRIPTION_KEY: subscription}
    return {"jsonrpc": "2.0", "method": method, "params": params}


def everything_in(box):
    found = []
    while (item := box.take(NOW)) is not None:
        found.append(item)
    return found


def test_the_same_thing_is_kept_once():
    box = Mailbox(None)
    for _ in range(3):
        box.put(note(TOOLS))
        box.put(note(UPDATED, uri="a://b"))
    assert everything_in(box) == [note(TOOLS), note(UPDATED, uri="a://b")]


def test_what_was_taken_may_come_again():
    box = Mailbox(None)
    for _ in range(2):
        box.put(note(TOOLS))
        assert everything_in(box) == [note(TOOLS)]


def test_beyond_the_limit_it_is_only_known_that_something_was_missed(monkeypatch):
    monkeypatch.setattr(_mailbox, "MOST_KEPT", 3)
    box = Mailbox(7)
    for number in range(10):
        box.put(note(UPDATED, 7, uri=f"a://{number}"))
    *kept, missed = everything_in(box)
    assert len(kept) == 3
    assert missed is MISSED
    box.put(note(TOOLS, 7))
    assert everything_in(box) == [note(TOOLS, 7)]


def test_the_end_is_kept_whatever_there_is(monkeypatch):
    monkeypatch.setattr(_mailbox, "MOST_KEPT", 3)
    box = Mailbox(7)
    for number in range(10):
        box.put(note(UPDATED, 7, uri=f"a://{number}"))
    box.put({"jsonrpc": "2.0", "id": 7, "result": {}})
    assert everything_in(box)[-1] == {"jsonrpc": "2.0", "id": 7, "result": {}}


@pytest.mark.parametrize(
    ("subscription", "message", "wanted"),
    [
        (None, note(TOOLS), True),
        (None, note("notifications/progress"), False),
        (None, {"jsonrpc": "2.0", "id": 1, "result": {}}, False),
        (7, note(TOOLS, 7), True),
        (7, note(TOOLS, 8), False),
        (7, note(TOOLS), False),
        (7, note("notifications/cancelled", requestId=7), True),
        (7, note("notifications/cancelled", requestId=8), False),
        (7, {"jsonrpc": "2.0", "id": 7, "result": {}}, True),
        (7, {"jsonrpc": "2.0", "id": 8, "result": {}}, False),
        (7, {"jsonrpc": "2.0", "method": TOOLS, "params": {"_meta": "odd"}}, False),
    ],
)
def test_each_listener_gets_what_is_his(subscription, message, wanted):
    assert Mailbox(subscription).wants(message) is wanted


def test_an_error_comes_after_what_was_there_and_stays():
    box = Mailbox(None)
    box.put(note(TOOLS))
    box.fail(ConnectionLost("cut."))
    assert box.take(NOW) == note(TOOLS)
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            box.take(NOW)


def test_whoever_waits_is_woken():
    box = Mailbox(None)
    thread = threading.Thread(target=box.put, args=[note(TOOLS)])
    thread.start()
    assert box.take(Deadline(5)) == note(TOOLS)
    thread.join(5)
