"""Running something in a forked child, and bringing its result back."""

import contextlib
import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest

TIMEOUT = 15.0


def in_child(work: Callable[[], Any]) -> Any:
    """Fork, run *work* in the child, and return what it returned; fail if it raised."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: threads and fork
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _run(work, writing)
    os.close(writing)
    try:
        said = _read(reading)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
    went_well, value = pickle.loads(said)  # noqa: S301 - our own child wrote it
    if not went_well:
        pytest.fail(f"in the child:\n{value}")
    return value


def _run(work: Callable[[], Any], writing: int) -> None:
    try:
        try:
            outcome = (True, work())
        except BaseException:  # noqa: BLE001 - whatever it is, the parent tells it
            outcome = (False, traceback.format_exc())
        os.write(writing, pickle.dumps(outcome))
    finally:
        os._exit(0)


def _read(fd: int) -> bytes:
    said = b""
    while True:
        ready, _, _ = select.select([fd], [], [], TIMEOUT)
        if not ready:
            pytest.fail(f"the child said nothing for {TIMEOUT:g} s")
        chunk = os.read(fd, 65536)
        if not chunk:
            return said
        said += chunk
