"""Who may say where users' own tokens go."""

import logging
from typing import Any

import pytest

from mcpsync.config import ServerConfig, parse_server
from mcpsync.errors import ConfigurationError, NotPermitted, RefusedError, StoreError
from mcpsync.registry.permissions import (
    CONFIGURE_OBO,
    OF_THE_REGISTRY,
    UNLOCKED,
    OboGate,
    Roles,
    fields_of_schema,
)

URL = "https://graph.example.com/mcp"
OBO = {"obo": {"scopes": "api://graph/.default"}}
ROLES = Roles({"admin": {}, "user": {}})
ROLE_OF = {"root": "admin", "ada": "user"}
GATE = OboGate(ROLES.checker(ROLE_OF.get))


def made(**fields: Any) -> ServerConfig:
    return parse_server("graph", {"url": URL, **fields})


def a_users(**fields: Any) -> ServerConfig:
    return made(source="user", db_id="7", **fields)


# -- roles -----------------------------------------------------------------------------------------


def test_an_admin_has_the_permission_by_default_and_others_have_not() -> None:
    roles = Roles({"admin": {}, "user": {}, "editor": {"create": True}})
    assert roles.to_dict() == {
        "admin": {CONFIGURE_OBO: True},
        "user": {CONFIGURE_OBO: False},
        "editor": {CONFIGURE_OBO: False, "create": True},
    }
    assert Roles({"ADMIN": {}}).allows("ADMIN")


def test_what_an_operator_has_set_is_kept() -> None:
    roles = Roles({"admin": {CONFIGURE_OBO: False}, "user": {CONFIGURE_OBO: True}})
    assert not roles.allows("admin")
    assert roles.allows("user")
    assert Roles(roles.to_dict()).to_dict() == roles.to_dict()


def test_a_role_that_nobody_knows_has_no_permission() -> None:
    assert not ROLES.allows("root")
    assert not ROLES.allows(None)
    assert not ROLES.allows("admin", "another")


def test_a_permission_is_true_or_false_and_nothing_that_looks_like_it() -> None:
    with pytest.raises(ConfigurationError, match="configure_obo"):
        Roles({"user": {CONFIGURE_OBO: "yes"}})  # type: ignore[dict-item]


@pytest.mark.parametrize("wrong", [None, ["admin"], {"admin": None}, {"admin": True}, {1: {}}])
def test_roles_that_are_no_mapping_of_permissions_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="role"):
        Roles(wrong)


# -- writing ---------------------------------------------------------------------------------------


def test_who_lacks_the_permission_adds_no_server_with_obo() -> None:
    with pytest.raises(NotPermitted, match="Insufficient permissions to configure OBO") as caught:
        GATE.check_write("ada", made(**OBO))
    assert isinstance(caught.value, RefusedError)
    assert (caught.value.user_id, caught.value.fields) == ("ada", ("obo",))


def test_who_has_the_permission_does() -> None:
    GATE.check_write("root", made(**OBO))
    GATE.check_write("root", made(url="https://other.example.com/mcp", **OBO), made(**OBO))


def test_a_server_without_obo_is_nobodys_matter() -> None:
    GATE.check_write("ada", made())
    GATE.check_write("ada", made(url="https://other.example.com/mcp"), made())


def test_who_lacks_the_permission_gives_no_server_obo_and_takes_it_from_none() -> None:
    with pytest.raises(NotPermitted):
        GATE.check_write("ada", made(**OBO), made())
    with pytest.raises(NotPermitted):
        GATE.check_write("ada", made(), made(**OBO))


@pytest.mark.parametrize("field", sorted(UNLOCKED & fields_of_schema()))
def test_what_is_there_for_people_may_change_all_the_same(field: str) -> None:
    GATE.check_write("ada", made(**OBO, **{field: "Another"}), made(**OBO))


def test_what_does_not_change_is_no_change_however_it_is_written() -> None:
    before = made(**OBO, headers={"A": "1", "B": "2"})
    again = made(**OBO, headers={"B": "2", "A": "1"}, type="streamable-http", title="New")
    GATE.check_write("ada", again, before)


CHANGES: dict[str, Any] = {
    "url": "https://attacker.example.com/mcp",
    "type": "sse",
    "headers": {"X-Forward": "1"},
    "obo": {"scopes": "api://payroll/.default"},
    "oauth": {"client_id": "c"},
    "timeout": 5,
    "connect_timeout": 5,
    "custom_user_vars": {"KEY": {}},
    "requires_oauth": False,
    "server_instructions": "Do as I say.",
    "startup": False,
    "scope": "user",
}


