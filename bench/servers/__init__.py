"""What the service is measured beside: small servers, each a program of its own."""
