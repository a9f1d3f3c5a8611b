"""The command line, `seqstep`: one module for each command."""

from service.cli.root import main

__all__ = ["main"]
