"""The HTTP door: the PATCH of the REST page that the contract descends from, health, metrics."""
