"""How much a server may send."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import ConfigurationError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client takes from a server before it stops reading.

    Args:
        max_response_bytes: One answer, as JSON or as an event stream (16 MiB).
        max_line_bytes: One line of an event stream, or one message over stdio (5 MiB).
        max_pages: Pages of one listing (1000).
        max_event_bytes: One event of an event stream, all its lines together (16 MiB).

    Raises:
        ConfigurationError: One of them is not a positive number.
    """

    max_response_bytes: int = 16 * MIB
    max_line_bytes: int = 5 * MIB
    max_pages: int = 1000
    max_event_bytes: int = 16 * MIB

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigurationError(f"the limit {field.name} must be at least 1.")
