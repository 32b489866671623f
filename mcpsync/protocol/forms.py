"""The forms of elicitation: defaults filled in, and answers that fit. (Requirements 4.5, SEP-1034)

A form is a flat object of strings, numbers, booleans, choices and multiple choices. ``pattern`` is
left to the server: its expression is not run here, since one that was written for it could run for
hours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

Schema = Mapping[str, Any]


def fields_of(schema: Schema) -> Mapping[str, Schema]:
    """Return the fields of a form by name; what is no field is left out."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {name: field for name, field in properties.items() if isinstance(field, Mapping)}


def filled_in(schema: Schema, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return *content* with the default of each field it leaves out; None stands for no answer."""
    defaults = {
        name: field["default"] for name, field in fields_of(schema).items() if "default" in field
    }
    return {name: v for name, v in {**defaults, **content}.items() if v is not None}


def problem(schema: Schema, content: Mapping[str, Any]) -> str | None:
    """Say what is wrong with *content* as an answer to the form; None if nothing is."""
    fields = fields_of(schema)
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str) and name not in content:
            return f"{name!r} is required"
    for name, value in content.items():
        if name not in fields:
            return f"the form has no field {name!r}"
        wrong = _wrong(fields[name], value)
        if wrong is not None:
            return f"{name!r} {wrong}"
    return None


def _wrong(field: Schema, value: Any) -> str | None:
    check = _CHECKS.get(str(field.get("type")))
    return None if check is None else check(field, value)


def _wrong_string(field: Schema, value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    choices = _choices(field)
    if choices is not None:
        return None if value in choices else f"must be one of {_listed(choices)}"
    wrong = _out_of(field, len(value), "minLength", "maxLength", " characters long")
    if wrong is not None:
        return wrong
    shape = _SHAPES.get(str(field.get("format")))
    return None if shape is None or shape(value) else f"must have the format {field['format']}"


def _wrong_number(field: Schema, value: Any) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        return f"must be {_article(field)}"
    if field["type"] == "integer" and value != int(value):
        return f"must be {_article(field)}"
    return _out_of(field, value, "minimum", "maximum", "")


def _wrong_boolean(_: Schema, value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _wrong_array(field: Schema, value: Any) -> str | None:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        return "must be a list of strings"
    items = field.get("items")
    choices = _choices(items) if isinstance(items, Mapping) else None
    strange = [each for each in value if choices is not None and each not in choices]
    if choices is not None and strange:
        return f"must be among {_listed(choices)}"
    return _out_of(field, len(value), "minItems", "maxItems", " of them")


_CHECKS: dict[str, Callable[[Schema, Any], str | None]] = {
    "string": _wrong_string,
    "number": _wrong_number,
    "integer": _wrong_number,
    "boolean": _wrong_boolean,
    "array": _wrong_array,
}


def _choices(field: Schema) -> list[Any] | None:
    """Return what may be chosen: ``enum``, or titled with ``oneOf`` or ``anyOf``."""
    plain = field.get("enum")
    if isinstance(plain, list):
        return plain
    titled = field.get("oneOf", field.get("anyOf"))
    if not isinstance(titled, list):
        return None
    return [each["const"] for each in titled if isinstance(each, Mapping) and "const" in each]


def _listed(choices: list[Any]) -> str:
    shown = ", ".join(repr(choice) for choice in choices[:20])
    return shown if len(choices) <= 20 else f"{shown}, …"


def _article(field: Schema) -> str:
    return "an integer" if field["type"] == "integer" else "a number"


def _out_of(field: Schema, value: float, lowest: str, highest: str, unit: str) -> str | None:
    least, most = field.get(lowest), field.get(highest)
    if isinstance(least, int | float) and value < least:
        return f"must be at least {least}{unit}"
    if isinstance(most, int | float) and value > most:
        return f"must be at most {most}{unit}"
    return None


def _is_uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme)
    except ValueError:
        return False


def _is_a(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def is_one(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return is_one


_SHAPES: dict[str, Callable[[str], object]] = {
    "email": re.compile(r"[^@\s]+@[^@\s]+").fullmatch,
    "uri": _is_uri,
    "date": _is_a(date.fromisoformat),
    "date-time": _is_a(datetime.fromisoformat),
}
