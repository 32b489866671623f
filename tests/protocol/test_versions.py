"""Protocol revisions and their eras: ours, held against the official registry."""

import itertools

import pytest
from mcp_types import version as official

from mcpsync.protocol.versions import (
    LATEST_LEGACY,
    LATEST_MODERN,
    LEGACY_VERSIONS,
    MODERN_VERSIONS,
    Era,
    is_at_least,
    latest_mutual,
)

UNKNOWN = ["", "zzz", "2025-11-26", "9999-01-01", "2025-11-25 "]


def test_our_versions_are_the_official_ones():
    assert LEGACY_VERSIONS == official.HANDSHAKE_PROTOCOL_VERSIONS
    assert MODERN_VERSIONS == official.MODERN_PROTOCOL_VERSIONS
    assert LEGACY_VERSIONS + MODERN_VERSIONS == official.KNOWN_PROTOCOL_VERSIONS


def test_the_latest_of_each_era_are_the_official_ones():
    assert LATEST_LEGACY == official.LATEST_HANDSHAKE_VERSION
    assert LATEST_MODERN == official.LATEST_MODERN_VERSION


@pytest.mark.parametrize(
    ("version", "minimum"),
    list(
        itertools.product(
            [*official.KNOWN_PROTOCOL_VERSIONS, *UNKNOWN], official.KNOWN_PROTOCOL_VERSIONS
        )
    ),
)
def test_versions_compare_as_officially(version, minimum):
    assert is_at_least(version, minimum) is official.is_version_at_least(version, minimum)


@pytest.mark.parametrize(
    ("supported", "mutual"),
    [
        (["2025-11-25"], "2025-11-25"),
        (["2024-11-05", "2025-06-18", "2025-03-26"], "2025-06-18"),
        (["2025-06-18", "9999-01-01", 7, None, {}], "2025-06-18"),
        (("2024-11-05",), "2024-11-05"),
        (["2026-07-28"], None),
        (["9999-01-01"], None),
        ([], None),
        (None, None),
        ("2025-11-25", None),
        ({"2025-11-25": True}, None),
        (7, None),
    ],
)
def test_the_latest_mutual_version_is_the_newest_that_both_name(supported, mutual):
    assert latest_mutual(supported, LEGACY_VERSIONS) == mutual


def test_the_eras_are_two():
    assert [str(era) for era in Era] == ["legacy", "modern"]
