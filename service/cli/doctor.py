"""`seqstep doctor`: checks what a service needs to work here, and says what to do about the rest."""

import asyncio
import difflib
import os
import socket
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli import context, output
from service.domain.deadline import Deadline
from service.domain.token_grant import CLIENT_ERRORS
from service.providers import REGISTRY
from service.settings import Settings

if TYPE_CHECKING:
    import grpc

    from service.connections import Keyring
    from service.upstream.http import HttpClient

_HEALTH_SECONDS: Final = 3.0
_PROVIDER_SECONDS: Final = 5.0
_CLIENT_NAMES: Final = frozenset({"SEQSTEP_ADDRESS", "SEQSTEP_API_KEY", "SEQSTEP_WORKER_INDEX"})


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        check: The name of the check.
        state: Whether it is as it should be.
        detail: What was found, and what to do.
    """

    check: str
    state: State
    detail: str


cli = typer.Typer(add_completion=False)


@cli.command()
def doctor(
    health: Annotated[
        bool,
        typer.Option(
            "--health",
            help="Only ask the service that runs here whether it serves, for health checks of containers. With TLS: whether "
            "it completes a handshake.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Check settings, database, keys, ports and providers; the exit status is 1 if something is wrong."""
    settings = context.load_settings()
    findings = [asyncio.run(_check_health(settings))] if health else asyncio.run(_run_checks(settings))
    if as_json:
        output.print_json(findings)
    else:
        _print(findings)
    raise typer.Exit(int(any(finding.state is State.WRONG for finding in findings)))


async def _run_checks(settings: Settings) -> list[Finding]:
    database = await _check_database(settings)
    return [
        _check_environment(),
        _check_encryption_keys(settings),
        database,
        *(await _check_connections(settings) if database.state is State.OK else []),
        _check_open_files(settings),
        _check_tls(settings),
        *await _check_addresses(settings),
        *await _check_providers(settings),
    ]


def _check_environment() -> Finding:
    known = {f"SEQSTEP_{name.upper()}" for name in Settings.model_fields} | _CLIENT_NAMES
    unknown = sorted(name for name in os.environ if name.startswith("SEQSTEP_") and name not in known)
    if not unknown:
        return Finding("settings", State.OK, "all of them are valid")
    hints = []
    for name in unknown:
        near = difflib.get_close_matches(name, known, n=1)
        hints.append(f"{name} (did you mean {near[0]}?)" if near else name)
    return Finding("settings", State.NOTE, f"not a setting, and ignored: {', '.join(hints)}")


def _check_encryption_keys(settings: Settings) -> Finding:
    from service.connections import Keyring, KeyringError  # noqa: PLC0415

    try:
        ids = Keyring.parse(settings.encryption_keys.get_secret_value()).key_ids
    except KeyringError as error:
        return Finding("encryption keys", State.WRONG, str(error))
    found = f"one key, {ids[0]}" if len(ids) == 1 else f"{len(ids)} keys, the first one encrypts: {', '.join(ids)}"
    return Finding("encryption keys", State.OK, found)


async def _check_database(settings: Settings) -> Finding:
    from service.connections import SchemaMismatch, Store, StoreUnavailable  # noqa: PLC0415
    from service.connections.store import driver_url  # noqa: PLC0415

    try:
        url = driver_url(settings.database_url.get_secret_value())
        store = Store.open(settings.database_url.get_secret_value(), create=False)
        try:
            await store.check_schema()
        finally:
            await store.close()
    except (StoreUnavailable, SchemaMismatch) as error:
        return Finding("database", State.WRONG, str(error))
    return Finding("database", State.OK, f"{url.render_as_string(hide_password=True)}, schema up to date")


