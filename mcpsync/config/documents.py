"""Files that say what servers there are: YAML or JSON, and in which line each field stands."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeGuard

from ..errors import ConfigurationError
from .parsing import SPELLINGS

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node, SequenceNode

Place = tuple[str, ...]

LARGEST = 4 * 1024 * 1024  # bytes
MOST_NODES = 100_000  # once every alias has been replaced by what it stands for
OURS, THEIRS, SETTINGS = "servers", "mcpServers", "mcpSettings"


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says of servers, as it was written.

    Args:
        path: The file, as it was named.
        servers: What it says of each, by name.
        is_foreign: Whether it has them under ``mcpServers``, as other programs write it.
        settings: What stands under ``mcpSettings``, if anything does; of all servers.
        lines: The line in which each field begins, by where it is: a server's name, the field's
            name as we spell it, and so on.
    """

    path: str
    servers: Mapping[str, Any]
    is_foreign: bool
    settings: Any
    lines: Mapping[Place, int]

    def located(self, error: ConfigurationError, name: str) -> ConfigurationError:
        """Return *error*, which is about the server *name*, with file and line in its sentence."""
        place = (name, *(error.field or "").split("."))
        while place and place not in self.lines:
            place = place[:-1]
        line = self.lines.get(place)
        where = self.path if line is None else f"{self.path}, line {line}"
        text = f"{error.message.removesuffix('.')} ({where})."
        return type(error)(
            text, server_name=error.server_name, field=error.field, file=self.path, line=line
        )


Source: TypeAlias = str | os.PathLike[str] | Document
"""A file, or what was read of it."""


def read_document(path: Source) -> Document:
    """Read a YAML or JSON file; what was read already is returned as it is.

    Raises:
        ConfigurationError: It cannot be read, is too large, is neither, has a key twice, or
            describes no servers.
    """
    if isinstance(path, Document):
        return path
    shown = os.fspath(path)
    text = _read(Path(path))
    written, lines = _from_json(shown, text) or _from_yaml(shown, text)
    if not isinstance(written, Mapping):
        raise ConfigurationError(f"{shown} must hold a mapping with 'servers:' in it.", file=shown)
    key = OURS if OURS in written else THEIRS
    found = written.get(key)
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{shown} has no 'servers:' mapping.", file=shown)
    below = {place[1:]: line for place, line in lines.items() if place[:1] == (key,)}
    return Document(shown, found, key == THEIRS, written.get(SETTINGS), below)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError:
        raise ConfigurationError(f"{str(path)!r} cannot be the name of a file.") from None
    if len(content) > LARGEST:
        raise ConfigurationError(f"{path} is larger than {LARGEST} bytes.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse(str(path), "it cannot be read as text")


def _refuse(
    path: str, problem: str, line: int | None = None, column: int | None = None
) -> NoReturn:
    # What was read is not shown, nor what the reader says of it: it may hold a secret.
    where = "" if line is None else f", in line {line}, column {column}"
    raise ConfigurationError(
        f"{path} is not YAML: {problem}{where}.", file=path, line=line
    ) from None


# -- JSON ------------------------------------------------------------------------------------------


class _Twice(Exception):
    """A key of an object is there twice."""


def _from_json(path: str, text: str) -> tuple[Any, Mapping[Place, int]] | None:
    """Return what *text* holds if it is JSON, as desktops write it; with tabs, as YAML has not."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        written = json.loads(text, object_pairs_hook=_object)
    except _Twice as twice:
        raise ConfigurationError(
            f"{path} has {twice.args[0]!r} twice in one object.", file=path
        ) from None
    except (ValueError, RecursionError):
        return None  # YAML may begin with a brace, too; and it says where it is wrong
    try:
        _, lines = _from_yaml(path, text.replace("\t", " "))
    except ConfigurationError:
        return written, {}  # without PyYAML, or where that knows JSON less well
    return written, lines


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name[:100])
        found[name] = value
    return found


# -- YAML ------------------------------------------------------------------------------------------


def _from_yaml(path: str, text: str) -> tuple[Any, Mapping[Place, int]]:
    try:
        import yaml
    except ImportError:
        raise ConfigurationError(
            "reading YAML needs PyYAML: pip install 'mcpsync[yaml]'."
        ) from None
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, {}
            _Size(path).of(node)
            lines: dict[Place, int] = {}
            _note_lines(node, (), lines)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except ConfigurationError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if mark is None or error.problem is None:
            _refuse(path, "it makes no sense")
        problem = _QUOTED.sub("", error.problem)
        _refuse(path, problem, mark.line + 1, mark.column + 1)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):
        # PyYAML takes a tag at its word: "!!bool maybe" is a KeyError, "!!timestamp x" another.
        _refuse(path, "it makes no sense")


# Names of aliases, anchors and tags: what a secret is read as that begins with *, & or !
_QUOTED = re.compile(r""" (?:'[^'<][^']+'|"[^"]{2,}")""")


