"""`seqstep demo`: the command, the environment of its service, and the calls that it makes."""