async def _check_connections(settings: Settings) -> list[Finding]:
    """Checks the keys of stored credentials, and whether token endpoints have refused an OAuth client.

    Finds nothing where the keys cannot be used.
    """
    from service.connections import ConnectionAdministration, Keyring, KeyringError, Store, StoreUnavailable  # noqa: PLC0415
    from service.history import HistoryAdministration  # noqa: PLC0415

    try:
        keyring = Keyring.parse(settings.encryption_keys.get_secret_value())
        store = Store.open(settings.database_url.get_secret_value(), create=False)
        try:
            administration = ConnectionAdministration(store, keyring)
            counts, under_keys = await administration.refresh_errors(), await administration.count_by_key()
            changes = await HistoryAdministration(store, keyring).count_by_key()
        finally:
            await store.close()
    except (KeyringError, StoreUnavailable):
        return []
    in_use = [_check_keys_in_use("stored credentials", keyring, under_keys)]
    if changes:
        in_use.append(_check_keys_in_use("history", keyring, changes))
    refused = [
        Finding(
            "token renewal",
            State.WRONG,
            f"{each.provider.title} refused the OAuth client of {each.application} ({each.error}); connections whose tokens "
            f"are not renewed for that reason: {each.count}. Correct it at {each.provider.title}, or by `seqstep connection "
            f"set-client-secret --app {each.application} --provider {each.provider}`",
        )
        for each in counts
        if each.error in CLIENT_ERRORS
    ]
    return [*in_use, *(refused or [Finding("token renewal", State.OK, "no OAuth client was refused")])]


def _check_keys_in_use(what: str, keyring: "Keyring", under_keys: Mapping[str, int]) -> Finding:
    found = ", ".join(f"{count} under {key_id}" for key_id, count in under_keys.items()) or "none are stored"
    missing = [key_id for key_id in under_keys if key_id not in keyring]
    if missing:
        advice = f"SEQSTEP_ENCRYPTION_KEYS does not have {', '.join(missing)}; add what is missing after the first key"
        return Finding(what, State.WRONG, f"{found}; {advice}")
    if set(under_keys) - {keyring.current}:
        advice = "once all replicas have the first key, run `seqstep connection reencrypt`"
        return Finding(what, State.NOTE, f"{found}; {advice}")
    return Finding(what, State.OK, found)


def _check_open_files(settings: Settings) -> Finding:
    """Checks the limit that a worker raises its own to when it starts."""
    from service.api.descriptors import max_connections, raise_limit  # noqa: PLC0415

    limit = raise_limit()
    detail = f"{limit} for each worker, of which each of its servers takes {max_connections()} connections"
    if max_connections() < settings.max_concurrent_calls:
        return Finding("open files", State.WRONG, f"{detail}; raise the hard limit (ulimit -Hn, LimitNOFILE)")
    return Finding("open files", State.OK, detail)


def _check_tls(settings: Settings) -> Finding:
    from service.api.address import is_loopback  # noqa: PLC0415
    from service.api.tls import TlsError, TlsFiles  # noqa: PLC0415

    if settings.tls_certificate is not None and settings.tls_private_key is not None:
        try:
            TlsFiles(settings.tls_certificate, settings.tls_private_key, settings.tls_client_ca).read()
        except TlsError as error:
            return Finding("TLS", State.WRONG, str(error))
        return Finding("TLS", State.OK, f"{settings.tls_certificate} and its key")
    open_to_others = [
        address for address in (settings.grpc_address, settings.http_address) if address and not is_loopback(address)
    ]
    if not open_to_others:
        return Finding("TLS", State.OK, "none; only this machine reaches the service")
    if settings.allow_plaintext:
        return Finding(
            "TLS", State.NOTE, "none, by SEQSTEP_ALLOW_PLAINTEXT; something in front of the service has to do it"
        )
    return Finding(
        "TLS",
        State.WRONG,
        f"{open_to_others[0]} is reached by other machines; set SEQSTEP_TLS_CERTIFICATE and SEQSTEP_TLS_PRIVATE_KEY, or "
        "SEQSTEP_ALLOW_PLAINTEXT=true behind a proxy that does TLS",
    )


async def _check_addresses(settings: Settings) -> list[Finding]:
    findings = [_check_address("gRPC address", settings.grpc_address)]
    if settings.http_address:
        findings.append(_check_address("HTTP address", settings.http_address))
    if settings.admin_address:
        findings.append(_check_address("admin address", settings.admin_address))
    serving = await _check_health(settings)
    if serving.state is not State.OK:
        return findings
    # A service that runs already has its own addresses.
    return [
        serving,
        *(Finding(each.check, State.OK, "in use, as it is while the service runs") for each in findings[1:]),
    ]


