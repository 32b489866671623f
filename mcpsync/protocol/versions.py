"""Protocol revisions and their eras.

Spelled out here, although ``mcp_types.version`` has them too, because importing that package
costs more than all of mcpsync; a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum


class Era(StrEnum):
    """Whether a revision begins with a handshake. (Specification 2026-07-28, versioning.)"""

    LEGACY = "legacy"  # ``initialize``, sessions, server-to-client requests
    MODERN = "modern"  # stateless: everything in each request


LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS = ("2026-07-28",)
LATEST_LEGACY = LEGACY_VERSIONS[-1]
LATEST_MODERN = MODERN_VERSIONS[-1]

_KNOWN = LEGACY_VERSIONS + MODERN_VERSIONS


def is_at_least(version: str, minimum: str) -> bool:
    """Whether *version* is a known revision no older than *minimum*; unknown ones are not."""
    return version in _KNOWN and _KNOWN.index(version) >= _KNOWN.index(minimum)


def latest_mutual(supported: object, ours: tuple[str, ...]) -> str | None:
    """Return the newest of *ours* that the server's list *supported* names, if any."""
    if not isinstance(supported, list | tuple):
        return None
    return next((version for version in reversed(ours) if version in supported), None)
