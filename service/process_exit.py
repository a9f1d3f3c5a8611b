"""Ends the process without tearing the interpreter down."""

import atexit
import os
import sys
from typing import Final, NoReturn

EXIT_CONFIGURATION: Final = 78
"""The exit status where a setting has to be changed: `EX_CONFIG` of sysexits.h."""


def exit_process(status: int) -> NoReturn:
    """Runs what is registered for the exit, flushes the streams, and ends the process.

    Before Python 3.14, a thread that waits for the interpreter's lock while the interpreter is torn down is ended in a way
    that no thread of a Rust library survives: the process aborts. The HTTP engine has such threads, which wait for a moment
    after each response.
    """
    atexit._run_exitfuncs()  # noqa: SLF001  # nothing public runs them, and `os._exit` does not
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            # Nobody reads it, or it is closed: as at any other exit, there is nothing left to do.
            status = status or 1
    os._exit(status)
