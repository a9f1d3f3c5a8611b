"""The gRPC door: metadata and messages in, the envelope or a status out."""
