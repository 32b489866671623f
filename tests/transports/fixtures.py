"""Fixtures that the tests of http, transports, sessions and clients share."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from mcpsync.session.opening import eras
from transports.peer import RawServer

Serve = Callable[..., RawServer]


@pytest.fixture(autouse=True)
def _fresh_eras() -> Iterator[None]:
    """Ports come again: what was found out about one must not outlive its test."""
    eras.reset()
    yield
    eras.reset()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start raw servers that are closed at the end."""
    with contextlib.ExitStack() as stack:

        def start(*args: object, **kwargs: object) -> RawServer:
            return stack.enter_context(RawServer(*args, **kwargs))  # type: ignore[arg-type]

        yield start
