"""A small MCP server for tests, which checks its clients and misbehaves when told to.

It needs nothing but the standard library and shares no code with the client: see
:class:`LocalServer` for HTTP and :func:`stdio_command` for stdio.
"""

from .clock import FakeClock
from .command import stdio_command
from .faults import Fault
from .front import Page
from .journal import CancelledRequest, RecordedRequest
from .local_server import LocalServer

__all__ = [
    "CancelledRequest",
    "FakeClock",
    "Fault",
    "LocalServer",
    "Page",
    "RecordedRequest",
    "stdio_command",
]
