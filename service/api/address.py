"""Addresses that servers listen on: what they mean, and how no two services get the same one."""

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

_PORTS_TRIED: Final = 5
_UNIX: Final = ("unix:", "unix-abstract:")
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class PortInUse(Exception):
    """A server cannot listen on its address; the message says why."""

    @classmethod
    def at(cls, address: str) -> "PortInUse":
        """Something else listens there."""
        return cls(f"cannot listen on {address}; is something else listening there?")


def is_unix(address: str) -> bool:
    """Whether the address is a path, or an abstract name, of this machine: unix:PATH."""
    return address.startswith(_UNIX)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address, HOST:PORT or unix:PATH."""
    if is_unix(address):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(address: str, *, shared: bool) -> list[socket.socket]:
    """Binds sockets to all that an address means, without listening yet.

    A name means each of its addresses that this machine has, so `localhost` means 127.0.0.1 and ::1. All interfaces of one
    kind, 0.0.0.0 or [::], mean those of both kinds.

    Args:
        address: HOST:PORT; port 0 picks a free one, the same for all.
        shared: Share the address with other processes that share it too, which the kernel spreads connections over.

    Raises:
        PortInUse: It is not HOST:PORT, this machine does not have it, or something else has it.
    """
    port = _port(address)
    hosts = _hosts(address, port)
    # A port that is free for one of several addresses need not be free for the next.
    for _ in range(_PORTS_TRIED if port == 0 else 1):
        with contextlib.suppress(OSError):
            return _bind_all(hosts, port, shared=shared)
    raise PortInUse.at(address)


def _bind_all(hosts: Sequence[tuple[socket.AddressFamily, str]], port: int, *, shared: bool) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for family, host in hosts:
            listener = socket.socket(family, socket.SOCK_STREAM)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
            if family is socket.AF_INET6:
                # All interfaces at once; an address of one kind has no meaning in the other.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
            listener.bind((host, port))
            port = listener.getsockname()[1]
            listener.setblocking(False)
    except OSError:
        for listener in bound:
            listener.close()
        raise
    return bound


def reserve(address: str) -> list[socket.socket]:
    """Reserves an address for the processes of one service, which `bind` it as shared.

    Raises:
        PortInUse: As `bind`.
    """
    reserved = bind(address, shared=False)
    for listener in reserved:
        # From now on no other service can do the same, and sockets that share the port can be bound beside this one.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
    return reserved


def numeric(listener: socket.socket) -> str:
    """The address of a bound socket as IP:PORT."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_unix_is_free(address: str) -> None:
    """Makes sure that nothing listens at a unix: address, which would lose it to whoever binds it next.

    Raises:
        PortInUse: Something does.
    """
    path = address.removeprefix("unix-abstract:").removeprefix("unix:")
    name = f"\0{path}" if address.startswith("unix-abstract:") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(name) == 0:
            raise PortInUse.at(address)


def _port(address: str) -> int:
    host, _, number = address.rpartition(":")
    if not (host and number.isascii() and number.isdigit() and int(number) < 65536):
        raise PortInUse(f"cannot listen on {address}; it is not HOST:PORT")
    return int(number)


def _hosts(address: str, port: int) -> Sequence[tuple[socket.AddressFamily, str]]:
    name = address.rpartition(":")[0].strip("[]")
    if name in ("0.0.0.0", "::"):  # noqa: S104  # these are the names of it
        has_ipv6 = _has(socket.AF_INET6, "::")
        return [(socket.AF_INET6, "::") if has_ipv6 else (socket.AF_INET, "0.0.0.0")]  # noqa: S104
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise PortInUse(f"cannot listen on {address}; it is not HOST:PORT") from None
    hosts = list(dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found))
    if not (present := [(family, host) for family, host in hosts if _has(family, host)]):
        raise PortInUse(f"cannot listen on {address}; this machine does not have it")
    return present


def _has(family: socket.AddressFamily, host: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno not in _NO_SUCH_ADDRESS
    return True
