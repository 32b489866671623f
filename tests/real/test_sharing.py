"""Many threads on one client, many users on one manager."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import mcpsync
from support.counterparts import kinds, stdio_parameters
from support.processes import wait_until

USERS, THREADS, CALLS = 10, 5, 4


def in_threads(count, work):
    """Run work(number) in *count* threads that start together; the results in order."""
    start = threading.Barrier(count)

    def run(number):
        start.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count), timeout=90))


@kinds(offers="add", often=True)
def test_twenty_threads_share_one_client_and_each_gets_its_own_answers(counterpart):
    words = counterpart.words
    with counterpart.client() as client:

        def work(number):
            texts = []
            for step in range(CALLS):
                a, b = number * 1000, step
                texts.append(client.call_tool(words.add, {"a": a, "b": b}).content[0].text)
            return texts

        answers = in_threads(20, work)
    for number, texts in enumerate(answers):
        assert len(texts) == CALLS
        for step, text in enumerate(texts):
            assert str(number * 1000 + step) in text


@kinds("everything-http", "sdk2-http-legacy")
def test_threads_that_connect_a_client_together_open_one_session(counterpart):
    began = (
        "Session initialized with ID"
        if counterpart.kind.family == "everything"
        else "Created new transport with session ID"
    )
    before = counterpart.process.output.count(began)
    with counterpart.client() as client:
        versions = in_threads(20, lambda _: client.protocol_version)
    assert set(versions) == {counterpart.kind.version}
    assert counterpart.process.output.count(began) == before + 1


@kinds(sessions=True)
def test_the_session_is_deleted_when_the_client_closes(counterpart):
    gone = "session termination" if counterpart.kind.family == "everything" else "DELETE /mcp"
    client = counterpart.client()
    client.connect()
    before = counterpart.process.output.count(gone)
    client.close()
    wait_until(lambda: counterpart.process.output.count(gone) > before, "the session is deleted")
    assert counterpart.process.output.count(gone) == before + 1


def session_of(manager, kind, user):
    """Which session of the server a user's call went through."""
    if kind.family == "everything":
        text = manager.call_tool("server", "toggle-simulated-logging", user=user).content[0].text
        return text.partition(" for session ")[2].split()[0]
    result = manager.call_tool("server", "header", {"name": "mcp-session-id"}, user=user)
    return result.content[0].text


@kinds("sdk1-http", "everything-http")
def test_users_of_a_manager_never_share_a_session(counterpart, kind):
    config = {"server": {"url": counterpart.process.url}}
    with mcpsync.MCPManager(config) as manager:

        def work(number):
            user = mcpsync.User(id=str(number % USERS))
            return {session_of(manager, kind, user) for _ in range(CALLS)}

        seen = in_threads(USERS * THREADS, work)
        stats = manager.get_connection_stats()
    sessions = [set().union(*seen[user::USERS]) for user in range(USERS)]
    assert all(len(of_one_user) == 1 for of_one_user in sessions)
    assert len(set().union(*sessions)) == USERS
    assert stats["tracked_users"] == stats["total_connections"] == USERS
    assert stats["leased_connections"] == stats["pending_connections"] == 0


@kinds("sdk2-http-modern", "sdk1-http")
def test_users_of_a_manager_never_see_each_others_headers(counterpart):
    config = {"server": {"url": counterpart.process.url}}
    with mcpsync.MCPManager(config) as manager:

        def work(number):
            name = str(number % USERS)
            results = [
                manager.call_tool(
                    "server",
                    "header",
                    {"name": "x-user"},
                    user=mcpsync.User(id=name),
                    headers={"X-User": name},
                )
                for _ in range(CALLS)
            ]
            return {result.content[0].text for result in results}

        seen = in_threads(USERS * THREADS, work)
        assert manager.get_connection_stats()["total_connections"] == USERS
    assert seen == [{str(number % USERS)} for number in range(USERS * THREADS)]


@kinds("sdk2-stdio-modern")
def test_users_of_a_manager_have_a_child_process_each(kind):
    parameters = stdio_parameters(kind)
    config = {"server": {"command": parameters.command, "args": list(parameters.args)}}
    with mcpsync.MCPManager(config) as manager:

        def work(number):
            user = mcpsync.User(id=str(number % 3))
            return json.loads(manager.call_tool("server", "pid", user=user).content[0].text)

        pids = in_threads(9, work)
    assert len(set(pids)) == 3
    assert all(len(set(pids[user::3])) == 1 for user in range(3))
