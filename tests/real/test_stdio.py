"""Children of a client: what they get, and that none outlives it."""

import os

import pytest

import mcpsync
from support.counterparts import kinds
from support.processes import alive, children, wait_until

STDIO = kinds(transport="stdio", often=True)
PYTHON = kinds("sdk1-stdio", "sdk2-stdio-modern", "sdk2-stdio-legacy")


def group_is_empty(group):
    """Whether no living process is left in a process group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return not any(
        alive(int(entry)) and group_of(int(entry)) == group
        for entry in os.listdir("/proc")
        if entry.isdigit()
    )


def group_of(pid):
    """A process's group; None if it has ended meanwhile."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@STDIO
def test_the_child_is_in_a_group_of_its_own_and_gone_after_close(counterpart):
    before = children()
    client = counterpart.client()
    client.connect()
    (child,) = children() - before
    assert os.getpgid(child) == child != os.getpgid(0)
    client.close()
    assert not alive(child)
    assert child not in children()  # it was waited for
    assert group_is_empty(child)


@PYTHON
def test_what_the_child_started_is_gone_too(counterpart):
    with counterpart.client() as client:
        grandchild = int(client.call_tool("spawn").content[0].text)
        assert alive(grandchild)
        group = os.getpgid(grandchild)
    wait_until(lambda: not alive(grandchild), "the grandchild ends")
    assert group_is_empty(group)


@STDIO
def test_a_client_that_never_connects_starts_no_child(counterpart):
    before = children()
    with counterpart.client():
        assert children() == before


@kinds("everything-stdio")
def test_the_child_does_not_inherit_secrets_of_the_environment(counterpart, monkeypatch):
    monkeypatch.setenv("MCPSYNC_SECRET", "hunter2")
    with counterpart.client() as client:
        environment = client.call_tool("get-env").content[0].text
    assert "PATH" in environment
    assert "hunter2" not in environment


@STDIO
def test_close_works_twice_and_a_closed_client_says_so(counterpart):
    client = counterpart.client()
    client.connect()
    client.close()
    client.close()
    with pytest.raises(mcpsync.ConnectionClosed):
        client.list_tools()
