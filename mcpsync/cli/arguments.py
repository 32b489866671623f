"""The arguments of a tool, as they are written on a command line."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

_INTEGER = re.compile(r"[+-]?[0-9]+")
_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


def read_object(source: str | None) -> dict[str, Any]:
    """Return the JSON object that ``--args`` names: the text itself, ``@file``, or ``-`` for stdin.

    Raises:
        click.UsageError: It cannot be read, is not JSON, or not an object.
    """
    if source is None:
        return {}
    value = _parsed("--args", _text_of(source))
    if not isinstance(value, dict):
        raise click.UsageError(f"--args must be a JSON object, not {_kind(value)}.")
    return value


def _text_of(source: str) -> str:
    try:
        if source == "-":
            return sys.stdin.read()
        if source.startswith("@"):
            return Path(source[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--args: cannot read {source[1:]!r}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--args: {source!r} is not UTF-8 text.") from None
    return source


def _parsed(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{what} is not JSON: {error}.") from None


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")


def read_pairs(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read ``key:=JSON`` and ``key=text``.

    Returns:
        The values that are settled, and the texts whose type the tool's schema says.

    Raises:
        click.UsageError: A word is neither, or a key comes twice.
    """
    settled: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key in ("", ":"):
            raise click.UsageError(f"{word!r} is neither key=value nor key:=JSON.")
        name = key.removesuffix(":")
        if name in settled or name in texts:
            raise click.UsageError(f"the argument {name!r} is given twice.")
        if name != key:
            settled[name] = _parsed(f"the value of {name!r}", text)
        else:
            texts[name] = text
    return settled, texts


def typed(texts: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return *texts* as the types that *schema*, a tool's ``inputSchema``, wants.

    A text stays one unless the schema says integer, number or boolean, and does not say string.

    Raises:
        click.UsageError: A text is not of that type.
    """
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    return {name: _typed(name, text, known.get(name)) for name, text in texts.items()}


def _typed(name: str, text: str, schema: object) -> Any:
    wanted = schema.get("type") if isinstance(schema, Mapping) else None
    types = wanted if isinstance(wanted, list) else [wanted]
    kinds = [kind for kind in types if isinstance(kind, str) and kind in _CONVERTERS]
    if "string" in types or not kinds:
        return text
    for kind in kinds:
        value = _CONVERTERS[kind](text)
        if value is not None:
            return value
    names = " or ".join(kinds)
    raise click.UsageError(f"the argument {name!r} must be of type {names}, which {text!r} is not.")


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) and len(text) < 4000 else None


def _number(text: str) -> float | None:
    whole = _integer(text)
    if whole is not None:
        return whole
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


_CONVERTERS: dict[str, Callable[[str], int | float | bool | None]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
