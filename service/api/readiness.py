"""Whether a server welcomes calls."""

from dataclasses import dataclass


@dataclass(slots=True)
class Readiness:
    """What has to be so for `/readyz` to answer 200.

    Attributes:
        is_serving: The servers take calls: they have started and are not stopping.
        has_database: The database answered when it was last asked.
    """

    is_serving: bool = False
    has_database: bool = True

    @property
    def is_ready(self) -> bool:
        """Whether calls are welcome."""
        return self.is_serving and self.has_database
