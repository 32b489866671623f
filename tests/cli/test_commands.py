"""The commands against the test server, over HTTP and stdio; run in this process."""

import json

import pytest

from mcpsync.testing import Fault, LocalServer


def test_tools_are_listed_as_lines_with_tabs(cli, server):
    outcome = cli("tools", server.url)
    assert outcome.code == 0
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    assert lines[0] == ["add", "a: number, b: number", "Add two numbers."]
    assert lines[2][:2] == ["slow", "seconds: number, steps?: integer"]
    assert outcome.err == ""


def test_a_server_that_knows_only_http_sse_is_found_out(cli):
    with LocalServer(transport="sse") as server:
        assert server.url.endswith("/sse")
        outcome = cli("tools", server.url)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("add\t")
        outcome = cli("call", server.url, "add", "a=1", "b=2")
        assert outcome.code == 0


def test_json_is_what_the_protocol_says_of_all_pages(cli):
    with LocalServer(page_size=2) as server:
        outcome = cli("tools", server.url, "--json")
    names = [tool["name"] for tool in outcome.json]
    assert len(names) == len(set(names)) == 8
    assert outcome.json[0]["inputSchema"]["required"] == ["a", "b"]
    assert "input_schema" not in outcome.out


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("resources",), "test://notes/one\tone\ttext/plain\tNote one"),
        (
            ("resources", "--templates"),
            "test://greeting/{name}\tgreeting\ttext/plain\tA greeting for somebody.",
        ),
        (("prompts",), "summary\t\tAsk for a summary."),
    ],
)
def test_resources_templates_and_prompts_are_listed(cli, server, words, first):
    outcome = cli(*words, server.url)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == first


def test_prompts_show_their_arguments(cli, server):
    assert "greet\tname, language?\tAsk for a greeting." in cli("prompts", server.url).out


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("resources",), "mimeType"),
        (("resources", "--templates"), "uriTemplate"),
        (("prompts",), "description"),
    ],
)
def test_lists_are_arrays_in_json(cli, server, words, key):
    assert key in cli(*words, server.url, "--json").json[0]


def test_info_says_what_a_server_is(cli, server):
    outcome = cli("info", server.url)
    facts = dict(line.split("\t") for line in outcome.out.splitlines())
    assert facts["server"] == server.url
    assert facts["calls itself"] == "mcpsync test server mcpsync-testing 1.0"
    assert facts["protocol"] == "2026-07-28"
    assert "tools" in facts["can do"]


@pytest.mark.parametrize(
    ("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25"), ("2026-07-28",) * 2]
)
def test_the_mode_chooses_the_era(cli, server, mode, version):
    facts = cli("info", server.url, "--mode", mode, "--json").json
    assert facts["protocolVersion"] == version
    assert facts["serverInfo"]["name"] == "mcpsync-testing"
    assert facts["instructions"].startswith("A server for tests.")


def test_a_tool_is_called_with_arguments_of_its_schemas_types(cli, server):
    outcome = cli("call", server.url, "add", "a=1", "b=2.5")
    assert (outcome.code, outcome.out, outcome.err) == (0, "3.5\n", "")


@pytest.mark.parametrize(
    "words",
    [
        ("a:=1", "b:=2"),
        ("--args", '{"a": 1, "b": 2}'),
        ("--args", '{"a": 5, "b": 2}', "a=1"),
        ("--args", "@arguments.json"),
    ],
)
def test_arguments_can_be_json(cli, server, words, tmp_path):
    (tmp_path / "arguments.json").write_text('{"a": 1, "b": 2}', encoding="utf-8")
    assert cli("call", server.url, "add", *words).out == "3\n"


def test_the_schema_is_only_looked_up_for_texts(cli, server):
    cli("call", server.url, "add", "a:=1", "b:=2")
    assert "tools/list" not in [request.rpc_method for request in server.requests]
    cli("call", server.url, "add", "a=1", "b:=2")
    assert "tools/list" in [request.rpc_method for request in server.requests]


def test_the_answer_of_a_tool_is_json_in_the_protocols_spelling(cli, server):
    answer = cli("call", server.url, "whoami", "-H", "X-User: ada", "--json").json
    assert answer["structuredContent"]["user"] == "ada"
    assert answer["structuredContent"]["session"] is None
    assert answer["isError"] is False


def test_a_bearer_token_comes_from_the_environment(cli, monkeypatch):
    monkeypatch.setenv("CRM_TOKEN", "abc")
    with LocalServer(auth_token="abc") as server:
        answer = cli("call", server.url, "whoami", "--bearer-env", "CRM_TOKEN", "--json").json
    assert answer["structuredContent"]["authorization"] == "Bearer abc"


