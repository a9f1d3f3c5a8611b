"""The failures of the history, as types that know their error code."""

from typing import Final

from service.domain.errors import ErrorCode, Problem, UpdateFailed

_RETRY_SECONDS: Final = 1.0


class CannotRecord(UpdateFailed):
    """A change cannot be recorded, and so is not made."""

    def __init__(self) -> None:
        super().__init__(
            Problem(
                ErrorCode.SERVICE_UNAVAILABLE_ERROR,
                "The change could not be recorded in the history, since this server cannot reach its database at present.",
                advice="Repeat the call in a moment.",
                retry_after=_RETRY_SECONDS,
                refusal="history",
            )
        )


class HistoryUnavailable(UpdateFailed):
    """The database cannot be reached, so that the history cannot be read."""

    def __init__(self) -> None:
        super().__init__(
            Problem(
                ErrorCode.SERVICE_UNAVAILABLE_ERROR,
                "This server cannot reach its database at present.",
                advice="Repeat the call in a moment.",
                retry_after=_RETRY_SECONDS,
            )
        )
