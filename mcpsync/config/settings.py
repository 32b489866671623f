"""What a file says of all servers, below ``mcpSettings``: where URLs may lead. [seed: 6]"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from .documents import SETTINGS, Source, read_document
from .parsing import nearest

_KEYWORDS = {
    "allowedDomains": "allowed_domains",
    "allowed_domains": "allowed_domains",
    "allowedAddresses": "allowed_addresses",
    "allowed_addresses": "allowed_addresses",
}
_WITHOUT_EFFECT = {"catalogRecovery"}


def read_settings(path: Source) -> dict[str, tuple[str, ...]]:
    """Return what a file says below ``mcpSettings``, as keywords: those that are there.

    These are ``allowed_domains`` and ``allowed_addresses``; each entry is checked where it is used.

    Raises:
        ConfigurationError: The file cannot be read, or says something else there. A rule that is
            misspelt is not left out.
    """
    document = read_document(path)
    said = document.settings
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        raise ConfigurationError(f"{SETTINGS!r} in {document.path} is no mapping.")
    found: dict[str, tuple[str, ...]] = {}
    for key, value in said.items():
        if key in _WITHOUT_EFFECT:
            continue
        keyword = _KEYWORDS.get(key)
        if keyword is None:
            near = nearest(str(key), _KEYWORDS)
            raise ConfigurationError(
                f"{document.path} has {key!r} below {SETTINGS!r}, and nobody knows that{near}."
            )
        if keyword in found:
            raise ConfigurationError(f"{document.path} has {keyword!r} twice below {SETTINGS!r}.")
        found[keyword] = _texts(document.path, key, value)
    return found


def _texts(path: str, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigurationError(f"{key!r} below {SETTINGS!r} in {path} is no list of texts.")
    for each in value:
        if "${" in each or any(char.isspace() for char in each) or not each:
            raise ConfigurationError(
                f"{key!r} below {SETTINGS!r} in {path} has {each[:100]!r}, which is no host."
            )
    return tuple(value)
