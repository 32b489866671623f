"""The test server as a child process on its stdin and stdout."""

import json
import os
import signal
import subprocess

import pytest

from mcpsync.testing import Fault, stdio_command
from mcpsync.testing.process_faults import EXIT_CODE, LAST_WORDS, STRAY_LINES

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}
TIMEOUT = 10


@pytest.mark.parametrize("era", ["both", "modern"])
def test_modern_requests_are_answered(spawn, era):
    child = spawn(era)
    found = child.ask("server/discover", {"_meta": META})["result"]
    assert (found["supportedVersions"], found["resultType"]) == (["2026-07-28"], "complete")
    result = child.ask("tools/call", {**ADD, "_meta": META})["result"]
    assert result["structuredContent"] == {"sum": 3}
    assert child.end() == 0
    assert child.stderr == b""


@pytest.mark.parametrize("era", ["both", "legacy"])
def test_legacy_requests_are_answered(spawn, era):
    child = spawn(era)
    assert child.handshake()["result"]["protocolVersion"] == "2025-11-25"
    assert child.ask("tools/call", ADD)["result"]["structuredContent"] == {"sum": 3}
    assert child.end() == 0


def test_a_legacy_server_does_not_know_discover(spawn):
    answer = spawn("legacy").ask("server/discover", {"_meta": META})
    assert answer["error"]["code"] == -32601


def test_a_modern_server_refuses_the_handshake(spawn):
    error = spawn("modern").handshake()["error"]
    assert error["code"] == -32022
    assert error["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}


def test_a_modern_server_asks_for_the_envelope_and_a_version_it_supports(spawn):
    child = spawn("modern")
    assert child.ask("tools/list")["error"]["code"] == -32602
    meta = {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    assert child.ask("tools/list", {"_meta": meta})["error"]["code"] == -32022


def test_before_the_handshake_there_is_only_ping(spawn):
    child = spawn("both")
    assert child.ask("ping")["result"] == {}
    assert child.ask("tools/list")["error"]["code"] == -32600


def test_lines_that_are_no_messages_are_answered_with_an_error(spawn):
    child = spawn()
    child.process.stdin.write(b"\n{nonsense\n[]\n")
    child.process.stdin.flush()
    assert [child.read()["error"]["code"] for _ in range(2)] == [-32700, -32600]


def test_progress_and_log_messages_come_before_the_result(spawn):
    child = spawn()
    child.handshake()
    params = {"name": "slow", "arguments": {"seconds": 0, "steps": 2}}
    first = child.ask("tools/call", {**params, "_meta": {"progressToken": "p"}})
    assert first["params"]["progress"] == 1
    assert [child.read().get("id") for _ in range(2)] == [None, 1]


def test_a_cancelled_call_is_not_answered(spawn):
    child = spawn()
    child.handshake()
    params = {"name": "slow", "arguments": {"seconds": 60}, "_meta": {"progressToken": 1}}
    child.write({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params})
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 5}}
    child.write({"jsonrpc": "2.0", **cancel})
    assert child.ask("ping", request_id=6)["id"] == 6
    assert child.end() == 0
    assert child.lines.empty()


def test_calls_run_side_by_side(spawn):
    child = spawn()
    child.handshake()
    params = {"name": "slow", "arguments": {"seconds": 60}}
    child.write({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params})
    assert child.ask("tools/call", ADD, 6)["id"] == 6


def test_the_environment_is_shown(spawn):
    child = spawn()
    child.handshake()
    shown = child.ask("tools/call", {"name": "environment"})["result"]["structuredContent"]
    assert shown["pid"] == child.process.pid
    assert os.path.samefile(shown["cwd"], os.getcwd())
    assert "PATH" in shown["keys"]


def test_a_server_ends_by_sigterm(spawn):
    child = spawn()
    child.handshake()
    child.process.terminate()
    assert child.process.wait(TIMEOUT) == -signal.SIGTERM


def test_a_client_that_is_gone_is_no_reason_for_a_traceback():
    with subprocess.Popen(
        stdio_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT) == 0


