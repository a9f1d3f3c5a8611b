"""How a provider is called: the session of one update, HTTP, retries, limits, locks, tokens."""
