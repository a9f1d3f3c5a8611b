"""Where servers listen."""

import ipaddress


class PortInUse(Exception):
    """The address cannot be listened on; the message says why."""


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address, HOST:PORT or unix:PATH."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
