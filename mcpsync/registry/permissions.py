"""Who may say where users' own tokens go: the permission ``configure_obo``. (Seed 4.7)

A server with ``obo`` gets a token of each user who calls it. Whoever may point such a server
somewhere else could collect them. So that is a permission of its own, asked twice: when a
configuration is written, and again each time before a token is exchanged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, get_args

from ..config import ServerConfig
from ..config.predicates import is_user_sourced
from ..errors import ConfigurationError, NotPermitted

logger = logging.getLogger(__name__)

CONFIGURE_OBO: Final = "configure_obo"
ADMIN: Final = "admin"
DEFAULTS: Final[Mapping[str, bool]] = {ADMIN: True}  # every other role: False [seed]

# What may change in a server with obo without the permission. All else is locked, and so is a field
# that is added to the schema tomorrow.
UNLOCKED: Final = frozenset({"title", "description", "icon_path"})

# What nobody writes: the registry itself says it.
OF_THE_REGISTRY: Final = frozenset(
    {"source", "db_id", "updated_at", "inspection_failed", "author", "consume_only"}
)

MayConfigureObo = Callable[[str], object]
AuthorOf = Callable[[str, str], "str | None"]


def fields_of_schema() -> frozenset[str]:
    """Return every field that a configuration of any kind may have written in it."""
    fields = {name for model in get_args(ServerConfig) for name in model.model_fields}
    return frozenset(fields - OF_THE_REGISTRY)


class Roles:
    """Which role has which permission: what was set, and for the rest the defaults.

    It does not change; :meth:`to_dict` is what to keep where the roles are kept.

    Args:
        roles: Permissions by the name of the role, as the operator set them. Where a role says
            nothing of a permission, ``admin`` has it and the others do not; what it says, it keeps.

    Raises:
        ConfigurationError: A permission is neither true nor false, or it is no such mapping.
    """

    def __init__(self, roles: Mapping[str, Mapping[str, bool]]) -> None:
        if not isinstance(roles, Mapping):
            raise ConfigurationError("roles are a mapping of names to permissions.")
        self._roles = {role: _filled(role, said) for role, said in roles.items()}

    def allows(self, role: str | None, permission: str = CONFIGURE_OBO) -> bool:
        """Whether a role has a permission. One that nobody knows has none."""
        said = self._roles.get(role) if isinstance(role, str) else None
        return said is not None and said.get(permission) is True

    def checker(self, role_of: Callable[[str], str | None]) -> MayConfigureObo:
        """Return what tells whether a user may, given what tells his role; it is asked each time.

        Args:
            role_of: Returns the role of a user, by his id; None if there is no such user.
        """
        return lambda user_id: self.allows(role_of(user_id))

    def to_dict(self) -> dict[str, dict[str, bool]]:
        """Return all roles with all their permissions."""
        return {role: dict(said) for role, said in self._roles.items()}


def _filled(role: str, said: Mapping[str, bool]) -> dict[str, bool]:
    if not isinstance(role, str) or not isinstance(said, Mapping):
        raise ConfigurationError(f"role {role!r} is no name with a mapping of permissions.")
    for name, value in said.items():
        if not isinstance(value, bool):
            raise ConfigurationError(f"permission {name!r} of role {role!r} is no truth value.")
    return {CONFIGURE_OBO: DEFAULTS.get(role.lower(), False), **said}


class OboGate:
    """Asks for the permission: when a user writes, and when a token is to be exchanged.

    Thread-safe. Whatever is unclear is no. The operator's own configurations are trusted.

    Args:
        may_configure_obo: Returns True for the id of a user who has the permission now. It is
            called each time, on the thread of the call; what it raises, or returns besides
            True, is no. None: nobody has it.
        author_of: Returns the author of an entry of the users' servers, by its id and name.
    """

    def __init__(
        self, may_configure_obo: MayConfigureObo | None = None, author_of: AuthorOf | None = None
    ) -> None:
        self._may = may_configure_obo
        self._author_of = author_of

    def has_permission(self, user_id: str | None) -> bool:
        """Whether a user may write ``obo``, as far as that is clear."""
        if self._may is None or user_id is None:
            return False
        try:
            return self._may(user_id) is True
        except Exception as error:  # noqa: BLE001 - the application's; who cannot say yes says no
            logger.warning(
                "whether a user may configure obo is not known: %s", type(error).__name__
            )
            return False

    def may_use_obo(self, server_name: str, config: ServerConfig) -> bool:
        """Whether a token may be exchanged for a server: asked before each exchange.

        The author of a user's server is looked up anew, and so is what he may.
        """
        if not is_user_sourced(config):
            return True
        if self._author_of is None or config.db_id is None:
            return False
        try:
            author = self._author_of(config.db_id, server_name)
        except Exception as error:  # noqa: BLE001 - as above
            logger.warning(
                "[MCP][%s] whose server it is is not known: %s", server_name, type(error).__name__
            )
            return False
        return self.has_permission(author)

    def check_write(
        self, user_id: str, config: ServerConfig, before: ServerConfig | None = None
    ) -> None:
        """Check that a user may add a configuration, or put it in another's place.

        Args:
            user_id: Who.
            config: What he wants.
            before: What there is.

        Raises:
            NotPermitted: ``obo`` is in one of them, and he lacks the permission. In a server that
                has it already, title, description and icon path may change all the same.
        """
        had_it = before is not None and before.obo is not None
        if config.obo is None and not had_it:
            return
        changed = changed_fields(before, config) - UNLOCKED if before is not None else {"obo"}
        if (had_it and not changed) or self.has_permission(user_id):
            return
        raise NotPermitted(
            "Forbidden: Insufficient permissions to configure OBO"
            f" (locked: {', '.join(sorted(changed))}).",
            user_id=user_id,
            fields=tuple(sorted(changed)),
        )

    def locked_fields(self, user_id: str, config: ServerConfig | None = None) -> frozenset[str]:
        """Return the fields that a form is not to let a user change.

        Args:
            user_id: Who.
            config: The server he edits; None for one that he adds.
        """
        if self.has_permission(user_id):
            return frozenset()
        if config is None or config.obo is None:
            return frozenset({"obo"})
        return fields_of_schema() - UNLOCKED


def changed_fields(before: ServerConfig, after: ServerConfig) -> set[str]:
    """Return the fields in which two configurations differ, compared as JSON."""
    one, other = _as_json(before), _as_json(after)
    return {name for name in fields_of_schema() if one.get(name) != other.get(name)}


def _as_json(config: ServerConfig) -> dict[str, str]:
    written: Iterable[tuple[str, Any]] = config.model_dump(mode="json").items()
    return {name: json.dumps(value, sort_keys=True) for name, value in written}
