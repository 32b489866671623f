"""The values of headers that mirror a body."""

from __future__ import annotations

import base64
import binascii
import re

_BASE64 = re.compile(r"=\?base64\?(.*)\?=")


def decode_header(value: str) -> str | None:
    """Undo the Base64 form of a header value; None if it is broken."""
    found = _BASE64.fullmatch(value)
    if found is None:
        return value if value.isascii() else None
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
