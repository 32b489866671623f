"""The user a connection belongs to, made of what an application has at hand."""

import copy
import dataclasses
import enum
import pickle
import uuid
from types import SimpleNamespace

import pytest

from mcpsync.config import User, as_user
from mcpsync.errors import ConfigurationError

UUID = uuid.UUID(int=7)


class DjangoUser:
    """Like a Django model: the id is a number, and there is much else."""

    id = 42
    pk = 42
    username = "ada"
    is_authenticated = True

    def __str__(self):
        return self.username


class Lazy:
    """Like Django's SimpleLazyObject or Flask-Login's current_user: it looks when it is asked."""

    def __getattr__(self, name):
        return getattr(DjangoUser(), name)


def pickled(value):
    """Return what arrives in another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("given", "user_id"),
    [
        ("42", "42"),
        ("ada@example.com", "ada@example.com"),
        (" ada ", " ada "),
        (42, "42"),
        (0, "0"),
        (-1, "-1"),
        (User("42"), "42"),
        (User(id=42), "42"),
        (DjangoUser(), "42"),
        (Lazy(), "42"),
        (SimpleNamespace(id="ada"), "ada"),
        (SimpleNamespace(id=0), "0"),
        (SimpleNamespace(id=UUID), str(UUID)),
    ],
)
def test_a_user_is_whoever_has_an_id(given, user_id):
    user = as_user(given)
    assert isinstance(user, User)
    assert user.id == user_id


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        " ",
        "\t\n",
        True,
        False,
        1.5,
        object(),
        [],
        {},
        {"id": "42"},
        User(""),
        User("  "),
        User(None),
        SimpleNamespace(id=None),
        SimpleNamespace(id=""),
        SimpleNamespace(id=" "),
        SimpleNamespace(name="AnonymousUser", id=None, pk=None),
        SimpleNamespace(pk=42),
    ],
    ids=repr,
)
def test_who_has_no_id_is_no_user(given):
    with pytest.raises(ConfigurationError, match=r"\[MCP\] User object missing id property\."):
        as_user(given)


def test_a_user_stays_itself():
    user = User("42", name="Ada", email="ada@example.com")
    assert as_user(user) is user


def test_a_number_and_its_digits_are_one_user():
    assert as_user(User(id=42, name="Ada")) == User("42", name="Ada")
    assert as_user(42) == as_user("42") == as_user(User(id=42))


def test_of_an_object_what_fills_placeholders_is_taken_along():
    given = SimpleNamespace(
        id=1,
        name="Ada",
        email="a@example.com",
        username="ada",
        provider="google",
        role="admin",
        openid_id="oid",
        password="s3cret",
    )
    assert as_user(given) == User(
        "1", "Ada", "a@example.com", "ada", provider="google", role="admin", openid_id="oid"
    )


@pytest.mark.parametrize("value", [None, "", " ", 7, ["Ada"], object(), lambda: "Ada"])
def test_of_an_object_only_text_is_taken_along(value):
    fields = ("name", "email", "username", "provider", "role", "openid_id")
    assert as_user(SimpleNamespace(id=1, **dict.fromkeys(fields, value))) == User("1")


def test_what_an_enumeration_calls_a_role_is_the_text_of_it():
    class Role(str, enum.Enum):  # noqa: UP042 - as applications have them
        ADMIN = "admin"

    role = as_user(SimpleNamespace(id=1, role=Role.ADMIN)).role
    assert (type(role), f"{role}") == (str, "admin")


def test_what_cannot_be_read_is_absent():
    class Detached:
        id = 1
        username = "ada"

        @property
        def email(self):
            raise RuntimeError("the database is away")

    assert as_user(Detached()) == User("1", username="ada")


def test_an_id_that_cannot_be_read_is_not_taken_for_none():
    class Broken:
        @property
        def id(self):
            raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError, match="the database is away"):
        as_user(Broken())


def test_a_user_is_frozen_and_can_be_a_key():
    user = User("42")
    with pytest.raises(dataclasses.FrozenInstanceError):
        user.id = "43"
    assert {user: 1}[User("42")] == 1
    assert User("42") != User("43")


# -- attributes ------------------------------------------------------------------------------------


def test_attributes_are_copied_so_that_changing_them_later_changes_nothing():
    written = {"department": "R&D"}
    user = User("42", attributes=written)
    written["department"] = "sales"
    assert user.attributes == {"department": "R&D"}


@pytest.mark.parametrize(
    "change",
    [
        lambda attributes: attributes.__setitem__("a", "b"),
        lambda attributes: attributes.__delitem__("department"),
        lambda attributes: attributes.__ior__({"a": "b"}),
        lambda attributes: attributes.update(a="b"),
        lambda attributes: attributes.setdefault("a", "b"),
        lambda attributes: attributes.pop("department"),
        lambda attributes: attributes.popitem(),
        lambda attributes: attributes.clear(),
    ],
)
def test_attributes_do_not_change(change):
    for user in (User("42"), User("42", attributes={"department": "R&D"})):
        before = dict(user.attributes)
        with pytest.raises(TypeError, match="do not change"):
            change(user.attributes)
        assert user.attributes == before


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_user_with_attributes_can_be_a_key_copied_and_sent_to_another_process(again):
    user = User("42", attributes={"department": "R&D"})
    assert again(user) == user
    assert {user: 1}[again(user)] == 1
    assert dataclasses.asdict(user)["attributes"] == {"department": "R&D"}


def test_what_signed_a_user_in_is_neither_shown_nor_compared():
    user = User("1", openid={"access_token": "s3cret"})
    assert "s3cret" not in repr(user)
    assert user == User("1")
    assert hash(user) == hash(User("1"))
    assert pickled(user).openid == {"access_token": "s3cret"}
    with pytest.raises(TypeError, match="do not change"):
        user.openid["access_token"] = "other"


@pytest.mark.parametrize(
    ("said", "taken"), [({"sub": "s"}, {"sub": "s"}), (None, {}), ("token", {}), (7, {})]
)
def test_of_an_object_what_signed_it_in_is_taken_along_if_it_is_a_mapping(said, taken):
    assert as_user(SimpleNamespace(id="1", openid=said)).openid == taken
