"""The user a connection belongs to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class User:
    """A user of the application, as far as a connection needs to know one.

    Args:
        id: What tells users apart. Connections are never shared between two ids.
        name: For people.
        email: For people.
    """

    id: str
    name: str | None = None
    email: str | None = None


def as_user(user: Any) -> User:
    """Make a :class:`User` of what an application has at hand.

    Args:
        user: A :class:`User`, an id (``str`` or ``int``), or an object with an ``id``, such as
            a user of Django or Flask-Login.

    Raises:
        ConfigurationError: It has no id, or a blank one. [seed: "User object missing id property"]
    """
    if isinstance(user, User):
        found: Any = user.id
    elif isinstance(user, str | int) and not isinstance(user, bool):
        found = user
    else:
        found = getattr(user, "id", None)
    if found is None or not str(found).strip():
        raise ConfigurationError("[MCP] User object missing id property.")
    if isinstance(user, User):
        return user if isinstance(found, str) else replace(user, id=str(found))
    return User(id=str(found))
