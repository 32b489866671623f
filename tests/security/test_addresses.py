"""What kind of address a host is."""

import pytest

from mcpsync.security.addresses import is_loopback, is_within


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "127.0.0.1",
        "127.255.255.254",
        "127.0.0.1.",
        "::1",
        "[::1]",
        "0:0:0:0:0:0:0:1",
        "::1%lo",
        "::ffff:127.0.0.1",
        "[::ffff:7f00:1]",
    ],
)
def test_these_hosts_are_this_machine_by_their_very_name(host):
    assert is_loopback(host) is True


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "127.0.0.1.example.com",
        "127.0.0.256",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "128.0.0.1",
        "fe80::1%lo",
        "::2",
        "64:ff9b::7f00:1",
    ],
)
def test_these_are_not_or_not_for_sure(host):
    assert is_loopback(host) is False


PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "::10.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:a00:1::",
    "2001:0:a00:1::",
    "2001:db8::1",
    "2002:5db8:d822::1",
    "2001:0:808:808::f7f7:f7f7",
    "2001:1::1",
    "2001:20::1",
    "2001:4:112::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:a9fe:a9fe",
]
LOOPBACK = ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
PUBLIC = [
    "93.184.216.34",
    "1.1.1.1",
    "2606:4700::1111",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
    "2606:4700::5efe:1.1.1.1",
    "2001:200::1",
    "192.31.196.1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_in_nobodys_reach_but_who_may_go_anywhere(address):
    assert is_within(address, "public") is False
    assert is_within(address, "loopback") is False
    assert is_within(address, "anywhere") is True


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_is_not_public(address):
    assert is_within(address, "public") is False
    assert is_within(address, "loopback") is True


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_in_everybodys_reach(address):
    assert is_within(address, "public") is True
    assert is_within(address, "loopback") is True


@pytest.mark.parametrize("address", ["", "example.com", "127.1", "2130706433", "1.1.1.1 "])
def test_what_no_resolver_returns_is_in_no_reach(address):
    assert is_within(address, "public") is False
    assert is_within(address, "loopback") is False
