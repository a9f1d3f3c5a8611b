"""`seqstep demo`: the command, the environment of its service, and the calls that it makes."""

from service.cli.demo.command import cli

__all__ = ["cli"]
