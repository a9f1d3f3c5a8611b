"""File descriptors: how many the process may have open, and how many of them are for callers."""

import resource
from typing import Final

# Beyond this, more would only be kept by idle connections.
_MOST: Final = 65_536

# What everything but callers uses: providers, the database, files.
_RESERVED: Final = 512


def raise_limit() -> int:
    """Raises the limit of open files to what this process may have; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    soft = max_files()
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def max_files() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else soft


def max_connections() -> int:
    """How many callers may be connected to one of the two servers; the admin server has its own."""
    return max(32, (max_files() - _RESERVED) // 2)