def test_a_tool_that_fails_says_so_on_both_outputs(cli, server):
    outcome = cli("call", server.url, "fail", "message=no such luck")
    assert outcome.code == 1
    assert outcome.out == "no such luck\n"
    assert outcome.err == "mcpsync: the tool 'fail' answered with an error.\n"


def test_a_tool_that_fails_is_an_answer_in_json(cli, server):
    outcome = cli("call", server.url, "fail", "message=no", "--json")
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.json["isError"] is True


def test_what_a_tool_answers_cannot_steer_a_terminal(cli, server):
    nasty = "\x1b]0;gotcha\x07[red]\u202e\r"
    outcome = cli("call", server.url, "echo", "--args", json.dumps({"text": nasty}))
    assert outcome.out == "\\u001b]0;gotcha\\u0007[red]\\u202e\\r\n"
    outcome = cli("call", server.url, "echo", "--args", json.dumps({"text": nasty}), "--json")
    assert outcome.json["content"][0]["text"] == nasty
    assert not set(outcome.out) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.parametrize("era", ["both", "legacy", "modern"])
def test_a_command_behind_dashes_is_the_server(cli, era, stdio):
    server = stdio(era)
    outcome = cli("call", "echo", "text=hi", "--", *server.command)
    assert (outcome.code, outcome.out, outcome.err) == (0, "hi\n", "")
    server.assert_gone()


def test_options_may_stand_anywhere_before_the_dashes(cli, stdio):
    behind = ["--", *stdio().command]
    assert cli("call", "--json", "echo", "text=--json", *behind).json["content"][0]["text"] == (
        "--json"
    )
    assert cli("tools", "--timeout", "30", *behind).out.startswith("add\t")


def test_a_configured_name_is_the_server(cli, server, tmp_path, monkeypatch):
    text = f"servers: {{crm: {{url: '{server.url}', headers: {{X-User: '${{WHO}}'}}}}}}"
    (tmp_path / "other.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("WHO", "ada")
    answer = cli("call", "crm", "whoami", "--config", "other.yaml", "--json").json
    assert answer["structuredContent"]["user"] == "ada"
    monkeypatch.setenv("MCPSYNC_CONFIG", "other.yaml")
    answer = cli("call", "crm", "whoami", "-H", "X-User: bob", "--json").json
    assert answer["structuredContent"]["user"] == "bob"


def test_one_timeout_bounds_the_whole_command(cli, server):
    server.inject(Fault.HANG, method="tools/call", times=None)
    outcome = cli("call", server.url, "add", "a=1", "b=2", "--timeout", "0.5")
    outcome.assert_failed(4, "timed out after 0.5 s", "may have run")


def test_a_timeout_among_pages_names_the_whole_time(cli):
    with LocalServer(page_size=3) as server:
        server.inject(Fault.DRIP, method="tools/list", times=None)
        outcome = cli("tools", server.url, "--timeout", "0.4")
    outcome.assert_failed(4, "timed out after 0.4 s")


@pytest.mark.parametrize("words", [("--help",), ("-h",), (), ("call", "--help"), ("demo", "-h")])
def test_help_names_the_exit_codes(cli, words):
    outcome = cli(*words)
    assert outcome.code == 0
    assert "3  no connection" in outcome.out


def test_call_has_two_usages(cli):
    lines = cli("call", "--help").out.splitlines()
    assert lines[0] == "Usage: mcpsync call [OPTIONS] TARGET TOOL [KEY=TEXT | KEY:=JSON]..."
    assert lines[1] == (
        "       mcpsync call [OPTIONS] TOOL [KEY=TEXT | KEY:=JSON]... -- COMMAND..."
    )


def test_there_is_a_version(cli):
    assert cli("--version").out.startswith("mcpsync, version ")


def test_verbose_logs_on_standard_error_and_nowhere_else(cli, stdio):
    outcome = cli("call", "echo", "text=hi", "-v", "--", *stdio(fault=Fault.NOISY_STDERR).command)
    assert outcome.out == "hi\n"
    assert "mcpsync.stdio" in outcome.err
    assert "noise on stderr" in outcome.err


def test_what_the_library_copes_with_is_not_on_standard_error(cli, stdio):
    outcome = cli("call", "echo", "text=hi", "--", *stdio(fault=Fault.STRAY_STDOUT).command)
    assert (outcome.code, outcome.out, outcome.err) == (0, "hi\n", "")
