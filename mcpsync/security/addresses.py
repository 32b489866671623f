"""What kind of address a host is."""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias

Reach: TypeAlias = Literal["anywhere", "loopback", "public"]
"""Where a request may go; ``loopback`` is public addresses and this machine."""

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_loopback(host: str) -> bool:
    """Whether *host* (a name or a literal, brackets allowed) is this machine by its very name."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    found = parsed(host)
    if found is None:
        return False
    mapped = found.ipv4_mapped if found.version == 6 else None  # itself no loopback to some Pythons
    return (mapped or found).is_loopback


def is_local_name(host: str) -> bool:
    """Whether *host* is a name that only means something here, whatever it is resolved to.

    Names without a dot are those of machines nearby and of services in a cluster. (Seed rule 5.1)
    """
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith(_LOCAL)


def is_within(address: str, reach: Reach) -> bool:
    """Whether a request of *reach* may go to *address*, a literal as a resolver returns it.

    IPv4 addresses that are written as IPv6 (mapped, NAT64, ISATAP) are looked at as what they lead
    to; tunnels of old (6to4, Teredo) lead to nothing that is public. (Seed rule 5.1)
    """
    if reach == "anywhere":
        return True
    found = parsed(address)
    if found is None:
        return False
    return all(
        (each.is_loopback and reach == "loopback") or is_public(each) for each in led_to(found)
    )


def is_public(address: IPAddress) -> bool:
    """Whether *address*, taken for what it is itself, may be anybody's on the internet."""
    is_special = not address.is_global or address.is_multicast or address.is_reserved
    return not is_special and not any(address in network for network in _TRAPS)


def parsed(address: str) -> IPAddress | None:
    """Return the address that a resolver has written, without its zone; None if it is none."""
    bare = address.partition("%")[0] if ":" in address else address  # IPv4 has no zones
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        return None


_LOCAL = (".localhost", ".localdomain", ".internal", ".local", ".home.arpa")
_TRAPS = (
    ipaddress.ip_network("168.63.129.16/32"),  # of Azure: what each virtual machine is told by
    ipaddress.ip_network("192.0.0.0/24"),  # public to a Python of before 2024; Oracle's metadata
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4, of old
    ipaddress.ip_network("2001::/23"),  # of protocols, Teredo's too; each Python knows other parts
    ipaddress.ip_network("2002::/16"),  # 6to4, of old; public to a Python of before 2024
    ipaddress.ip_network("fec0::/10"),  # site-local, of old
    ipaddress.ip_network("3fff::/20"),  # for documentation; public to a Python of before 2025
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # what stands before the IPv4 address (RFC 5214)


def led_to(address: IPAddress) -> list[IPAddress]:
    """Return what packets for *address* may end up at: all of them have to be good."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [_last_of(address)]
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        return [address, _last_of(address)]
    return [address]


def _last_of(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    """Return the IPv4 address that *address* ends with."""
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
