"""The user a connection belongs to, made of what an application has at hand."""

import dataclasses
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


def test_an_objects_name_and_address_are_not_taken_along():
    assert as_user(SimpleNamespace(id=1, name="Ada", email="a@example.com")) == User("1")


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
