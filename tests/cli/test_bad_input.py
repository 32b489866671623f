"""Bad input, each in a process of its own: one line, the right exit code, nothing left behind."""

import pytest

from mcpsync.testing import Fault, LocalServer
from support.processes import free_port

pytestmark = pytest.mark.once  # words and exit codes are the same with every Python


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (("nix",), ["No such command 'nix'. Try 'mcpsync --help'."]),
        (("tools",), ["give a TARGET"]),
        (("tools", "--"), ["no command after --"]),
        (("tools", "crm"), ["'crm' is not a URL", "no mcpsync.yaml"]),
        (("tools", "crm", "--config", "missing.yaml"), ["cannot read missing.yaml: No such file"]),
        (("tools", "cmr", "--config", "good.yaml"), ["server 'cmr'", "Did you mean 'crm'?"]),
        (("tools", "crm", "--config", "bad.yaml"), ["bad.yaml"]),
        (("tools", "crm", "--config", "empty.yaml"), ["empty.yaml"]),
        (("tools", "ftp://x"), ["'ftp://x' is not an http:// or https:// URL."]),
        (("tools", "http://x", "--", "y"), ["not both"]),
        (("tools", "http://x", "--timeout", "0"), ["'--timeout'"]),
        (("tools", "http://x", "--timeout", "soon"), ["'--timeout'"]),
        (("tools", "http://x", "--timeout", "nan"), ["timeout"]),
        (("tools", "http://x", "--mode", "2025-03-26"), ["'--mode'"]),
        (("tools", "http://x", "--nix"), ["No such option", "--nix"]),
        (("tools", "http://x", "-H", "nix"), ["a --header is written 'Name: value'."]),
        (
            ("tools", "http://x", "-H", "A: b\nc"),
            ["server 'http://x'", "the header 'A' cannot be sent"],
        ),
        (("tools", "http://x", "--bearer-env", "NIX"), ["NIX is not set"]),
        (("tools", "-H", "A: b", "--", "x"), ["for servers with a URL"]),
        (("call",), ["call needs a TARGET and a TOOL"]),
        (("call", "http://x"), ["call needs a TARGET and a TOOL"]),
        (("call", "http://x", "a=1"), ["call needs a TARGET and a TOOL"]),
        (("call", "--", "x"), ["call needs a TOOL"]),
        (("call", "http://x", "add", "nix"), ["'nix' is neither key=value nor key:=JSON."]),
        (("call", "http://x", "add", "a:=nix"), ["the value of 'a' is not JSON"]),
        (("call", "http://x", "add", "--args", "[1]"), ["must be a JSON object, not an array."]),
        (("call", "http://x", "add", "--args", "nix"), ["--args is not JSON"]),
        (("demo", "--users", "9", "--threads", "3"), ["9 users need at least 9 threads, not 3."]),
        (("demo", "--seconds", "-1"), ["'--seconds'"]),
    ],
    ids=lambda value: " ".join(value).replace("/", "_") if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_exit_code_2(cli, words, fragments, tmp_path):
    (tmp_path / "good.yaml").write_text("servers: {crm: {url: 'http://x/mcp'}}", encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("servers: [", encoding="utf-8")
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    cli(*words).assert_failed(2, *fragments)


def test_a_refused_port_is_exit_code_3(process):
    url = f"http://127.0.0.1:{free_port()}/mcp"
    process("tools", url).assert_failed(3, f"server '{url}'", "connection refused")


def test_a_command_that_is_not_found_is_exit_code_3(process):
    process("tools", "--", "no-such-command-here").assert_failed(3, "there is no such command")


def test_a_server_that_exits_when_it_is_asked_is_exit_code_3(process):
    outcome = process("tools", "--", "sh", "-c", "read line; echo out of disk >&2; exit 5")
    outcome.assert_failed(3, "ended with status 5", "out of disk")


def test_a_server_that_is_gone_before_it_is_asked_is_exit_code_3(cli):
    cli("tools", "--", "sh", "-c", "exec <&-; exit 5").assert_failed(3, "server 'sh'")


def test_a_server_that_hangs_is_exit_code_4(process, server):
    server.inject(Fault.HANG, method="tools/call", times=None)
    outcome = process("call", server.url, "echo", "text:=1", "--timeout", "0.5")
    outcome.assert_failed(4, "tool 'echo'", "timed out after 0.5 s", "may have run it")


def test_missing_credentials_are_exit_code_5(process):
    with LocalServer(auth_token="secret") as server:
        process("tools", server.url).assert_failed(5, f"server '{server.url}'")


def test_an_unknown_tool_is_exit_code_6(process, server):
    outcome = process("call", server.url, "no-such-tool", "a=1")
    outcome.assert_failed(6, "tool 'no-such-tool'", "Unknown tool: no-such-tool", "-32602")


@pytest.mark.parametrize(
    ("fault", "method", "fragments"),
    [
        (Fault.HTML, None, ["text/html", "is the URL that of an MCP endpoint?"]),
        (Fault.HTML_404, None, ["404"]),
        (Fault.HTTP_500, None, ["500"]),
        (Fault.HTTP_503, None, ["503"]),
        (Fault.RATE_LIMITED, None, ["429"]),
        (Fault.REDIRECT_302, None, ["302"]),
        (Fault.DIE_BEFORE_ANSWER, "tools/call", ["without an answer", "may have run it"]),
        (Fault.DIE_MID_HEADERS, "tools/call", ["may have run it"]),
        (Fault.DIE_MID_ANSWER, "tools/call", ["in the middle of the answer", "may have run it"]),
        (Fault.GARBAGE, "tools/call", ["not JSON"]),
        (Fault.WRONG_ID, "tools/call", ["1000002"]),
        (Fault.HUGE, "tools/call", ["larger than 16777216 bytes"]),
        (Fault.HUGE_LINE, "tools/call", ["a line of more than 5242880 bytes"]),
    ],
    ids=lambda value: value.value if isinstance(value, Fault) else "",
)
def test_a_server_that_breaks_the_protocol_is_exit_code_7(
    process, server, fault, method, fragments
):
    server.inject(fault, method=method, times=None)
    outcome = process("call", server.url, "echo", 'text:="hi"')
    outcome.assert_failed(7, f"server '{server.url}'", *fragments)
    assert server.executions.get("echo", 0) <= 1


def test_a_listing_that_goes_round_is_exit_code_7(cli, server):
    server.inject(Fault.REPEAT_CURSOR, method="tools/list", times=None)
    cli("tools", server.url).assert_failed(7, f"server '{server.url}'", "goes round")


@pytest.mark.parametrize(
    ("fault", "fragments"),
    [
        (Fault.EXIT_MID_CALL, ["ended with status 3", "its last words: ", "may have run it"]),
        (Fault.WRONG_ID, ["the server answered request"]),
        (Fault.HUGE_LINE, ["it sent a line of more than 5242880 bytes"]),
        (Fault.DIE_MID_ANSWER, ["ended with status 3"]),
    ],
    ids=lambda value: value.value if isinstance(value, Fault) else "",
)
def test_over_stdio_it_is_the_same_and_no_child_is_left(process, stdio, fault, fragments):
    server = stdio(fault=fault)
    outcome = process("call", "echo", 'text:="hi"', "--", *server.command)
    outcome.assert_failed(7, "tool 'echo'", *fragments)
    server.assert_gone()


def test_a_child_that_does_not_want_to_end_is_ended(process, stdio):
    server = stdio(fault=Fault.STUBBORN)
    outcome = process("call", "add", "a=x", "b=1", "--", *server.command)
    outcome.assert_failed(2, "the argument 'a' must be of type number, which 'x' is not.")
    server.assert_gone()


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("tools", "--json", "--nix"), 2, "NoSuchOption"),
        (("tools", "crm", "--json"), 2, "UsageError"),
        (("tools", "--json", "--", "no-such-command-here"), 3, "ConnectError"),
    ],
)
def test_with_json_the_line_is_an_object(cli, words, code, kind):
    outcome = cli(*words)
    assert (outcome.code, outcome.out) == (code, "")
    assert (outcome.error["type"], outcome.error["exit_code"]) == (kind, code)
    assert outcome.err.count("\n") == 1


