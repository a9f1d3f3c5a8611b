"""`seqstep steps`: lists the steps of a sequence."""

from typing import Any, Final

import typer

from service.cli import options

EPILOG: Final = "Exit status: 0 read · 1 could not be read · 2 wrong usage · 5 the call was refused or the service cannot be reached."

cli = typer.Typer(add_completion=False)


@cli.command(epilog=EPILOG)
def steps(
    sequence: options.Sequence,
    customer: options.Customer,
    provider: options.ProviderName,
    address: options.Address = options.DEFAULT_ADDRESS,
    api_key_file: options.ApiKeyFile = None,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    tls: options.UseTls = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    request_id: options.RequestId = None,
    as_json: options.AsJson = False,
) -> None:
    """List the steps of a sequence, with their ids, templates and subjects."""
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
        lambda client: client.list_steps(sequence, customer_id=customer, provider=provider, request_id=request_id),
        as_json=as_json,
    )
    if as_json:
        grpc_call.print_message(found)
    else:
        _print(found)


def _print(found: Any) -> None:
    from service.cli import output  # noqa: PLC0415  # Rich is slow to load

    sequence = found.sequence
    name = output.escape(sequence.name) or sequence.sequence_id
    rows = [
        (
            str(step.order) if step.HasField("order") else "-",
            step.sequence_step_id,
            output.escape(step.type),
            output.format_wait(step.interval_seconds) if step.HasField("interval_seconds") else "-",
            variant.template_id if variant is not None else "-",
            output.format_variant(variant) if variant is not None else "-",
            output.escape(variant.subject) if variant is not None else "-",
        )
        for step in found.steps
        for variant in (step.variants or [None])
    ]
    output.print_table(
        f"{name} ({output.format_states(sequence)})",
        ("order", "step", "type", "after", "template", "variant", "subject"),
        rows,
    )
