"""`seqstep app`: makes, lists and disables the applications that may call, and their keys."""

from typing import Annotated

import typer

from service.cli import output
from service.cli.store import open_store, run
from service.connections import Application, Applications
from service.domain.credentials import Secret

cli = typer.Typer(help="The applications that may call, and their keys.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="The application's name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON, for programs.")]
Manage = Annotated[bool, typer.Option("--manage", help="It may set and delete connections over gRPC too.")]


def _print_key(name: str, key: Secret, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"application": name, "api_key": key.reveal()})
        return
    # The key alone is on standard output, so that it can be piped to where it is kept.
    typer.echo(f"Key of {name}; it is shown this once, so keep it now:", err=True)
    typer.echo(key.reveal())


@cli.command()
def create(name: Name, manage: Manage = False, as_json: Json = False) -> None:
    """Make an application and its first key, which is shown this once."""

    async def main() -> Secret:
        async with open_store() as store:
            return await Applications(store, 0).create(name, may_manage=manage)

    _print_key(name, run(main), as_json=as_json)


@cli.command("list")
def list_(as_json: Json = False) -> None:
    """List the applications with the beginnings of their keys."""

    async def main() -> list[Application]:
        async with open_store() as store:
            return await Applications(store, 0).list()

    found = run(main)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        "Applications",
        ("name", "state", "keys", "certificates", "made"),
        [
            (
                application.name,
                "disabled" if application.disabled_at is not None else "active",
                ", ".join(
                    f"{key.prefix}…"
                    + (" may manage" if key.may_manage else "")
                    + (f" until {output.format_time(key.expires_at)}" if key.expires_at else "")
                    for key in application.keys
                ),
                ", ".join(application.identities),
                output.format_time(application.created_at),
            )
            for application in found
        ],
    )


@cli.command("add-key")
def add_key(name: Name, manage: Manage = False, as_json: Json = False) -> None:
    """Make one more key, which is shown this once; the others stay as they are."""

    async def main() -> Secret:
        async with open_store() as store:
            return await Applications(store, 0).rotate_key(name, None, may_manage=manage)

    _print_key(name, run(main), as_json=as_json)


@cli.command("rotate-key")
def rotate_key(
    name: Name,
    old_keys_end_after: Annotated[
        float, typer.Option(help="Seconds for which the older keys stay good; 0 ends them at once.", min=0)
    ] = 86400.0,
    manage: Annotated[
        bool | None,
        typer.Option(
            "--manage/--no-manage",
            help="Whether it may set and delete connections over gRPC; as the latest key by default.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a new key, which is shown this once; the older ones stay good for a day by default."""

    async def main() -> Secret:
        async with open_store() as store:
            return await Applications(store, 0).rotate_key(name, old_keys_end_after, may_manage=manage)

    _print_key(name, run(main), as_json=as_json)


@cli.command()
def disable(name: Name) -> None:
    """Refuse all calls of an application, within 5 seconds; its connections are kept."""

    async def main() -> None:
        async with open_store() as store:
            await Applications(store, 0).disable(name)

    run(main)
    typer.echo(f"{name} is disabled; `seqstep app enable {name}` serves it again")


@cli.command()
def enable(name: Name) -> None:
    """Serve a disabled application again."""

    async def main() -> None:
        async with open_store() as store:
            await Applications(store, 0).enable(name)

    run(main)
    typer.echo(f"{name} is active")


@cli.command("map-certificate")
def map_certificate(
    name: Name,
    identity: Annotated[
        str,
        typer.Argument(
            help="A DNS name as it is, or URI:…, email:…, IP:…; a common name counts in certificates without alternative "
            "names only.",
            show_default=False,
        ),
    ],
    manage: Manage = False,
) -> None:
    """Let client certificates with a name stand for an application instead of a key."""

    async def main() -> str:
        async with open_store() as store:
            return await Applications(store, 0).map_certificate(name, identity, may_manage=manage)

    typer.echo(f"client certificates of {run(main)} stand for {name}")


@cli.command("unmap-certificate")
def unmap_certificate(
    identity: Annotated[str, typer.Argument(help="The certificate's name.", show_default=False)],
) -> None:
    """Take the meaning from a certificate's name."""

    async def main() -> None:
        async with open_store() as store:
            await Applications(store, 0).unmap_certificate(identity)

    run(main)
    typer.echo(f"client certificates of {identity} stand for no application")
