"""Over whose connection a call goes, and what it takes along."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mcpsync
from mcpsync import MCPManager, User
from mcpsync.config import parse_server
from mcpsync.connections.connection import Connection, Key
from mcpsync.connections.request_scope import RequestScope
from mcpsync.errors import (
    AuthorizationRequired,
    ConfigurationError,
    ConnectTimeout,
    MCPSyncError,
    PlaceholderError,
    ServerNotFound,
)
from mcpsync.testing import Fault, LocalServer
from support.threads import outcome, start, wait_until

URL = "http://127.0.0.1:9/mcp"
NO_ID = "[MCP] User object missing id property."
NO_CONNECTION = 'No connection found for server "crm".'
APP_LEVEL = '[MCP][User: ada] Trying to create user-specific connection for app-level server "crm".'
NO_FLOWS = '[MCP][User: ada] OAuth server "crm" requires a flow_manager. '
NO_PAGE = f"{NO_FLOWS}Say where users come back to: MCPManager(oauth_redirect_uri=)."
NO_OBO = f"{NO_FLOWS}Say how tokens of users are exchanged: MCPManager(obo=, access_token_of=)."
NO_BODY = "Request body field(s) required to resolve runtime MCP placeholders: messageId."

CONFIGURED: dict[str, dict[str, Any]] = {
    "says nothing": {},
    "app": {"scope": "app"},
    "user": {"scope": "user"},
    "no startup": {"startup": False},
    "a user's": {"source": "user"},
    "from a database": {"db_id": "7"},
    "variables": {"custom_user_vars": {"KEY": {}}},
    "user's name": {"headers": {"X-User": "{{USER_ID}}"}},
    "oauth": {"requires_oauth": True},
    "oauth, its own page": {"oauth": {"redirect_uri": "https://app.example.com/callback"}},
    "machine": {
        "oauth": {
            "grant": "client_credentials",
            "client_id": "a",
            "client_secret": "b",
            "issuer": "https://auth.example.com",
        }
    },
    "obo": {"obo": {"scopes": "a"}},
    "body": {"headers": {"X-Message": "{{BODY_MESSAGEID}}"}},
    "body and oauth": {"headers": {"X-M": "{{BODY_MESSAGEID}}"}, "requires_oauth": True},
    "not inspected": {"inspection_failed": True},
    "app, not inspected": {"scope": "app", "inspection_failed": True},
    "user, not inspected": {"scope": "user", "inspection_failed": True},
}

# What is configured: who lends to a call with a user, to one without, and to a wish for the
# user's own connection; or the error.
ROWS = [
    ("says nothing", "users", "app", "users"),
    ("app", "app", "app", APP_LEVEL),
    ("user", "users", NO_ID, "users"),
    ("no startup", "users", NO_ID, "users"),
    ("a user's", "users", NO_ID, "users"),
    ("from a database", "users", NO_ID, "users"),
    ("variables", "users", NO_ID, "users"),
    ("user's name", "users", NO_ID, "users"),
    ("oauth", NO_PAGE, NO_ID, NO_PAGE),
    ("oauth, its own page", "users", NO_ID, "users"),
    ("machine", "users", "app", "users"),
    ("obo", NO_OBO, NO_ID, NO_OBO),
    ("body", NO_BODY, NO_ID, NO_BODY),
    ("body and oauth", NO_PAGE, NO_ID, NO_PAGE),
    ("not inspected", "users", NO_CONNECTION, "users"),
    ("app, not inspected", NO_CONNECTION, NO_CONNECTION, APP_LEVEL),
    ("user, not inspected", "users", NO_ID, "users"),
]


def lent(manager: MCPManager, user: Any, options: Any = None, **more: Any) -> str:
    """Return who lends the connection of a call, or what the error says."""
    lease = outcome(start(lambda: manager._router.lease("crm", user, options or {}, **more)))
    if isinstance(lease, MCPSyncError):
        assert lease.server_name == "crm"
        assert lease.user_id == (None if user is None else "ada")
        return lease.message
    if isinstance(lease.lender, RequestScope):
        return "request"
    return {manager._users: "users", manager._app: "app"}[lease.lender]  # type: ignore[index]


@pytest.mark.parametrize(("configured", "with_user", "without", "own"), ROWS)
def test_who_lends_follows_from_the_configuration_and_the_user(
    configured: str, with_user: str, without: str, own: str
) -> None:
    with MCPManager({"crm": {"url": URL, **CONFIGURED[configured]}}) as manager:
        assert lent(manager, User(id="ada")) == with_user
        assert lent(manager, None) == without
        assert lent(manager, "ada", of_user=True) == own


def test_every_configuration_has_its_row() -> None:
    assert [row[0] for row in ROWS] == list(CONFIGURED)


def test_a_body_makes_the_connection_the_requests() -> None:
    with MCPManager({"crm": {"url": URL, **CONFIGURED["body"]}}) as manager:
        given = {"request_body": {"messageId": "7"}}
        assert lent(manager, "ada", given) == "request"
        assert lent(manager, None, given) == NO_ID
        assert lent(manager, "ada", {"request_body": {"messageId": " "}}) == NO_BODY
        inside = {"request_scope": manager.request_scope({"messageId": "7"})}
        assert lent(manager, "ada", inside) == "request"
        assert lent(manager, "ada", inside, of_user=True) == "request"


@pytest.mark.parametrize("user", ["", "  ", object(), type("User", (), {"id": None})()])
@pytest.mark.parametrize("configured", ["says nothing", "app", "user", "body"])
def test_a_user_without_an_id_is_nobody(configured: str, user: Any) -> None:
    with (
        MCPManager({"crm": {"url": URL, **CONFIGURED[configured]}}) as manager,
        pytest.raises(ConfigurationError, match="User object missing id property"),
    ):
        manager._router.lease("crm", user, {})


def test_a_server_that_nobody_configured_is_told_as_such() -> None:
    with (
        MCPManager({"crm": {"url": URL}}) as manager,
        pytest.raises(ServerNotFound) as caught,
    ):
        manager._router.lease("cmr", "ada", {})
    assert caught.value.message == (
        "Configuration for server \"cmr\" not found. Did you mean 'crm'?"
    )


def test_the_connection_is_that_of_the_user_and_server() -> None:
    with MCPManager({"crm": {"url": URL}}) as manager:
        assert manager._router.lease("crm", 42, {}).key == Key("42", "crm")
        assert manager._router.lease("crm", None, {}).key == Key(None, "crm")


# -- what is whose ---------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def connections(manager: MCPManager) -> Iterator[Connection]:
    yield from manager._app.get_loaded().values()
    for user in ("ada", "bob"):
        yield from manager.get_user_connections(user).values()


def whoami(manager: MCPManager, user: Any = "ada", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = manager.call_tool(
        "crm", "whoami", user=user, **options
    ).structured_content
    return found


def test_a_shared_connection_keeps_nothing_of_the_user_who_made_it(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url, "scope": "app"}}) as manager:
        whoami(manager, User(id="ada", role="admin"), custom_user_vars={"KEY": "s3cret"})
        (connection,) = connections(manager)
        assert connection._made_from.user is None
        assert connection._made_from.custom_user_vars is None
        assert connection.user_id is None


def test_a_value_of_a_user_never_gets_into_what_is_shared(server: LocalServer) -> None:
    config = {"url": server.url, "headers": {"X-User": "{{KEY}}"}, "scope": "app"}
    with MCPManager({"crm": config}) as manager:
        with pytest.raises(PlaceholderError):
            whoami(manager, custom_user_vars={"KEY": "s3cret"})
        with pytest.raises(PlaceholderError):
            whoami(manager, None, custom_user_vars={"KEY": "s3cret"})
    assert server.requests == []


def test_users_do_not_share_what_the_configuration_gives_to_each(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url, "scope": "user"}}) as manager:
        whoami(manager, "ada")
        whoami(manager, "bob")
        assert {connection.user_id for connection in connections(manager)} == {"ada", "bob"}


# -- headers ---------------------------------------------------------------------------------------

TEMPLATED: dict[str, Any] = {
    "headers": {"X-User": "{{USER_ID}} {{USER_ROLE}}", "Authorization": "Bearer {{KEY}}"},
    "custom_user_vars": {"KEY": {}},
}


def test_headers_with_placeholders_are_filled_in_for_each_request(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url, **TEMPLATED}}) as manager:
        for user, role, key in (("ada", "admin", "k1"), ("bob", "guest", "k2")):
            found = whoami(manager, User(id=user, role=role), custom_user_vars={"KEY": key})
            assert (found["user"], found["authorization"]) == (f"{user} {role}", f"Bearer {key}")
    for request in server.requests:
        assert request.headers["x-user"] in ("ada admin", "bob guest")
        key = "k1" if request.headers["x-user"] == "ada admin" else "k2"
        assert request.headers["authorization"] == f"Bearer {key}"


def test_a_value_that_changed_is_sent_from_the_next_call_on(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url, **TEMPLATED}}) as manager:
        seen = []
        for key in ("k1", "k1", "k2", "k1"):
            user = User(id="ada", role="admin")
            seen.append(whoami(manager, user, custom_user_vars={"KEY": key})["authorization"])
        assert seen == ["Bearer k1", "Bearer k1", "Bearer k2", "Bearer k1"]
        assert len(list(connections(manager))) == 1


def test_variables_that_the_application_changes_in_place_are_seen(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url, **TEMPLATED}}) as manager:
        values, user = {"KEY": "k1"}, User(id="ada", role="admin")
        assert whoami(manager, user, custom_user_vars=values)["authorization"] == "Bearer k1"
        values["KEY"] = "k2"
        assert whoami(manager, user, custom_user_vars=values)["authorization"] == "Bearer k2"


def test_what_is_filled_in_for_one_call_is_not_sent_with_another_at_the_same_time(
    server: LocalServer,
) -> None:
    with MCPManager({"crm": {"url": server.url, "scope": "app"}}) as manager:
        whoami(manager)
        calls = [
            start(lambda n: whoami(manager, str(n), headers={"X-User": f"user {n}"}), n)
            for n in range(40)
        ]
        assert [outcome(call)["user"] for call in calls] == [f"user {n}" for n in range(40)]
        assert whoami(manager)["user"] is None


@pytest.mark.parametrize("name", ["X-User", "x-user", "X-USER"])
def test_the_callers_headers_win(server: LocalServer, name: str) -> None:
    with MCPManager({"crm": {"url": server.url, **TEMPLATED}}) as manager:
        user, values = User(id="ada", role="admin"), {"KEY": "k1"}
        own = whoami(manager, user, custom_user_vars=values, headers={name: "mine"})
        assert (own["user"], own["authorization"]) == ("mine", "Bearer k1")
        assert whoami(manager, user, custom_user_vars=values)["user"] == "ada admin"


@pytest.mark.parametrize(
    ("user", "values", "missing"),
    [
        (User(id="ada", role="admin"), None, "KEY"),
        (User(id="ada", role="admin"), {"KEY": "  "}, "KEY"),
        (User(id="ada"), {"KEY": "k"}, "USER_ROLE"),
    ],
)
def test_without_a_value_nothing_is_sent(
    server: LocalServer, user: User, values: Any, missing: str
) -> None:
    with MCPManager({"crm": {"url": server.url, **TEMPLATED}}) as manager:
        for ask in (whoami, connect):
            with pytest.raises(PlaceholderError, match=missing) as caught:
                ask(manager, user, custom_user_vars=values)
            assert (caught.value.server_name, caught.value.user_id) == ("crm", "ada")
        assert manager.stats()["breakers"] == []
    assert server.requests == []


def connect(manager: MCPManager, user: Any, **options: Any) -> Connection:
    return manager.get_user_connection("crm", user=user, **options)


def test_a_value_that_one_caller_lacks_is_not_the_error_of_another_who_has_it(
    server: LocalServer,
) -> None:
    config = {
        "url": server.url.replace("/mcp", "/{{PATH}}"),
        "custom_user_vars": {"PATH": {}},
    }
    with MCPManager({"crm": config}) as manager:
        for _ in range(5):
            without = start(whoami, manager)
            having = start(lambda: whoami(manager, custom_user_vars={"PATH": "mcp"}))
            assert isinstance(outcome(without), PlaceholderError)
            assert "user" in outcome(having)


# -- whose error -----------------------------------------------------------------------------------


def test_credentials_that_are_one_callers_own_are_not_the_error_of_those_who_joined_him() -> None:
    with LocalServer(auth_token="good") as server:
        config = {"url": server.url, **TEMPLATED}
        with MCPManager({"crm": config}) as manager:
            user = User(id="ada", role="admin")
            server.inject(Fault.HANG)
            bad = start(lambda: whoami(manager, user, custom_user_vars={"KEY": "bad"}))
            assert server.wait_for(lambda server: server.hanging or server.requests)
            good = start(lambda: whoami(manager, user, custom_user_vars={"KEY": "good"}))
            server.release()
            assert isinstance(outcome(bad), AuthorizationRequired)
            assert outcome(good)["authorization"] == "Bearer good"


def test_credentials_that_are_everybodys_are_everybodys_error_at_once() -> None:
    with LocalServer(auth_token="good") as server:
        config = {
            "url": server.url,
            "headers": {"Authorization": "Bearer bad", "X-User": "{{USER_ID}}"},
        }
        told: list[Any] = []
        with MCPManager({"crm": config}, on_event=told.append) as manager:
            gate = hold_creations(manager)
            calls = [start(whoami, manager) for _ in range(30)]
            wait_until(lambda: len(joined(told)) == 29)
            gate.set()
            assert all(isinstance(outcome(call), AuthorizationRequired) for call in calls)
        assert len(server.requests) == 1


def test_time_that_one_caller_did_not_give_is_not_the_error_of_those_who_joined_him(
    server: LocalServer,
) -> None:
    told: list[Any] = []
    with MCPManager({"crm": {"url": server.url}}, on_event=told.append) as manager:
        server.inject(Fault.HANG)
        hasty = start(lambda: whoami(manager, connection_timeout=0.3))
        assert server.wait_for(lambda server: server.hanging == 1)
        patient = start(whoami, manager)
        wait_until(lambda: len(joined(told)) == 1)
        assert isinstance(outcome(hasty), ConnectTimeout)
        assert "user" in outcome(patient)
        server.release()


def joined(told: list[Any]) -> list[Any]:
    return [event for event in told if type(event).__name__ == "ConnectionJoined"]


def hold_creations(manager: MCPManager) -> Any:
    """Have the manager's factory wait before it makes anything; return what lets it go on."""
    gate, create = threading.Event(), manager._factory.create

    def wait_and_create(*arguments: Any, **options: Any) -> Connection:
        assert gate.wait(10)
        return create(*arguments, **options)

    manager._factory.create = wait_and_create  # type: ignore[method-assign]
    return gate


