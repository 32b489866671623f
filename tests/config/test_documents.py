"""Files of servers: in which line a mistake is, and what is no file that we read."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mcpsync.config import load_yaml, read_settings
from mcpsync.config.documents import LARGEST
from mcpsync.errors import ConfigurationError, PlaceholderError

URL = "https://crm.example.com/mcp"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "mcpsync.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def mistake(path: Path) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load_yaml(path, environment={})
    assert "\n" not in str(caught.value)
    assert caught.value.file == str(path)
    return caught.value


# -- where a mistake is ----------------------------------------------------------------------------

FILE = f"""\
# what we talk to
servers:
  notes:
    url: {URL}
  crm:
    url: {URL}
    headers:
      X-Key: 'a'
      X-Bad: "a\\r\\nX-Injected: b"
"""


def test_a_mistake_names_file_line_server_and_field(write: Write) -> None:
    path = write(FILE)
    error = mistake(path)
    assert str(error) == (
        "server 'crm': its configuration is wrong at 'headers.X-Bad': there is a line break or "
        f"another control character in it ({path}, line 9)."
    )
    assert (error.server_name, error.field, error.line) == ("crm", "headers.X-Bad", 9)


@pytest.mark.parametrize(
    ("text", "field", "line"),
    [
        (f"servers:\n  crm:\n    url: {URL}\n    timout: 5\n", "timout", 4),
        (f"servers:\n  crm:\n    url: {URL}\n    timeout: soon\n", "timeout", 4),
        ("servers:\n  crm:\n    title: CRM\n", "url", 2),
        (f"servers:\n  crm:\n    url: {URL}\n    iconPath: 7\n", "icon_path", 4),
        ("servers:\n  crm:\n    command: x\n    args:\n      - a\n      - 7\n", "args.1", 6),
        (
            f"servers:\n  crm:\n    url: {URL}\n    customUserVars:\n      K:\n        titel: K\n",
            "custom_user_vars.K.titel",
            6,
        ),
        (f"mcpServers:\n  crm:\n    url: {URL}\n    timeout: 30\n", "timeout", 4),
        (
            f"base: &base\n  url: {URL}\n  timeout: soon\nservers:\n  crm:\n    <<: *base\n",
            "timeout",
            3,
        ),
        (f"servers:\n  crm:\n    url: {URL}\n    headers:\n      X: ${{NO}}\n", "headers.X", 5),
    ],
)
def test_the_line_is_that_of_the_field_or_of_what_it_is_missing_in(
    write: Write, text: str, field: str, line: int
) -> None:
    error = mistake(write(text))
    assert (error.field, error.line) == (field, line)
    assert f"mcpsync.yaml, line {line})." in str(error)


def test_an_unset_variable_is_still_an_error_of_placeholders(write: Write) -> None:
    with pytest.raises(PlaceholderError, match=r"crm\.url needs .* NO, .* line 3\)\.$"):
        load_yaml(write("servers:\n  crm:\n    url: ${NO}\n"), environment={})


def test_json_has_lines_too_and_may_be_indented_with_tabs(write: Write) -> None:
    written = {"mcpServers": {"crm": {"url": URL, "timout": 5}}}
    error = mistake(write(json.dumps(written, indent="\t")))
    assert (error.field, error.line) == ("timout", 5)


def test_json_is_read_as_json(write: Write) -> None:
    said = json.dumps(
        {"servers": {"crm": {"url": URL, "description": "\U0001f600", "timeout": 1e3}}}
    )
    assert "\\ud83d\\ude00" in said  # which YAML would take for two characters
    loaded = load_yaml(write(said.replace("/", "\\/")))["crm"]
    assert (loaded.description, loaded.timeout) == ("\U0001f600", 1000)


def test_json_needs_no_pyyaml(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    path = write(json.dumps({"servers": {"crm": {"url": URL, "timout": 1}}}))
    assert mistake(path).line is None


# -- what we do not read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"servers:\n  crm: {{url: '{URL}'}}\n  crm: {{url: x}}\n", "'crm' is there twice"),
        (f"servers:\n  crm:\n    url: {URL}\n    url: {URL}\n", "'url' is there twice"),
        (f"servers: {{crm: {{url: '{URL}', url: x}}}}", "'url' is there twice"),
        ("servers:\n  crm: {}\nservers:\n  b: {}\n", "'servers' is there twice"),
        ('{"servers": {"crm": {"url": "x", "url": "y"}}}', "'url' twice in one object"),
    ],
)
def test_what_is_said_twice_is_refused(write: Write, text: str, problem: str) -> None:
    assert problem in mistake(write(text)).message


def laughs(floors: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, floors)]
    return "\n".join([*lines, f"servers: {{crm: {{command: x, args: *a{floors - 1}}}}}"])


@pytest.mark.parametrize("floors", [9, 60])
def test_a_billion_laughs_are_refused_at_once(write: Write, floors: int) -> None:
    began = time.monotonic()
    error = mistake(write(laughs(floors)))
    assert "it comes to more than 100000 values, in line " in error.message
    assert time.monotonic() - began < 5


def test_laughs_by_merging_are_refused_too(write: Write) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    error = mistake(write("\n".join([*lines, "servers: {crm: *a11}"])))
    assert "it comes to more than" in error.message


def test_an_alias_of_what_it_is_in_is_refused(write: Write) -> None:
    error = mistake(write("servers: &s\n  crm:\n    args: [*s]\n"))
    assert "an alias stands for what it is in, in line 1" in error.message


def test_aliases_and_merges_within_bounds_are_what_they_stand_for(write: Write) -> None:
    loaded = load_yaml(
        write(f"""
