"""`seqstep show`: shows one step as the provider holds it."""

from typing import Annotated, Any, Final

import typer

from service.cli import options

EPILOG: Final = "Exit status: 0 read · 1 could not be read · 2 wrong usage · 5 the call was refused or the service cannot be reached."

cli = typer.Typer(add_completion=False)


@cli.command(epilog=EPILOG)
def show(
    sequence: options.Sequence,
    step: options.Step,
    customer: options.Customer,
    provider: options.ProviderName,
    address: options.Address = options.DEFAULT_ADDRESS,
    api_key_file: options.ApiKeyFile = None,
    bodies: Annotated[bool, typer.Option("--bodies/--no-bodies", help="Whether to show bodies.")] = True,
    sharing: Annotated[
        bool, typer.Option("--sharing", help="Find all steps that use its templates; one more call at Outreach.")
    ] = False,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    tls: options.UseTls = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    request_id: options.RequestId = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one step: its variants with their texts, the provider's own fields, and its etag."""
    from service.cli import grpc_call  # noqa: PLC0415  # gRPC is slow to load

    call = grpc_call.CallOptions(
        address=address,
        api_key=options.read_api_key(api_key_file, needed=tls_cert is None),
        tls=grpc_call.tls_options(address, tls=tls, ca=tls_ca, certificate=tls_cert, key=tls_key),
        customer_id=customer,
        provider=provider,
        timeout=timeout,
        request_id=request_id,
    )
    found = grpc_call.call(
        call,
        lambda client: client.get_step(
            sequence,
            step,
            customer_id=customer,
            provider=provider,
            with_bodies=bodies,
            with_sharing=sharing,
            request_id=request_id,
        ),
        as_json=as_json,
    )
    if as_json:
        grpc_call.print_message(found)
    else:
        _print(found)


def _print(step: Any) -> None:
    from rich.text import Text  # noqa: PLC0415  # slow to load

    from service.api.value import to_json  # noqa: PLC0415
    from service.cli import output  # noqa: PLC0415

    out = output.console()
    on = {True: "the sequence is on", False: "the sequence is off"}.get(step.sequence_enabled, "")
    state = f" · {on}" if step.HasField("sequence_enabled") else ""
    out.print(Text.assemble((f"Step {step.sequence_step_id}", "bold"), f" · {output.escape(step.type)}{state}"))
    for variant in step.variants:
        out.print(Text.assemble((f"template {variant.template_id}", "bold"), f" · {output.format_variant(variant)}"))
        if variant.sharing_step_ids:
            out.print(Text(f"  also used by step {', '.join(variant.sharing_step_ids)}", style="yellow"))
        if variant.HasField("subject"):
            out.print(Text(f"  subject: {output.escape(variant.subject)}"))
        if variant.HasField("body"):
            for line in output.body_lines(variant.body):
                out.print(Text(f"  {line}"))
        out.print(Text(f"  etag: {variant.etag}", style="dim"))
    for name, value in sorted(step.custom_fields.fields.items()):
        shown = to_json(value)
        out.print(Text(f"{output.escape(name)}: {'-' if shown is None else output.escape(str(shown))}"))
    if not step.variants:
        out.print(Text(f"etag: {step.etag}", style="dim"))
