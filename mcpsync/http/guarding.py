"""A URL held against the policy that holds for it, before anything is resolved or sent."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from ..errors import ConfigurationError, RefusedError
from ..security.addresses import is_local_name, is_loopback, parsed
from ..security.guard import AddressPolicy, refused
from ..security.redaction import safe_url
from .settings import HttpSettings, origin_of, prepared_url

MAX_URL: Final = 8192  # characters
MAX_HOST: Final = 253  # characters; a name has no more


def guarded(
    settings: HttpSettings,
    written: str,
    policy: AddressPolicy,
    abroad: AddressPolicy | None = None,
) -> HttpSettings:
    """Return *settings* as requests that *policy* holds for have them.

    Args:
        settings: Where the requests go, through which proxy.
        written: The URL as it was written; that of a WebSocket has another scheme.
        policy: What holds for it, also for each socket that is opened later.
        abroad: What holds for other origins that redirects lead to.

    Raises:
        RefusedError: It is not allowed.
    """
    if abroad is not None:
        settings = replace(settings, abroad=abroad)
    if policy.is_open:
        return settings
    scheme = urlsplit(written).scheme
    proxied = settings.key.proxy is not None
    url = written if scheme in ("http", "https") else "http" + written[2:]
    check_guarded(url, policy, scheme=scheme, proxied=proxied)
    # A proxy is the operator's, often at a private address, and it resolves the names.
    return settings if proxied else replace(settings, key=settings.key._replace(policy=policy))


def check_guarded(url: str, policy: AddressPolicy, *, scheme: str, proxied: bool) -> None:
    """Refuse a URL that *policy* forbids, whatever its name would be resolved to.

    What that leads to is seen when it is connected to (:func:`mcpsync.http.sockets.open_socket`);
    a proxy connects by itself, so it is given no name that nobody has allowed. (Seed 5.2, 5.6)

    Args:
        url: An ``http`` or ``https`` URL.
        policy: What holds for it.
        scheme: The scheme as it was written: ``ws`` and ``wss`` have http's settings.
        proxied: Whether it is asked through a proxy.

    Raises:
        RefusedError: It is not allowed; its ``rule`` is the first that forbids it.
    """
    if policy.is_open:
        return
    host, port = _place_of(url)
    policy.check_domain(scheme, host, port)
    check_place(host, port, policy, proxied=proxied)
    known = policy.names(scheme, host, port) or policy.exempts(host, port)
    is_name = literal_in(host) is None
    if proxied and is_name and not known and not policy.proxied_names:
        raise refused("proxy", host, port)


def check_place(host: str, port: int, policy: AddressPolicy, *, proxied: bool = False) -> None:
    """Refuse an address out of reach, in whatever spelling, and a name that can mean nothing else.

    Raises:
        RefusedError: The rule is ``address`` or ``name``.
    """
    address = literal_in(host)
    if address is not None:
        if not policy.admits(host, port, address):
            raise refused("address", host, port, address, can_allow=policy.can_allow)
    elif policy.reach != "anywhere" and is_local_name(host):
        is_ours = policy.reach == "loopback" and is_loopback(host)
        # Where networks are allowed, the address decides once it is known: to us, not to a proxy.
        networks = any(each.network is not None for each in policy.addresses)
        may_be_allowed = networks and not proxied
        if not (is_ours or may_be_allowed or policy.exempts(host, port)):
            raise refused("name", host, port, can_allow=policy.can_allow)


def is_plain(url: str) -> bool:
    """Whether *url* can be read in one way only, and by people."""
    try:
        host = urlsplit(prepared_url(url)[0]).hostname or ""
    except (ConfigurationError, ValueError):
        return False
    is_short = len(url) <= MAX_URL and 0 < len(host) <= MAX_HOST
    return is_short and url.isprintable() and "\\" not in url and "@" not in urlsplit(url).netloc


def literal_in(host: str) -> str | None:
    """Return the address that *host* is, in whatever spelling resolvers take; None for a name."""
    host = host.strip("[]").rstrip(".")
    found = parsed(host)
    if found is not None:
        return str(found)
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 2130706433, 0x7f.1, 0177.0.0.1
    except (OSError, ValueError):
        return None


def _place_of(url: str) -> tuple[str, int]:
    """Return host and port of *url* as a request to it would have them."""
    if not is_plain(url):
        raise RefusedError(
            f"{safe_url(url)} is not used: a URL that somebody else has given must be plain, "
            "without credentials, backslashes or anything that cannot be seen.",
            rule="form",
        )
    _, host, port = origin_of(prepared_url(url)[0])
    return host.rstrip("."), port
