"""Extensions: what a client says it can do beyond the core protocol. (Requirements section 7.)"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import ConfigurationError

TASKS: Final = "io.modelcontextprotocol/tasks"
SKILLS: Final = "io.modelcontextprotocol/skills"

_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_IDENTIFIER = re.compile(rf"{_LABEL}(?:\.{_LABEL})*/[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_RESULT_TYPES: Final[Mapping[str, frozenset[str]]] = {TASKS: frozenset({"task"})}
_NONE: Final[frozenset[str]] = frozenset()  # an empty one of its own would take 216 bytes


class ClientExtension:
    """An extension that a client offers to its servers: ``Client(url, extensions=[…])``.

    A subclass sets ``identifier``, and gives its own :meth:`settings` if it has any.

    Attributes:
        identifier: Its id with the prefix of whoever defined it, ``com.example/search``.
    """

    identifier: str

    def settings(self) -> Mapping[str, Any]:
        """Return what goes with the id; nothing means that it is supported, and no more."""
        return {}


class _Advertised(ClientExtension):
    def __init__(self, identifier: str, settings: Mapping[str, Any]) -> None:
        self.identifier = identifier
        self._settings = settings

    def settings(self) -> Mapping[str, Any]:
        return self._settings


class TasksExtension(ClientExtension):
    """Lets a modern server answer a tool call with a task (``io.modelcontextprotocol/tasks``).

    Without it a server must answer the call itself. Tasks of 2025-11-25 are part of that version
    and need no extension.
    """

    identifier = TASKS


def advertise(identifier: str, settings: Mapping[str, Any] | None = None) -> ClientExtension:
    """Return an extension of which the client says that it has it, and nothing else.

    Args:
        identifier: The extension's id, with its prefix.
        settings: What goes with it.
    """
    return _Advertised(identifier, settings or {})


Extensions = Mapping[str, Mapping[str, Any]] | Iterable[ClientExtension]


def settings_of(extensions: Extensions | None) -> dict[str, dict[str, Any]]:
    """Return the settings of each extension, by its id.

    Raises:
        ConfigurationError: An id has no prefix or comes twice, or something is no extension.
    """
    if extensions is None:
        return {}
    if isinstance(extensions, Mapping):
        extensions = [advertise(name, settings) for name, settings in extensions.items()]
    found: dict[str, dict[str, Any]] = {}
    for each in extensions:
        name = getattr(each, "identifier", None)
        if not isinstance(each, ClientExtension) or not isinstance(name, str):
            raise ConfigurationError(
                "extensions= takes a mapping of ids to settings, or extensions such as "
                f"advertise(id), not {each!r}."
            )
        if not _IDENTIFIER.fullmatch(name):
            raise ConfigurationError(
                f"an extension's id has a prefix, as com.example/name has; {name!r} has none."
            )
        if name in found:
            raise ConfigurationError(f"the extension {name!r} is there twice.")
        settings = each.settings()
        if not isinstance(settings, Mapping):
            raise ConfigurationError(f"the settings of {name!r} must be a mapping.")
        found[name] = dict(settings)
    return found


def result_types_of(extensions: Iterable[str]) -> frozenset[str]:
    """Return the kinds of results that come with the extensions of these ids."""
    found = {kind for name in extensions for kind in _RESULT_TYPES.get(name, ())}
    return frozenset(found) if found else _NONE