class _Size:
    """Counts what a document comes to without aliases, so that a small one cannot be a huge one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[int, int] = {}
        self._above: set[int] = set()

    def of(self, node: Node) -> int:
        """Return how many nodes there are in *node*, itself included.

        Raises:
            ConfigurationError: Too many, or one is in itself, or a key is there twice.
        """
        known = self._known.get(id(node))
        if known is not None:
            return known
        if id(node) in self._above:
            self._refuse(node, "an alias stands for what it is in")
        if isinstance(node.value, str):
            return 1
        self._above.add(id(node))
        count = 1
        if _is_mapping(node):
            self._check_keys(node)
        for child in node.value:
            count += sum(map(self.of, child)) if isinstance(child, tuple) else self.of(child)
            if count > MOST_NODES:
                self._refuse(node, f"it comes to more than {MOST_NODES} values")
        self._above.discard(id(node))
        self._known[id(node)] = count
        return count

    def _check_keys(self, node: MappingNode) -> None:
        seen: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key.value, str) or key.tag == _MERGE:
                continue
            if (first := seen.get((key.tag, key.value))) is not None:
                self._refuse(key, f"{key.value[:100]!r} is there twice, first in line {first}")
            seen[key.tag, key.value] = key.start_mark.line + 1

    def _refuse(self, node: Node, problem: str) -> NoReturn:
        mark = node.start_mark
        _refuse(self._path, problem, mark.line + 1, mark.column + 1)


def _is_mapping(node: Node) -> TypeGuard[MappingNode]:
    return node.__class__.__name__ == "MappingNode"  # PyYAML is imported where it is needed


def _is_sequence(node: Node) -> TypeGuard[SequenceNode]:
    return node.__class__.__name__ == "SequenceNode"


_MERGE = "tag:yaml.org,2002:merge"


def _note_lines(node: Node, place: Place, lines: dict[Place, int]) -> None:
    """Note in which line each field of a server begins; what was merged in, where it was written.

    Servers, their fields, and two floors below are enough to find a mistake.
    """
    if len(place) > _DEPTH:
        return
    if _is_sequence(node):
        for index, item in enumerate(node.value):
            lines[(*place, str(index))] = item.start_mark.line + 1
        return
    if not _is_mapping(node):
        return
    for key, value in node.value:
        if key.tag == _MERGE:
            bases = value.value if _is_sequence(value) else [value]
            for base in reversed(bases):
                _note_lines(base, place, lines)
    for key, value in node.value:
        if key.tag != _MERGE and isinstance(key.value, str):
            name = SPELLINGS.get(key.value, key.value) if len(place) == _SERVER else key.value
            lines[(*place, name)] = key.start_mark.line + 1
            _note_lines(value, (*place, name), lines)


_SERVER, _DEPTH = 2, 4  # servers: / its name / a field / what is in it / and in that
