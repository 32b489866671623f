"""A server that is a child process: talking to it, and what it may say."""

import gc
import logging
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import (
    Cancellation,
    Client,
    ConnectError,
    ConnectionClosed,
    LimitExceeded,
    Limits,
    MCPError,
    MCPSyncError,
    MessageInvalid,
    RequestCancelled,
    RequestTimeout,
    ServerExited,
    StdioServerParameters,
)
from mcpsync.session import opening
from mcpsync.testing import Fault
from support.processes import alive, children, wait_until
from transports.children import packaged, pid_of, said, tiny, wait_for_end
from transports.door import BUDGET, LONG, SOON, within
from transports.forking import in_child

ADD = ("add", {"a": 1, "b": 2})
ERAS = pytest.mark.parametrize("era", ["legacy", "modern"])


def add(client, **options):
    return client.call_tool(*ADD, **options).structured_content


def environment(client):
    return client.call_tool("environment").structured_content


@pytest.fixture(params=["legacy", "modern"])
def client(request):
    with Client(packaged(request.param), timeout=LONG) as running:
        yield running


# -- talking ---------------------------------------------------------------------------------


@ERAS
def test_both_eras_are_spoken(era):
    with Client(packaged(era), timeout=LONG) as client:
        assert add(client) == {"sum": 3}
        assert client.protocol_version == ("2025-11-25" if era == "legacy" else "2026-07-28")
        assert client.server_info.name == "mcpsync-testing"
        assert {tool.name for tool in client.tools()} >= {"add", "environment"}
        assert client.read_resource("test://notes/two").contents[0].text == "Zwölf Boxkämpfer. ✓"
        with pytest.raises(MCPError, match="Unknown tool"):
            client.call_tool("nope")


def test_the_era_is_asked_of_each_process_anew():
    for era, version in (("modern", "2026-07-28"), ("legacy", "2025-11-25")):
        with Client(packaged(era), timeout=LONG) as client:
            assert client.protocol_version == version


def test_large_messages_go_both_ways(client):
    text = "ä✓" * 500_000
    assert client.call_tool("echo", {"text": text}).content[0].text == text


def test_text_with_line_breaks_stays_one_message(client):
    for text in ("a\nb", "a\r\nb", "\u2028\u2029\x85", "\0"):
        assert client.call_tool("echo", {"text": text}).content[0].text == text


def test_16_threads_share_one_child(client):
    barrier = threading.Barrier(16)

    def call(n):
        barrier.wait(LONG)
        return client.call_tool("add", {"a": n, "b": 0}).structured_content["sum"]

    before = children()
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            assert list(pool.map(call, range(16))) == [*range(16)]
    assert len(children() - before) == 1


def test_answers_come_in_any_order(client):
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(client.call_tool, "slow", {"seconds": 0.3, "steps": 1})
        assert add(client) == {"sum": 3}
        assert not slow.done()
        assert slow.result(LONG).content


def test_a_ping_is_answered_also_while_nobody_waits():
    script = """
def on_call(message, name):
    if name == "ask":
        out({"id": "theirs", "method": "ping"})
        reply = json.loads(sys.stdin.readline())
        text(message, json.dumps(reply))
    else:
        text(message, name)
        out({"id": "alone", "method": "ping"})
        os.environ["HEARD"] = sys.stdin.readline()
        assert json.loads(os.environ["HEARD"]) == {"jsonrpc": "2.0", "id": "alone", "result": {}}
        print("heard it", file=sys.stderr, flush=True)
"""
    with Client(tiny(script), timeout=LONG) as client:
        assert '"result": {}' in said(client, "ask")
        said(client, "alone")
        child = client._keeper._session._transport._mail.child
        wait_until(lambda: "heard it" in child.stderr_tail, "the ping is answered")


def test_a_request_we_do_not_know_is_declined():
    script = """
def on_call(message, name):
    out({"id": 1, "method": "sampling/createMessage", "params": {}})
    text(message, json.loads(sys.stdin.readline())["error"]["code"])
"""
    with Client(tiny(script), timeout=LONG) as client:
        assert said(client) == "-32601"


