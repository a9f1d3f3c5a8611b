"""The commands of the page of the first day in a cluster, in their order, with the real service, PostgreSQL and Helm."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from sandbox.stand_ins import STAND_INS, provider_settings
from tests.readme.play import Played, commands
from tests.support.databases import new_postgresql

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "kubernetes.md"
COMMANDS = [code for _, code, _ in commands(PAGE.read_text())]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def played(helm: str, postgresql_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Played]]:
    folder = tmp_path_factory.mktemp("first-day")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make namespaces")
    clone = folder / "seqstep"
    clone.mkdir()
    for name in ("Dockerfile", "deploy"):
        (clone / name).symlink_to(ROOT / name)
    authority = trustme.CA()
    certificate = authority.issue_cert("seqstep.seqstep.svc", "seqstep-headless.seqstep.svc", "localhost")
    authority.cert_pem.write_to_path(str(clone / "ca.crt"))
    certificate.cert_chain_pems[0].write_to_path(str(clone / "tls.crt"))
    certificate.private_key_pem.write_to_path(str(clone / "tls.key"))
    (clone / "credentials.json").write_text(json.dumps(STAND_INS["outreach"].credentials))
    tools = folder / "bin"
    tools.mkdir()
    for name in ("docker", "kubectl", "helm"):
        script = f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("cluster.py")}" {name} "$@"\n'
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")} | {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HELM": shutil.which(helm) or helm,
        "CLUSTER": str(folder / "cluster"),
        "DATABASE_URL": new_postgresql(postgresql_server),
        # The pods' way to the providers; no waiting for callers that learn of a stop; workers, which write files.
        "POD_VARIABLES": json.dumps(
            provider_settings("http://127.0.0.1:8090") | {"SEQSTEP_DRAIN_SECONDS": "0", "SEQSTEP_WORKERS": "2"}
        ),
    }
    # The page's ports are fixed; a network of its own has them all.
    play = f'"{sys.executable}" "{ROOT / "tests/readme/play.py"}" "{PAGE}" "{clone}"'
    script = f"ip link set lo up; seqstep sandbox > /dev/null 2>&1 & echo $! > {folder}/sandbox.pid; {play}"
    try:
        done = subprocess.run(
            ["unshare", "--net", "bash", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield [Played(**each) for each in json.loads(done.stdout)]
    finally:
        for path in (folder / "sandbox.pid", folder / "cluster" / "pod.pid"):
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGTERM)


@pytest.mark.parametrize(
    "index", range(len(COMMANDS)), ids=lambda index: f"{index}-{COMMANDS[index].split(maxsplit=1)[0]}"
)
def test_a_command_of_the_page_does_its_work(played: list[Played], index: int) -> None:
    command = played[index]
    assert command.command == COMMANDS[index]
    assert command.status == 0, command.output
    lines = iter(command.output.splitlines())
    for promised in command.promised.splitlines():
        assert any(line == promised for line in lines), f"{promised!r} is not in:\n{command.output}"


def test_secrets_are_never_on_a_command_line_or_in_what_is_shown(played: list[Played]) -> None:
    for command in played:
        assert not re.search(r"--from-literal|--set\S* secret|password=", command.command)
        assert "PASSWORD" not in command.output
