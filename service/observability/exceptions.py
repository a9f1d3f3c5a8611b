"""Log fields of exceptions: their types and places, without their texts."""

import traceback
from typing import Any


def exception_fields(error: BaseException) -> dict[str, Any]:
    """The log fields of an exception: its type and the places that it went through.

    Texts of exceptions are left out: they quote the values that broke something, and a value may be a credential or a
    customer's mail.
    """
    chain: list[str] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 8:
        chain.append(f"{type(current).__module__}.{type(current).__qualname__}")
        current = current.__cause__ or current.__context__
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error_type": chain[0],
        "error_chain": chain[1:],
        "where": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
    }