def test_a_note_that_comes_while_nobody_waits_is_heard_with_the_next_call():
    script = """
def on_call(message, name):
    text(message, name)
    out({"method": "notifications/message", "params": {"level": "info", "data": "late"}})
    print("said it", file=sys.stderr, flush=True)
"""
    heard = []
    with Client(tiny(script), timeout=LONG, logging_callback=heard.append) as client:
        said(client, "one")
        child = client._keeper._session._transport._mail.child
        wait_until(lambda: "said it" in child.stderr_tail, "the note was sent")
        said(client, "two")
    assert heard[0].data == "late"


# -- what it may say -------------------------------------------------------------------------


@ERAS
def test_stray_lines_are_survived(era, caplog):
    with Client(packaged(era, Fault.STRAY_STDOUT), timeout=LONG) as client:
        for _ in range(3):
            assert add(client) == {"sum": 3}
    assert "that are not a message; ignored" in caplog.text


STRAY = {
    "text": "hello",
    "a number": "42",
    "null": "null",
    "an empty array": "[]",
    "no version": '{"id": 1, "result": {}}',
    "an id that is an array": '{"jsonrpc": "2.0", "id": [1], "result": {}}',
    "an id that is an object": '{"jsonrpc": "2.0", "id": {"a": 1}, "method": "ping"}',
    "params that are an array": '{"jsonrpc": "2.0", "method": "notifications/x", "params": [1]}',
    "params that are text": '{"jsonrpc": "2.0", "method": "notifications/message", "params": "x"}',
    "a method that is a number": '{"jsonrpc": "2.0", "method": 5}',
    "a token that is an object": '{"jsonrpc": "2.0", "method": "notifications/progress", '
    '"params": {"progressToken": {"a": 1}, "progress": 1}}',
    "an odd notification": '{"jsonrpc": "2.0", "method": "notifications/message", "params": {}}',
    "an unknown notification": '{"jsonrpc": "2.0", "method": "notifications/new"}',
    "deep nesting": "[" * 50_000,
    "white space": " \t ",
}


@pytest.mark.parametrize("line", STRAY.values(), ids=STRAY)
def test_a_line_that_is_odd_does_not_lose_the_answer(line):
    script = f"""
LINE = {line!r}
def on_call(message, name):
    print(LINE, flush=True)
    text(message, name)
    print(LINE, flush=True)
"""
    with Client(tiny(script), timeout=LONG) as client:
        assert [said(client, name) for name in ("one", "two")] == ["one", "two"]


def test_bytes_that_are_not_utf_8_do_not_lose_the_answer():
    script = r"""
def on_call(message, name):
    sys.stdout.buffer.write(b"\xff\xfe\n\r\n")
    sys.stdout.flush()
    text(message, name)
"""
    with Client(tiny(script), timeout=LONG) as client:
        assert said(client) == "hello"


@pytest.mark.parametrize("fault", [Fault.BATCH, Fault.PING_FIRST, Fault.UNKNOWN_REQUEST_FIRST])
def test_what_comes_before_the_answer_is_dealt_with(fault):
    with Client(packaged("legacy", fault), timeout=LONG) as client:
        assert [add(client) for _ in range(2)] == [{"sum": 3}] * 2


def test_an_answer_to_another_request_is_no_answer():
    with Client(packaged("modern", "wrong-id:tools/call:1"), timeout=LONG) as client:
        with pytest.raises(MessageInvalid, match="was asked") as caught:
            add(client)
        assert caught.value.maybe_executed
        assert add(client) == {"sum": 3}


def test_garbage_instead_of_an_answer_runs_into_the_timeout():
    with Client(packaged("modern", "garbage:tools/call:1"), timeout=LONG) as client:
        client.connect()
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
            add(client, timeout=BUDGET)
        assert caught.value.maybe_executed
        assert add(client) == {"sum": 3}


@ERAS
@pytest.mark.parametrize("fault", [Fault.HUGE, Fault.HUGE_LINE])
def test_a_line_without_end_ends_the_child(era, fault):
    with Client(
        packaged(era, f"{fault}:tools/call:1"), limits=Limits(max_line_bytes=2**20)
    ) as client:
        pid = pid_of(client)
        with pytest.raises(LimitExceeded, match="line of more than 1048576 bytes") as caught:
            add(client, timeout=LONG)
        assert caught.value.maybe_executed
        wait_for_end(pid)


