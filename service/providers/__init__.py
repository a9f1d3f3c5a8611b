"""What providers really do: one module for each, behind one protocol, over one HTTP client."""
