"""Structured results, held against what the tool said they are. (5.8, S12, S13)"""

import copy
import pickle
import re
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mcpsync
from mcpsync._runtime.deadline import Deadline
from mcpsync.client import structured
from mcpsync.client.structured import OutputSchema, output_schemas
from mcpsync.errors import MessageInvalid, ProtocolError, StructuredContentInvalid
from mcpsync.testing import LocalServer

SUM = {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]}
NOTHING = object()


def tool(schema, name="made"):
    """A tool that promises *schema*."""
    return {"name": name, "inputSchema": {"type": "object"}, "outputSchema": schema}


def result_of(content=NOTHING):
    """A result with this structured content."""
    from mcp_types import CallToolResult

    given = {} if content is NOTHING else {"structuredContent": content}
    return CallToolResult.model_validate({"content": [], **given})


def check(schema, content=NOTHING, *, any_json=True, timeout=30.0):
    """Hold *content* against *schema*; return what is wrong, or None."""
    deadline = Deadline(timeout)
    try:
        output_schemas.of(schema).check(result_of(content), deadline, any_json=any_json)
    except StructuredContentInvalid as error:
        return error.message
    return None


# -- what fits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        (SUM, {"sum": 5}),
        ({"type": "array", "items": {"type": "integer"}}, [1, 2]),
        ({"type": ["string", "null"]}, None),
        ({"type": "boolean"}, False),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["x"]),
        ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, [1]),
        ({"$id": "urn:a", "$defs": {"n": {"$anchor": "n"}}, "items": {"$ref": "urn:a#n"}}, [1]),
        ({"format": "email"}, "anything: a format is no rule"),
        ({"pattern": "^a"}, "abc"),
        ({"patternProperties": {"^a": {"type": "string"}}}, {"a1": "x", "b": 1}),
        ({"unevaluatedProperties": False, "properties": {"a": True}}, {"a": 1}),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}, {"a": True}]),
        ({}, {"anything": [1, {}]}),
    ],
)
def test_content_that_fits_is_let_through(schema, content):
    assert check(schema, content) is None


@pytest.mark.parametrize(
    ("schema", "content", "where"),
    [
        (SUM, {"sum": "5"}, r"\$\.sum the rule is type: \"number\""),
        (SUM, {}, r"\$ the rule is required"),
        (SUM, None, r"\$ the rule is type"),
        ({"items": {"type": "integer"}}, [1, "x"], r"\$\[1\]"),
        ({"prefixItems": [{"type": "string"}], "items": False}, ["x", 1], r"\$"),
        ({"pattern": "^a"}, "b", "pattern"),
        ({"patternProperties": {"^a": {"type": "string"}}}, {"a1": 1}, r"\$\.a1"),
        ({"additionalProperties": False, "properties": {"a": True}}, {"b": 1}, "additional"),
        ({"additionalProperties": {"type": "string"}}, {"b": 1}, r"\$\.b"),
        ({"unevaluatedProperties": False, "properties": {"a": True}}, {"b": 1}, "unevaluated"),
        ({"uniqueItems": True}, [{"a": 1}, {"a": 1.0}], "uniqueItems"),
        ({"properties": {"a": False}}, {"a": 1}, "nothing is allowed"),
    ],
)
def test_content_that_does_not_fit_is_told_by_place_and_rule(schema, content, where):
    message = check(schema, content)
    assert message is not None
    assert re.search(where, message), message


def test_the_content_itself_is_not_told():
    assert "secret" not in check({"type": "object"}, "secret")


def test_content_that_is_missing_does_not_fit():
    assert "no structuredContent" in check(SUM)


@pytest.mark.parametrize("content", [None, [], "x", 1])
def test_before_2026_content_is_an_object(content):
    assert "not an object" in check({}, content, any_json=False)
    assert check({}, {}, any_json=False) is None


# -- dialects and references -----------------------------------------------------------------------


def test_the_dialect_is_2020_12_unless_the_schema_says_otherwise():
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}
    assert check({"items": {"type": "string"}}, [1]) is not None
    assert check(old, ["x", 1]) is None  # items as a list is what draft 7 knows
    assert check(old, [1]) is not None
    assert check({"items": [{"type": "string"}]}, [1]).endswith("see '$.items'.")