def test_after_a_line_without_end_the_next_call_starts_a_new_child():
    with Client(packaged("legacy", Fault.HUGE_LINE), limits=Limits(max_line_bytes=2**20)) as client:
        with pytest.raises(LimitExceeded):
            add(client)
        assert client.list_tools().tools


def test_its_standard_error_is_logged(caplog):
    script = """
print("starting up", file=sys.stderr, flush=True)
def on_call(message, name):
    sys.stderr.buffer.write(b"caf\\xff\\n")
    sys.stderr.flush()
    text(message, name)
"""
    with caplog.at_level(logging.INFO, "mcpsync.stdio"), Client(tiny(script)) as client:
        pid = pid_of(client)
        said(client)
        wait_until(lambda: "caf\N{REPLACEMENT CHARACTER}" in caplog.text, "it is logged")
    records = [r for r in caplog.records if r.name == "mcpsync.stdio"]
    assert f"[{pid}] starting up" in [record.getMessage() for record in records]
    assert all(record.levelno == logging.INFO for record in records)


def test_much_on_standard_error_does_not_hold_it_up():
    with Client(packaged("both", Fault.NOISY_STDERR), timeout=LONG) as client:
        assert add(client) == {"sum": 3}


# -- what goes wrong -------------------------------------------------------------------------


@ERAS
def test_a_child_that_ends_during_a_call(era):
    with Client(packaged(era, "exit-mid-call:tools/call:1"), timeout=LONG) as client:
        pid = pid_of(client)
        with within(0, SOON), pytest.raises(ServerExited) as caught:
            add(client)
        error = caught.value
        assert error.returncode == 3
        assert error.stderr_tail.endswith("told to exit in the middle of a call")
        assert error.maybe_executed
        assert error.retryable
        assert "ended with status 3; its last words: mcpsync-testing: fatal" in str(error)
        wait_for_end(pid)
        assert client.list_tools().tools
        assert pid_of(client) != pid


def test_a_child_that_dies_in_the_middle_of_an_answer():
    with Client(packaged("legacy", "die-mid-answer:tools/call:1"), timeout=LONG) as client:
        with pytest.raises(ServerExited) as caught:
            add(client)
        assert caught.value.maybe_executed


def test_every_call_of_a_child_that_ends_is_told():
    script = """
waiting = []
def on_call(message, name):
    waiting.append(name)
    if len(waiting) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    with Client(tiny(script), timeout=LONG) as client, ThreadPoolExecutor(4) as pool:
        client.connect()
        errors = [call.exception(SOON) for call in [pool.submit(said, client) for _ in range(4)]]
    assert [type(error) for error in errors] == [ServerExited] * 4
    assert {error.returncode for error in errors} == {-9}
    assert len({id(error) for error in errors}) == 4
    assert "was ended by signal 9" in str(errors[0])


def test_a_child_that_ended_between_two_calls_is_started_again():
    script = """
def on_call(message, name):
    text(message, os.getpid())
    if name == "last":
        sys.exit(0)
"""
    with Client(tiny(script), timeout=LONG) as client:
        first = said(client, "last")
        transport = client._keeper._session._transport
        wait_until(lambda: not transport.alive, "its end is noticed")
        assert said(client) not in ("", first)


@pytest.mark.parametrize("code", ["import sys; sys.exit(7)", "raise SystemExit('no licence')"])
def test_a_child_that_ends_at_once(code):
    command = StdioServerParameters(command=sys.executable, args=("-c", code))
    with Client(command, timeout=LONG) as client:
        with within(0, SOON), pytest.raises(MCPSyncError) as caught:
            client.call_tool("add")
        assert isinstance(caught.value, ServerExited)
        assert caught.value.returncode in (1, 7)
        assert not caught.value.maybe_executed
        if "licence" in code:
            assert "no licence" in str(caught.value)


def test_a_child_that_closes_its_output_and_stays(caplog):
    script = """
def on_call(message, name):
    os.close(1)
    time.sleep(60)
