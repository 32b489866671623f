"""``mcpsync check``: is a configuration file right, and do its servers work?"""

import sys
from pathlib import Path

import pytest

from cli.conftest import Cli
from mcpsync.testing import Fault, LocalServer

pytestmark = pytest.mark.once  # the words are the same for every Python


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is looked for in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MCPSYNC_CONFIG", raising=False)
    return tmp_path / "mcpsync.yaml"


def rows(out: str) -> list[list[str]]:
    return [line.split("\t") for line in out.splitlines()]


WRONG = """
servers:
  crm:
    url: https://crm.example.com/mcp
    tiemout: 3
  env: {url: "${NO_SUCH_VARIABLE}"}
  wiki: {url: "https://user:s3cret@wiki.example.com/mcp?key=s3cret"}
"""


def test_every_mistake_is_told_with_its_line_and_what_is_right_with_where_it_leads(
    cli: Cli, here: Path
) -> None:
    here.write_text(WRONG)
    done = cli("check")
    assert (done.code, done.err) == (2, "")
    assert [row[:2] for row in rows(done.out)] == [
        ["crm", "failed"],
        ["env", "failed"],
        ["wiki", "ok"],
    ]
    assert "the nearest is 'timeout' (mcpsync.yaml, line 5)" in done.out
    assert "NO_SUCH_VARIABLE, which is not set (mcpsync.yaml, line 6)" in done.out
    assert "wiki\tok\thttps://wiki.example.com/mcp\n" in done.out
    assert "s3cret" not in done.out


def test_a_script_is_told_where_it_is_wrong(cli: Cli, here: Path) -> None:
    here.write_text(WRONG)
    done = cli("check", "--json")
    assert done.code == 2
    crm, _, wiki = done.json
    assert wiki == {"server": "wiki", "ok": True}
    error = crm["error"]
    assert (crm["ok"], error["type"]) == (False, "ConfigurationError")
    assert (error["field"], error["line"], error["file"]) == ("tiemout", 5, "mcpsync.yaml")


def test_nothing_is_connected_to_unless_that_is_asked_for(cli: Cli, here: Path) -> None:
    with LocalServer() as server:
        here.write_text(f"servers: {{crm: {{url: '{server.url}'}}}}\n")
        assert cli("check").code == 0
        assert server.connections_opened == 0


def test_servers_are_looked_at_and_each_says_what_came_of_it(cli: Cli, here: Path) -> None:
    with LocalServer() as server, LocalServer() as broken, LocalServer(auth_token="t") as closed:
        broken.inject(Fault.HTTP_500, times=None)
        here.write_text(
            f"""
servers:
  crm: {{url: "{server.url}"}}
  lazy: {{url: "{server.url}", startup: false}}
  keyed: {{url: "{server.url}?{{{{KEY}}}}", custom_user_vars: {{KEY: {{}}}}}}
  each: {{url: "{server.url}?{{{{USER_ID}}}}"}}
  closed: {{url: "{closed.url}"}}
  broken: {{url: "{broken.url}", requires_oauth: false}}
  ours: {{command: "{sys.executable}", args: [-c, "raise SystemExit(3)"]}}
"""
        )
        done = cli("check", "--connect")
    told = {row[0]: row[1:] for row in rows(done.out)}
    assert told["crm"][0] == "ok"
    assert " tools, " in told["crm"][1]
    assert told["lazy"] == ["ok", "not connected to: 'startup' is false"]
    assert told["keyed"] == ["ok", "not connected to: it has 'custom_user_vars'"]
    assert told["each"][1].startswith("not connected to: ")
    assert told["closed"] == ["ok", "its users have to sign in"]
    assert told["broken"][0] == told["ours"][0] == "failed"
    assert "500" in told["broken"][1]
    assert "status 3" in told["ours"][1]
    assert done.code == 7  # that of the first that failed
    assert server.open_sessions == []


def test_what_there_is_no_time_for_is_said_to_be_so(cli: Cli, here: Path) -> None:
    with LocalServer() as slow:
        slow.inject(Fault.HANG, times=None)
        servers = [f"  s{n}: {{url: '{slow.url}', requires_oauth: false}}" for n in range(9)]
        here.write_text("\n".join(["servers:", *servers]))
        done = cli("check", "--connect", "--timeout", 0.3, "--json")
        slow.release()
    assert [each["ok"] for each in done.json] == [False] * 8 + [True]
    assert done.json[-1]["skipped"] is True
    assert done.code == 4


def test_the_file_may_be_named_and_be_another_programs(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"crm": {"command": "crm-server", "disabled": true}}}')
    done = cli("check", path)
    assert (done.code, done.out) == (0, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("servers: [", ("is not YAML", "line 1")),
        ("mcpSettings: {allowedDomain: []}\nservers: {}", ("'allowedDomain'",)),
        ("mcpSettings: {allowedDomains: ['a b']}\nservers: {}", ("'a b'",)),
        ("mcpSettings: {allowedAddresses: ['8.8.8.8']}\nservers: {}", ("8.8.8.8",)),
        (None, ("there is no mcpsync.yaml here",)),
    ],
)
def test_a_file_that_is_none_is_one_line(
    cli: Cli, here: Path, text: str | None, words: tuple[str, ...]
) -> None:
    if text is not None:
        here.write_text(text)
    cli("check").assert_failed(2, *words)
