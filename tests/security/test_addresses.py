"""What kind of address a host is."""

import pytest

from mcpsync.security.addresses import is_loopback


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
