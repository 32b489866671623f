"""Which arguments go along as headers, and which tools may not be used. (Requirements 5.7)"""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpsync.errors import ConfigurationError
from mcpsync.protocol.mirroring import (
    ANNOTATION,
    MAX_SUBSCHEMAS,
    NOTHING,
    MirroredParameter,
    is_mentioned,
    mirroring_of,
    param_headers,
)

TCHAR = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
REGION = {"type": "string", ANNOTATION: "Region"}


def tool(**properties):
    """An input schema with these properties."""
    return {"type": "object", "properties": properties}


def headers_for(arguments, **properties):
    """What goes along with *arguments* to a tool with these properties."""
    found = mirroring_of(tool(**properties))
    assert found.fault is None
    return param_headers(found.parameters, arguments)


# -- which tools are valid -------------------------------------------------------------------------


def test_a_tool_without_annotations_mirrors_nothing():
    assert mirroring_of(tool(a={"type": "number"})) is NOTHING


def test_an_annotation_names_the_header_of_its_property():
    outer = {"type": "object", "properties": {"region": REGION}}
    found = mirroring_of(tool(where=outer, deep={"type": "boolean", ANNOTATION: "Deep"}))
    assert found.fault is None
    assert set(found.parameters) == {
        MirroredParameter(("deep",), "Mcp-Param-Deep"),
        MirroredParameter(("where", "region"), "Mcp-Param-Region"),
    }


@pytest.mark.parametrize("name", ["", "My Region", "a:b", "Région", "a\tb", "a\r\nX: y", "a\n", 7])
def test_a_name_that_no_header_can_have_makes_a_tool_invalid(name):
    assert mirroring_of(tool(a={"type": "string", ANNOTATION: name})).fault


@pytest.mark.parametrize("kind", ["number", "object", "array", "null", None, ["string", "null"]])
def test_only_strings_integers_and_booleans_may_be_mirrored(kind):
    assert "none of the types" in mirroring_of(tool(a={"type": kind, ANNOTATION: "A"})).fault
    assert mirroring_of(tool(a={ANNOTATION: "A"})).fault


def test_two_names_that_differ_in_case_only_are_the_same():
    properties = {"a": {"type": "string", ANNOTATION: "Key"}}
    properties["b"] = {"type": "string", ANNOTATION: "kEY"}
    assert "two properties" in mirroring_of(tool(**properties)).fault


@pytest.mark.parametrize(
    "schema",
    [
        {ANNOTATION: "Root", "type": "string"},
        tool(a={"type": "array", "items": REGION}),
        tool(a={"type": "array", "items": [REGION]}),
        tool(a={"type": "array", "prefixItems": [REGION]}),
        tool(a={"additionalProperties": REGION}),
        tool(a={"patternProperties": {"x": REGION}}),
        {"$defs": {"a": REGION}},
        {"definitions": {"a": tool(b=REGION)}},
        {"dependentSchemas": {"a": tool(b=REGION)}},
        *({key: [tool(b=REGION)]} for key in ("allOf", "anyOf", "oneOf")),
        *({key: tool(b=REGION)} for key in ("if", "then", "else", "not", "propertyNames")),
        tool(a={"anyOf": [REGION, {"type": "null"}]}),
    ],
)
def test_an_annotation_that_other_than_properties_lead_to_makes_a_tool_invalid(schema):
    assert "only properties lead to" in mirroring_of(schema).fault


@pytest.mark.parametrize(
    "schema",
    [
        tool(**{ANNOTATION: {"type": "string"}}),
        tool(a={"type": "object", "default": {ANNOTATION: ""}, "examples": [{ANNOTATION: 1}]}),
        tool(a={"const": {ANNOTATION: ""}, "enum": [{ANNOTATION: ""}]}),
        {"dependencies": {"a": ["b"]}, "properties": 5, "allOf": "x", "items": True},
        *(None, True, [], "text", 5),
    ],
)
def test_what_only_looks_like_an_annotation_is_none(schema):
    assert mirroring_of(schema) == NOTHING


def test_a_schema_beyond_all_measure_is_refused_and_not_walked_to_its_end():
    assert "subschemas" in mirroring_of({"allOf": [{}] * (MAX_SUBSCHEMAS + 1)}).fault


