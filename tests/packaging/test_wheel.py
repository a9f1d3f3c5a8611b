"""The wheel in an environment that has nothing else: a working command, importable stubs, the whole demonstration."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python"


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SEQSTEP_", "PYTHON"))}
    done = subprocess.run(
        command, cwd=cwd, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_is_all_that_a_machine_needs(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = (*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    run(*build, ROOT, CLIENT, cwd=tmp_path)
    [wheel] = tmp_path.glob("seqstep-*.whl")
    [client] = tmp_path.glob("seqstep_client-*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty" / "bin" / "python"
    into = (*pip, "--python", python, "install", "--quiet")
    run(*into, "--require-hashes", "--requirement", ROOT / "requirements.lock", cwd=tmp_path)
    run(*into, "--no-deps", "--no-index", wheel, client, cwd=tmp_path)
    seqstep = python.with_name("seqstep")
    shown = run(seqstep, "--help", cwd=tmp_path)
    for command in (
        "serve",
        "sandbox",
        "demo",
        "app",
        "connection",
        "update-step",
        "steps",
        "show",
        "keygen",
        "doctor",
    ):
        assert command in shown
    imported = "from engagement.v1 import sequence_step_service_pb2 as pb; print(pb.DESCRIPTOR.package, pb.__file__)"
    package, file = run(python, "-c", imported, cwd=tmp_path).split()
    assert package == "engagement.v1"
    assert Path(file).is_relative_to(tmp_path)
    # The stand-ins are for development, and what they need is an extra.
    assert "install seqstep[sandbox]" in run(seqstep, "sandbox", cwd=tmp_path, status=1)
    run(*into, f"{wheel}[sandbox]", cwd=tmp_path)
    # With the databases' migrations, the sandbox and everything else that a module of the wheel needs.
    assert run(seqstep, "demo", cwd=tmp_path).endswith("All as it should be.\n")
