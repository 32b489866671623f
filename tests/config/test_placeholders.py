"""``${NAME}`` in an operator's configuration, replaced from the environment."""

import pytest

from mcpsync.config.placeholders import expand
from mcpsync.errors import ConfigurationError, PlaceholderError

ENVIRONMENT = {
    "TOKEN": "s3cret",
    "HOST": "example.com",
    "_1": "one",
    "EMPTY": "",
    "BLANK": " \n",
    "PADDED": " padded\n",
    "NESTED": "${TOKEN}",
    "BACKSLASH": r"a\1\g<0>",
}


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${TOKEN}", "s3cret"),
        ("Bearer ${TOKEN}", "Bearer s3cret"),
        ("https://${HOST}/${TOKEN}/${HOST}", "https://example.com/s3cret/example.com"),
        ("${TOKEN}${TOKEN}", "s3crets3cret"),
        ("${_1}", "one"),
        ("${env:TOKEN}", "s3cret"),
        ("${PADDED}", "padded"),
        ("${BACKSLASH}", r"a\1\g<0>"),
        ("$TOKEN", "$TOKEN"),
        ("{TOKEN}", "{TOKEN}"),
        ("$", "$"),
        ("{{LIBRECHAT_USER_ID}}", "{{LIBRECHAT_USER_ID}}"),
    ],
)
def test_every_placeholder_in_a_string_is_replaced_once(value, expanded):
    assert expand(value, ENVIRONMENT, "crm") == expanded


@pytest.mark.parametrize("value", [7, 1.5, True, None])
def test_what_is_no_string_stays_as_it_is(value):
    assert expand(value, ENVIRONMENT, "crm") is value


def test_placeholders_are_replaced_however_deep_they_are():
    value = {
        "args": ["--token", "${TOKEN}", ["${HOST}"]],
        "env": {"A": {"B": "${HOST}"}},
        "tuple": ("${_1}", 7),
        "timeout": 30,
    }
    assert expand(value, ENVIRONMENT, "crm") == {
        "args": ["--token", "s3cret", ["example.com"]],
        "env": {"A": {"B": "example.com"}},
        "tuple": ["one", 7],
        "timeout": 30,
    }


def test_what_was_given_is_left_alone():
    value = {"headers": {"Authorization": "Bearer ${TOKEN}"}, "args": ["${TOKEN}"]}
    expand(value, ENVIRONMENT, "crm")
    assert value == {"headers": {"Authorization": "Bearer ${TOKEN}"}, "args": ["${TOKEN}"]}


def test_keys_are_no_place_for_placeholders():
    assert expand({"${TOKEN}": "x"}, ENVIRONMENT, "crm") == {"${TOKEN}": "x"}


@pytest.mark.parametrize("name", ["MISSING", "EMPTY", "BLANK"])
def test_a_variable_that_is_not_set_or_empty_is_an_error_that_names_it(name):
    with pytest.raises(PlaceholderError) as caught:
        expand({"headers": {"X": ["ok", f"${{TOKEN}} ${{{name}}}"]}}, ENVIRONMENT, "crm")
    assert str(caught.value) == (
        f"crm.headers.X needs the environment variable {name}, which is not set."
    )
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize("text", ["${MY-VAR}", "${VAR:-x}", "a ${} b", "${1}"])
def test_what_looks_like_a_placeholder_and_is_none_is_refused(text):
    with pytest.raises(PlaceholderError, match="not the name of a variable"):
        expand(text, {"VAR": "x"}, "crm.headers")


@pytest.mark.parametrize("text", ["${NESTED}", "${A}", "x ${B}"])
def test_a_variable_that_has_a_placeholder_itself_is_refused(text):
    environment = {**ENVIRONMENT, "A": "${B}", "B": "a ${A}"}  # which would go on for ever
    with pytest.raises(PlaceholderError, match="itself; what is put in is not looked at again"):
        expand({"url": text}, environment, "crm")


def test_what_only_looks_like_one_in_a_variable_stays():
    assert expand("${A}", {"A": "${not one} $B ${"}, "crm") == "${not one} $B ${"


def test_a_name_that_is_too_long_is_refused_and_not_shown_whole():
    with pytest.raises(PlaceholderError, match="not the name of a variable") as caught:
        expand("${" + "A" * 100_000 + "}", {}, "crm")
    assert len(str(caught.value)) < 200


def test_the_field_is_known_whatever_the_server_is_called():
    with pytest.raises(PlaceholderError, match=r"^crm\.eu\.headers\.X needs") as caught:
        expand({"headers": {"X": "${NO_SUCH}"}}, {}, "crm.eu")
    assert caught.value.field == "headers.X"


def test_what_is_in_itself_is_refused():
    written = {"url": "x"}
    written["headers"] = written
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        expand(written, {}, "crm")
