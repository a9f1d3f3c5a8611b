"""Numbers as they arrive, and as providers are sent them."""

from typing import Final

EXACT_INTEGERS: Final = 2**53
"""Doubles hold every integer up to here."""


def whole(number: float) -> int | float:
    """The number as an integer if it is one; a `Struct` holds doubles only, and providers tell 3 from 3.0."""
    return int(number) if number.is_integer() and abs(number) <= EXACT_INTEGERS else number
