"""Sockets belong to the process: one adapter and one TLS context per setting, shared by all."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from mcpsync import Client, ConnectionClosed
from mcpsync.http import adapter as adapter_module
from mcpsync.http import reset_pools
from mcpsync.http.adapter import AdapterKey, adapters
from mcpsync.testing import Fault, LocalServer
from transports.door import LONG, ask, door
from transports.forking import in_child
from transports.peer import always, response

ANSWER = always(response(b"{}"))


def key(verify=True, cert=None, proxy=None):
    return AdapterKey(verify, cert, proxy)


# -- one per setting -------------------------------------------------------------------------


def test_there_is_one_adapter_for_a_setting():
    assert adapters.get(key()) is adapters.get(key())
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: adapters.get(key()), range(32)))) == 1


@pytest.mark.parametrize("other", [key(verify=False), key(proxy="http://127.0.0.1:9")])
def test_another_setting_has_an_adapter_and_a_context_of_its_own(other):
    assert adapters.get(other) is not adapters.get(key())
    assert adapters.get(other).tls_context() is not adapters.get(key()).tls_context()


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:9"])
def test_all_pools_of_an_adapter_have_one_tls_context(proxy):
    adapter = adapters.get(key(proxy=proxy))
    pools = [adapter.pool_for(f"https://{host}/mcp") for host in ("a.example", "b.example")]
    assert pools[0] is not pools[1]
    assert {id(pool.conn_kw["ssl_context"]) for pool in pools} == {id(adapter.tls_context())}


def test_a_tls_context_is_made_once_and_only_for_who_needs_it(monkeypatch):
    made = []
    real = adapter_module._tls_context
    monkeypatch.setattr(adapter_module, "_tls_context", lambda *a: made.append(a) or real(*a))
    adapter = adapters.get(key(verify=False))
    adapter.pool_for("http://a.example/mcp")
    assert made == []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: adapter.pool_for(f"https://{n}.example/mcp"), range(16)))
    assert made == [(False, None)]


def test_a_pool_is_for_an_origin():
    adapter = adapters.get(key())
    assert adapter.pool_for("http://a.example/x") is adapter.pool_for("http://a.example:80/y?z")
    assert adapter.pool_for("http://a.example/") is not adapter.pool_for("http://a.example:81/")


# -- sharing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_two_clients_of_one_origin_share_sockets(era):
    with LocalServer(era) as server, Client(server.url) as one, Client(server.url) as other:
        for client in (one, other, one, other):
            client.call_tool("add", {"a": 1, "b": 2})
        assert server.connections_opened == 1


def test_two_clients_with_different_credentials_share_sockets():
    with LocalServer() as server:
        for user in ("ada", "bob"):
            with Client(server.url, auth=(user, "pw"), headers={"X-User": user}) as client:
                who = client.call_tool("whoami").structured_content
                assert who["user"] == user
        assert server.connections_opened == 1


def test_as_many_sockets_as_calls_at_a_time():
    with LocalServer() as server, Client(server.url) as client, ThreadPoolExecutor(8) as pool:
        client.connect()
        server.inject(Fault.HANG, "tools/call", times=8)
        calls = [pool.submit(client.call_tool, "add", {"a": 1, "b": n}) for n in range(8)]
        assert server.wait_for(lambda s: s.hanging == 8)
        server.release()
        assert [call.result(LONG).structured_content["sum"] for call in calls] == [*range(1, 9)]
        assert server.connections_opened == 8


def test_an_idle_client_has_no_socket_beyond_the_pool():
    with LocalServer() as server, Client(server.url) as client:
        client.call_tool("add", {"a": 1, "b": 2})
        assert server.open_connections == 1
        reset_pools()
        assert server.wait_for(lambda s: s.open_connections == 0)
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}


def test_resetting_the_pools_lets_calls_under_way_finish():
    with LocalServer() as server, Client(server.url) as client, ThreadPoolExecutor(1) as pool:
        client.connect()
        server.inject(Fault.HANG_AFTER_HEADERS, "tools/call")
        call = pool.submit(client.call_tool, "add", {"a": 1, "b": 2})
        assert server.wait_for(lambda s: s.hanging)
        reset_pools()
        server.release()
        assert call.result(LONG).structured_content == {"sum": 3}
        assert server.wait_for(lambda s: s.open_connections == 0)


def test_an_endpoint_survives_that_its_pool_was_dropped(serve):
    server = serve(ANSWER)
    endpoint = door(server.url)
    ask(endpoint)
    endpoint._current_route()[0].poolmanager.clear()  # as when too many origins are in use
    assert ask(endpoint) == (200, b"{}")


def test_an_idle_socket_that_the_server_closed_is_not_used(serve):
    with LocalServer() as server, Client(server.url) as client:
        server.inject(Fault.CLOSE_AFTER_ANSWER, "tools/call")
        client.call_tool("add", {"a": 1, "b": 2})
        assert server.wait_for(lambda s: s.open_connections == 0)
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        assert server.executions == {"add": 2}


# -- fork ------------------------------------------------------------------------------------


def test_a_forked_child_uses_sockets_of_its_own():
    with LocalServer() as server, Client(server.url) as client:
        client.call_tool("add", {"a": 1, "b": 2})
        assert in_child(lambda: client.call_tool("add", {"a": 2, "b": 2}).structured_content) == {
            "sum": 4
        }
        assert client.call_tool("add", {"a": 3, "b": 2}).structured_content == {"sum": 5}
        calls = [r.connection for r in server.requests if r.rpc_method == "tools/call"]
        assert calls[0] == calls[2] != calls[1]


def test_a_childs_end_does_not_end_the_parents_session():
    def use_and_close():
        client.call_tool("add", {"a": 1, "b": 2})
        client.close()

    with LocalServer("legacy") as server, Client(server.url) as client:
        client.call_tool("add", {"a": 1, "b": 2})
        (mine,) = server.open_sessions
        in_child(use_and_close)
        assert mine in server.open_sessions
        assert len(server.deleted_sessions) == 1
        assert client.call_tool("add", {"a": 1, "b": 2}).structured_content == {"sum": 3}
        assert server.deleted_sessions != [mine]


def test_a_child_that_only_closes_says_nothing_to_the_server():
    with LocalServer("legacy") as server, Client(server.url) as client:
        client.connect()
        before = len(server.requests)
        in_child(client.close)
        assert len(server.requests) == before
        assert len(server.open_sessions) == 1


def test_a_child_knows_a_closed_client_as_closed():
    def use():
        with pytest.raises(ConnectionClosed):
            client.call_tool("add", {"a": 1, "b": 2})
        return "refused"

    with LocalServer() as server:
        client = Client(server.url)
        client.close()
        assert in_child(use) == "refused"


def test_a_fork_while_others_call_does_no_harm():
    def call(n):
        return client.call_tool("add", {"a": n, "b": 1}).structured_content["sum"]

    with LocalServer() as server, Client(server.url) as client, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, n) for n in range(40)]
        answers = [in_child(lambda: call(100)) for _ in range(3)]
        assert answers == [101] * 3
        assert [future.result(LONG) for future in calls] == [*range(1, 41)]


def test_the_parents_idle_sockets_stay_usable_after_a_child_has_ended(serve):
    server = serve(ANSWER)
    endpoint = door(server.url)
    ask(endpoint)
    assert in_child(lambda: ask(endpoint)) == (200, b"{}")
    assert ask(endpoint) == (200, b"{}")
    assert server.accepted == 2
