"""From the answer to a probe to a verdict. (Requirements N1 to N11.)

The probe is ``server/discover`` in the newest modern revision. Only three error codes are evidence
that the peer is modern; every other refusal, whatever its status, code or content, means legacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import MCPError, UnsupportedProtocolVersion
from .codec import HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION
from .versions import LEGACY_VERSIONS, MODERN_VERSIONS, Era, latest_mutual

MODERN_EVIDENCE = frozenset({HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION})


class Verdict(NamedTuple):
    """What a probe showed: the era, and the version to go on with."""

    era: Era
    version: str | None = None  # for the legacy era, ``initialize`` negotiates it


LEGACY = Verdict(Era.LEGACY)


def judge_discovery(result: Mapping[str, Any]) -> Verdict:
    """Return the verdict on a ``DiscoverResult``. (N2, N8)

    Raises:
        UnsupportedProtocolVersion: No version of it is known to us.
    """
    supported = result.get("supportedVersions")
    if not isinstance(supported, list):  # something that answers whatever it is asked
        return LEGACY
    version = latest_mutual(supported, MODERN_VERSIONS)
    if version is not None:
        return Verdict(Era.MODERN, version)
    if latest_mutual(supported, LEGACY_VERSIONS) is not None:
        return LEGACY
    raise unsupported(supported)


def judge_refusal(error: MCPError) -> Verdict:
    """Return the verdict on a JSON-RPC error that answered the probe. (N2, N3, N6)

    Raises:
        UnsupportedProtocolVersion: The server is modern, and no version of it is known to us.
    """
    if error.code not in MODERN_EVIDENCE:
        return LEGACY
    if error.code != UNSUPPORTED_VERSION:
        return Verdict(Era.MODERN, MODERN_VERSIONS[-1])
    supported = supported_versions(error)
    if latest_mutual(supported, LEGACY_VERSIONS) is not None:
        return LEGACY
    raise unsupported(supported)


def supported_versions(error: MCPError) -> Any:
    """Return what an "unsupported version" error lists as supported, if it lists anything."""
    return error.data.get("supported") if isinstance(error.data, Mapping) else None


def unsupported(supported: Any) -> UnsupportedProtocolVersion:
    """Make the error that says the two sides have no version in common."""
    listed = tuple(str(version) for version in supported) if isinstance(supported, list) else ()
    theirs = ", ".join(listed) or "something else"
    return UnsupportedProtocolVersion(
        f"the server speaks {theirs}; this client speaks "
        f"{', '.join(LEGACY_VERSIONS + MODERN_VERSIONS)}.",
        supported=listed,
    )
