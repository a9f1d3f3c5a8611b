"""`seqstep revert`: takes a change back."""

from typing import Annotated, Final

import typer

from service.cli import options
from service.cli.update_step import EPILOG as UPDATE_EPILOG

EPILOG: Final = UPDATE_EPILOG.replace("0 changed", "0 taken back")

cli = typer.Typer(add_completion=False)


@cli.command(epilog=EPILOG)
def revert(
    change: Annotated[str, typer.Argument(help="The id of the change; `seqstep history` shows it.")],
    customer: options.Customer,
    provider: options.ProviderName,
    address: options.Address = options.DEFAULT_ADDRESS,
    api_key_file: options.ApiKeyFile = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Show what would be set back, and write nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what was changed since, too.")] = False,
    refuse_shared: Annotated[
        bool, typer.Option("--refuse-shared", help="Leave a template that other steps use, too.")
    ] = False,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    tls: options.UseTls = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    request_id: options.RequestId = None,
    as_json: options.AsJson = False,
) -> None:
    """Set what a change replaced back to what it was before, unless it was changed since."""
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
    grpc_call.write(
        call,
        lambda client: client.revert_step_change(
            change,
            customer_id=customer,
            provider=provider,
            validate_only=validate_only,
            overwrite=force,
            refuse_shared=refuse_shared,
            request_id=request_id,
        ),
        validate_only=validate_only,
        as_json=as_json,
    )
