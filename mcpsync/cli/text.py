"""Text that came from a server, made safe to show; and JSON made safe to print."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

LONGEST_LINE = 2000  # characters of a one-line message; a server's error may be of any length

# What steers a terminal or the direction of writing, cannot be seen, or cannot be encoded:
# C0 but tab and line feed, DEL, C1, bidirectional controls, line separators, tags, lone surrogates.
_UNSAFE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
    "\\ud800-\\udfff\\ufeff\\U000e0000-\\U000e007f]"
)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def printable(text: str) -> str:
    """Return *text* with everything that could do harm to a terminal shown as an escape."""
    return _UNSAFE.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Return *text* on a line, white space collapsed, cut if it is too long, printable."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def as_json(value: Any, indent: int | None = 2) -> str:
    """Return *value* as JSON that reads well and that no terminal takes for anything else."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    text = json.dumps(value, indent=indent, ensure_ascii=encoding != "utf8", default=str)
    return _UNSAFE.sub(_escaped, text)
