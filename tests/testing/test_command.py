"""The command line."""

import http.client
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from mcpsync.testing import Fault, stdio_command
from mcpsync.testing.command import parse, parse_fault

HTTP = [sys.executable, "-m", "mcpsync.testing", "--http"]
TIMEOUT = 10


@pytest.fixture
def serve():
    processes = []

    def start(*options):
        process = subprocess.Popen([*HTTP, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        return process, process.stdout.readline().decode().strip()

    yield start
    for process in processes:
        process.kill()
        process.wait(TIMEOUT)
        process.stdin.close()
        process.stdout.close()


def status_of(url, method="GET"):
    """The status of one request; the connection is closed afterwards."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT)
    try:
        connection.request(method, "/mcp")
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_first_line_is_the_url_and_the_end_of_stdin_the_end(serve):
    process, url = serve()
    assert status_of(url) == 405
    process.stdin.close()
    assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_peace(serve, number):
    process, url = serve("--era", "modern", "--answer", "sse")
    assert url.startswith("http://127.0.0.1:")
    process.send_signal(number)
    assert process.wait(TIMEOUT) == 0


def test_options_reach_the_server(serve):
    _, url = serve("--auth-token", "t", "--fault", "http-503:GET:1")
    assert [status_of(url) for _ in range(2)] == [401, 401]
    _, url = serve("--fault", "http-503:GET:1")
    assert [status_of(url) for _ in range(2)] == [503, 405]


def test_the_command_for_stdio_names_this_python():
    assert stdio_command() == [
        sys.executable,
        "-m",
        "mcpsync.testing",
        "--stdio",
        "--era",
        "both",
    ]
    assert stdio_command("legacy", fault=Fault.HANG)[-2:] == ["--fault", "hang"]
    assert stdio_command(fault="hang:ping")[-2:] == ["--fault", "hang:ping"]
    assert stdio_command(fault=[Fault.HANG, "stubborn"])[-3:] == ["hang", "--fault", "stubborn"]


@pytest.mark.parametrize(
    ("text", "fault", "method", "times"),
    [
        ("hang", Fault.HANG, "tools/call", None),
        ("EXIT_MID_CALL", Fault.EXIT_MID_CALL, "tools/call", None),
        ("hang:ping:2", Fault.HANG, "ping", 2),
        ("silent-probe", Fault.SILENT_PROBE, "server/discover", None),
        ("http-500", Fault.HTTP_500, None, None),
    ],
)
def test_a_fault_is_written_with_method_and_times(text, fault, method, times):
    injection = parse_fault(text)
    assert (injection.fault, injection.method, injection.times) == (fault, method, times)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required"),
        (["--http", "--stdio"], "not allowed with"),
        (["--http", "--fault", "dance"], "dance"),
        (["--http", "--fault", "hang:ping:often"], "often"),
        (["--http", "--fault", "stubborn"], "stubborn is not a fault of this transport"),
        (["--stdio", "--fault", "html"], "html is not a fault of this transport"),
        (["--http", "--era", "stone-age"], "stone-age"),
    ],
)
def test_a_wrong_command_line_is_explained(capsys, arguments, complaint):
    with pytest.raises(SystemExit):
        parse(arguments)
    assert complaint in capsys.readouterr().err