"""
    with Client(tiny(script), timeout=LONG) as client:
        pid = pid_of(client)
        with pytest.raises(ServerExited, match="closed its output"):
            said(client)
        client.close(timeout=1)
        assert not alive(pid)


def test_a_command_that_is_not_found():
    client = Client(StdioServerParameters(command="no-such-command"), server_name="crm")
    with client, pytest.raises(ConnectError, match="there is no such command") as caught:
        client.connect()
    assert str(caught.value).startswith("server 'crm': cannot start 'no-such-command'")
    assert not caught.value.maybe_executed
    assert not caught.value.retryable


def test_a_directory_that_does_not_exist(tmp_path):
    client = Client(packaged(cwd=str(tmp_path / "nowhere")))
    with client, pytest.raises(ConnectError, match=r"its directory .* does not exist"):
        client.connect()


def test_a_command_that_may_not_be_run(tmp_path):
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\n")
    client = Client(StdioServerParameters(command=str(script)))
    with client, pytest.raises(ConnectError, match=r"[Pp]ermission denied"):
        client.connect()


def test_a_name_with_a_nul_in_it():
    with Client(StdioServerParameters(command="a\0b")) as client, pytest.raises(ConnectError):
        client.connect()


# -- the probe -------------------------------------------------------------------------------


def test_who_does_not_answer_the_probe_is_legacy(monkeypatch):
    monkeypatch.setattr(opening, "SILENCE_IS_LEGACY", BUDGET)
    with Client(packaged("both", Fault.SILENT_PROBE), timeout=LONG) as client:
        with within(BUDGET, BUDGET + SOON):
            assert add(client) == {"sum": 3}
        assert client.protocol_version == "2025-11-25"


def test_who_answers_the_probe_late_is_not_confused(monkeypatch):
    monkeypatch.setattr(opening, "SILENCE_IS_LEGACY", BUDGET)
    script = """
first = json.loads(sys.stdin.readline())
hello = json.loads(sys.stdin.readline())
assert hello["method"] == "initialize", hello
out({"id": first["id"], "error": {"code": -32601, "message": "late"}})
result(hello, HELLO)
"""
    with Client(tiny(script), timeout=LONG) as client:
        assert said(client) == "hello"


def test_who_has_no_time_to_wait_for_a_silent_probe_times_out(monkeypatch):
    with Client(packaged("both", Fault.SILENT_PROBE)) as client:
        with within(BUDGET, BUDGET + SOON), pytest.raises(TimeoutError) as caught:
            add(client, timeout=BUDGET)
        assert not caught.value.maybe_executed


def test_a_client_that_could_not_connect_leaves_no_child_behind():
    before = children()
    with Client(packaged("both", Fault.SILENT_PROBE)) as client:
        with pytest.raises(TimeoutError):
            client.connect(timeout=BUDGET)
        wait_until(lambda: children() == before, "the child is gone", timeout=SOON + 3)


# -- giving up -------------------------------------------------------------------------------


@ERAS
def test_a_timeout_tells_the_child(era):
    script_free = packaged(era, "hang:tools/call:1")
    with Client(script_free, timeout=LONG) as client:
        client.connect()
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
            add(client, timeout=BUDGET)
        assert caught.value.maybe_executed
        assert add(client) == {"sum": 3}


CANCELLABLE = """
import select
def on_call(message, name):
    if name == "wait":
        print("waiting", file=sys.stderr, flush=True)
        os.environ["TOLD"] = sys.stdin.readline()
        print("heard something", file=sys.stderr, flush=True)
    else:
        text(message, os.environ["TOLD"])
"""


def test_cancel_sends_a_notification():
    cancel = Cancellation()
    with Client(tiny(CANCELLABLE), timeout=LONG) as client, ThreadPoolExecutor(1) as pool:
        client.connect()
        call = pool.submit(said, client, "wait", cancel=cancel)
        child = client._keeper._session._transport._mail.child
        wait_until(lambda: "waiting" in child.stderr_tail, "the call runs")
        cancel.cancel("the user has left")
        error = call.exception(SOON)
        assert isinstance(error, RequestCancelled)
        assert error.maybe_executed
        wait_until(lambda: "heard something" in child.stderr_tail, "the server hears of it")
        told = said(client, "told")
    assert '"method":"notifications/cancelled"' in told
    assert '"requestId":3' in told
    assert "the user has left" in told


def test_a_modern_child_is_told_too():
    cancel = Cancellation()
    with Client(packaged("modern"), timeout=LONG) as client, ThreadPoolExecutor(1) as pool:
        running = threading.Event()
        call = pool.submit(
            client.call_tool,
            "slow",
            {"seconds": 30, "steps": 600},
            cancel=cancel,
            progress_callback=lambda *_: running.set(),
        )
        assert running.wait(LONG)
        cancel.cancel()
        assert isinstance(call.exception(SOON), RequestCancelled)
        assert add(client) == {"sum": 3}


DEAF = """
def on_call(message, name):
    text(message, name)
    if name == "deaf":
        time.sleep(60)