def _check_address(check: str, address: str) -> Finding:
    if address.startswith("unix"):
        return Finding(check, State.OK, address)
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listening:
            # As servers do it: connections that have just ended do not keep an address.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen()
    except (ValueError, OverflowError):
        return Finding(check, State.WRONG, f"{address} is not HOST:PORT")
    except OSError as error:
        return Finding(check, State.WRONG, f"cannot listen on {address}: {error.strerror}")
    return Finding(check, State.OK, f"{address} is free")


async def _check_health(settings: Settings) -> Finding:
    host, _, port = settings.grpc_address.rpartition(":")
    # A service that listens everywhere is asked from this machine.
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    address = f"{host}:{port}"
    if settings.tls_certificate is not None:
        return await _check_handshake("gRPC address", host.strip("[]"), int(port))
    import grpc  # noqa: PLC0415  # slow to load
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    # It is this machine, so no proxy is needed.
    async with grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            return Finding("gRPC address", State.WRONG, f"{address} does not answer: {_reason(error)}")
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    state = State.OK if answer.status == health_pb2.HealthCheckResponse.SERVING else State.WRONG
    return Finding("gRPC address", state, f"the service at {address} says {name}")


def _reason(error: "grpc.aio.AioRpcError") -> str:
    return error.details() or error.code().name


async def _check_providers(settings: Settings) -> list[Finding]:
    from service import app as composition  # noqa: PLC0415  # gRPC and HTTP are slow to load
    from service.upstream.proxy import InvalidHttpSettings  # noqa: PLC0415

    urls = {
        url.title: settings.provider_url(known.provider, name) for known in REGISTRY for name, url in known.urls.items()
    }
    try:
        proxies = composition.provider_proxies(settings)
        async with composition.provider_http(settings) as http:
            reached = await asyncio.gather(*(_check_url(check, url, http) for check, url in urls.items()))
    except InvalidHttpSettings as error:
        return [Finding("requests to providers", State.WRONG, str(error))]
    authorities = "the system's certificate authorities"
    if settings.provider_ca_file is not None:
        authorities += f" and those of {settings.provider_ca_file}"
    return [Finding("requests to providers", State.OK, f"proxy: {proxies}; {authorities} are trusted"), *reached]


async def _check_url(check: str, url: str, http: "HttpClient") -> Finding:
    """Asks for a URL as updates do, without credentials: whatever the status, the provider is reached."""
    import httpx  # noqa: PLC0415  # slow to load

    from service.upstream.http import TlsFailed  # noqa: PLC0415

    host = urlsplit(url).netloc
    try:
        await http.send(http.build_request("GET", url, {}), Deadline.after(_PROVIDER_SECONDS))
    except TlsFailed as error:
        advice = "If a proxy of yours signs certificates, set SEQSTEP_PROVIDER_CA_FILE to its authority"
        return Finding(check, State.WRONG, f"{host} is not trusted: {error}. {advice}")
    except httpx.TimeoutException:
        return Finding(check, State.WRONG, f"{host} does not answer; if only a proxy can reach it, set HTTPS_PROXY")
    except httpx.HTTPError as error:
        return Finding(check, State.WRONG, f"{host} cannot be reached: {error}")
    return Finding(check, State.OK, f"{host} is reached")


async def _check_handshake(check: str, host: str, port: int) -> Finding:
    # This asks whether the service is up, not who it is.
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(_HEALTH_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=tls)
    except TimeoutError:
        return Finding(check, State.WRONG, f"{host}:{port} does not answer")
    except OSError as error:
        return Finding(
            check, State.WRONG, f"{host}:{port} does not complete a TLS handshake: {error.strerror or error}"
        )
    writer.transport.abort()
    return Finding(check, State.OK, f"{host}:{port} completes a TLS handshake")


def _print(findings: list[Finding]) -> None:
    styles = {State.OK: "green", State.NOTE: "yellow", State.WRONG: "bold red"}
    if not sys.stdout.isatty():
        for finding in findings:
            typer.echo(f"{finding.state}\t{finding.check}\t{finding.detail}")
        return
    table = Table("", "check", "finding", box=box.SIMPLE_HEAD)
    for finding in findings:
        table.add_row(Text(finding.state, style=styles[finding.state]), finding.check, Text(finding.detail))
    Console().print(table)
