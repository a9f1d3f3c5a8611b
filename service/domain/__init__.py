"""The plain types and rules that everything stands on: no I/O, no protobuf, no HTTP, no SQL."""
