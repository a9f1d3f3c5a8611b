"""Shares between commands how settings are read, and how a provider's name is."""

import typer
from pydantic import ValidationError

from service.cli.errors import print_error
from service.domain.step import Provider
from service.process_exit import EXIT_CONFIGURATION
from service.providers import providers
from service.settings import Settings


def load_settings() -> Settings:
    """Reads the settings from the environment; ends the command with `EXIT_CONFIGURATION` if one of them is not valid."""
    try:
        return Settings()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "SEQSTEP_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else "settings"
            print_error(f"{name}: {problem['msg']}")
        raise typer.Exit(EXIT_CONFIGURATION) from None


def parse_provider(name: str) -> Provider:
    """Parses a provider's name, for an option of a command."""
    provider = providers().get(name)
    if provider is None:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, providers()))}.")
    return provider
