"""PgBouncer in transaction mode, in front of the tests' PostgreSQL."""

import asyncio
import contextlib
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.databases import new_postgresql
from tests.support.processes import free_port

# Debian installs it where only administrators look.
PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

_SETTINGS: Final = """
[databases]
* = host={folder} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = {clients}
"""


@asynccontextmanager
async def pgbouncer(server: Any, folder: Path, clients: int = 100) -> AsyncIterator[str]:
    """Runs it until the end of the block; gives the URL of a new database by way of it."""
    if PGBOUNCER is None:
        if os.environ.get("CI"):
            pytest.fail("PgBouncer is missing; apt-get install pgbouncer")
        pytest.skip("needs PgBouncer: apt-get install pgbouncer")
    name, _, server_folder = new_postgresql(server).partition("?host=")
    port = free_port()
    settings, log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
    settings.write_text(_SETTINGS.format(folder=server_folder, port=port, clients=clients))
    # It refuses to run as root, and reads its file only after it has become somebody else.
    owner = pwd.getpwuid(os.stat(server_folder).st_uid).pw_name  # noqa: PTH116
    arguments = ["-u", owner] if os.getuid() == 0 else []
    for each in (settings, folder, *folder.parents[:3]):
        with contextlib.suppress(PermissionError):
            each.chmod(each.stat().st_mode | 0o055)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(PGBOUNCER, *arguments, "-q", str(settings), stderr=out)
    try:
        await _until_it_listens(port, process, log)
        yield f"postgresql://postgres@127.0.0.1:{port}/{name.rpartition('/')[2]}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until_it_listens(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, log.read_text()  # noqa: ASYNC240
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)
