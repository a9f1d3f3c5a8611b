"""`seqstep doctor` finds what is wrong, says what to do, and changes nothing."""

import asyncio
import json
import socket
import ssl
from pathlib import Path

import grpc
import pytest
import trustme

from service.domain.credentials import Secret
from service.domain.step import Provider
from service.process_exit import EXIT_CONFIGURATION
from tests.support.command import run_here, without_settings
from tests.support.processes import free_port
from tests.support.scripted_server import Script, ServerConnection, scripted_server
from tests.support.service import RunningService, outreach_grant


def environment(service: RunningService, **more: str) -> dict[str, str]:
    """The settings of the running service, as environment variables."""
    given = service.settings
    return {
        "SEQSTEP_DATABASE_URL": given.database_url.get_secret_value(),
        "SEQSTEP_ENCRYPTION_KEYS": given.encryption_keys.get_secret_value(),
        "SEQSTEP_APOLLO_BASE_URL": given.provider_url("apollo", "base_url"),
        "SEQSTEP_APOLLO_TOKEN_URL": given.provider_url("apollo", "token_url"),
        "SEQSTEP_OUTREACH_BASE_URL": given.provider_url("outreach", "base_url"),
        "SEQSTEP_GRPC_ADDRESS": service.app.rpc.address,
        "SEQSTEP_HTTP_ADDRESS": f"127.0.0.1:{free_port()}",
    } | more


