"""What kind of address a host is."""

from __future__ import annotations

import ipaddress
from typing import Literal, TypeAlias

Reach: TypeAlias = Literal["anywhere", "loopback", "public"]
"""Where a request may go; ``loopback`` is public addresses and this machine."""


def is_loopback(host: str) -> bool:
    """Whether *host* (a name or a literal, brackets allowed) is this machine by its very name."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_within(address: str, reach: Reach) -> bool:
    """Whether a request of *reach* may go to *address*, a literal as a resolver returns it.

    IPv4 addresses that are written as IPv6 (mapped, 6to4, Teredo, NAT64) are looked at as what
    they lead to. (Seed rule 5.1)
    """
    if reach == "anywhere":
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    for each in _led_to(found):
        if each.is_loopback and reach == "loopback":
            continue
        if not each.is_global or each.is_multicast or each.is_reserved or _is_a_trap(each):
            return False
    return True


def _is_a_trap(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether *address* is one that ``ipaddress`` takes for public, and is not to be reached."""
    return any(address in network for network in _TRAPS)


_TRAPS = (
    ipaddress.ip_network("168.63.129.16/32"),  # of Azure: what each virtual machine is told by
    ipaddress.ip_network("192.0.0.0/24"),  # public to a Python of before 2024; Oracle's metadata
    ipaddress.ip_network("fec0::/10"),  # site-local, of old
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _led_to(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address.teredo is not None:
        return [address, *address.teredo]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]
