"""Secrets that are kept when a configuration is written anew without them. (Seed 2.8)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..config import ServerConfig, parse_server
from ..config.loading import expanded
from ..config.parsing import OF_FIELDS, as_we_spell
from ..errors import SecretRequired

# In each group: one of them is enough to say who we are, and a new one takes the others' place.
_GROUPS: Final = (
    ("oauth", ("client_secret", "private_key", "assertion")),
    ("oauth", ("idp_client_secret",)),
    ("api_key", ("key",)),
)
# Where secrets of the section are sent, or may be sent: if that changes they are not kept.
_TARGETS: Final[Mapping[str, tuple[str, ...]]] = {
    "oauth": (
        *("grant", "client_id", "issuer", "authorization_url", "token_url"),
        *("revocation_url", "idp_token_url", "idp_client_id"),
    ),
    "api_key": ("source", "authorization_type", "custom_header"),
}
_OTHERWISE: Final = {"revocation_url": "revocation_endpoint"}  # as it may be spelt, too
_TARGETS_OF_ALL: Final = ("url", "command", "proxy")


def keep_secrets(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return *after* with the secrets of *before* that it does not mention.

    A form does not show them, so whoever edits a title does not send them. What is None there is
    meant to go, and so is a section that is missing.

    Args:
        before: What was written.
        after: What is to be written.

    Raises:
        SecretRequired: It leads elsewhere than before. What was typed for one host is not sent to
            another. [seed, later]
    """
    kept, wanted = dict(after), []
    for section, names in _GROUPS:
        old, new = before.get(section), kept.get(section)
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            continue
        if any(name in new for name in names):
            continue
        missing = {name: old[name] for name in names if old.get(name)}
        if missing and _leads_elsewhere(section, before, after):
            wanted += [f"{section}.{name}" for name in missing]
        kept[section] = {**new, **missing}
    if wanted:
        raise SecretRequired(
            f"the server leads elsewhere now: {', '.join(wanted)} has to be given again.",
            fields=tuple(wanted),
        )
    return kept


def parse_update(name: str, before: ServerConfig, written: Mapping[str, Any]) -> ServerConfig:
    """Make the configuration that is to take an operator's one's place; secrets are kept.

    What was filled in from the environment is compared with what would be filled in now.

    Args:
        name: The server.
        before: Its configuration.
        written: What was written for it, in whichever spelling.

    Raises:
        SecretRequired: See :func:`keep_secrets`.
        ConfigurationError: It is wrong.
    """
    after = as_we_spell(name, expanded(name, written))
    return parse_server(name, keep_secrets(before.model_dump(exclude_unset=True), after))


def _leads_elsewhere(section: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if any(before.get(name) != after.get(name) for name in _TARGETS_OF_ALL):
        return True
    old, new = before[section], after[section]
    return any(_said(section, old, name) != _said(section, new, name) for name in _TARGETS[section])


def _said(section: str, written: Mapping[str, Any], name: str) -> Any:
    """Return what a field says: what is not written is as it is shown, and a form sends that."""
    said = written.get(name, written.get(_OTHERWISE.get(name, name)))
    return OF_FIELDS[section].model_fields[name].default if said is None else said