async def doctor(folder: Path, settings: dict[str, str], *arguments: str) -> tuple[int, dict[str, list[str]]]:
    ended = await asyncio.to_thread(run_here, without_settings() | settings, "doctor", *arguments, folder=folder)
    rows = [line.split("\t") for line in ended.out.splitlines()]
    return ended.status, {row[1]: [row[0], row[2]] if len(row) == 3 else row for row in rows if len(row) > 1} | {
        "all": [ended.out + ended.err]
    }


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def answer_once(connection: ServerConnection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def tunnel(port: int) -> Script:
    """A proxy that connects every CONNECT to one port of this machine."""

    async def run(connection: ServerConnection) -> None:
        head, _ = await connection.request()
        assert head.startswith("CONNECT ")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await connection.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        try:
            await asyncio.gather(copy(connection.reader, writer), copy(reader, connection.writer))
        finally:
            writer.close()

    return run


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        target.write(data)
        await target.drain()
    target.close()


async def test_a_refused_client_is_named_with_the_command(service: RunningService, tmp_path: Path) -> None:
    wrong = outreach_grant(expires_at=1.0, client_secret=Secret("wrong"))
    for customer in ("first", "second"):
        await service.connect(customer, Provider("outreach"), wrong)
        await service.update("outreach", 8, 121, customer=customer, subject="x")
    status, found = await doctor(tmp_path, environment(service))
    assert status == 1
    state, detail = found["token renewal"]
    assert state == "wrong"
    assert "refused the OAuth client of billing (invalid_client)" in detail
    assert "for that reason: 2." in detail
    assert "seqstep connection set-client-secret --app billing --provider outreach" in detail
    await service.connect("first", Provider("outreach"), outreach_grant())
    await service.connect("second", Provider("outreach"), outreach_grant())
    _, found = await doctor(tmp_path, environment(service))
    assert found["token renewal"] == ["ok", "no OAuth client was refused"]


async def test_all_is_well(service: RunningService, tmp_path: Path) -> None:
    status, found = await doctor(tmp_path, environment(service))
    assert status == 0, found
    assert {row[0] for name, row in found.items() if name != "all"} == {"ok"}
    assert found["gRPC address"][1] == f"the service at {service.app.rpc.address} says SERVING"
    assert found["requests to providers"][1] == "proxy: none; the system's certificate authorities are trusted"
    for secret in (service.settings.encryption_keys.get_secret_value(), service.key.reveal()):
        assert secret not in found["all"][0]


async def test_programs_get_the_findings_as_json(service: RunningService, tmp_path: Path) -> None:
    command = ("doctor", "--health", "--json")
    ended = await asyncio.to_thread(run_here, without_settings() | environment(service), *command, folder=tmp_path)
    detail = f"the service at {service.app.rpc.address} says SERVING"
    assert json.loads(ended.out) == [{"check": "gRPC address", "state": "ok", "detail": detail}]


async def test_a_machine_without_any_setting_learns_what_to_do(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    settings = {
        "SEQSTEP_APOLLO_BASE_URL": nobody,
        "SEQSTEP_APOLLO_TOKEN_URL": nobody,
        "SEQSTEP_OUTREACH_BASE_URL": nobody,
        "SEQSTEP_GRPC_ADDRESS": f"0.0.0.0:{free_port()}",
        "SEQSTEP_HTTP_ADDRESS": "everywhere",
        "SEQSTEP_WORKRES": "2",
    }
    status, found = await doctor(tmp_path, settings)
    assert status == 1
    assert found["settings"] == ["note", "not a setting, and ignored: SEQSTEP_WORKRES (did you mean SEQSTEP_WORKERS?)"]
    assert "seqstep keygen" in found["encryption keys"][1]
    assert found["database"] == ["wrong", "the database seqstep.sqlite3 does not exist; run `seqstep db upgrade`"]
    assert found["TLS"][0] == "wrong"
    assert found["HTTP address"] == ["wrong", "everywhere is not HOST:PORT"]
    assert found["Apollo"][0] == "wrong"
    assert left_in(tmp_path) == []


async def test_a_port_that_something_else_has_is_named(
    service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cli.doctor._HEALTH_SECONDS", 0.2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        settings = environment(service, SEQSTEP_GRPC_ADDRESS=address, SEQSTEP_HTTP_ADDRESS=address)
        status, found = await doctor(tmp_path, settings)
    assert status == 1
    assert found["gRPC address"] == ["wrong", f"cannot listen on {address}: Address already in use"]
    assert found["HTTP address"] == ["wrong", f"cannot listen on {address}: Address already in use"]


async def test_the_proxy_and_the_ca_file_are_shown_without_passwords(service: RunningService, tmp_path: Path) -> None:
    """A provider that only the proxy reaches is reached; the sandbox on this machine is asked without it."""
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("api.provider.example").configure_cert(tls)
    async with scripted_server(answer_once, tls=tls) as provider, scripted_server(tunnel(provider.port)) as proxy:
        settings = environment(
            service,
            SEQSTEP_APOLLO_BASE_URL="https://api.provider.example/api",
            SEQSTEP_PROVIDER_CA_FILE=str(tmp_path / "ca.pem"),
            https_proxy=f"http://user:s3cr3t@127.0.0.1:{proxy.port}",
            no_proxy="internal.example",
        )
        status, found = await doctor(tmp_path, settings)
    assert status == 0, found
    shown = found["requests to providers"][1]
    assert f"proxy: http://***@127.0.0.1:{proxy.port} for https (by https_proxy)" in shown
    assert "not for this machine, internal.example" in shown
    assert f"those of {tmp_path}/ca.pem are trusted" in shown
    assert found["Apollo"] == ["ok", "api.provider.example is reached"]
    assert len(proxy.connections) == 1
    assert "s3cr3t" not in found["all"][0]


async def test_a_certificate_of_an_unknown_authority_is_named(service: RunningService, tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with scripted_server(answer_once, tls=tls) as provider:
        status, found = await doctor(tmp_path, environment(service, SEQSTEP_APOLLO_BASE_URL=provider.url))
    assert status == 1
    assert "its certificate is signed by an unknown authority" in found["Apollo"][1]
    assert "SEQSTEP_PROVIDER_CA_FILE" in found["Apollo"][1]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SEQSTEP_PROVIDER_PROXY", "ftp://s3cr3t", "SEQSTEP_PROVIDER_PROXY is not the URL of a proxy"),
        ("https_proxy", "ftp://s3cr3t", "https_proxy is not the URL of a proxy"),
        ("SEQSTEP_PROVIDER_CA_FILE", "missing.pem", "cannot read missing.pem: No such file"),
    ],
)
async def test_a_proxy_or_ca_file_of_no_use_is_named(
    service: RunningService, tmp_path: Path, name: str, value: str, message: str
) -> None:
    status, found = await doctor(tmp_path, environment(service, **{name: value}))
    assert status == 1
    assert found["requests to providers"][0] == "wrong"
    assert message in found["requests to providers"][1]
    assert "s3cr3t" not in found["all"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SEQSTEP_WORKERS", "0"),
        ("SEQSTEP_OUTREACH_BASE_URL", "ftp://nowhere"),
        ("SEQSTEP_OUTREACH_BASE_URL", "api.outreach.io"),
        ("SEQSTEP_APOLLO_BASE_URL", "https://"),
        ("SEQSTEP_APOLLO_BASE_URL", "https://user@api.apollo.io"),
        ("SEQSTEP_APOLLO_BASE_URL", "https://api.apollo.io:99999"),
        ("SEQSTEP_APOLLO_BASE_URL", "https://api.apollo.io/a b"),
        ("SEQSTEP_APOLLO_BASE_URL", "https://аpi.apollo.io"),  # noqa: RUF001  # a Cyrillic letter, which is the point
        ("SEQSTEP_APOLLO_BASE_URL", "https://api.apollo.io:s3cr3t"),
        ("SEQSTEP_APOLLO_BASE_URL", "https://api.apollo\t.io"),
        ("SEQSTEP_APOLLO_TOKEN_URL", "https://api.apollo.io/token?x=y"),
        ("SEQSTEP_APOLLO_TOKEN_URL", "https://api.apollo.io/token#x"),
    ],
)
async def test_wrong_settings_are_named_without_a_traceback(tmp_path: Path, name: str, value: str) -> None:
    status, found = await doctor(tmp_path, {name: value})
    assert status == EXIT_CONFIGURATION
    assert f"{name}: " in found["all"][0]
    assert name == "SEQSTEP_WORKERS" or "must be http" in found["all"][0]
    assert "s3cr3t" not in found["all"][0]
    assert "Traceback" not in found["all"][0]


async def test_health_asks_the_service_alone(service: RunningService, tmp_path: Path) -> None:
    settings = {"SEQSTEP_GRPC_ADDRESS": service.app.rpc.address}
    assert (await doctor(tmp_path, settings, "--health"))[0] == 0
    nobody = {"SEQSTEP_GRPC_ADDRESS": f"127.0.0.1:{free_port()}"}
    assert (await doctor(tmp_path, nobody, "--health"))[0] == 1


async def test_health_of_a_service_that_does_not_serve_yet(service: RunningService, tmp_path: Path) -> None:
    await service.app.rpc.health.enter_graceful_shutdown()
    status, found = await doctor(tmp_path, {"SEQSTEP_GRPC_ADDRESS": service.app.rpc.address}, "--health")
    assert status == 1
    assert found["gRPC address"][1].endswith("says NOT_SERVING")


async def test_health_of_a_service_with_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("service.internal")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    server = grpc.aio.server()
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    settings = {
        "SEQSTEP_GRPC_ADDRESS": address,
        "SEQSTEP_TLS_CERTIFICATE": str(chain),
        "SEQSTEP_TLS_PRIVATE_KEY": str(key),
    }
    assert (await doctor(tmp_path, settings, "--health"))[0] == 0
    await server.stop(0)
    assert (await doctor(tmp_path, settings, "--health"))[0] == 1
