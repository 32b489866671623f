"""What no test may leave behind, and the only machine that it may connect to."""

import contextlib
import functools
import gc
import ipaddress
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from . import processes

PATIENCE = 5.0
LITTLE = 0.015
_FDS = Path("/proc/self/fd")


@dataclass(frozen=True)
class Snapshot:
    """What is alive and open at one moment."""

    threads: frozenset[threading.Thread]
    children: frozenset[int]
    files: frozenset[str]

    @classmethod
    def take(cls) -> "Snapshot":
        """Look now. Cheap: it runs twice a test."""
        return cls(library_threads(), processes.children(), open_files())


def library_threads() -> frozenset[threading.Thread]:
    """The living threads that the library has started: it names them all."""
    return frozenset(t for t in threading.enumerate() if t.name.startswith("mcpsync-"))


def open_files() -> frozenset[str]:
    """This process's descriptors but for devices, as `7 socket:[1234]`; none if no one tells."""
    found = set()
    try:
        descriptors = os.listdir(_FDS)
    except OSError:
        return frozenset()
    for number in descriptors:
        try:
            target = os.readlink(_FDS / number)
        except OSError:  # the descriptor of the directory we are reading
            continue
        if not target.startswith("/dev/"):
            found.add(f"{number} {target}")
    return frozenset(found)


def leftovers(before: Snapshot, patience: float = PATIENCE) -> list[str]:
    """What was not there *before* and still is after *patience* seconds."""
    give_up = time.monotonic() + patience
    for thread in library_threads() - before.threads:
        with contextlib.suppress(RuntimeError):  # it is being started at this very moment
            thread.join(max(0.0, give_up - time.monotonic()))
    _forget_servers()
    pause = 0.001
    while (now := Snapshot.take()) and (found := _difference(before, now)):
        if time.monotonic() > give_up:
            return found
        if pause > LITTLE:  # looking through all there is takes longer than most need to end
            gc.collect()
        time.sleep(pause)
        pause = min(2 * pause, 2 * LITTLE)
    return []


def _difference(before: Snapshot, now: Snapshot) -> list[str]:
    found = [f"thread {thread.name}" for thread in now.threads - before.threads]
    found += [f"child process {pid}" for pid in now.children - before.children]
    found += [f"file descriptor {name}" for name in now.files - before.files]
    return sorted(found)


def _forget_servers() -> None:
    """Make empty what the process shares: idle sockets, and the eras of servers, for ports return.

    A test's server may have the port of an earlier one, and must not be taken for it.
    """
    http = sys.modules.get("mcpsync.http")
    if http is not None:
        http.reset_pools()
    opening = sys.modules.get("mcpsync.session.opening")
    if opening is not None:
        opening.eras.reset()


@dataclass
class Loopback:
    """An audit hook: a connection to anything but this machine is refused and remembered."""

    offences: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Watch from now on; an audit hook cannot be taken off again."""
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        """Called by the interpreter for every audited event: the common case must be quick."""
        if event != "socket.connect":
            return
        address = arguments[1]
        if is_local(address):
            return
        self.offences.append(f"connected to {address!r}")
        raise PermissionError(f"tests connect to this machine only, not to {address!r}")

    def take_offences(self) -> list[str]:
        """What was refused since the last time."""
        taken, self.offences = self.offences, []
        return taken


LOOPBACK = pytest.StashKey[Loopback]()


def is_local(address: object) -> bool:
    """Whether a socket address is on this machine."""
    if not isinstance(address, tuple):
        return True  # a path: a Unix socket
    host = str(address[0]).partition("%")[0]
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.cache
def signs_in(module: ModuleType) -> bool:
    """Whether the tests of *module* sign somebody in: so that no secret may be told there.

    Those of tests/auth do, and those that use one of the authorities.
    """
    helpers = {
        "support.authority",
        "support.entra",
        "support.machines",
        "support.people",
        "support.protected",
    }
    used = {getattr(value, "__module__", None) for value in vars(module).values()}
    return Path(module.__file__ or "").parent.name == "auth" or bool(helpers & used)