@pytest.mark.parametrize("dialect", ["urn:mine", "https://example.com/schema", 5, None, ["x"]])
def test_a_dialect_that_is_not_known_is_refused_by_name(dialect):
    assert "dialect" in check({"$schema": dialect}, {})


@pytest.mark.parametrize(
    "reference",
    ["http://127.0.0.1:9/x.json", "file:///etc/passwd", "#/nowhere", "other.json", "urn:x"],
)
def test_a_reference_out_of_the_schema_is_refused_and_never_fetched(reference):
    assert "leads nowhere" in check({"$ref": reference}, {})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$id": "https://json-schema.org/draft/2020-12/x", "$ref": "schema"},
        {"items": {"$schema": "https://json-schema.org/draft/2020-12/schema"}},
        {"patternProperties": {"(a|a)*$": True}, "unevaluatedProperties": False},
    ],
)
def test_what_would_be_checked_without_limits_is_refused(schema):
    assert "cannot be used" in check(schema, {"a" * 40 + "b": 1})


@pytest.mark.parametrize("schema", [{"type": "strin"}, {"required": "a"}, {"pattern": "("}])
def test_what_is_no_schema_is_refused(schema):
    assert "cannot be used" in check(schema, {})


# -- limits ----------------------------------------------------------------------------------------


def test_a_pattern_that_backtracks_without_end_ends_with_the_deadline():
    began = time.monotonic()
    assert "within the limits" in check({"pattern": "^(a|a)*$"}, "a" * 40 + "b", timeout=0.3)
    assert time.monotonic() - began < 5


def test_such_a_pattern_for_names_of_properties_does_too():
    for schema in (
        {"patternProperties": {"^(a|a)*$": True}},
        {"additionalProperties": False, "patternProperties": {"^(a|a)*$": True}},
    ):
        assert "within the limits" in check(schema, {"a" * 40 + "b": 1}, timeout=0.3)


def test_references_that_double_with_each_level_end_with_the_deadline():
    levels = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    schema = {"$defs": {**levels, "d40": {}}, "$ref": "#/$defs/d0"}
    assert "within the limits" in check(schema, {}, timeout=0.3)


def test_a_schema_that_refers_to_itself_without_end_is_refused():
    assert "nested too deeply" in check({"$ref": "#"}, {})


def test_many_equal_objects_are_compared_in_a_moment():
    assert check({"uniqueItems": True}, [{"n": n} for n in range(30_000)]) is None


def test_errors_do_not_pile_up_the_content_as_text():
    branches = {"anyOf": [{"type": "integer"}] * 500}
    content = {"text": "x" * 4_000_000}
    assert "anyOf" in check(branches, content)
    validator = structured._compiled({"anyOf": [{"maxProperties": 0}, {"not": {}}]})
    error = structured._first_error(validator, {"text": "x"}, 10.0)
    assert [error.message, *(each.message for each in error.context)] == ["", "", ""]


def test_steps_are_counted(monkeypatch):
    monkeypatch.setattr(structured, "MAX_STEPS", 1000)
    assert "within the limits" in check({"items": {"type": "integer"}}, list(range(2000)))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"description": "x" * structured.MAX_BYTES}, "bytes"),
        ({"anyOf": [{}] * (structured.MAX_SUBSCHEMAS + 1)}, "subschemas"),
        ({"pattern": "a" * (structured.MAX_PATTERN + 1)}, "pattern"),
    ],
)
def test_a_schema_beyond_measure_is_refused(schema, why):
    assert why in check(schema, "a")


def test_a_schema_nested_too_deeply_is_refused():
    for depth in (structured.MAX_DEPTH + 1, 100_000):
        schema = {}
        for _ in range(depth):
            schema = {"not": schema}
        assert "levels" in (message := check(schema, {})) or "deeply" in message


