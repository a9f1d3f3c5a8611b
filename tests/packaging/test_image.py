"""What `docker build` would make, made by the Dockerfile's own commands on this machine."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
INSTRUCTION = re.compile(r"^(?P<name>[A-Z]+) (?P<rest>(?:.*\\\n)*.*)$", re.MULTILINE)


@dataclass
class Image:
    """The folders that the stages of the Dockerfile leave behind.

    Attributes:
        python: The Python of the environment that is shipped.
        opt: What is `/opt` in the builder.
    """

    python: Path
    opt: Path

    def seqstep(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.opt / "seqstep/bin/seqstep", *arguments, cwd=self.opt)


def run(*command: str | Path, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SEQSTEP_", "PYTHON"))}
    return subprocess.run(
        command, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=300, check=False
    )


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of a stage of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    return [(match["name"], match["rest"]) for match in INSTRUCTION.finditer(stages[stage])]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    source = folder / "src"
    source.mkdir()
    for name, rest in instructions(0):
        if name == "COPY":
            *files, _ = rest.split()
            for file in files:
                assert any(fnmatch.fnmatch(file, pattern) for pattern in allowed), file
                copy = shutil.copytree if (ROOT / file).is_dir() else shutil.copy
                copy(ROOT / file, source / file)
        if name == "RUN":
            # The cache of this machine spares the downloads.
            there = (
                rest.replace("--no-cache-dir ", "")
                .replace("/opt/", f"{folder}/opt/")
                .replace("/dist", f"{folder}/dist")
            )
            done = run("bash", "-ec", there, cwd=source, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
            assert done.returncode == 0, done.stdout + done.stderr
    return Image(folder / "opt/seqstep/bin/python", folder / "opt")


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_image_has_the_service_and_no_sandbox(image: Image) -> None:
    assert image.seqstep("--help").returncode == 0
    for command in ("sandbox", "demo"):
        done = image.seqstep(command)
        assert done.returncode == 1
        assert "needs sandbox; install seqstep[sandbox]" in done.stderr
    for module in ("sandbox", "pip", "hatchling", "cyclonedx_py"):
        assert run(image.python, "-c", f"import {module}", cwd=image.opt).returncode != 0


def test_the_bill_of_materials_lists_what_is_locked(image: Image) -> None:
    bill = json.loads((image.opt / "seqstep/sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    found: dict[str, str] = {
        canonicalize_name(component["name"]): component["version"] for component in bill["components"]
    }
    locked = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                locked[requirement.name] = str(requirement.specifier).removeprefix("==")
    assert {name: found.get(name) for name in locked} == locked
    assert set(found) - set(locked) == {"seqstep", "seqstep-client"}
    assert found["seqstep"] == found["seqstep-client"] == version("seqstep")


def test_the_service_runs_on_a_root_that_is_read_only(image: Image, tmp_path: Path) -> None:
    """`seqstep doctor` makes the database, and two workers share a folder for their metrics."""
    volume = tmp_path / "volume"
    (volume / "tmp").mkdir(parents=True)
    script = f"""
        mount --make-rprivate / && mount --bind {volume} {volume} && mount -o remount,bind,ro /
        touch {tmp_path}/x 2>/dev/null && exit 77
        export PATH={image.opt}/seqstep/bin:$PATH TMPDIR={volume}/tmp HOME=/nonexistent
        SEQSTEP_ENCRYPTION_KEYS="$(seqstep keygen)" && export SEQSTEP_ENCRYPTION_KEYS
        seqstep db upgrade && seqstep app create billing
        seqstep serve > {volume}/log 2>&1 & service=$!
        for _ in $(seq 300); do seqstep doctor --health > {volume}/health 2>&1 && break; sleep 0.1; done
        seqstep doctor --health; healthy=$?
        kill $service; wait $service && exit $healthy
    """
    settings = {
        "SEQSTEP_DATABASE_URL": f"sqlite:///{volume}/seqstep.sqlite3",
        "SEQSTEP_GRPC_ADDRESS": "127.0.0.1:50051",
        "SEQSTEP_HTTP_ADDRESS": "127.0.0.1:8080",
        "SEQSTEP_WORKERS": "2",
    } | dict(re.findall(r"(PYTHON\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    if run("unshare", "--mount", "--net", "true", cwd=tmp_path).returncode:
        pytest.skip("needs the right to make namespaces")
    script = "ip link set lo up || ifconfig lo up\n" + script
    done = run("unshare", "--mount", "--net", "bash", "-c", script, cwd=volume, **settings)
    log = (volume / "log").read_text() if (volume / "log").exists() else ""
    assert done.returncode == 0, done.stdout + done.stderr + log


def test_base_and_build_tools_are_pinned() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=python:\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert len(re.findall(r"^FROM \$\{PYTHON\}", text, re.MULTILINE)) == 2
    for _, rest in instructions(0):
        for command in rest.split("&&"):
            if "pip" in command and " install " in command:
                assert "--require-hashes" in command or "--no-index" in command
            if "pip wheel" in command:
                assert "--no-build-isolation" in command
