"""The HTTP server: the PATCH of the REST page that the contract descends from, health, metrics."""