def test_stray_lines_stand_between_the_messages(spawn):
    child = spawn("legacy", Fault.STRAY_STDOUT)
    child.write({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    expected = [line + b"\n" for line in STRAY_LINES] * 2
    assert [child.lines.get(timeout=TIMEOUT) for _ in expected] == expected
    assert child.read() == {"jsonrpc": "2.0", "id": 1, "result": {}}


def test_exiting_in_the_middle_of_a_call_has_last_words(spawn):
    child = spawn("both", Fault.EXIT_MID_CALL)
    child.handshake()
    child.write({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD})
    assert child.process.wait(TIMEOUT) == EXIT_CODE == 3
    child.destroy()
    assert child.stderr.decode().strip() == LAST_WORDS
    assert child.lines.empty()


def test_dying_in_the_answer_leaves_half_a_line(spawn):
    child = spawn("both", Fault.DIE_MID_ANSWER)
    child.handshake()
    child.write({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD})
    line = child.lines.get(timeout=TIMEOUT)
    assert line.startswith(b'{"jsonrpc"')
    assert not line.endswith(b"\n")
    assert child.process.wait(TIMEOUT) == EXIT_CODE


def test_only_kill_ends_a_stubborn_server(spawn):
    child = spawn("both", Fault.STUBBORN)
    child.handshake()
    child.process.stdin.close()
    child.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        child.process.wait(0.2)
    child.process.kill()
    assert child.process.wait(TIMEOUT) == -signal.SIGKILL


def test_a_grandchild_lives_on_until_somebody_ends_it(spawn):
    child = spawn("both", Fault.GRANDCHILD)
    child.handshake()
    pid = child.ask("tools/call", {"name": "grandchild"})["result"]["structuredContent"]["pid"]
    assert child.end() == 0
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


def test_without_that_fault_there_is_no_grandchild(spawn):
    child = spawn()
    child.handshake()
    assert child.ask("tools/call", {"name": "grandchild"})["error"]["code"] == -32602


def test_stderr_can_be_more_than_a_pipe_holds(spawn):
    child = spawn("both", Fault.NOISY_STDERR)
    child.handshake()
    assert child.end() == 0
    child.destroy()
    assert len(child.stderr) > 200_000
    assert b"\xff\xfe" in child.stderr


def test_a_probe_can_be_left_without_an_answer(spawn):
    child = spawn("legacy", Fault.SILENT_PROBE)
    probe = {"id": 1, "method": "server/discover", "params": {"_meta": META}}
    child.write({"jsonrpc": "2.0", **probe})
    assert child.ask("ping", request_id=2)["id"] == 2


@pytest.mark.parametrize("fault", [Fault.HANG, "hang:tools/call:1"])
def test_a_call_can_hang_while_others_are_answered(spawn, fault):
    child = spawn("both", fault)
    child.handshake()
    child.write({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD})
    assert child.ask("ping", request_id=2)["id"] == 2
    assert child.end() == 0


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        (Fault.GARBAGE, lambda line: line == b'}{ "jsonrpc": nonsense\n'),
        (Fault.WRONG_ID, lambda line: json.loads(line)["id"] == 1_000_001),
        (Fault.HUGE, lambda line: len(line) > 20 * 2**20 and json.loads(line)["id"] == 1),
        (Fault.BATCH, lambda line: [m.get("id") for m in json.loads(line)] == [None, 1]),
    ],
)
def test_an_answer_can_be_spoilt(spawn, fault, check):
    child = spawn("both", fault)
    child.handshake()
    child.write({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD})
    assert check(child.lines.get(timeout=TIMEOUT))


def test_a_line_can_have_no_end(spawn):
    child = spawn("both", Fault.HUGE_LINE)
    child.handshake()
    child.write({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD})
    assert child.end() == 0
    assert len(child.lines.get(timeout=TIMEOUT)) == 20 * 2**20


def test_the_server_may_ask_first(spawn):
    child = spawn("both", Fault.PING_FIRST)
    child.handshake()
    assert child.ask("tools/call", ADD) == {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    child.write({"jsonrpc": "2.0", "id": 1, "result": {}})
    assert child.read()["result"]["structuredContent"] == {"sum": 3}


def test_several_faults_go_together(spawn):
    child = spawn("both", [Fault.STUBBORN, "repeat-cursor:tools/list"])
    child.handshake()
    assert "nextCursor" in child.ask("tools/list")["result"]
    assert "nextCursor" not in child.ask("prompts/list")["result"]


def test_a_client_that_stops_reading_does_not_keep_the_server_alive():
    command = stdio_command("both", Fault.HUGE_LINE)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD}
        process.stdin.write(json.dumps(call).encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.read(10) == b"x" * 10
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0
