"""Runs the peer until it is interrupted, and prints what a runner is given for it: `python -m tests.peer`."""

import asyncio
import contextlib
import tempfile
from pathlib import Path

from tests.peer.server import API_KEY, running_peer


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="seqstep-peer-") as folder:
        async with running_peer(Path(folder)) as peer:
            print(f"export SANDBOX={peer.control_url} API_KEY={API_KEY}")
            print(f"export TARGET={peer.plaintext} VECTORS={Path(__file__).parent / 'vectors'}")
            print(f"# TARGET={peer.mutual} CA={peer.files['ca']}", end=" ")
            print(f"CLIENT_CERTIFICATE={peer.files['certificate']} CLIENT_KEY={peer.files['key']}")
            print(f"# TARGET={peer.other_name} CA={peer.files['ca']}", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
