"""The user a connection belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigurationError
from .frozen import FrozenDict, frozen

_NONE: FrozenDict[str] = FrozenDict()


@dataclass(frozen=True, slots=True)
class User:
    """A user of the application, as far as a connection needs to know one.

    Args:
        id: What tells users apart. Connections are never shared between two ids. Everything
            else here only fills placeholders.
        name: For people.
        email: For people.
        username: What they sign in as.
        provider: Who signs them in, such as ``google``.
        role: What they are in the application.
        openid_id: Their subject at the OpenID provider.
        attributes: What other ``{{USER_…}}`` placeholders stand for, by name.
        openid: What ``{{OPENID_…}}`` stands for, if an OpenID provider signs them in:
            ``access_token``, ``id_token``, ``expires_at`` (seconds since the epoch), and what else
            it says of them, such as ``sub``. These are secrets, neither shown nor compared.
    """

    id: str
    name: str | None = None
    email: str | None = None
    username: str | None = None
    provider: str | None = None
    role: str | None = None
    openid_id: str | None = None
    attributes: Mapping[str, str] = _NONE
    openid: Mapping[str, Any] = field(default=_NONE, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.openid is not _NONE:
            object.__setattr__(self, "openid", frozen(self.openid))
        if self.attributes is not _NONE:
            object.__setattr__(self, "attributes", frozen(self.attributes))


def as_user(user: Any) -> User:
    """Make a :class:`User` of what an application has at hand.

    Args:
        user: A :class:`User`, an id (``str`` or ``int``), or an object with an ``id``, such as
            a user of Django or Flask-Login. Of an object, name, email, username, provider, role
            and openid_id are taken along if they are text, and openid if it is a mapping.

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
    if found is user:
        return User(id=str(found))
    return User(
        id=str(found),
        name=_text(user, "name"),
        email=_text(user, "email"),
        username=_text(user, "username"),
        provider=_text(user, "provider"),
        role=_text(user, "role"),
        openid_id=_text(user, "openid_id"),
        openid=_mapping(user, "openid"),
    )


def _mapping(owner: Any, name: str) -> Mapping[str, Any]:
    try:
        found = getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - an application's property; the user is known without it
        return _NONE
    return found if isinstance(found, Mapping) else _NONE


def _text(owner: Any, name: str) -> str | None:
    try:
        found = getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - an application's property; the user is known without it
        return None
    return str.__str__(found) if isinstance(found, str) and found.strip() else None
