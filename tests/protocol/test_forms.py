"""Forms: what is left out gets its default, and what does not fit is named. (4.5, SEP-1034)"""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpsync.protocol.forms import filled_in, problem


def form(required=(), **fields):
    return {"type": "object", "properties": fields, "required": list(required)}


TITLED = [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]
FITS = [
    ({"type": "string"}, "x"),
    ({"type": "string", "minLength": 2, "maxLength": 3}, "ab"),
    ({"type": "string", "minLength": 2, "maxLength": 3}, "abc"),
    ({"type": "string", "format": "email"}, "ada@example.com"),
    ({"type": "string", "format": "uri"}, "https://example.com/x"),
    ({"type": "string", "format": "uri"}, "urn:isbn:1"),
    ({"type": "string", "format": "date"}, "2026-02-28"),
    ({"type": "string", "format": "date-time"}, "2026-02-28T10:00:00Z"),
    ({"type": "string", "format": "colour"}, "anything"),
    ({"type": "string", "pattern": "(a+)+$"}, "a" * 40 + "!"),
    ({"type": "string", "enum": ["a", "b"]}, "b"),
    ({"type": "string", "enum": ["a"], "enumNames": ["A"]}, "a"),
    ({"type": "string", "oneOf": TITLED}, "l"),
    ({"type": "number"}, 1),
    ({"type": "number"}, 1.5),
    ({"type": "number", "minimum": 0, "maximum": 1}, 0),
    ({"type": "integer"}, 7),
    ({"type": "integer"}, 7.0),
    ({"type": "boolean"}, False),
    ({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}, ["b", "a"]),
    ({"type": "array", "items": {"anyOf": TITLED}, "minItems": 1, "maxItems": 2}, ["s"]),
    ({"type": "array", "items": {"anyOf": TITLED}}, []),
    ({"type": "of tomorrow"}, object()),
    ({}, None),
]
DOES_NOT_FIT = [
    ({"type": "string"}, 1),
    ({"type": "string"}, None),
    ({"type": "string", "minLength": 2}, "a"),
    ({"type": "string", "maxLength": 3}, "abcd"),
    ({"type": "string", "format": "email"}, "ada"),
    ({"type": "string", "format": "uri"}, "example"),
    ({"type": "string", "format": "uri"}, "https://[::1/"),
    ({"type": "string", "format": "date"}, "2026-02-30"),
    ({"type": "string", "format": "date-time"}, "yesterday"),
    ({"type": "string", "enum": ["a", "b"]}, "c"),
    ({"type": "string", "oneOf": TITLED}, "Large"),
    ({"type": "number"}, "1"),
    ({"type": "number"}, True),
    ({"type": "number"}, math.nan),
    ({"type": "number"}, math.inf),
    ({"type": "number", "minimum": 0}, -1),
    ({"type": "number", "maximum": 1}, 1.01),
    ({"type": "integer"}, 7.5),
    ({"type": "integer"}, False),
    ({"type": "integer"}, math.inf),
    ({"type": "boolean"}, 1),
    ({"type": "boolean"}, "true"),
    ({"type": "array", "items": {"enum": ["a"]}}, "a"),
    ({"type": "array", "items": {"enum": ["a"]}}, ["b"]),
    ({"type": "array", "items": {"enum": ["a"]}}, [1]),
    ({"type": "array", "items": {"anyOf": TITLED}, "minItems": 1}, []),
    ({"type": "array", "items": {"anyOf": TITLED}, "maxItems": 1}, ["s", "l"]),
]


@pytest.mark.parametrize(("field", "value"), FITS)
def test_what_fits_is_no_problem(field, value):
    assert problem(form(x=field), {"x": value}) is None


@pytest.mark.parametrize(("field", "value"), DOES_NOT_FIT)
def test_what_does_not_fit_is_named(field, value):
    assert problem(form(x=field), {"x": value}).startswith("'x' must ")


def test_what_is_required_must_be_there():
    assert problem(form(["x"], x={"type": "string"}), {}) == "'x' is required"


def test_what_was_not_asked_is_not_answered():
    assert problem(form(x={"type": "string"}), {"y": "1"}) == "the form has no field 'y'"


def test_defaults_are_for_what_is_left_out():
    asked = form(
        a={"default": 1}, b={"default": False}, c={"default": ["x"]}, d={}, e={"default": 5}
    )
    assert filled_in(asked, {"a": 0, "e": None}) == {"a": 0, "b": False, "c": ["x"]}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
NAMES = ["type", "enum", "oneOf", "anyOf", "items", "minimum", "maximum", "minLength", "format"]
KEYWORDS = st.sampled_from([*NAMES, "maxLength", "minItems", "default"])
FIELDS = st.dictionaries(KEYWORDS, ANYTHING | st.sampled_from(["string", "integer", "array"]))


@given(
    st.fixed_dictionaries(
        {"properties": st.dictionaries(st.text(max_size=1), FIELDS), "required": ANYTHING}
    ),
    st.dictionaries(st.text(max_size=1), ANYTHING),
)
def test_whatever_the_server_asks_there_is_a_verdict(schema, content):
    found = problem(schema, filled_in(schema, content))
    assert found is None or json.dumps(found)