base: &base
  timeout: 5
  headers: &headers {{X: '1'}}
servers:
  a: {{<<: *base, url: '{URL}'}}
  b: {{<<: *base, url: '{URL}', timeout: 7}}
  c: {{url: '{URL}', headers: *headers}}
""")
    )
    assert [config.timeout for config in loaded.values()] == [5, 7, None]
    assert loaded["a"].headers == loaded["c"].headers == {"X": "1"}


def test_what_cannot_be_the_name_of_a_file_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a file"):
        load_yaml("a\0b")


def test_a_file_that_is_too_large_is_not_read(write: Write) -> None:
    with pytest.raises(ConfigurationError, match=f"is larger than {LARGEST} bytes"):
        load_yaml(write("#" * (LARGEST + 1)))


@pytest.mark.parametrize(
    "text",
    [
        "servers:\n\tcrm: {}\n",
        "servers: {crm: {updated_at: 2026-13-45}}",
        "servers: [",
        "}",
        "servers: {crm: {startup: !!bool maybe}}",
        "servers: {crm: {timeout: !!int ''}}",
        "servers: {crm: {timeout: !!float ''}}",
        "servers: {crm: {updated_at: !!timestamp x}}",
    ],
)
def test_what_is_no_yaml_is_one_sentence(write: Write, text: str) -> None:
    assert "is not YAML: " in mistake(write(text)).message


@pytest.mark.parametrize("secret", ["*s3cret", "!s3cret", "!s3!cret", '!s3"cret'])
def test_a_secret_that_is_taken_for_yaml_is_not_shown(write: Write, secret: str) -> None:
    text = f"servers:\n  crm:\n    url: {URL}\n    api_key:\n      key: {secret}\n"
    error = mistake(write(text))
    assert "is not YAML: " in error.message
    assert "line 5" in error.message
    assert "s3" not in error.message


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("n" * 201, "has at most 200 characters"),
        ('"a\\nb"', "no control characters"),
        ("7", "must be a non-empty string, not 7"),
        ("2026-01-01", "must be a non-empty string"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(write: Write, name: str, problem: str) -> None:
    error = mistake(write(f"servers:\n  {name}: {{url: '{URL}'}}\n"))
    assert problem in error.message
    assert len(error.message) < 300


# -- what a file says of all servers ---------------------------------------------------------------


def test_settings_are_keywords(write: Write) -> None:
    path = write("""
mcpSettings:
  allowedDomains: ['*.example.com', 'https://crm.example.com:8443']
  allowedAddresses: ['10.0.0.7:3000']
  catalogRecovery: true
servers: {}
""")
    assert read_settings(path) == {
        "allowed_domains": ("*.example.com", "https://crm.example.com:8443"),
        "allowed_addresses": ("10.0.0.7:3000",),
    }
    assert read_settings(write("servers: {}")) == {}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("{allowedDomain: [x]}", "the nearest is 'allowedDomains'"),
        ("{allowedDomains: example.com}", "no list of texts"),
        ("{allowedDomains: [7]}", "no list of texts"),
        ("{allowedAddresses: ['${HOST}:1']}", "which is no host"),
        ("{allowedAddresses: ['a b']}", "which is no host"),
        ("{allowedDomains: [a], allowed_domains: [b]}", "twice"),
        ("[]", "is no mapping"),
    ],
)
def test_a_rule_that_is_not_understood_is_not_left_out(
    write: Write, settings: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem.replace("$", r"\$")):
        read_settings(write(f"mcpSettings: {settings}\nservers: {{}}"))
