"""``mcpsync schema``: JSON Schema, for editors."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cli.conftest import Cli

pytestmark = pytest.mark.once  # the words are the same for every Python


@pytest.mark.parametrize("options", [(), ("--user",)])
def test_it_prints_a_json_schema(cli: Cli, options: tuple[str, ...]) -> None:
    done = cli("schema", *options)
    assert (done.code, done.err) == (0, "")
    Draft202012Validator.check_schema(done.json)


def test_a_users_has_no_commands(cli: Cli) -> None:
    assert "StdioServerConfig" in cli("schema").out
    assert "StdioServerConfig" not in cli("schema", "--user").out


def test_a_mistake_in_the_file_names_its_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mcpsync.yaml").write_text(
        "servers:\n  other: {url: '${NO_SUCH_VARIABLE}'}\n  crm:\n    url: x\n"
    )
    cli("tools", "crm").assert_failed(2, "server 'crm'", "at 'url'", "(mcpsync.yaml, line 4)")
