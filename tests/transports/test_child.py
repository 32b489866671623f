"""A child process: what it inherits, and how it is ended."""

import contextlib
import os
import sys

import pytest

from mcpsync import ConnectError
from mcpsync._runtime.deadline import Deadline
from mcpsync.config import StdioServerConfig
from mcpsync.transports._child import Child, _Lines, safe_environment
from support.processes import alive, children
from transports.door import LONG, SOON, within


@pytest.fixture
def start():
    """Start children that are read in no thread, and are gone at the end."""
    started = []

    def run(code, **fields):
        child = Child(StdioServerConfig(command=sys.executable, args=("-c", code), **fields))
        started.append(child)
        return child

    yield run
    for child in started:
        child.end(Deadline(0.3))
        with contextlib.suppress(ValueError):  # it was read to its end already
            child.read_loop(lambda _: None, 1000)


def lines_of(child):
    """Everything it writes until it ends."""
    found = []
    child.read_loop(found.append, 10_000)
    return found


def test_only_what_is_safe_is_inherited():
    source = {"PATH": "/bin", "HOME": "/root", "API_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    assert safe_environment(None, source) == {"PATH": "/bin", "HOME": "/root"}


def test_an_exported_function_is_not_inherited():
    assert safe_environment(None, {"TERM": "() { :; }", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_what_is_given_comes_on_top():
    given = {"PATH": "/opt", "API_TOKEN": "x"}
    assert safe_environment(given, {"PATH": "/bin", "TZ": "UTC"}) == {**given, "TZ": "UTC"}


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\n"], [b"a"]),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b", b"\n"], [b"ab"]),
        ([b"\n\n"], [b"", b""]),
        ([b"a\nb", b"c\nd\n"], [b"a", b"bc", b"d"]),
        ([b"a\r\n"], [b"a\r"]),
        ([b"half"], [b"half"]),
    ],
)
def test_lines_are_cut_wherever_the_chunks_are(chunks, lines):
    found = []
    cutter = _Lines(found.append)
    for chunk in chunks:
        cutter.feed(chunk)
    cutter.finish()
    assert found == lines


def test_a_polite_child_is_asked_only(start):
    child = start("import sys; sys.stdin.read(); print('bye')")
    with within(0, SOON):
        child.end(Deadline(LONG))
    assert child.wait(0) == 0


def test_a_child_that_ignores_the_end_of_its_input_is_terminated(start):
    child = start("import time; time.sleep(60)")
    with within(0, SOON):
        child.end(Deadline(0.6))
    assert child.wait(0) == -15


def test_a_child_that_ignores_that_too_is_killed(start):
    ready = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    child = start(ready + "print('ready', flush=True); time.sleep(60)")
    assert os.read(child._stdout.fileno(), 10) == b"ready\n"
    with within(0, SOON):
        child.end(Deadline(0.6))
    assert child.wait(0) == -9
    assert not alive(child.pid)


def test_ending_works_twice(start):
    child = start("input()")
    child.end(Deadline(1))
    with within(0, 0.5):
        child.end(Deadline(1))


def test_last_words_on_standard_error_are_kept(start):
    child = start("import sys; [print(n, file=sys.stderr) for n in range(100)]")
    lines_of(child)
    assert child.stderr_tail.split("\n") == [str(n) for n in range(80, 100)]


def test_a_long_line_on_standard_error_is_cut_and_does_not_end_it(start):
    child = start("import sys; sys.stderr.write('x' * 100_000 + '\\n'); print('ok')")
    assert lines_of(child) == [b"ok"]
    assert len(child.stderr_tail) <= 1000


TWO_WORDS = "import sys; print('mumble', file=sys.stderr, flush=True); print('ok')"


def test_standard_error_may_go_nowhere(start, capfd):
    child = start(TWO_WORDS, stderr="ignore")
    assert lines_of(child) == [b"ok"]
    assert (child.stderr_tail, capfd.readouterr().err) == ("", "")


def test_standard_error_may_go_where_ours_goes(start, capfd):
    child = start(TWO_WORDS, stderr="inherit")
    assert lines_of(child) == [b"ok"]
    assert (child.stderr_tail, capfd.readouterr().err) == ("", "mumble\n")


def test_standard_error_may_go_to_an_open_file(start, tmp_path):
    with (tmp_path / "log").open("wb") as log:
        assert lines_of(start(TWO_WORDS, stderr=log.fileno())) == [b"ok"]
    assert (tmp_path / "log").read_text() == "mumble\n"


def test_a_file_that_is_not_open_is_an_error_of_starting():
    with pytest.raises(ConnectError, match="cannot start"):
        Child(StdioServerConfig(command=sys.executable, stderr=987))


def test_a_long_line_on_standard_output_ends_the_reading(start):
    child = start("print('x' * 1_000_000)")
    assert "more than 10000 bytes" in child.read_loop(lambda _: None, 10_000)


def test_a_child_that_cannot_be_started_leaves_nothing_behind():
    before = children()
    with pytest.raises(ConnectError):
        Child(StdioServerConfig(command="/nowhere/server"))
    assert children() == before
