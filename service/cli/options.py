"""What all commands that call the service have in common: their options, and the key."""

import os
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from service.domain.credentials import strip_secret
from service.providers import providers

API_KEY: Final = "SEQSTEP_API_KEY"

Sequence: TypeAlias = Annotated[str, typer.Argument(help="The provider's id of the sequence.")]
Step: TypeAlias = Annotated[str, typer.Argument(help="The provider's id of the step.")]
Customer: TypeAlias = Annotated[str, typer.Option(help="Your own id of the customer.")]
ProviderName: TypeAlias = Annotated[str, typer.Option(help="The provider.", metavar=f"[{'|'.join(providers())}]")]
Address: TypeAlias = Annotated[str, typer.Option(envvar="SEQSTEP_ADDRESS", help="Where the service is, as HOST:PORT.")]
ApiKeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(help=f"A file with the API key of your application. Without it, ${API_KEY} is used.", dir_okay=False),
]
Timeout: TypeAlias = Annotated[float, typer.Option(min=0.1, help="Seconds that the call may take.")]
UseTls: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--tls/--plaintext",
        help="Whether the channel has TLS. By default plaintext on this machine and TLS elsewhere.",
        show_default=False,
    ),
]
TlsCa: TypeAlias = Annotated[
    Path | None, typer.Option(help="The authority that vouches for the service, a PEM file; means --tls.")
]
TlsCert: TypeAlias = Annotated[
    Path | None, typer.Option(help="Your client certificate, a PEM file, where the service wants one.")
]
TlsKey: TypeAlias = Annotated[Path | None, typer.Option(help="The key of that certificate, a PEM file.")]
RequestId: TypeAlias = Annotated[
    str | None, typer.Option(help="An id to find the call by in the service's log.", show_default="a new one")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the response as JSON, by the protobuf mapping.")]

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"
DEFAULT_TIMEOUT: Final = 30.0


def read_api_key(path: Path | None, *, needed: bool) -> str | None:
    """The API key, from a file or from the environment.

    Raises:
        typer.BadParameter: There is none, and one is needed.
    """
    if path is None:
        key = strip_secret(os.environ.get(API_KEY, ""))
    else:
        try:
            key = strip_secret(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            raise typer.BadParameter(f"cannot read {path}", param_hint="--api-key-file") from None
    if not key and needed:
        raise typer.BadParameter(
            f"no API key: give --api-key-file or set {API_KEY}; `seqstep app create` makes one",
            param_hint="--api-key-file",
        )
    return key or None
