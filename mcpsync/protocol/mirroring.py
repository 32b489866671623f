"""Arguments of a tool that go along as headers. (Requirements 5.7; SEP-2243.)

A tool may mark properties of its ``inputSchema`` with ``x-mcp-header``: their values are sent as
``Mcp-Param-*`` headers, too, so that who stands between can route by them. Names come from the
server and values from a model, so neither becomes a header unseen.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from ..errors import ConfigurationError
from .headers import header_value

ANNOTATION: Final = "x-mcp-header"
PREFIX: Final = "Mcp-Param-"
MAX_SUBSCHEMAS: Final = 50_000  # of one tool: beyond that nobody means it
SAFE_INTEGER: Final = 2**53 - 1

_WRITTEN = ANNOTATION.encode()
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TYPES = ("string", "integer", "boolean")

# Where a schema has schemas: by name, in a list, or one. All else is data, in which the annotation
# is a word like any other. ``items`` was a list once, and ``dependencies`` may hold lists of names.
_NAMED = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)
_HOLDING = frozenset(
    {
        *_NAMED,
        *("allOf", "anyOf", "oneOf", "prefixItems"),
        *("additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if"),
        *("items", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)

_Path = tuple[str, ...]


class MirroredParameter(NamedTuple):
    """One argument that goes along as a header.

    Args:
        path: The names of the properties that lead to it.
        header: The header's name, prefix included.
    """

    path: tuple[str, ...]
    header: str


class Mirroring(NamedTuple):
    """What a tool's ``inputSchema`` says of headers.

    Args:
        parameters: What is mirrored.
        fault: What breaks the rules; such a tool must not be used. None for most.
    """

    parameters: tuple[MirroredParameter, ...] = ()
    fault: str | None = None


NOTHING: Final = Mirroring()


def is_mentioned(input_schemas: list[Any]) -> bool:
    """Whether one of the schemas has the annotation's name in it, as whatever; fast if not."""
    try:
        return _WRITTEN in marshal.dumps(input_schemas)  # there is no quicker look at it all
    except ValueError:  # nested too deeply, or not as JSON is decoded: look properly
        return True


def mirroring_of(input_schema: Any) -> Mirroring:
    """Return what a tool's ``inputSchema`` wants mirrored, or why the tool is not valid."""
    found: dict[str, MirroredParameter] = {}
    for number, (path, schema) in enumerate(_schemas(input_schema)):
        if number >= MAX_SUBSCHEMAS:
            return Mirroring(fault=f"its inputSchema has more than {MAX_SUBSCHEMAS} subschemas")
        if ANNOTATION not in schema:
            continue
        fault = _fault(path, schema)
        if fault is not None:
            return Mirroring(fault=fault)
        name: str = schema[ANNOTATION]
        if name.lower() in found:
            return Mirroring(fault=f"two properties have the {ANNOTATION} {_short(name)}")
        found[name.lower()] = MirroredParameter(path or (), PREFIX + name)
    return Mirroring(tuple(found.values())) if found else NOTHING


def param_headers(
    parameters: tuple[MirroredParameter, ...], arguments: Mapping[str, Any]
) -> dict[str, str]:
    """Return the headers for a call with *arguments*; an absent or null one has none.

    Raises:
        ConfigurationError: A number is none that a header may have: a fraction, or beyond what
            every JSON reader keeps exactly (2**53 - 1). Or a text is no Unicode.
    """
    headers: dict[str, str] = {}
    for path, header in parameters:
        text = _as_text(_value_at(arguments, path), path)
        if text is not None:
            try:
                headers[header] = header_value(text)
            except UnicodeEncodeError as error:
                raise ConfigurationError(
                    f"the argument {_where(path)} cannot be sent: it is no Unicode text."
                ) from error
    return headers


def _schemas(root: Any) -> Iterator[tuple[_Path | None, Mapping[str, Any]]]:
    """Yield each schema, with the properties that lead to it, or None if something else does."""
    waiting: list[tuple[_Path | None, Any]] = [((), root)]
    while waiting:
        path, schema = waiting.pop()
        if not isinstance(schema, Mapping):
            continue
        yield path, schema
        for key in _HOLDING.intersection(schema):
            held = schema[key]
            if key in _NAMED and isinstance(held, Mapping):
                is_chain = key == "properties" and path is not None
                for name, inner in held.items():
                    waiting.append(((*(path or ()), name) if is_chain else None, inner))
            elif isinstance(held, list):
                waiting += [(None, inner) for inner in held]
            else:
                waiting.append((None, held))


def _fault(path: _Path | None, schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an annotation."""
    name, kind = schema[ANNOTATION], schema.get("type")
    if not path:
        return f"an {ANNOTATION} is not on a property that only properties lead to"
    if not isinstance(name, str):
        return f"the {ANNOTATION} of {_where(path)} is no text"
    if not _TOKEN.fullmatch(name):
        return f"the {ANNOTATION} of {_where(path)}, {_short(name)}, is no name of a header"
    if kind not in _TYPES:
        return f"{_where(path)} has an {ANNOTATION} and is of none of the types {', '.join(_TYPES)}"
    return None


def _value_at(arguments: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(arguments, Mapping):
            return None
        arguments = arguments.get(name)
    return arguments


def _as_text(value: Any, path: tuple[str, ...]) -> str | None:
    """Return a value as its header has it; None if it has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | float):
        return None  # absent, or not what the schema says: for the server to refuse
    if isinstance(value, float) or abs(value) > SAFE_INTEGER:
        raise ConfigurationError(
            f"the argument {_where(path)} goes along as a header, "
            "so it has to be an integer of at most 2**53 - 1."
        )
    return str(value)


def _where(path: tuple[str, ...]) -> str:
    return _short(".".join(path))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
