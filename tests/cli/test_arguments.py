"""How the arguments of a tool are written on a command line."""

import io

import click
import pytest

from mcpsync.cli.arguments import read_object, read_pairs, typed


@pytest.mark.parametrize(
    ("words", "settled", "texts"),
    [
        ([], {}, {}),
        (["a=1"], {}, {"a": "1"}),
        (["a=", "b=x=y", "c= spaces "], {}, {"a": "", "b": "x=y", "c": " spaces "}),
        (["a:=1", "b:=[1, {}]", 'c:="x=y"'], {"a": 1, "b": [1, {}], "c": "x=y"}, {}),
        (["file=@/etc/passwd"], {}, {"file": "@/etc/passwd"}),
        (["a::=1", "x:y=2"], {"a:": 1}, {"x:y": "2"}),
    ],
)
def test_pairs_are_text_or_json(words, settled, texts):
    assert read_pairs(words) == (settled, texts)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["text"], "'text' is neither key=value nor key:=JSON."),
        (["=1"], "'=1' is neither key=value nor key:=JSON."),
        ([":=1"], "':=1' is neither key=value nor key:=JSON."),
        (["a:=x"], "the value of 'a' is not JSON: "),
        (["a=1", "a:=2"], "the argument 'a' is given twice."),
        (["a=1", "a=1"], "the argument 'a' is given twice."),
    ],
)
def test_a_bad_pair_is_named(words, complaint):
    with pytest.raises(click.UsageError) as caught:
        read_pairs(words)
    assert caught.value.message.startswith(complaint)


def test_an_object_is_text_or_a_file_or_standard_input(tmp_path, monkeypatch):
    file = tmp_path / "arguments.json"
    file.write_text('{"from": "file"}', encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"from": "stdin"}'))
    assert read_object(None) == {}
    assert read_object('{"a": 1}') == {"a": 1}
    assert read_object(f"@{file}") == {"from": "file"}
    assert read_object("-") == {"from": "stdin"}


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("[1]", "--args must be a JSON object, not an array."),
        ('"x"', "--args must be a JSON object, not a string."),
        ("1", "--args must be a JSON object, not a number."),
        ("true", "--args must be a JSON object, not a boolean."),
        ("null", "--args must be a JSON object, not null."),
        ("{", "--args is not JSON: "),
        ("", "--args is not JSON: "),
        ("[" * 100_000, "--args is not JSON: "),
        ("@missing.json", "--args: cannot read 'missing.json': No such file or directory."),
        ("@binary", "--args: '@binary' is not UTF-8 text."),
    ],
)
def test_what_is_no_object_is_turned_down(source, complaint, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(click.UsageError) as caught:
        read_object(source)
    assert caught.value.message.startswith(complaint)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "1", "1"),
        ("integer", "-12", -12),
        ("number", "12", 12),
        ("number", "1.5e3", 1500.0),
        ("boolean", "true", True),
        ("boolean", "False", False),
        (["integer", "null"], "7", 7),
        (["string", "integer"], "7", "7"),
        (["boolean", "integer"], "7", 7),
        ("object", "{}", "{}"),
        (None, "7", "7"),
        ({}, "7", "7"),
    ],
)
def test_a_text_becomes_what_the_schema_wants(kind, text, value):
    found = typed({"a": text}, {"properties": {"a": {"type": kind}}})["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("schema", [{}, {"properties": None}, {"properties": {"a": True}}])
def test_without_a_schema_a_text_stays_one(schema):
    assert typed({"a": "1"}, schema) == {"a": "1"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "1.5"),
        ("integer", "x"),
        ("integer", "1_000"),
        ("integer", "٣"),
        ("integer", "9" * 5000),
        ("number", "x"),
        ("number", "nan"),
        ("number", "inf"),
        ("number", "1_0.5"),
        ("boolean", "1"),
        ("boolean", "yes"),
    ],
)
def test_a_text_of_another_type_is_turned_down(kind, text):
    with pytest.raises(click.UsageError, match=rf"'a' must be of type {kind}, which"):
        typed({"a": text}, {"properties": {"a": {"type": kind}}})
