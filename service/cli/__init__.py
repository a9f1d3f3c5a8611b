"""The command line, `seqstep`: one module a command."""

from service.cli.root import main

__all__ = ["main"]