def test_the_object_says_whether_the_tool_may_have_run(cli, server):
    server.inject(Fault.DIE_MID_ANSWER, method="tools/call")
    error = cli("call", server.url, "echo", 'text:="hi"', "--json").error
    assert error["maybe_executed"] is True
    assert (error["server"], error["tool"]) == (server.url, "echo")


def test_json_behind_the_dashes_is_the_servers(cli):
    outcome = cli("tools", "--", "no-such-command-here", "--json")
    outcome.assert_failed(3, "no such command")


def test_a_bug_is_a_line_too(cli, monkeypatch):
    monkeypatch.setattr("mcpsync.cli.app.find_target", {}.__getitem__)
    outcome = cli("tools", "http://x")
    outcome.assert_failed(70, "this is a bug: TypeError: ")


def test_nobody_who_reads_is_no_error_to_speak_of(start, server):
    child = start("tools", server.url)
    child.stdout.close()
    assert child.wait(30) == 141
    assert child.stderr.read() == ""
    child.stdout = None


def test_a_disk_that_is_full_is_exit_code_74(start, server):
    with open("/dev/full", "w", encoding="utf-8") as full:
        child = start("tools", server.url, stdout=full)
        assert child.wait(30) == 74
    assert child.stderr.read() == (
        "mcpsync: the answer cannot be written: No space left on device.\n"
    )


def test_a_terminal_that_knows_few_characters_gets_escapes(process, server):
    words = ("call", server.url, "echo", 'text:="✓"')
    few = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    assert process(*words, env=few).out == "\\u2713\n"
    assert process(*words, "--json", env=few).json["content"][0]["text"] == "✓"


def test_arguments_can_come_from_standard_input(process, server):
    outcome = process("call", server.url, "add", "--args", "-", typed='{"a": 1, "b": 2}')
    assert outcome.out == "3\n"
