"""A client for HTTP servers of this machine that have no TLS."""

import ssl
from typing import Any, Final

import httpx

# A client of its own loads the machine's certificate authorities, which takes longer than most tests.
_NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain_client(**options: Any) -> httpx.AsyncClient:
    """Makes a client that trusts nobody, with httpx's options."""
    return httpx.AsyncClient(verify=_NO_AUTHORITIES, **options)
