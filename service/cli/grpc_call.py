"""Makes one call of the service and prints its result."""

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from google.protobuf import json_format
from rich.text import Text

from seqstep_client import (
    AsyncClient,
    CallRefused,
    InvalidArgument,
    OutcomeUnknown,
    PartiallyApplied,
    StepUpdate,
    Tls,
    UpdateFailed,
    UpdateResult,
)
from service.api.address import is_loopback
from service.cli import output

T = TypeVar("T")

# A shorter wait needs no progress line.
_PROGRESS_AFTER_SECONDS: Final = 1.0


class Exit(IntEnum):
    """The exit statuses, by the outcome of the update."""

    DONE = 0
    NOT_APPLIED = 1
    USAGE = 2
    UNKNOWN = 3
    PARTIALLY_APPLIED = 4
    REFUSED = 5
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """The options of one call.

    Attributes:
        address: Where the service is.
        api_key: The application's key; None where a client certificate stands for it.
        tls: The TLS files; None for plaintext.
        customer_id: The caller's own id of its customer.
        provider: The provider's name.
        timeout: Seconds that the call may take.
        request_id: An id to find the call by; None for a new one.
    """

    address: str
    api_key: str | None
    tls: Tls | None
    customer_id: str
    provider: str
    timeout: float
    request_id: str | None


def tls_options(
    address: str, *, tls: bool | None, ca: Path | None, certificate: Path | None, key: Path | None
) -> Tls | None:
    """Reads the TLS files of the options; None for plaintext, which is the default on this machine only."""
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


def update(options: CallOptions, wanted: StepUpdate, *, as_json: bool) -> None:
    """Makes an update and prints its result or failure.

    Raises:
        typer.Exit: It did not succeed; the status says how.
    """
    write(
        options,
        lambda client: client.update_step(
            wanted, customer_id=options.customer_id, provider=options.provider, request_id=options.request_id
        ),
        validate_only=wanted.validate_only,
        as_json=as_json,
    )


def write(
    options: CallOptions,
    make: Callable[[AsyncClient], Coroutine[Any, Any, UpdateResult]],
    *,
    validate_only: bool,
    as_json: bool,
) -> None:
    """Makes a call that changes a step and prints its result or failure.

    Raises:
        typer.Exit: It did not succeed; the status says how.
    """
    result = call(
        options,
        make,
        as_json=as_json,
        interrupted="Nothing was changed."
        if validate_only
        else "The update may have been carried out; repeating it is safe.",
    )
    if as_json:
        print_message(result.response)
    else:
        print_result(result, validate_only=validate_only)


def call(
    options: CallOptions,
    make: Callable[[AsyncClient], Coroutine[Any, Any, T]],
    *,
    as_json: bool,
    interrupted: str = "",
) -> T:
    """Makes a call and returns what comes of it, or prints its failure.

    Args:
        options: What is said of the call.
        make: Makes it.
        as_json: Print a failure as JSON.
        interrupted: What to say of the step where the call is interrupted.

    Raises:
        typer.Exit: It did not succeed; the status says how.
    """
    err = output.console(stderr=True)
    try:
        return asyncio.run(_call(options, make))
    except InvalidArgument as error:
        raise typer.BadParameter(str(error)) from None
    except KeyboardInterrupt:
        err.print(Text(f"Interrupted. {interrupted}".strip()))
        raise typer.Exit(Exit.INTERRUPTED) from None
    except UpdateFailed as failure:
        if as_json:
            print_message(failure.failure.response)
        else:
            print_failure(failure)
        raise typer.Exit(_status(failure)) from None
    except Exception:  # noqa: BLE001
        # Python itself would end with 1, which is that of "not applied".
        err.print(Text(traceback.format_exc()))
        raise typer.Exit(Exit.UNKNOWN) from None


async def _call(options: CallOptions, make: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
    err = output.console(stderr=True)
    async with AsyncClient(
        options.address,
        api_key=options.api_key,
        tls=options.tls,
        plaintext=options.tls is None,
        # Plaintext to another machine is asked for.
        key_in_clear=True,
        timeout=options.timeout,
    ) as client:
        made = asyncio.create_task(make(client))
        try:
            await asyncio.wait({made}, timeout=_PROGRESS_AFTER_SECONDS)
            if not made.done() and err.is_terminal:
                with err.status(f"Waiting for {options.provider} by way of {options.address} …"):
                    return await made
            return await made
        finally:
            made.cancel()


def print_result(result: UpdateResult, *, validate_only: bool) -> None:
    """Prints what an update changed, on standard output."""
    out = output.console()
    out.print(_headline(result, validate_only=validate_only))
    for change in result.changes:
        out.print(output.format_change(change))
    for warning in result.warnings:
        out.print(output.format_warning(warning))
    if result.etag:
        out.print(Text(f"etag: {output.escape(result.etag)}", style="dim"))
    if result.change_id:
        out.print(Text(f"change: {output.escape(result.change_id)}", style="dim"))
    out.print(Text(f"request id: {output.escape(result.request_id)}", style="dim"))


def _headline(result: UpdateResult, *, validate_only: bool) -> Text:
    if not result.changes:
        return Text.assemble(("✓ ", "bold green"), "Nothing to change.")
    names = output.escape(", ".join(change.field for change in result.changes))
    if validate_only:
        return Text.assemble(("✓ ", "bold green"), f"Would change {names}. Nothing was written.")
    return Text.assemble(("✓ ", "bold green"), f"Changed {names}.")


def print_failure(failure: UpdateFailed) -> None:
    """Prints why an update failed and what it changed before, on standard error."""
    err = output.console(stderr=True)
    for error in failure.errors:
        err.print(output.format_error(error))
    if failure.changes:
        err.print(Text("Changed before it failed:"))
        for change in failure.changes:
            err.print(output.format_change(change))
    if failure.conflicts:
        err.print(Text("What the provider holds, and what would have been written over it:"))
        for conflict in failure.conflicts:
            err.print(output.format_change(conflict))
        err.print(Text(f"etag of what it holds: {output.escape(failure.etag)}"))
    for warning in failure.warnings:
        err.print(output.format_warning(warning))
    err.print(Text(f"request id: {output.escape(failure.request_id)}", style="dim"))


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


def print_message(response: Any) -> None:
    """Prints a message as JSON, by the protobuf mapping."""
    print(json_format.MessageToJson(response, ensure_ascii=False))  # noqa: T201
