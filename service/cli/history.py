"""`seqstep history`: lists what updates changed, and deletes it for a customer."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from service.cli import context, options
from service.domain.step import Provider
from service.providers import providers

if TYPE_CHECKING:
    # gRPC is slow to load.
    from seqstep_client import AsyncClient, FieldChange
    from service.cli import connection_calls

EPILOG: Final = "Exit status: 0 read · 1 could not be read · 2 wrong usage · 5 the call was refused or the service cannot be reached."

_AGO: Final = re.compile(r"(\d{1,5})(min|h|d)")
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days"}

cli = typer.Typer(add_completion=False)


def _parse_time(text: str) -> datetime:
    """A time in ISO 8601, in UTC where it says nothing else, or so long ago."""
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a time such as 2026-11-28T12:00 nor 30min, 12h or 7d") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@cli.callback(invoke_without_command=True, epilog=EPILOG)
def history(
    ctx: typer.Context,
    customer: Annotated[str | None, typer.Option(help="Your own id of the customer.", show_default="required")] = None,
    provider: Annotated[
        str | None,
        typer.Option(help="The provider.", metavar=f"[{'|'.join(providers())}]", show_default="required"),
    ] = None,
    address: options.Address = options.DEFAULT_ADDRESS,
    api_key_file: options.ApiKeyFile = None,
    change: Annotated[str, typer.Option(help="Show this change, its texts whole.", show_default=False)] = "",
    sequence: Annotated[str, typer.Option(help="Only the changes of this sequence.", show_default=False)] = "",
    step: Annotated[
        str, typer.Option(help="Only the changes of this step; needs --sequence.", show_default=False)
    ] = "",
    by_request: Annotated[
        str, typer.Option(help="Only the changes that calls with this request id made.", show_default=False)
    ] = "",
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=_parse_time, metavar="TIME", help="Only from then on: 2026-11-28T12:00 (UTC), 30min, 12h, 7d."
        ),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=_parse_time, metavar="TIME", help="Only before then, likewise.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many to list at most.")] = 50,
    diff: Annotated[bool, typer.Option("--diff", help="Show what each changed, its texts whole.")] = False,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    tls: options.UseTls = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    request_id: options.RequestId = None,
    as_json: options.AsJson = False,
) -> None:
    """List what updates changed, newest first; `seqstep revert` takes a change back."""

    def service() -> "connection_calls.ServiceOptions":
        from service.cli import connection_calls, grpc_call  # noqa: PLC0415  # gRPC is slow to load

        return connection_calls.ServiceOptions(
            address=address,
            api_key=options.read_api_key(api_key_file, needed=tls_cert is None),
            tls=grpc_call.tls_options(address, tls=tls, ca=tls_ca, certificate=tls_cert, key=tls_key),
            timeout=timeout,
        )

    if ctx.invoked_subcommand is not None:
        source = ctx.get_parameter_source("address")
        ctx.obj = _Where(service, is_named=source is not None and source.name == "COMMANDLINE")
        return
    _check_given({"--customer": customer, "--provider": provider})
    from service.cli import grpc_call  # noqa: PLC0415  # gRPC is slow to load

    where: Any = {"customer_id": customer, "provider": provider}
    call = grpc_call.CallOptions(
        address=address,
        api_key=options.read_api_key(api_key_file, needed=tls_cert is None),
        tls=grpc_call.tls_options(address, tls=tls, ca=tls_ca, certificate=tls_cert, key=tls_key),
        timeout=timeout,
        request_id=request_id,
        **where,
    )

    async def read(client: "AsyncClient") -> Any:
        if change:
            return await client.get_step_change(change, request_id=request_id, **where)
        found = await _listed(
            client,
            limit,
            sequence_id=sequence,
            sequence_step_id=step,
            of_request_id=by_request,
            start=since,
            end=until,
            request_id=request_id,
            **where,
        )
        for shown in found.step_changes if diff else ():
            if any(field.before_truncated or field.after_truncated for field in shown.changes):
                shown.CopyFrom(await client.get_step_change(shown.change_id, **where))
        return found

    found = grpc_call.call(call, read, as_json=as_json)
    if as_json:
        grpc_call.print_message(found)
    else:
        _print([found] if change else found.step_changes, diffs=diff or bool(change))


def _check_given(options: Mapping[str, str | None]) -> None:
    """Asks for the options that listing needs, and deleting has of its own."""
    for name, value in options.items():
        if not value:
            raise typer.BadParameter("is required", param_hint=name)


def _print(changes: Any, *, diffs: bool) -> None:
    if not diffs:
        _print_table(changes)
        return
    for change in changes:
        _print_diff(change)


async def _listed(client: "AsyncClient", limit: int, **wanted: Any) -> Any:
    """A list of so many changes at most, by as many pages as they have."""
    found = await client.list_step_changes(page_size=min(limit, 200), **wanted)
    while found.next_page_token and len(found.step_changes) < limit:
        more = await client.list_step_changes(page_size=min(limit, 200), page_token=found.next_page_token, **wanted)
        found.step_changes.extend(more.step_changes)
        found.next_page_token = more.next_page_token
    del found.step_changes[limit:]
    return found


def _print_table(changes: Any) -> None:
    from service.cli import output  # noqa: PLC0415  # Rich is slow to load

    columns = ("change", "time", "sequence", "step", "template", "state", "changed", "request id", "reverts")
    rows = [
        (
            change.change_id,
            output.format_time(change.create_time.seconds),
            change.sequence_id,
            change.sequence_step_id,
            change.template_id or "-",
            _state(change),
            output.escape(", ".join(field.field for field in change.changes)),
            output.escape(change.request_id),
            change.reverts_change_id or "-",
        )
        for change in changes
    ]
    output.print_table("Changes", columns, rows)


def _print_diff(change: Any) -> None:
    from rich.text import Text  # noqa: PLC0415  # slow to load

    from service.cli import output  # noqa: PLC0415

    out = output.console()
    step = f"step {change.sequence_step_id} of sequence {change.sequence_id}"
    out.print(
        Text.assemble(
            (change.change_id, "bold"),
            f" · {output.format_time(change.create_time.seconds)} · {step} · {_state(change)} · request id "
            f"{output.escape(change.request_id)}",
        )
    )
    if change.reverts_change_id:
        out.print(Text(f"  takes back {change.reverts_change_id}", style="dim"))
    for field in change.changes:
        out.print(output.format_change(_field(field)))


def _field(field: Any) -> "FieldChange":
    from seqstep_client import FieldChange  # noqa: PLC0415
    from service.api.value import to_json  # noqa: PLC0415

    return FieldChange(field.field, to_json(field.before), to_json(field.after))


def _state(change: Any) -> str:
    from engagement.v1 import sequence_step_service_pb2 as pb  # noqa: PLC0415

    return pb.StepChangeState.Name(change.state).removeprefix("STEP_CHANGE_STATE_").lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class _Where:
    """The service that deletes, where the database does not.

    Attributes:
        service: Reads the options of a call.
        is_named: Whether the command line names its address.
    """

    service: "Callable[[], connection_calls.ServiceOptions]"
    is_named: bool


@cli.command()
def delete(
    ctx: typer.Context,
    customer: Annotated[
        str, typer.Option("--customer", help="The application's own id of the customer.", show_default=False)
    ],
    provider: Annotated[
        Provider | None,
        typer.Option(
            "--provider",
            help="Only those at this provider.",
            show_default="all",
            parser=context.parse_provider,
            metavar=f"[{'|'.join(providers())}]",
        ),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            help="The application that made the changes, in the database of the settings; for a service, the key says it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Delete the history of a customer, whose steps stay as they are; delete its connections first.

    In the database of the settings with --app, or by the service, for the application whose key that is; it has to be one that
    may manage connections.
    """
    where: _Where = ctx.obj
    if app is None:
        from service.cli import connection_calls  # noqa: PLC0415  # gRPC is slow to load

        deleted = connection_calls.delete_step_changes(where.service(), customer, provider)
        typer.echo(f"{deleted} changes of {customer} deleted")
        return
    if where.is_named:
        raise typer.BadParameter("is for the database of the settings, and no address is", param_hint="--app")
    from service.cli.store import open_store, run  # noqa: PLC0415  # the database is slow to load
    from service.connections import Applications, Keyring  # noqa: PLC0415
    from service.history import HistoryAdministration  # noqa: PLC0415

    async def main() -> int:
        async with open_store() as store:
            keyring = Keyring.parse(context.load_settings().encryption_keys.get_secret_value())
            application = await Applications(store, 0).find(app)
            batches = HistoryAdministration(store, keyring).delete(application.id, customer, provider)
            return sum([count async for count in batches])

    typer.echo(f"{run(main)} changes of {customer} deleted")
