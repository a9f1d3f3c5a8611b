"""What the gRPC and the HTTP server do alike with a call: metadata, admission, deadline, envelope, log, TLS files."""
