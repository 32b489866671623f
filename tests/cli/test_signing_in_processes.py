"""Signing in by commands in processes of their own: pipes, a terminal, signals, a browser."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from urllib.parse import parse_qs

import pytest
import requests

from mcpsync.cli.kept import store_path
from support.authority import Authority

ADD = ("a=1", "b=2")


@pytest.fixture
def authority():
    with Authority() as authority:
        yield authority


def begun(child):
    """Read what a login writes until it names the URL; return both."""
    said = ""
    while not (found := re.search(r"^  (http\S+)$", said, re.MULTILINE)):
        line = child.stderr.readline()
        assert line, said
        said += line
    return found[1], said


def test_the_whole_walk_shows_no_secret(authority, start, process):
    child = start("login", "--no-browser", authority.url, "-v", stdin=subprocess.PIPE)
    url, said = begun(child)
    child.stdin.write(f"what?\n{authority.approve(url)}\n")
    child.stdin.close()
    assert child.wait(20) == 0
    shown = [said.replace(url, ""), child.stdout.read(), child.stderr.read()]
    assert "That is not the address that this sign-in ends at" in "".join(shown)
    authority.end_access_tokens()
    for words, code in (
        (("call", authority.url, "add", *ADD, "-v"), 0),
        (("whoami", authority.url, "-v"), 0),
        (("logout", authority.url, "-v"), 0),
        (("tools", authority.url), 5),
    ):
        outcome = process(*words, env={"PYTHONWARNINGS": "always::ResourceWarning"})
        shown += [outcome.out, outcome.err]
        assert outcome.code == code, outcome
    text = "".join(shown)
    assert "mcpsync.auth" in text  # there is a log to look at
    assert [secret for secret in authority.secrets if secret in text] == []
    assert "Traceback" not in text
    assert "ResourceWarning" not in text


def test_on_a_terminal_the_address_may_be_pasted(authority, tmp_path):
    master, slave = pty.openpty()
    env = {**os.environ, "BROWSER": "/bin/true"}
    command = [sys.executable, "-m", "mcpsync", "login", authority.url]
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    shown = b""
    while b"paste the address" not in shown or not shown.endswith(b"\n"):
        shown += os.read(master, 65536)
    url = re.search(rb"^  (http\S+)\r$", shown, re.MULTILINE)[1].decode()
    os.write(master, f"{authority.approve(url)}\n".encode())
    with contextlib.suppress(OSError):  # how Linux says that nobody has the other end
        while chunk := os.read(master, 65536):
            shown += chunk
    os.close(master)
    assert child.wait(20) == 0
    assert f"Signed in to {authority.url}.".encode() in shown


def test_without_a_browser_one_on_this_machine_does(authority, start):
    child = start("login", "--no-browser", authority.url, stdin=subprocess.DEVNULL)
    url, _ = begun(child)
    assert requests.get(authority.approve(url), timeout=10).status_code == 200
    assert child.wait(20) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_of_a_sign_in(authority, start, number, code):
    child = start("login", "--no-browser", authority.url, stdin=subprocess.PIPE)
    url, _ = begun(child)
    child.send_signal(number)
    assert child.wait(10) == code
    said = child.stderr.read()
    assert said.splitlines()[-1] in ("mcpsync: interrupted.", "mcpsync: terminated.")
    assert "Traceback" not in said
    with pytest.raises(requests.ConnectionError):
        requests.get(authority.approve(url), timeout=10)
    assert parse_qs(url)["state"][0].encode() not in store_path().read_bytes()


def test_the_browser_of_the_environment_is_opened_and_a_scripts_input_is_left_alone(
    authority, process, tmp_path, monkeypatch
):
    script = tmp_path / "browser"
    text = "import sys, urllib.request as r; r.urlopen(sys.argv[1]).read()"
    script.write_text(f"#!{sys.executable}\n{text}\n", encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(script))
    login = [sys.executable, "-m", "mcpsync", "login", authority.url]
    done = subprocess.run(
        ["sh", "-ec", '"$@"; cat', "sh", *login],
        input="the script's own\n",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done
    assert done.stdout == f"Signed in to {authority.url}.\nthe script's own\n"
    assert json.loads(process("whoami", authority.url, "--json").out)["signed_in"]