def test_a_schema_nested_deeper_than_python_recurses_is_walked_all_the_same():
    schema = REGION
    for _ in range(20_000):
        schema = {"not": schema}
    assert mirroring_of(schema).fault


# -- what is sent ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        ("string", "us-west1", "us-west1"),
        ("string", "us west 1", "us west 1"),
        ("string", "", ""),
        ("string", " padded ", "=?base64?IHBhZGRlZCA=?="),
        ("string", "line1\r\nline2", "=?base64?bGluZTENCmxpbmUy?="),
        ("string", "日", "=?base64?5pel?="),
        ("string", "=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ("integer", 42, "42"),
        ("integer", -(2**53) + 1, "-9007199254740991"),
        ("integer", 42.0, "42"),
        ("boolean", True, "true"),
        ("boolean", False, "false"),
    ],
)
def test_a_value_goes_into_its_header(kind, value, sent):
    assert headers_for({"a": value}, a={"type": kind, ANNOTATION: "A"}) == {"Mcp-Param-A": sent}


@pytest.mark.parametrize("arguments", [{}, {"a": None}, {"a": []}, {"a": {"b": 1}}])
def test_what_is_absent_or_null_or_no_such_value_has_no_header(arguments):
    assert headers_for(arguments, a={"type": "string", ANNOTATION: "A"}) == {}


def test_a_value_is_looked_for_at_the_exact_place():
    properties = {"where": {"type": "object", "properties": {"region": REGION}}}
    assert headers_for({"where": {"region": "x"}}, **properties) == {"Mcp-Param-Region": "x"}
    for elsewhere in ({"region": "x"}, {"where": "region"}, {"where": [{"region": "x"}]}):
        assert headers_for(elsewhere, **properties) == {}


@pytest.mark.parametrize("value", [2**53, -(2**53), 10**400, 0.5, float("inf"), float("nan")])
def test_a_number_that_no_header_may_have_is_refused_before_anything_is_sent(value):
    with pytest.raises(ConfigurationError, match="has to be an integer"):
        headers_for({"a": value}, a={"type": "integer", ANNOTATION: "A"})


def test_a_text_that_is_no_unicode_is_refused():
    with pytest.raises(ConfigurationError, match="no Unicode"):
        headers_for({"a": "\ud800"}, a={"type": "string", ANNOTATION: "A"})


# -- anything at all -------------------------------------------------------------------------------

KEYS = st.sampled_from(
    ["properties", "items", "$defs", "allOf", "type", ANNOTATION, "a", "b", "not", "dependencies"]
)
ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("string")
)
JSON = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


@given(schema=JSON)
def test_any_schema_is_judged(schema):
    found = mirroring_of(schema)
    assert found.fault is None or (found.fault and found.parameters == ())
    assert all(TCHAR.fullmatch(parameter.header) for parameter in found.parameters)


@given(name=st.text(), value=st.text() | st.integers() | st.booleans() | st.floats())
def test_no_name_and_no_value_gets_out_of_its_header(name, value):
    found = mirroring_of(tool(a={"type": "string", ANNOTATION: name}))
    if found.fault is not None:
        assert not TCHAR.fullmatch(name)
        return
    try:
        headers = param_headers(found.parameters, {"a": value})
    except ConfigurationError:
        return
    for header, text in headers.items():
        assert TCHAR.fullmatch(header)
        assert re.fullmatch(r"[\x20-\x7e]*", text)
        assert text.strip() == text
        if isinstance(value, str):
            hidden = re.fullmatch(r"=\?base64\?(.*)\?=", text)
            assert (base64.b64decode(hidden[1]).decode() if hidden else text) == value


@given(schemas=st.lists(JSON, max_size=4))
def test_what_mentions_no_annotation_mirrors_nothing(schemas):
    if not is_mentioned(schemas):
        assert all(mirroring_of(schema) is NOTHING for schema in schemas)


def test_a_schema_is_looked_at_only_if_the_annotation_is_mentioned():
    assert not is_mentioned([tool(a={"type": "string"})])
    assert is_mentioned([{}, tool(a=REGION)])
    deep = REGION
    for _ in range(20_000):
        deep = {"not": deep}
    assert is_mentioned([deep])
