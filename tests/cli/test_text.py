"""What a server says must not steer a terminal."""

import json

import pytest

from mcpsync.cli.text import as_json, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode ✓ 漢字", "plain, ünïcode ✓ 漢字"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("DOS\r\nlines", "DOS\nlines"),
        ("over\rwritten", "over\\rwritten"),
        ("\x1b[31mred\x1b[0m", "\\u001b[31mred\\u001b[0m"),
        ("\x1b]8;;http://x\x07link", "\\u001b]8;;http://x\\u0007link"),
        ("\x9b31m", "\\u009b31m"),
        ("bell\a, back\b, null\0, del\x7f", "bell\\u0007, back\\b, null\\u0000, del\\u007f"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("\ud800", "\\ud800"),
        ("a\U000e0041b", "a\\udb40\\udc41b"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
    ],
)
def test_what_could_steer_a_terminal_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown


def test_a_line_is_one_line_and_not_endless():
    assert one_line("  a\n\n b\tc\r\n") == "a b c"
    assert one_line("x" * 9000, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("value", ["\x1b[31m\x9b\x7f\u202e\ud800\U000e0041", {"ü": ["\0", None]}])
def test_json_is_as_harmless_and_loses_nothing(value):
    text = as_json(value)
    assert json.loads(text) == value
    assert printable(text) == text


def test_json_reads_well():
    assert as_json({"ü": 1}) == '{\n  "ü": 1\n}'
