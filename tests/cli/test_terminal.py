"""What is shown on a terminal, and that none of it is on a pipe."""

import pytest

from mcpsync.testing import Fault

pytestmark = pytest.mark.once  # what is shown is the same with every Python


def test_a_bar_shows_the_progress_while_we_wait(terminal, server):
    code, shown = terminal("call", server.url, "slow", "seconds:=1", "steps:=4")
    assert code == 0
    assert "calling slow" in shown
    assert "step 2 of 4" in shown
    assert "2/4" in shown
    assert shown.replace("\r", "").endswith("waited 1 s in 4 steps\n")


def test_a_spinner_shows_on_a_terminal_while_the_answer_goes_to_a_file(terminal, server, tmp_path):
    with (tmp_path / "answer").open("wb") as out:
        code, shown = terminal("call", server.url, "slow", "seconds:=0.6", out=out)
    assert code == 0
    assert "calling slow" in shown
    assert (tmp_path / "answer").read_text("utf-8") == "waited 0.6 s in 5 steps\n"


def test_nothing_of_it_is_on_a_pipe(process, server):
    env = {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    outcome = process("call", server.url, "slow", "seconds:=0.4", env=env)
    assert (outcome.code, outcome.out, outcome.err) == (0, "waited 0.4 s in 5 steps\n", "")
    assert "\x1b" not in process("tools", server.url, env=env).out


def test_without_a_terminal_no_progress_is_asked_for(cli, server):
    cli("call", server.url, "echo", "text=hi")
    (request,) = [each for each in server.requests if each.rpc_method == "tools/call"]
    assert "progressToken" not in request.body["params"]["_meta"]


@pytest.mark.parametrize("words", [("tools",), ("resources",), ("prompts",), ("info",)])
def test_a_table_is_for_people(terminal, server, words):
    code, shown = terminal(*words, server.url)
    assert code == 0
    assert "\x1b[1m" in shown
    assert "\t" not in shown


def test_an_error_is_one_line_below_the_spinner(terminal, server):
    server.inject(Fault.HANG, method="tools/call", times=None)
    code, shown = terminal("call", server.url, "echo", 'text:="hi"', "--timeout", "0.7")
    assert code == 4
    assert "Traceback" not in shown
    assert "timed out after 0.7 s" in shown.splitlines()[-1]


def test_with_verbose_there_are_lines_and_no_spinner(terminal, server):
    _, shown = terminal("call", server.url, "slow", "seconds:=0.5", "-v")
    assert "\x1b" not in shown
