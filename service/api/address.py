"""Addresses of servers."""

import ipaddress


class PortInUse(Exception):
    """A server cannot listen on its address; the message says why."""


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address, HOST:PORT or unix:PATH."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
