"""`seqstep update-step`: makes one call from a shell."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli import options

EPILOG: Final = (
    "Exit status: 0 changed, or nothing to change · 1 not applied · 2 wrong usage · 3 outcome unknown, repeating is safe · "
    "4 partially applied, repeating does the rest once the error is dealt with · 5 the call was refused or the service "
    "cannot be reached, nothing was changed · 130 interrupted."
)

cli = typer.Typer(add_completion=False)


@cli.command(epilog=EPILOG)
def update_step(
    sequence: options.Sequence,
    step: options.Step,
    customer: options.Customer,
    provider: options.ProviderName,
    address: options.Address = options.DEFAULT_ADDRESS,
    api_key_file: options.ApiKeyFile = None,
    subject: Annotated[str | None, typer.Option(help="The subject to set; an empty one is a value.")] = None,
    body_file: Annotated[
        Path | None, typer.Option(help="A file with the HTML body to set; - reads standard input.", allow_dash=True)
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=JSON", help="A field of the provider's own step to set, as in wait_time=3. Repeatable."
        ),
    ] = None,
    validate_only: Annotated[
        bool, typer.Option("--validate-only", help="Show what would change, and write nothing.")
    ] = False,
    etag: Annotated[
        str, typer.Option(help="Write only over what this stands for: the etag that an earlier answer showed.")
    ] = "",
    refuse_shared: Annotated[
        bool, typer.Option("--refuse-shared", help="Leave a template that other steps use, too.")
    ] = False,
    variant: Annotated[
        str, typer.Option(help="The template of the variant to change.", show_default="the first that is live")
    ] = "",
    timeout: options.Timeout = options.DEFAULT_TIMEOUT,
    tls: options.UseTls = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    request_id: options.RequestId = None,
    as_json: options.AsJson = False,
) -> None:
    """Change the subject, the body or the provider's own fields of one step of one sequence."""
    from seqstep_client import StepUpdate  # noqa: PLC0415
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
    update = StepUpdate(
        sequence_id=sequence,
        sequence_step_id=step,
        subject=subject,
        body=_body(body_file),
        custom_fields=_fields(field or []),
        validate_only=validate_only,
        etag=etag,
        refuse_shared=refuse_shared,
        variant=variant,
    )
    grpc_call.update(call, update, as_json=as_json)


def _body(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        # Editors put a byte order mark before a text; it is no part of it.
        return data.decode("utf-8-sig")
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="--body-file") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{path} is not UTF-8", param_hint="--body-file") from None


def _fields(pairs: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r} is not KEY=JSON", param_hint="--field")
        if key in fields:
            raise typer.BadParameter(f"{key} is given twice", param_hint="--field")
        try:
            fields[key] = json.loads(text)
        except (ValueError, RecursionError):
            raise typer.BadParameter(
                f"{text[:100]!r} is not JSON; a text wants quotes, as in '{key}=\"{text}\"'", param_hint="--field"
            ) from None
    return fields
