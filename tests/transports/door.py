"""One request through ``mcpsync.http``, and what may be said about how long it took."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from mcpsync import Cancellation
from mcpsync._runtime.deadline import Deadline
from mcpsync.http import HttpEndpoint, HttpSettings, Limits

BUDGET = 0.2  # seconds: a deadline in tests
SOON = 2.0  # seconds that "at once" may take on a busy machine
LONG = 5.0  # seconds: a deadline that is not meant to be reached


def door(url: str, *, limits: Limits | None = None, **settings: Any) -> HttpEndpoint:
    """An endpoint for *url*; *settings* are those of ``HttpSettings.resolve``."""
    return HttpEndpoint(HttpSettings.resolve(url, **settings), limits or Limits())


def ask(
    endpoint: HttpEndpoint | str,
    timeout: float = LONG,
    cancel: Cancellation | None = None,
    *,
    method: str = "POST",
    body: bytes | None = b"{}",
    headers: dict[str, str] | None = None,
    extra: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Send one request and return the status and the whole body."""
    if isinstance(endpoint, str):
        endpoint = door(endpoint)
    with endpoint.send(
        method,
        body,
        headers or {},
        deadline=Deadline(timeout),
        cancel=cancel,
        extra_headers=extra,
    ) as response:
        return response.status, response.read()


@contextlib.contextmanager
def within(least: float, most: float) -> Iterator[None]:
    """Fail unless the block takes between *least* and *most* seconds."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert least <= took + 0.005, f"took {took:.3f} s, should be at least {least} s"
    assert took <= most, f"took {took:.3f} s, should be at most {most} s"