"""


def test_a_child_that_does_not_read_is_waited_for_no_longer_than_the_timeout():
    with Client(tiny(DEAF), timeout=LONG) as client:
        said(client, "deaf")
        with within(BUDGET, BUDGET + SOON), pytest.raises(RequestTimeout) as caught:
            client.call_tool("x", {"text": "x" * 1_000_000}, timeout=BUDGET)
        assert not caught.value.maybe_executed
        client.close(timeout=BUDGET)


def test_after_half_a_message_the_next_call_starts_a_new_child():
    with Client(tiny(DEAF), timeout=LONG) as client:
        said(client, "deaf")
        pid = pid_of(client)
        with pytest.raises(RequestTimeout):
            client.call_tool("x", {"text": "x" * 1_000_000}, timeout=BUDGET)
        assert said(client) == "hello"
        assert pid_of(client) != pid
        wait_for_end(pid)


def test_cancel_wakes_who_writes_to_a_child_that_does_not_read():
    cancel = Cancellation()
    with Client(tiny(DEAF), timeout=LONG) as client, ThreadPoolExecutor(1) as pool:
        said(client, "deaf")
        call = pool.submit(client.call_tool, "x", {"text": "x" * 1_000_000}, cancel=cancel)
        wait_until(lambda: client._keeper._session._transport._mail._waiters, "it writes")
        cancel.cancel()
        assert isinstance(call.exception(SOON), RequestCancelled)
        client.close(timeout=BUDGET)


def test_closing_wakes_who_writes_to_a_child_that_does_not_read():
    with Client(tiny(DEAF), timeout=LONG) as client, ThreadPoolExecutor(1) as pool:
        said(client, "deaf")
        call = pool.submit(client.call_tool, "x", {"text": "x" * 1_000_000})
        wait_until(lambda: client._keeper._session._transport._mail._waiters, "it writes")
        client.close(timeout=1)
        assert isinstance(call.exception(SOON), ConnectionClosed)


# -- its surroundings ------------------------------------------------------------------------


def test_no_secret_of_ours_is_inherited(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "s3cr3t")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("LC_ALL", "() { :; }; echo vulnerable")
    with Client(packaged(env={"MINE": "yes"}), timeout=LONG) as client:
        names = environment(client)["keys"]
    assert "API_TOKEN" not in names
    assert "LC_ALL" not in names
    assert {"PATH", "HOME", "LANG", "MINE"} <= set(names)


def test_what_is_given_wins_over_what_is_inherited(monkeypatch):
    script = """
def on_call(message, name):
    text(message, os.environ.get(name))
"""
    monkeypatch.setenv("TERM", "inherited")
    with Client(tiny(script, env={"TERM": "given"}), timeout=LONG) as client:
        assert said(client, "TERM") == "given"


def test_it_runs_where_it_is_told(tmp_path):
    script = """
def on_call(message, name):
    text(message, os.getcwd())
"""
    with Client(tiny(script, cwd=str(tmp_path)), timeout=LONG) as client:
        assert said(client) == str(tmp_path.resolve())


def test_it_has_a_process_group_of_its_own():
    script = """
def on_call(message, name):
    text(message, os.getpgid(0) == os.getpid())
"""
    with Client(tiny(script), timeout=LONG) as client:
        assert said(client) == "True"


def test_it_inherits_no_other_descriptors():
    script = """
def on_call(message, name):
    text(message, sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:4])