def test_a_result_that_came_at_the_last_moment_is_looked_at_all_the_same():
    deadline = Deadline(1e-6)
    assert deadline.remaining() == 0
    numbers = result_of(list(range(1000)))
    output_schemas.of({"items": {"type": "integer"}}).check(numbers, deadline, any_json=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("object"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "items", "$ref", "$id", "properties", "allOf", "pattern", "enum"),
                    *("a", "$schema", "$defs", "not", "uniqueItems", "additionalProperties"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=150, deadline=None)
@given(
    schema=st.dictionaries(st.sampled_from(["type", "$ref", "allOf", "items"]), JSON), value=JSON
)
def test_any_schema_and_any_content_lead_to_a_verdict(schema, value):
    assert isinstance(check(schema, value), str | None)


# -- sharing ---------------------------------------------------------------------------------------


def test_equal_schemas_are_one_for_the_whole_process():
    one, other = output_schemas.of(copy.deepcopy(SUM)), output_schemas.of(SUM)
    assert one is other
    assert isinstance(one, OutputSchema)


def test_changing_a_listed_tool_changes_nothing_about_the_check():
    with LocalServer("modern") as server, mcpsync.Client(server.url) as client:
        page = client.list_tools()
        add = next(each for each in page.tools if each.name == "add")
        add.output_schema["properties"]["sum"]["type"] = "string"
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_threads_that_check_at_once_have_a_watch_each():
    barrier, messages = threading.Barrier(4), []

    def run(number):
        barrier.wait(10)
        messages.append((number, check({"items": {"maximum": number}}, [number, number + 1])))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(number for number, message in messages if "[1]" in message) == [0, 1, 2, 3]


def test_jsonschema_is_not_imported_before_the_first_structured_result():
    program = "import mcpsync, sys; mcpsync.Client; assert 'jsonschema' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# -- calls -----------------------------------------------------------------------------------------


@pytest.fixture(params=["legacy", "modern"])
def server(request):
    """A server whose tool `made` promises a sum."""
    with LocalServer(request.param) as server:
        server.tools = ["echo", tool(SUM)]
        yield server


def test_a_wrong_result_is_raised_with_all_that_came(server):
    wrong = {"content": [{"type": "text", "text": "five"}], "structuredContent": {"sum": "five"}}
    server.set_result("made", wrong)
    with mcpsync.Client(server.url) as client:
        client.list_tools()
        with pytest.raises(StructuredContentInvalid) as caught:
            client.call_tool("made")
    error = caught.value
    assert isinstance(error, MessageInvalid | ProtocolError)
    assert error.maybe_executed
    assert (error.tool_name, error.server_name) == ("made", server.url)
    assert error.result.content[0].text == "five"
    assert pickle.loads(pickle.dumps(error)).result == error.result  # noqa: S301 - our own
    assert server.executions == {"made": 1}


def test_a_tool_that_promised_structured_content_has_to_give_some(server):
    with mcpsync.Client(server.url) as client:
        client.list_tools()
        with pytest.raises(StructuredContentInvalid, match="no structuredContent"):
            client.call_tool("made")


def test_an_error_of_the_tool_is_not_checked(server):
    server.set_result("made", {"content": [], "isError": True, "structuredContent": {"sum": ""}})
    with mcpsync.Client(server.url) as client:
        client.list_tools()
        assert client.call_tool("made").is_error


def test_a_tool_that_was_never_listed_is_not_checked_and_not_asked_about(server):
    server.set_result("made", {"content": [], "structuredContent": {"sum": "five"}})
    with mcpsync.Client(server.url) as client:
        assert client.call_tool("made").structured_content == {"sum": "five"}
    assert all(request.rpc_method != "tools/list" for request in server.requests)


def test_checking_can_be_switched_off(server):
    with mcpsync.Client(server.url, validate_structured_content=False) as client:
        client.list_tools()
        assert client.call_tool("made").content[0].text == "made was called"


def test_a_manager_checks_or_does_not(server):
    for validate in (True, False):
        servers = {"s": {"url": server.url}}
        with mcpsync.MCPManager(servers, validate_structured_content=validate) as manager:
            with manager.connection("s", user="1") as connection:
                connection.list_tools()
            if validate:
                with pytest.raises(StructuredContentInvalid) as caught:
                    manager.call_tool("s", "made", user="1")
                assert (caught.value.server_name, caught.value.user_id) == ("s", "1")
            else:
                assert manager.call_tool("s", "made", user="1").content


@pytest.mark.parametrize("content", [[1, 2], "text", 5, None, False])
def test_since_2026_structured_content_may_be_any_json(content):
    with LocalServer("modern") as server, mcpsync.Client(server.url) as client:
        server.tools = [tool({"enum": [content]})]
        server.set_result("made", {"content": [], "structuredContent": content})
        client.list_tools()
        result = client.call_tool("made")
        assert result.structured_content == content
        assert "structured_content" in result.model_fields_set
