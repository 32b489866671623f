"""Calls that end otherwise than with an answer, and what works after them."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import mcpsync
from support.counterparts import kinds
from support.processes import alive, children, wait_until

LONG = 30.0
SOON = 5.0  # what "at once" may take on a busy machine


def assert_works(client, words):
    name, arguments, expected = words.call
    assert client.call_tool(name, arguments, timeout=20).content[0].text == expected


@kinds("sdk1-http-stateless-json")
def test_a_call_that_has_no_stream_is_cancelled_too(counterpart):
    cancel = mcpsync.Cancellation()
    with counterpart.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            client.call_tool, "slow", {"seconds": LONG, "word": "no-stream"}, cancel=cancel
        )
        counterpart.process.wait_for_output("slow started no-stream")
        cancel.cancel()
        with pytest.raises(mcpsync.RequestCancelled):
            call.result(SOON)
        assert_works(client, counterpart.words)


@kinds(notifies=True, often=True)
def test_closing_the_client_ends_the_calls_of_other_threads(counterpart):
    name, arguments = counterpart.words.slow
    running = threading.Event()
    with counterpart.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            client.call_tool,
            name,
            arguments(LONG, "close"),
            progress_callback=lambda *_: running.set(),
        )
        assert running.wait(20)
        client.close(timeout=SOON)
        with pytest.raises(mcpsync.TransportError):
            call.result(SOON)


@kinds(sessions=True)
def test_a_server_that_was_restarted_gets_a_new_session_without_the_caller_noticing(
    own_counterpart,
):
    with own_counterpart.client() as client:
        assert_works(client, own_counterpart.words)
        own_counterpart.process.restart()
        assert_works(client, own_counterpart.words)


@kinds("sdk2-http-modern", "sdk1-http-stateless-json")
def test_a_server_without_sessions_may_be_restarted_between_two_calls(own_counterpart):
    with own_counterpart.client() as client:
        assert_works(client, own_counterpart.words)
        own_counterpart.process.restart()
        assert_works(client, own_counterpart.words)


@kinds("everything-http", "sdk2-http-modern", "sdk2-http-legacy")
def test_a_server_that_is_gone_is_a_connect_error_and_nothing_was_run(own_counterpart):
    words = own_counterpart.words
    with own_counterpart.client() as client:
        assert_works(client, words)
        own_counterpart.process.stop()
        with pytest.raises(mcpsync.ConnectError) as caught:
            client.call_tool(words.add, {"a": 1, "b": 2}, timeout=5)
    assert not caught.value.maybe_executed
    assert caught.value.retryable


@kinds("everything-http", "sdk2-http-modern", "sdk2-http-legacy")
def test_a_server_killed_during_a_call_may_have_run_it(own_counterpart):
    name, arguments = own_counterpart.words.slow
    running = threading.Event()
    with own_counterpart.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            client.call_tool,
            name,
            arguments(LONG, "killed"),
            progress_callback=lambda *_: running.set(),
        )
        assert running.wait(20)
        own_counterpart.process.stop()
        with pytest.raises(mcpsync.TransportError) as caught:
            call.result(SOON)
    assert caught.value.maybe_executed


@kinds(transport="stdio", notifies=True, often=True)
def test_a_child_that_dies_during_a_call_is_a_server_that_exited(counterpart):
    name, arguments = counterpart.words.slow
    running, before = threading.Event(), children()
    with counterpart.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            client.call_tool,
            name,
            arguments(LONG, "dies"),
            progress_callback=lambda *_: running.set(),
        )
        assert running.wait(20)
        kill_one(children() - before)
        with pytest.raises(mcpsync.ServerExited) as caught:
            call.result(SOON)
    assert caught.value.returncode == -9
    assert caught.value.maybe_executed


@kinds(transport="stdio", often=True)
def test_a_child_that_died_between_two_calls_is_started_again(counterpart):
    before = children()
    with counterpart.client() as client:
        assert_works(client, counterpart.words)
        kill_one(children() - before)
        assert_works(client, counterpart.words)  # it died before any byte of this had left
        assert len(children() - before) == 1


def kill_one(pids):
    """Kill the only process in *pids*, a child of a client of this very test."""
    (pid,) = pids
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), f"process {pid} ends")
