"""What the people who run the service see of it: log lines, metrics, traces."""
