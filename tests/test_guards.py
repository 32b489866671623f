"""Who guards the guards: each of them is shown failing."""

import socket
import subprocess
import sys
import threading
from types import ModuleType

import pytest

from support import authority, guards, people, processes

SHORT = 0.05


def test_a_thread_left_behind_is_named():
    before, end = guards.Snapshot.take(), threading.Event()
    thread = threading.Thread(target=end.wait, args=(10,), name="mcpsync-forgotten")
    thread.start()
    try:
        assert guards.leftovers(before, SHORT) == ["thread mcpsync-forgotten"]
    finally:
        end.set()
        thread.join(10)
    assert guards.leftovers(before) == []


def test_a_child_left_behind_is_named():
    before = guards.Snapshot.take()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert f"child process {child.pid}" in guards.leftovers(before, SHORT)
        assert processes.alive(child.pid)
    finally:
        child.communicate(b"\n", timeout=10)
    assert guards.leftovers(before) == []
    assert not processes.alive(child.pid)


def test_a_socket_left_open_is_named():
    before = guards.Snapshot.take()
    with socket.socket():
        (found,) = guards.leftovers(before, SHORT)
        assert "socket:" in found
    assert guards.leftovers(before) == []


def test_an_end_that_comes_soon_is_waited_for():
    before, end = guards.Snapshot.take(), threading.Event()
    thread = threading.Thread(target=end.wait, args=(10,), name="mcpsync-late")
    thread.start()
    end.set()
    assert guards.leftovers(before) == []


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 80), ("example.com", 443), ("2001:db8::1", 80, 0, 0)]
)
def test_connecting_to_another_machine_is_refused_and_remembered(address):
    loopback = guards.Loopback()
    with pytest.raises(PermissionError, match="this machine only"):
        loopback.hook("socket.connect", (None, address))
    assert loopback.take_offences() == [f"connected to {address!r}"]
    assert loopback.take_offences() == []


@pytest.mark.parametrize(
    "address", [("127.0.0.1", 80), ("localhost", 80), ("::1", 80, 0, 0), "/run/x"]
)
def test_connecting_to_this_machine_is_allowed(address):
    loopback = guards.Loopback()
    loopback.hook("socket.connect", (None, address))
    assert loopback.take_offences() == []


def test_the_hook_is_installed(request):
    loopback = request.config.stash[guards.LOOPBACK]
    with socket.socket() as sock, pytest.raises(PermissionError):
        sock.connect(("192.0.2.1", 80))
    assert loopback.take_offences() == ["connected to ('192.0.2.1', 80)"]


@pytest.mark.parametrize(
    ("file", "uses", "signs_in"),
    [
        ("tests/auth/test_x.py", None, True),
        ("tests/connections/test_x.py", authority.Authority, True),
        ("tests/connections/test_x.py", people.sign_in, True),
        ("tests/connections/test_x.py", processes.alive, False),
    ],
)
def test_who_signs_somebody_in_is_listened_to_for_secrets(file, uses, signs_in):
    module = ModuleType("test_x")
    module.__file__, module.something = file, uses
    assert guards.signs_in(module) is signs_in
