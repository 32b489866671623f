"""What ``{{USER_…}}`` and ``{{OPENID_…}}`` stand for: fields of a user and of a sign-in."""

from __future__ import annotations

from .templates import field_of, folded, text_of
from .user import User

_USER_FIELDS = {
    "ID": "id",
    "NAME": "name",
    "USERNAME": "username",
    "EMAIL": "email",
    "PROVIDER": "provider",
    "ROLE": "role",
    "OPENIDID": "openid_id",
}
# The seed's names, and those that OpenID has for the same.
_OPENID_FIELDS = {
    "TOKEN": ("access_token",),
    "USERID": ("user_id", "sub"),
    "USEREMAIL": ("user_email", "email"),
    "USERNAME": ("user_name", "name"),
}
_TOKENS = {"TOKEN", "ACCESSTOKEN", "IDTOKEN"}


def user_field(user: User, field: str) -> str | None:
    """Return what ``{{USER_field}}`` stands for; None if that is nothing, or blank."""
    attribute = _USER_FIELDS.get(folded(field))
    found = None if attribute is None else text_of(getattr(user, attribute))
    return found or (None if attribute == "id" else field_of(user.attributes, field))


def openid_field(user: User, field: str) -> str | None:
    """Return what ``{{OPENID_field}}`` stands for; None if that is nothing, or blank."""
    names = (field, *_OPENID_FIELDS.get(folded(field), ()))
    return next((text for name in names if (text := field_of(user.openid, name))), None)


def is_expired(user: User, field: str, now: float | None) -> bool:
    """Whether *field* is a token of a user that is known to have expired. [seed: 5.7]

    Args:
        user: The user.
        field: What stands after ``OPENID_``.
        now: Seconds since the epoch; None if nobody knows.
    """
    until = user.openid.get("expires_at")
    if now is None or folded(field) not in _TOKENS or isinstance(until, bool):
        return False
    return isinstance(until, int | float) and until <= now
