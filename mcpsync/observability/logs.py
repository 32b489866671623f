"""``LogSink``: what happens, as lines of the log."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from .. import events

_PLAIN = re.compile(r"[\w.:/@+-]+", re.ASCII)
_LEVELS: Mapping[type, int] = {
    events.ConnectionCreated: logging.INFO,
    events.ConnectionJoined: logging.DEBUG,
    events.ConnectionReused: logging.DEBUG,
    events.ConnectionFailed: logging.WARNING,
    events.ConnectionRetried: logging.WARNING,
    events.ConnectionClosed: logging.INFO,
    events.BreakerOpened: logging.WARNING,
    events.BreakerClosed: logging.INFO,
    events.ToolsChanged: logging.INFO,
    events.CallFinished: logging.DEBUG,
    events.SweepFinished: logging.INFO,
}


class LogSink:
    """Writes each event as one line: ``MCPManager(servers, on_event=LogSink())``. Thread-safe.

    A line is the event's name and its fields, ``ConnectionCreated server_name=crm user_id=42
    seconds=0.012``. The record has them as attributes too, and the name as ``event``, for
    formatters that write JSON. A field that is None is left out; a text that could be mistaken for
    another field, or for another line, stands in quotes. Unknown events are ignored.

    Calls and connections that are reused are DEBUG, failures WARNING, everything else INFO.

    Args:
        logger: Where to; ``mcpsync.events`` if None.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger if logger is not None else logging.getLogger("mcpsync.events")

    def __call__(self, event: events.Event | events.SweepFinished, /) -> None:
        """Write *event* down."""
        level = _LEVELS.get(type(event))
        if level is None:
            return
        if isinstance(event, events.CallFinished) and event.error is not None:
            level = logging.WARNING
        if not self._logger.isEnabledFor(level):
            return
        fields = {
            field.name: value
            for field in dataclasses.fields(event)
            if (value := getattr(event, field.name)) is not None
        }
        name = type(event).__name__
        line = " ".join([name, *(f"{key}={_shown(value)}" for key, value in fields.items())])
        self._logger.log(level, "%s", line, extra={"event": name, **fields})


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
