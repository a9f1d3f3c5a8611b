"""Measurements of the service beside a floor, a plain build and a peer; `python -m bench --help`."""