# -- a server that is gone -------------------------------------------------------------------------


def test_what_is_left_over_of_a_server_that_was_removed_is_closed_when_it_is_asked_for(
    server: LocalServer,
) -> None:
    with MCPManager({"crm": {"url": server.url}}) as manager:
        whoami(manager, None)
        whoami(manager, "ada")
        whoami(manager, "bob")
        assert len(list(connections(manager))) == 3
        manager.registry.remove_server("crm")
        with pytest.raises(ServerNotFound):
            whoami(manager, "ada")
        (left,) = connections(manager)
        assert left.user_id == "bob"
        with pytest.raises(ServerNotFound):
            whoami(manager, object())


def test_one_that_became_the_users_is_no_longer_the_applications(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": server.url}}) as manager:
        whoami(manager, None)
        manager.registry.update_server("crm", {"url": server.url, "scope": "user"})
        with pytest.raises(ConfigurationError, match="missing id property"):
            whoami(manager, None)
        whoami(manager, "ada")
        assert [each.user_id for each in connections(manager)][-1] == "ada"


def test_a_lease_is_of_the_configuration_as_it_is_now(server: LocalServer) -> None:
    with MCPManager({"crm": {"url": URL}}) as manager:
        manager.registry.update_server("crm", {"url": server.url, "timeout": 5})
        lease = manager._router.lease("crm", "ada", {})
        assert lease.options.config is manager.registry.get_server_config("crm")
        assert lease.scope.deadline.timeout == 5
        assert manager._router.lease("crm", "ada", {"timeout": 3}).scope.deadline.timeout == 3


def test_a_misspelt_option_is_refused_and_nothing_is_begun() -> None:
    with MCPManager({"crm": {"url": URL}}) as manager:
        with pytest.raises(TypeError, match="tiemout"):
            manager._router.lease("crm", "ada", {"tiemout": 3})  # type: ignore[typeddict-unknown-key]
        assert not manager._users._sweeper.running


def test_a_command_takes_its_users_values_along_too() -> None:
    config = parse_server(
        "crm", {"command": "crm", "args": ["--user={{USER_ID}}"], "env": {"KEY": "{{KEY}}"}}
    )
    with MCPManager({"crm": config}) as manager:
        lease = manager._router.lease("crm", "ada", {"custom_user_vars": {"KEY": "k"}})
        assert lease.scope.headers is None
        with pytest.raises(mcpsync.PlaceholderError, match="KEY"):
            manager._router.lease("crm", "ada", {})