@pytest.mark.parametrize("field", CHANGES)
def test_all_else_is_locked(field: str) -> None:
    with pytest.raises(NotPermitted) as caught:
        GATE.check_write("ada", made(**{**OBO, field: CHANGES[field]}), made(**OBO))
    assert caught.value.fields == (field,)


def test_changes_of_something_locked_cannot_hide_behind_one_that_is_not() -> None:
    wanted = made(**OBO, title="New", timeout=5)
    with pytest.raises(NotPermitted) as caught:
        GATE.check_write("ada", wanted, made(**OBO))
    assert caught.value.fields == ("timeout",)


def test_a_server_of_another_kind_is_a_change() -> None:
    with pytest.raises(NotPermitted):
        GATE.check_write("ada", parse_server("graph", {"url": "wss://x.example.com"}), made(**OBO))


def test_the_locked_fields_follow_from_the_schema_so_that_a_new_one_is_locked() -> None:
    models = [type(made()), type(parse_server("s", {"url": "wss://x.example.com"}))]
    for model in models:
        assert set(model.model_fields) - OF_THE_REGISTRY <= fields_of_schema()
    assert {"url", "headers", "obo", "oauth", "type"} <= fields_of_schema() - UNLOCKED


# -- for a form ------------------------------------------------------------------------------------


def test_a_form_is_told_what_a_user_cannot_change() -> None:
    assert GATE.locked_fields("root", made(**OBO)) == frozenset()
    assert GATE.locked_fields("ada", made()) == {"obo"}
    assert GATE.locked_fields("ada") == {"obo"}
    locked = GATE.locked_fields("ada", made(**OBO))
    assert locked == fields_of_schema() - UNLOCKED
    assert not locked & {"title", "description"}


# -- at run time -----------------------------------------------------------------------------------


def gate_of(author: Any, may: Any = None) -> OboGate:
    def author_of(db_id: str, name: str) -> Any:
        assert (db_id, name) == ("7", "graph")
        if isinstance(author, Exception):
            raise author
        return author

    return OboGate(may or ROLES.checker(ROLE_OF.get), author_of)


@pytest.mark.parametrize("source", ["yaml", "config", None])
def test_the_operators_configurations_are_trusted(source: str | None) -> None:
    assert OboGate().may_use_obo("graph", made(source=source, **OBO))


def test_a_users_configuration_is_trusted_if_its_author_has_the_permission() -> None:
    assert gate_of("root").may_use_obo("graph", a_users(**OBO))


@pytest.mark.parametrize(
    "author",
    ["ada", "stranger", None, StoreError("away."), OSError("gone"), 7],
    ids=["lacks it", "has no role", "is gone", "store is away", "error", "no id"],
)
def test_whatever_is_unclear_of_the_author_is_no(author: Any) -> None:
    assert gate_of(author).may_use_obo("graph", a_users(**OBO)) is False


@pytest.mark.parametrize("answer", [None, 1, "yes", False, LookupError("no such role")])
def test_whatever_is_unclear_of_the_permission_is_no(answer: Any) -> None:
    def may(user_id: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert gate_of("root", may).may_use_obo("graph", a_users(**OBO)) is False


def test_without_a_database_or_a_permission_to_ask_for_it_is_no() -> None:
    assert OboGate().may_use_obo("graph", a_users(**OBO)) is False
    assert OboGate(lambda _: True).may_use_obo("graph", a_users(**OBO)) is False
    no_id = made(source="user", **OBO)
    assert gate_of("root").may_use_obo("graph", no_id) is False
    assert OboGate(None, lambda *_: "root").may_use_obo("graph", a_users(**OBO)) is False


def test_an_entry_of_a_database_that_does_not_say_whose_it_is_is_a_users() -> None:
    assert gate_of("ada").may_use_obo("graph", made(db_id="7", **OBO)) is False


def test_the_author_and_his_role_are_read_anew_each_time() -> None:
    roles = {"root": "admin"}
    gate = gate_of("root", ROLES.checker(roles.get))
    config = a_users(**OBO)
    assert gate.may_use_obo("graph", config)
    roles["root"] = "user"
    assert not gate.may_use_obo("graph", config)
    roles["root"] = "admin"
    assert gate.may_use_obo("graph", config)
    del roles["root"]
    assert not gate.may_use_obo("graph", config)


def test_what_goes_wrong_is_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def may(user_id: str) -> bool:
        raise RuntimeError("password=hunter2")

    with caplog.at_level(logging.DEBUG):
        assert not gate_of("root", may).may_use_obo("graph", a_users(**OBO))
        assert not gate_of(RuntimeError("password=hunter2")).may_use_obo("graph", a_users(**OBO))
    assert "RuntimeError" in caplog.text
    assert "hunter2" not in caplog.text
