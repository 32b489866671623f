"""Where requests may lead: the domains and the private addresses that an operator allows.

Two lists that have nothing to do with each other. ``allowed_domains`` says which hosts a URL may
name at all; it opens no way to private addresses. ``allowed_addresses`` says which of those may be
reached all the same; it closes no way to any host. (Seed rules 5.1 and 5.2, where one list does
both, and people are surprised by it.)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from ..errors import ConfigurationError, RefusedError
from .addresses import Reach, is_public, is_within, led_to, parsed

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
GuardMode: TypeAlias = Literal["untrusted", "all"]
"""Whose URLs are guarded: those that somebody else than the operator gave, or all."""

MODES: Final = ("untrusted", "all")
_SCHEMES: Final = ("http", "https", "ws", "wss")
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_PRIVATE: Final[tuple[Network, ...]] = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32"),
            *("169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
            *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/3", "::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10"),
            *("ff00::/8", "64:ff9b:1::/48", "2001:db8::/32"),
        ),
    )
)


@dataclass(frozen=True, slots=True)
class AllowedDomain:
    """One entry of ``allowed_domains``: ``[scheme://]host[:port]`` or ``…*.host…``.

    Args:
        host: The host, in lower case; without ``www.``, unless hosts below that are meant.
        below: Whether hosts below it are meant as well.
        scheme: The only scheme; None for any.
        port: The only port; None for any.
    """

    host: str
    below: bool = False
    scheme: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> AllowedDomain:
        """Read an entry.

        Raises:
            ConfigurationError: It is none.
        """
        wrong = ConfigurationError(
            f"{text!r} is not an entry for allowed_domains: 'example.com', '*.example.com' or "
            "'https://example.com:8443' is (a name in other letters as 'xn--…')."
        )
        if not isinstance(text, str):
            raise wrong
        scheme, found, rest = text.lower().rpartition("://")
        if found and scheme not in _SCHEMES:
            raise wrong
        host, port = _host_and_port(rest, wrong)
        below = host.startswith("*.")
        host = host.removeprefix("*.").removesuffix(".")
        is_name = _HOST.fullmatch(host) is not None
        if not is_name and (below or parsed(host) is None):
            raise wrong
        return cls(host if below else _bare(host), below, scheme or None, port)

    def covers(self, scheme: str, host: str, port: int) -> bool:
        """Whether a URL of this scheme, host (lower case) and port is meant."""
        if self.scheme not in (None, scheme) or self.port not in (None, port):
            return False
        name = _plain(host)
        return self.host in (name, _bare(name)) or (self.below and name.endswith(f".{self.host}"))


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """One entry of ``allowed_addresses``: ``host[:port]``, ``address[:port]`` or a network.

    Args:
        host: The host whose addresses are allowed, whatever they are; None if a network is meant.
        network: The private addresses that are allowed; None if a host is meant.
        port: The only port; None for any.
    """

    host: str | None
    network: Network | None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> AllowedAddress:
        """Read an entry.

        Raises:
            ConfigurationError: It is none, or has addresses in it that are public: those need no
                permission, and whoever lists them means something else.
        """
        wrong = ConfigurationError(
            f"{text!r} is not an entry for allowed_addresses: 'mcp.internal:8080', "
            "'10.1.2.3:8080', '[fd00::1]:8080' or '10.0.0.0/8' is."
        )
        if not isinstance(text, str):
            raise wrong
        rest, slash, prefix = text.partition("/")
        host, port = _host_and_port(rest.lower(), wrong)
        host = host.removesuffix(".")
        if slash or parsed(host) is not None:
            return cls(None, _private_network(host + slash + prefix, text, wrong), port)
        if _HOST.fullmatch(host) is None or host.replace(".", "").isdigit():
            raise wrong
        return cls(host, None, port)

    def covers(self, host: str, port: int, address: str | None = None) -> bool:
        """Whether this host is meant, or *address*, a literal that it is or was resolved to."""
        if self.port not in (None, port):
            return False
        if self.network is None:
            return _plain(host) == self.host
        found = None if address is None else parsed(address)
        if found is None:
            return False
        led = led_to(found)
        return found in self.network or all(is_public(each) or each in self.network for each in led)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Where requests may lead that have somebody's word for it. Immutable, and a key of pools.

    Args:
        reach: What addresses may be reached without being allowed by name.
        domains: The hosts that URLs may name; None for any.
        addresses: Addresses out of reach that may be reached all the same.
        proxied_names: Whether a proxy may be given names, which it resolves as it likes.
        can_allow: Whether *addresses* could have more; nothing is allowed where redirects lead.
    """

    reach: Reach = "anywhere"
    domains: tuple[AllowedDomain, ...] | None = None
    addresses: tuple[AllowedAddress, ...] = ()
    proxied_names: bool = True
    can_allow: bool = True

    @property
    def is_open(self) -> bool:
        """Whether it allows everything."""
        return self.reach == "anywhere" and self.domains is None

    def names(self, scheme: str, host: str, port: int) -> bool:
        """Whether ``allowed_domains`` has an entry for this host; false without such a list."""
        host = _plain(host)
        return self.domains is not None and any(
            each.covers(scheme, host, port) for each in self.domains
        )

    def exempts(self, host: str, port: int, address: str | None = None) -> bool:
        """Whether ``allowed_addresses`` has an entry for this host or this address."""
        return any(each.covers(host, port, address) for each in self.addresses)

    def admits(self, host: str, port: int, address: str) -> bool:
        """Whether a socket for *host* and *port* may be connected to *address*."""
        return is_within(address, self.reach) or self.exempts(host, port, address)

    def check_domain(self, scheme: str, host: str, port: int) -> None:
        """Refuse a host that is not listed.

        Raises:
            RefusedError: ``allowed_domains`` is given, and has no entry for it.
        """
        if self.domains is not None and not self.names(scheme, host, port):
            raise refused("domain", host, port)


def refused(
    rule: str, host: str, port: int, address: str | None = None, *, can_allow: bool = True
) -> RefusedError:
    """Return the error for a host that a rule forbids: domain, name, address or proxy.

    It says what an operator would have to configure, and nothing of the URL but host and port.

    Args:
        rule: Which one.
        host: What it forbids.
        port: Its port.
        address: What *host* is, if it is an address, in the one spelling that can be configured.
        can_allow: Whether it could be allowed at all.
    """
    place, entry = (
        _shown(f"[{each}]:{port}" if ":" in each else f"{each}:{port}")
        for each in (host, address or host)
    )
    allowing = f"; '{entry}' in a manager's allowed_addresses would allow it" if can_allow else ""
    why = {
        "domain": f"is not a host that allowed_domains has an entry for, such as '{_shown(host)}'",
        "name": f"has a name that leads to an address that is not public{allowing}",
        "address": "leads to an address that is not public, where a URL that somebody else has "
        f"given must not lead{allowing}",
        "proxy": "is asked through a proxy, which resolves names as it likes, so it must be an IP "
        "literal or an explicitly allowed host, in allowed_domains or allowed_addresses",
    }[rule]
    return RefusedError(f"{place} {why}. Nothing was sent there.", rule=rule)


ANYWHERE: Final = AddressPolicy()
"""The policy for what the operator has written himself."""


ABROAD: Final = AddressPolicy("public", can_allow=False)
"""The policy for other origins that a server redirects to, where nobody has said more."""


class Guard:
    """Decides by whose word a URL is there which policy holds for it. Immutable.

    Args:
        allowed_domains: The hosts that guarded URLs may name; None for any.
        allowed_addresses: Private addresses that they may lead to.
        mode: ``"all"`` guards the operator's own URLs like those of others.

    Raises:
        ConfigurationError: An entry is none.
    """

    def __init__(
        self,
        allowed_domains: Iterable[str] | None = None,
        allowed_addresses: Iterable[str] = (),
        mode: GuardMode = "untrusted",
    ) -> None:
        if mode not in MODES:
            raise ConfigurationError(f"guard is 'untrusted' or 'all', not {mode!r}.")
        self.mode: GuardMode = mode
        self._domains = (
            None
            if allowed_domains is None
            else tuple(map(AllowedDomain.parse, _listed("allowed_domains", allowed_domains)))
        )
        self._addresses = tuple(
            map(AllowedAddress.parse, _listed("allowed_addresses", allowed_addresses))
        )
        self._strict = AddressPolicy("public", self._domains, self._addresses, False)

    def trusts(self, is_operators: bool) -> bool:
        """Whether a URL is taken at its word."""
        return is_operators and self.mode != "all"

    def for_server(self, is_operators: bool) -> AddressPolicy:
        """Return the policy for a server itself.

        Args:
            is_operators: Whether the operator has said where it is, and nobody else.
        """
        return ANYWHERE if self.trusts(is_operators) else self._strict

    def abroad(self, is_operators: bool) -> AddressPolicy:
        """Return the policy for other origins that a server redirects to. No address is exempt.

        Args:
            is_operators: Whether the operator has said where the server is, and nobody else.
        """
        return replace(ABROAD, domains=self._domains, proxied_names=self.trusts(is_operators))

    def for_named(self, is_operators: bool, is_local: bool = False) -> AddressPolicy:
        """Return the policy for those whom a server names, such as who issues its tokens.

        Args:
            is_operators: Whether the operator has said where the server is, and nobody else.
            is_local: Whether it is on this machine; then its friends may be, too.
        """
        if not self.trusts(is_operators):
            return self._strict
        reach: Reach = "loopback" if is_local else "public"
        return AddressPolicy(reach, self._domains, self._addresses)


def _listed(name: str, entries: Iterable[str]) -> tuple[str, ...]:
    if isinstance(entries, str | bytes):
        raise ConfigurationError(f"{name} is a list of texts, not one text.")
    return tuple(entries)


def _private_network(text: str, entry: str, wrong: ConfigurationError) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise wrong from None
    is_private = any(
        network.subnet_of(each)  # type: ignore[arg-type] # of one version: asked first
        for each in _PRIVATE
        if each.version == network.version
    )
    is_one = network.num_addresses == 1 and not is_within(str(network[0]), "public")
    if not (is_private or is_one):
        raise ConfigurationError(
            f"{entry!r} in allowed_addresses has public addresses in it, which need no permission."
        )
    return network


def _host_and_port(text: str, wrong: ConfigurationError) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 literal."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, None
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host = text
    elif not (port.isascii() and port.isdigit() and 0 < int(port) < 65536 and len(port) <= 5):
        raise wrong
    if host.startswith("["):
        host = host.removeprefix("[").removesuffix("]")
        if ":" not in host:
            raise wrong
    return host, int(port) if colon else None


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _bare(host: str) -> str:
    return _plain(host).removeprefix("www.")


def _shown(text: str) -> str:
    """Return *text*, which somebody else may have written, as an error may have it."""
    return "".join(char if char.isprintable() and char not in " '<>\"\\`" else "?" for char in text)
