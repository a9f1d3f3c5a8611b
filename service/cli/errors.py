"""Prints what went wrong in one line."""


def print_error(message: str) -> None:
    """Prints one line on standard error."""
    from rich.console import Console  # noqa: PLC0415  # slow to load, and seldom needed

    Console(stderr=True, soft_wrap=True).print(f"seqstep: {message}", style="red", highlight=False, markup=False)
