"""Telling a call that waits, from another thread, to stop waiting."""

import threading

import pytest

from mcpsync._runtime.cancel import Cancellation, Watch
from mcpsync._runtime.locks import assert_none_held
from mcpsync.errors import RequestCancelled


def test_a_new_cancellation_is_armed():
    cancel = Cancellation()
    assert not cancel.cancelled
    assert cancel.reason is None
    assert repr(cancel) == "<Cancellation armed>"


@pytest.mark.parametrize("reason", [None, "user left"])
def test_cancelling_is_remembered_with_its_reason(reason):
    cancel = Cancellation()
    cancel.cancel(reason)
    assert cancel.cancelled
    assert cancel.reason == reason
    assert repr(cancel) == "<Cancellation cancelled>"


def test_the_first_to_cancel_gives_the_reason():
    cancel = Cancellation()
    cancel.cancel("first")
    cancel.cancel("second")
    assert cancel.reason == "first"


def test_cancelling_calls_every_waker_once_in_their_order():
    cancel, calls = Cancellation(), []
    for name in "abc":
        cancel.add_waker(lambda name=name: calls.append(name))
    cancel.cancel()
    cancel.cancel()
    assert calls == ["a", "b", "c"]


def test_wakers_run_on_the_thread_that_cancels_with_no_lock_held(spawn):
    cancel, threads = Cancellation(), []

    def wake():
        assert_none_held("waking")
        threads.append(threading.get_ident())

    cancel.add_waker(wake)
    other = spawn(lambda: (cancel.cancel(), threading.get_ident())[1]).result(timeout=20)
    assert threads == [other]


def test_a_waker_added_too_late_is_called_at_once():
    cancel, calls = Cancellation(), []
    cancel.cancel()
    cancel.add_waker(lambda: calls.append(threading.get_ident()))
    assert calls == [threading.get_ident()]


def test_the_reason_is_there_when_a_waker_looks():
    cancel, seen = Cancellation(), []
    cancel.add_waker(lambda: seen.append((cancel.cancelled, cancel.reason)))
    cancel.cancel("user left")
    assert seen == [(True, "user left")]


def test_a_removed_waker_is_not_called():
    cancel, calls = Cancellation(), []

    def wake():
        calls.append(1)

    cancel.add_waker(wake)
    cancel.remove_waker(wake)
    cancel.cancel()
    assert calls == []


def test_removing_a_waker_nobody_added_does_nothing():
    cancel = Cancellation()
    cancel.remove_waker(print)
    cancel.cancel()
    cancel.remove_waker(print)


def test_a_waker_may_use_the_cancellation_that_wakes_it():
    cancel, calls = Cancellation(), []

    def wake():
        cancel.cancel("again")
        cancel.remove_waker(wake)
        cancel.add_waker(lambda: calls.append("nested"))

    cancel.add_waker(wake)
    cancel.cancel("once")
    assert calls == ["nested"]
    assert cancel.reason == "once"


def test_looking_and_adding_are_one_step_under_the_lock():
    cancel = Cancellation()

    class Guarded(list):
        def append(self, waker):
            assert cancel._lock.locked()
            super().append(waker)

        def remove(self, waker):
            assert cancel._lock.locked()
            super().remove(waker)

    cancel._wakers = Guarded()
    cancel.add_waker(print)
    cancel.remove_waker(print)
    assert cancel._wakers == []


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("seed", range(20))
def test_no_waker_is_lost_or_called_twice_while_threads_add_and_cancel(spawn, seed):
    cancel, calls = Cancellation(), []
    barrier = threading.Barrier(16)

    def add(name):
        barrier.wait(20)
        cancel.add_waker(lambda: calls.append(name))

    def fire():
        barrier.wait(20)
        cancel.cancel(f"seed {seed}")

    runs = [spawn(add, name) for name in range(13)] + [spawn(fire) for _ in range(3)]
    for run in runs:
        run.result(timeout=20)
    assert sorted(calls) == list(range(13))


@pytest.mark.parametrize(
    ("reason", "text"), [(None, "cancelled."), ("user left", "cancelled: user left.")]
)
def test_a_watch_hands_over_an_error_that_says_why(reason, text):
    cancel, aborted = Cancellation(), []
    Watch(cancel, aborted.append)
    cancel.cancel(reason)
    (error,) = aborted
    assert isinstance(error, RequestCancelled)
    assert str(error) == text


def test_a_watch_on_what_is_cancelled_already_aborts_at_once():
    cancel, aborted = Cancellation(), []
    cancel.cancel()
    Watch(cancel, aborted.append)
    assert len(aborted) == 1


def test_a_watch_that_has_ended_aborts_nothing():
    cancel, aborted = Cancellation(), []
    watch = Watch(cancel, aborted.append)
    watch.end()
    watch.end()
    cancel.cancel()
    assert aborted == []


def test_ending_one_watch_leaves_the_others_watching():
    cancel, first, second = Cancellation(), [], []
    Watch(cancel, first.append).end()
    Watch(cancel, second.append)
    cancel.cancel()
    assert (len(first), len(second)) == (0, 1)


def test_two_watches_with_the_same_abort_are_two():
    cancel, aborted = Cancellation(), []
    Watch(cancel, aborted.append).end()
    Watch(cancel, aborted.append)
    Watch(cancel, aborted.append)
    cancel.cancel()
    assert len(aborted) == 2
    assert aborted[0] is not aborted[1]


def test_a_watch_on_nothing_watches_nothing():
    watch = Watch(None, pytest.fail)
    watch.end()
    watch.end()
