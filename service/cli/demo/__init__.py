"""`seqstep demo`: a real service in front of the sandbox, and the calls that are shown."""