"""
    with Client(packaged(), timeout=LONG) as other, Client(tiny(script), timeout=LONG) as client:
        other.connect()
        assert said(client).startswith("[0, 1, 2")
        assert len(said(client).split(",")) <= 4


# -- its end ---------------------------------------------------------------------------------


@ERAS
def test_closing_ends_the_child(era):
    with Client(packaged(era), timeout=LONG) as client:
        pid = pid_of(client)
        with within(0, SOON):
            client.close()
        assert not alive(pid)


def test_closing_wakes_every_call_that_waits(client):
    with ThreadPoolExecutor(3) as pool:
        running = threading.Semaphore(0)
        calls = [
            pool.submit(
                client.call_tool,
                "slow",
                {"seconds": 30, "steps": 600},
                progress_callback=lambda *_: running.release(),
            )
            for _ in range(3)
        ]
        for _ in range(3):
            assert running.acquire(timeout=LONG)
        client.close()
        errors = [call.exception(SOON) for call in calls]
    assert [type(error) for error in errors] == [ConnectionClosed] * 3
    assert all(error.maybe_executed for error in errors)


@pytest.mark.parametrize("how", ["close", "timeout"])
def test_closing_while_it_starts_ends_the_child(how):
    before = children()
    with ThreadPoolExecutor(1) as pool:
        client = Client(packaged("both", Fault.SILENT_PROBE), timeout=LONG)
        call = pool.submit(client.connect, timeout=LONG if how == "close" else BUDGET)
        wait_until(lambda: children() != before, "the child starts")
        if how == "close":
            client.close()
            assert isinstance(call.exception(SOON), ConnectionClosed)
        else:
            assert isinstance(call.exception(SOON), TimeoutError)
    wait_until(lambda: children() == before, "the child is gone", SOON + 3)
    client.close()


def test_a_stubborn_child_is_killed_in_time():
    client = Client(packaged("both", Fault.STUBBORN), timeout=LONG)
    pid = pid_of(client)
    with within(0, 0.9 + SOON):
        client.close(timeout=0.9)
    assert not alive(pid)


def test_a_grandchild_is_ended_too():
    with Client(packaged("both", Fault.GRANDCHILD), timeout=LONG) as client:
        pid = pid_of(client)
        grandchild = client.call_tool("grandchild").structured_content["pid"]
        assert alive(grandchild)
        with within(0, SOON + 1):
            client.close()
    wait_for_end(pid, grandchild)


MORTAL = """
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
def on_call(message, name):
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    text(message, grandchild.pid)
"""


def test_a_child_that_died_and_whose_pipes_are_held_is_noticed_and_started_again():
    with Client(tiny(MORTAL), timeout=LONG) as client:
        first = int(said(client))
        with within(0, SOON), pytest.raises(ServerExited) as caught:
            said(client, "die")
        assert caught.value.returncode == -9
        second = int(said(client))
        wait_for_end(first)
    wait_for_end(second)


def test_a_client_that_nobody_closed_takes_its_child_along():
    client = Client(packaged(), timeout=LONG)
    add(client)
    pid = pid_of(client)
    del client
    gc.collect()
    wait_for_end(pid)


@pytest.mark.parametrize("ending", ["", "raise RuntimeError('unhandled')"])
def test_an_interpreter_that_exits_takes_its_children_along(ending):
    code = textwrap.dedent(
        f"""
        import sys
        from mcpsync import Client
        from mcpsync.testing import stdio_command
        from mcpsync import StdioServerParameters
        command, *arguments = stdio_command("both", "grandchild")
        client = Client(StdioServerParameters(command=command, args=tuple(arguments)))
        who = client.call_tool("environment").structured_content["pid"]
        print(who, client.call_tool("grandchild").structured_content["pid"], flush=True)
        {ending}
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    wait_for_end(*pids)
    assert done.returncode == (1 if ending else 0)


def test_a_closed_client_starts_no_child():
    before = children()
    client = Client(packaged())
    client.close()
    with pytest.raises(ConnectionClosed):
        client.connect()
    assert children() == before


# -- fork ------------------------------------------------------------------------------------


def test_a_forked_child_starts_a_server_of_its_own(client):
    mine = environment(client)["pid"]

    def use_and_close():
        theirs = environment(client)["pid"]
        client.close()
        return theirs

    theirs = in_child(use_and_close)
    assert theirs != mine
    wait_for_end(theirs)
    assert environment(client)["pid"] == mine


def test_a_forked_child_that_only_closes_does_not_end_its_parents_server(client):
    mine = environment(client)["pid"]
    in_child(client.close)
    assert environment(client)["pid"] == mine


def test_a_forked_child_that_collects_the_client_does_not_end_its_parents_server():
    holder = [Client(packaged(), timeout=LONG)]
    mine = environment(holder[0])["pid"]

    def collect():
        holder.clear()
        gc.collect()

    in_child(collect)
    assert environment(holder[0])["pid"] == mine
    holder[0].close()
