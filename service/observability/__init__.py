"""What the people who run the service see of it: log lines and metrics."""
