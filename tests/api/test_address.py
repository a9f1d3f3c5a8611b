"""Which addresses only this machine reaches, what they mean, and who may listen there."""

import gc
import socket
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.api.address import PortInUse, bind, check_unix_is_free, is_loopback, numeric, reserve


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("example.com:1", False),
        (":1", False),
    ],
)
def test_loopback_addresses_are_known(address: str, loopback: bool) -> None:  # noqa: FBT001
    assert is_loopback(address) is loopback


def ports(sockets: list[socket.socket]) -> set[int]:
    return {each.getsockname()[1] for each in sockets}


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("127.0.0.1:0", {"127.0.0.1"}),
        ("[::1]:0", {"::1"}),
        ("localhost:0", {where[0] for *_, where in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}),
        ("0.0.0.0:0", {"::"}),
        ("[::]:0", {"::"}),
    ],
)
def test_an_address_means_all_that_it_names(address: str, meant: set[str]) -> None:
    try:
        close(bind("[::1]:0", shared=False))
    except PortInUse:
        pytest.skip("this machine has no IPv6")
    bound = bind(address, shared=False)
    assert {each.getsockname()[0] for each in bound} == meant
    shown = {numeric(each).rpartition(":") for each in bound}
    assert {host for host, _, _ in shown} == {f"[{host}]" if ":" in host else host for host in meant}
    assert {int(port) for _, _, port in shown} == ports(bound)
    assert not any(each.getblocking() for each in bound)
    assert len(ports(bound)) == 1
    close(bound)


@pytest.mark.parametrize("address", ["", "50051", ":50051", "127.0.0.1", "127.0.0.1:70000", "127.0.0.1:x", "no.such:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(PortInUse, match="it is not HOST:PORT"):
        bind(address, shared=False)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(PortInUse, match="does not have it"):
        bind("192.0.2.1:1", shared=False)


@pytest.mark.parametrize("is_listening", [False, True])
def test_a_reserved_address_is_for_those_who_share_it(*, is_listening: bool) -> None:
    reserved = reserve("127.0.0.1:0")
    address = numeric(reserved[0])
    workers = [*bind(address, shared=True), *bind(address, shared=True)]
    if is_listening:
        for worker in workers:
            worker.listen()
    with pytest.raises(PortInUse, match="something else"):
        reserve(address)
    with pytest.raises(PortInUse, match="something else"):
        bind(address, shared=False)
    close([*workers, *reserved])
    close(reserve(address))


@pytest.mark.parametrize(
    ("port", "failures", "is_bound"), [(0, 4, True), (0, 5, False), (65535, 0, True), (65535, 1, False), (1, 1, False)]
)
def test_a_port_that_is_picked_is_picked_again(
    monkeypatch: pytest.MonkeyPatch, *, port: int, failures: int, is_bound: bool
) -> None:
    """It may be free for one of several addresses, and taken for the next."""
    outcomes = [*[OSError()] * failures, []]
    monkeypatch.setattr("service.api.address._bind_all", Mock(side_effect=outcomes))
    if is_bound:
        assert bind(f"127.0.0.1:{port}", shared=False) == []
    else:
        with pytest.raises(PortInUse, match="something else"):
            bind(f"127.0.0.1:{port}", shared=False)


@pytest.mark.parametrize("port", ["65536", "-1", "+1", "1.0", "\u0661"])
def test_a_port_is_a_number_below_65536(port: str) -> None:
    with pytest.raises(PortInUse, match="it is not HOST:PORT"):
        bind(f"127.0.0.1:{port}", shared=False)


def test_a_server_that_has_just_stopped_can_start_again() -> None:
    """Its own side of a connection is remembered for a while by the kernel."""
    [listener] = bind("127.0.0.1:0", shared=False)
    listener.listen()
    address = numeric(listener)
    with socket.create_connection(listener.getsockname()[:2]):
        listener.setblocking(True)
        listener.accept()[0].close()
    listener.close()
    close(bind(address, shared=False))


def test_an_address_of_which_a_part_is_taken_holds_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2")]
    [taken] = bind("127.0.0.2:0", shared=False)
    taken.listen()
    address = f"both:{taken.getsockname()[1]}"
    monkeypatch.setattr("service.api.address._hosts", lambda *_: both)
    with pytest.raises(PortInUse, match="something else"):
        bind(address, shared=False)
    # What was left open would say so when it is collected.
    gc.collect()
    close([taken])
    close(bind(address, shared=False))


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_unix_address_in_use_is_not_taken_over(tmp_path: Path, *, is_abstract: bool) -> None:
    path = f"{tmp_path}/socket"
    address = f"unix-abstract:{path}" if is_abstract else f"unix:{path}"
    check_unix_is_free(address)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{path}" if is_abstract else path)
        listener.listen()
        with pytest.raises(PortInUse, match="something else"):
            check_unix_is_free(address)
    # The file is left behind, and nobody listens.
    check_unix_is_free(address)
