"""Which server is meant: a URL, a configured name, or a command."""

import click
import pytest

from mcpsync import ConfigurationError, ServerNotFound
from mcpsync.cli.options import Settings
from mcpsync.cli.target import find_target, make_client, read_headers, read_token, timeout_of

CONFIG = """
servers:
  crm: {url: "http://127.0.0.1:1/mcp", timeout: 7}
  files: {command: files-server, args: [--root, /tmp]}
"""


def settings(**given):
    """The options of a bare command, but for those given."""
    bare = {
        "as_json": False,
        "timeout": None,
        "headers": (),
        "bearer_env": None,
        "mode": "auto",
        "config": None,
        "verbose": False,
    }
    return Settings(**{**bare, **given})


def test_a_url_is_a_target_and_its_secrets_are_not_its_name():
    target = find_target("https://ada:secret@example.com/mcp?key=secret", None, None)
    assert target.name == "https://example.com/mcp"
    assert target.config.url == "https://ada:secret@example.com/mcp?key=secret"


def test_a_command_is_a_target():
    target = find_target(None, ("python", "-m", "server"), None)
    assert (target.config.command, target.config.args) == ("python", ("-m", "server"))
    assert target.name == "python -m server"


def test_a_name_is_looked_up_in_the_configuration_at_hand(tmp_path):
    (tmp_path / "mcpsync.yaml").write_text(CONFIG, encoding="utf-8")
    target = find_target("crm", None, None)
    assert (target.name, target.config.url) == ("crm", "http://127.0.0.1:1/mcp")
    assert find_target("files", None, None).config.command == "files-server"


def test_a_configuration_of_a_desktop_client_will_do(tmp_path):
    file = tmp_path / "desktop.json"
    file.write_text('{"mcpServers": {"files": {"command": "x"}}}', encoding="utf-8")
    assert find_target("files", None, str(file)).config.command == "x"


@pytest.mark.parametrize(
    ("word", "command", "complaint"),
    [
        (None, None, "give a TARGET: a URL, a configured name, or -- and a command."),
        (None, (), "there is no command after --."),
        ("http://x", ("y",), "give the TARGET 'http://x' or a command after --, not both."),
        ("crm", None, "'crm' is not a URL (https://…), and there is no mcpsync.yaml here"),
        ("ftp://x/y", None, "'ftp://x/y' is not an http:// or https:// URL."),
        ("http://", None, "'http://' is not an http:// or https:// URL."),
        ("http://x:port/", None, "'http://x:port/' is not an http:// or https:// URL."),
    ],
)
def test_what_is_no_target_is_turned_down(word, command, complaint):
    with pytest.raises(click.UsageError) as caught:
        find_target(word, command, None)
    assert caught.value.message.startswith(complaint)


@pytest.mark.parametrize(
    ("name", "hint"), [("cmr", "Did you mean 'crm'?"), ("zzz", "It has: crm, files.")]
)
def test_an_unknown_name_gets_a_hint(name, hint, tmp_path):
    (tmp_path / "mcpsync.yaml").write_text(CONFIG, encoding="utf-8")
    with pytest.raises(ServerNotFound, match=hint.replace("?", r"\?")) as caught:
        find_target(name, None, None)
    assert caught.value.server_name == name


def test_a_configuration_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match=r"missing\.yaml"):
        find_target("crm", None, "missing.yaml")


def test_the_option_wins_over_the_configured_timeout(tmp_path):
    (tmp_path / "mcpsync.yaml").write_text(CONFIG, encoding="utf-8")
    crm, files = find_target("crm", None, None), find_target("files", None, None)
    assert timeout_of(crm, settings(timeout=2.0)) == 2.0
    assert timeout_of(crm, settings()) == 7
    assert timeout_of(files, settings()) == 60


def test_headers_are_written_as_http_writes_them():
    assert read_headers(["X-A: 1", "X-B:two: three ", "x-c:"]) == {
        "X-A": "1",
        "X-B": "two: three",
        "x-c": "",
    }


@pytest.mark.parametrize("line", ["", "secret", ": secret", " : secret"])
def test_what_is_no_header_is_turned_down_and_not_repeated(line):
    with pytest.raises(click.UsageError) as caught:
        read_headers([line])
    assert caught.value.message == "a --header is written 'Name: value'."


def test_a_token_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TOKEN", " abc\n")
    assert read_token("TOKEN") == "abc"
    assert read_token(None) is None


@pytest.mark.parametrize("value", [None, "", " "])
def test_a_token_that_is_not_set_is_an_error(value, monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN", value)
    with pytest.raises(click.UsageError, match="TOKEN is not set"):
        read_token("TOKEN")


@pytest.mark.parametrize("given", [{"headers": ("X: y",)}, {"bearer_env": "TOKEN"}])
def test_headers_are_not_for_commands(given, monkeypatch):
    monkeypatch.setenv("TOKEN", "abc")
    target = find_target(None, ("server",), None)
    with pytest.raises(click.UsageError, match="for servers with a URL"):
        make_client(target, settings(**given))
