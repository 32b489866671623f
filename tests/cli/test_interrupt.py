"""Ctrl-C and SIGTERM: the call is cancelled, the server told, no child left."""

import signal

import pytest

from mcpsync.testing import Fault, LocalServer
from support.processes import wait_until

SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
@pytest.mark.parametrize(("era", "how"), [("modern", "closed stream"), ("legacy", "notification")])
def test_an_interrupt_cancels_the_call(start, era, how, number, code, word):
    with LocalServer(era) as server:
        child = start("call", server.url, "slow", "seconds:=60")
        assert server.wait_for(lambda it: "slow" in it.executions, 30)
        child.send_signal(number)
        assert child.wait(10) == code
        assert server.wait_for(lambda it: bool(it.cancelled))
        assert server.cancelled[0].how == how
    assert child.stderr.read() == f"mcpsync: {word}. The server may have run it.\n"
    assert child.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_child(start, stdio, number):
    server = stdio(fault=[Fault.HANG, Fault.STUBBORN])
    child = start("call", "echo", 'text:="hi"', "--", *server.command)
    wait_until(lambda: server.pid_file.exists() and server.pid_file.read_text(), "it starts", 30)
    child.send_signal(number)
    assert child.wait(20) in (130, 143)
    server.assert_gone()
    assert child.stderr.read().count("\n") == 1


def test_with_json_an_interrupt_is_an_object(start, server):
    server.inject(Fault.HANG, method="server/discover", times=None)
    child = start("tools", server.url, "--json")
    assert server.wait_for(lambda it: it.hanging == 1, 30)
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 130
    assert '"type": "Interrupted"' in child.stderr.read()
