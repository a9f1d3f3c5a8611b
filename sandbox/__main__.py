"""Start the sandbox from the command line."""

import argparse

from sandbox.server import main

_parser = argparse.ArgumentParser(prog="sandbox", description="Stand-ins for Apollo and Outreach.")
_parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
_parser.add_argument("--port", type=int, default=8090, help="port, 0 for a free one (%(default)s)")

if __name__ == "__main__":
    arguments = _parser.parse_args()
    main(arguments.host, arguments.port)
