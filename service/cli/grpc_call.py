"""One `UpdateStep` call and what is shown of it."""

import asyncio
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import typer
from google.protobuf import json_format
from rich.text import Text

from service.api.address import is_loopback
from service.cli import output
from service.client import (
    AsyncClient,
    CallRefused,
    OutcomeUnknown,
    PartiallyApplied,
    StepUpdate,
    Tls,
    UpdateFailed,
    UpdateResult,
)
from service.client.messages import request_of

# Shorter waits need no explanation.
_PATIENCE_SECONDS: Final = 1.0


class Exit(IntEnum):
    """The exit statuses, by what became of the step."""

    DONE = 0
    NOT_APPLIED = 1
    USAGE = 2
    UNKNOWN = 3
    PARTIALLY_APPLIED = 4
    REFUSED = 5
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call.

    Attributes:
        address: Where the service is.
        api_key: The application's key; None where a client certificate stands for it.
        tls: How to speak TLS; None for plaintext.
        customer_id: The caller's own id of its customer.
        provider: The provider's name.
        timeout: Seconds that the call may take.
        request_id: An id to find the call by; None for a new one.
        update: What to change.
    """

    address: str
    api_key: str | None
    tls: Tls | None
    customer_id: str
    provider: str
    timeout: float
    request_id: str | None
    update: StepUpdate


def security(
    address: str, *, tls: bool | None, ca: Path | None, certificate: Path | None, key: Path | None
) -> Tls | None:
    """How to speak TLS with an address: plaintext on this machine and TLS elsewhere, unless told otherwise."""
    if (certificate is None) != (key is None):
        raise typer.BadParameter("give both, or neither", param_hint="--tls-cert and --tls-key")
    if tls is False and (ca or certificate):
        raise typer.BadParameter("has no use for certificates", param_hint="--plaintext")
    if tls is None and not ca and not certificate and is_loopback(address):
        tls = False
    if tls is False:
        return None
    return Tls(_pem(ca, "--tls-ca"), _pem(certificate, "--tls-cert"), _pem(key, "--tls-key"))


def _pem(path: Path | None, option: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}", param_hint=option) from None


def carry_out(call: Call, *, as_json: bool) -> None:
    """Makes the call and shows what became of it.

    Raises:
        typer.Exit: It did not succeed; the status says how.
    """
    err = output.console(stderr=True)
    try:
        request_of(call.update)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        result = asyncio.run(_update(call))
    except KeyboardInterrupt:
        only = call.update.validate_only
        left = "Nothing was changed." if only else "The update may have been carried out; repeating it is safe."
        err.print(Text(f"Interrupted. {left}"))
        raise typer.Exit(Exit.INTERRUPTED) from None
    except UpdateFailed as failure:
        if as_json:
            _print_json(failure.failure.response)
        else:
            show_failure(failure)
        raise typer.Exit(_status(failure)) from None
    if as_json:
        _print_json(result.response)
    else:
        show_result(result, validate_only=call.update.validate_only)


async def _update(call: Call) -> UpdateResult:
    err = output.console(stderr=True)
    async with AsyncClient(call.address, api_key=call.api_key, tls=call.tls, timeout=call.timeout) as client:
        calling = asyncio.create_task(
            client.update_step(
                call.update, customer_id=call.customer_id, provider=call.provider, request_id=call.request_id
            )
        )
        try:
            await asyncio.wait({calling}, timeout=_PATIENCE_SECONDS)
            if not calling.done() and err.is_terminal:
                with err.status(f"Waiting for {call.provider} by way of {call.address} …"):
                    return await calling
            return await calling
        finally:
            calling.cancel()


def show_result(result: UpdateResult, *, validate_only: bool) -> None:
    """Shows what an update did, on standard output."""
    out = output.console()
    out.print(_headline(result, validate_only=validate_only))
    for change in result.changes:
        out.print(output.change(change))
    for warning in result.warnings:
        out.print(output.warning(warning))
    out.print(Text(f"request id: {output.harmless(result.request_id)}", style="dim"))


def _headline(result: UpdateResult, *, validate_only: bool) -> Text:
    if not result.changes:
        return Text.assemble(("✓ ", "bold green"), "Nothing to change.")
    names = output.harmless(", ".join(change.field for change in result.changes))
    if validate_only:
        return Text.assemble(("✓ ", "bold green"), f"Would change {names}. Nothing was written.")
    return Text.assemble(("✓ ", "bold green"), f"Changed {names}.")


def show_failure(failure: UpdateFailed) -> None:
    """Shows why an update failed and what it left behind, on standard error."""
    err = output.console(stderr=True)
    for error in failure.errors:
        err.print(output.error(error))
    if failure.changes:
        err.print(Text("Changed before it failed:"))
        for change in failure.changes:
            err.print(output.change(change))
    for warning in failure.warnings:
        err.print(output.warning(warning))
    err.print(Text(f"request id: {output.harmless(failure.request_id)}", style="dim"))


def _status(failure: UpdateFailed) -> Exit:
    match failure:
        case CallRefused():
            return Exit.REFUSED
        case PartiallyApplied():
            return Exit.PARTIALLY_APPLIED
        case OutcomeUnknown():
            return Exit.UNKNOWN
        case _:
            return Exit.NOT_APPLIED


def _print_json(response: Any) -> None:
    print(json_format.MessageToJson(response, ensure_ascii=False))  # noqa: T201
