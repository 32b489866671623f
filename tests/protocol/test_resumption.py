"""Where one stream stands: requirements H11 to H13."""

import pytest

from mcpsync.protocol.resumption import ATTEMPTS, DEFAULT_RETRY, SHORTEST_RETRY, Cursor
from mcpsync.protocol.sse import SSEDecoder


def cursor_after(text):
    cursor = Cursor()
    for event in SSEDecoder(10_000).feed(text.encode()):
        cursor.note(event)
    return cursor


@pytest.mark.parametrize(
    ("text", "last_event_id"),
    [
        ("data: x\n\n", None),
        ("id: 1\ndata: x\n\n", "1"),
        ("id: 1\ndata: x\n\ndata: y\n\n", "1"),
        ("id: 1\ndata: x\n\nid: 2\n\n", "2"),
        ("id: 1\ndata: x\n\nid\ndata: y\n\n", None),
        ("id: a\0b\ndata: x\n\n", None),
    ],
)
def test_the_last_id_is_the_one_to_go_on_from(text, last_event_id):
    assert cursor_after(text).last_event_id == last_event_id


@pytest.mark.parametrize(
    ("text", "retry"),
    [
        ("data: x\n\n", DEFAULT_RETRY),
        ("retry: 500\n\n", 0.5),
        ("retry: 500\n\nretry: soon\n\n", 0.5),
        ("retry: 0\n\n", SHORTEST_RETRY),
    ],
)
def test_the_server_says_how_long_to_wait(text, retry):
    assert cursor_after(text).retry == retry


def test_without_an_id_there_is_no_going_on():
    assert cursor_after("retry: 100\ndata: x\n\n").pause() is None


def test_attempts_that_bring_nothing_are_counted_and_events_begin_anew():
    cursor = cursor_after("id: 1\nretry: 200\ndata: x\n\n")
    for _ in range(3):
        assert [cursor.pause() for _ in range(ATTEMPTS + 1)] == [0.2] * ATTEMPTS + [None]
        for event in SSEDecoder(100).feed(b"id: 2\n\n"):
            cursor.note(event)


def test_a_wish_alone_is_no_progress():
    cursor = cursor_after("id: 1\ndata: x\n\n")
    for _ in range(ATTEMPTS):
        cursor.pause()
        for event in SSEDecoder(100).feed(b"retry: 100\n\n"):
            cursor.note(event)
    assert cursor.pause() is None
