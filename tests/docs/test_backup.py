"""The commands of docs/operations.md for backups, run as they stand there, bring everything back."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.connections import Applications, ConnectionAdministration, Keyring, Store
from service.connections.encryption import generate_key
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.step import Provider
from tests.support.databases import make_tables, new_postgresql

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SECTION = PAGE.read_text().partition("## Backup and restore\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
KEYS = generate_key()


def run(command: str, folder: Path, **environment: str) -> None:
    done = subprocess.run(
        ["bash", "-eu", "-c", command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def fill(url: str) -> str:
    """Makes tables, an application and a connection; returns the application's key."""
    await make_tables(url)
    store = Store.open(url)
    key = await Applications(store, 0).create("billing")
    application = await Applications(store, 0).find("billing")
    credentials = ApiKeyCredentials(Secret("key-of-acme"))
    await ConnectionAdministration(store, Keyring.parse(KEYS)).set(
        application.id, "acme", Provider("apollo"), credentials
    )
    await store.close()
    return key.reveal()


async def check(url: str, key: str) -> None:
    """All of it is in another database, and the credentials can be read."""
    store = Store.open(url)
    await store.check_schema()
    caller = await Applications(store, 0).authenticate(key)
    assert caller.application_name == "billing"
    administration = ConnectionAdministration(store, Keyring.parse(KEYS))
    await administration.check_keys()
    assert [each.customer_id for each in await administration.list()] == ["acme"]
    await store.close()


@pytest.mark.slow
async def test_a_dump_of_postgresql_is_restored(postgresql_server: Any, tmp_path: Path) -> None:
    # The tools of the server's own version; an older pg_dump refuses it.
    tools = f"{postgresql_server.bin_path}{os.pathsep}{os.environ['PATH']}"
    url, restored = new_postgresql(postgresql_server), new_postgresql(postgresql_server)
    key = await fill(url)
    for command in COMMANDS[:2]:
        run(command, tmp_path, PATH=tools, SEQSTEP_DATABASE_URL=url, RESTORED_DATABASE_URL=restored)
    await check(restored, key)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs sqlite3: apt-get install -y sqlite3")
async def test_a_backup_of_sqlite_is_restored(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/seqstep.sqlite3"
    key = await fill(url)
    store = Store.open(url)
    # While a service has it open.
    await store.check_schema()
    run(COMMANDS[2], tmp_path)
    await store.close()
    await check(f"sqlite:///{tmp_path}/seqstep-backup.sqlite3", key)
