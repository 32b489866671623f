"""The user a connection belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from ..errors import ConfigurationError


class _Attributes(dict[str, str]):
    """A dict that does not change, and can be pickled, which a mappingproxy cannot."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("a user's attributes do not change")

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[_Attributes], tuple[dict[str, str]]]:
        return _Attributes, (dict(self),)


_NONE = _Attributes()


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
    """

    id: str
    name: str | None = None
    email: str | None = None
    username: str | None = None
    provider: str | None = None
    role: str | None = None
    openid_id: str | None = None
    attributes: Mapping[str, str] = _NONE

    def __post_init__(self) -> None:
        if self.attributes is not _NONE:
            object.__setattr__(self, "attributes", _Attributes(self.attributes))


def as_user(user: Any) -> User:
    """Make a :class:`User` of what an application has at hand.

    Args:
        user: A :class:`User`, an id (``str`` or ``int``), or an object with an ``id``, such as
            a user of Django or Flask-Login. Of an object, name, email, username, provider, role
            and openid_id are taken along if they are text.

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
    )


def _text(owner: Any, name: str) -> str | None:
    try:
        found = getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - an application's property; the user is known without it
        return None
    return str.__str__(found) if isinstance(found, str) and found.strip() else None
