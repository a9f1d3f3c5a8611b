"""Builds the packages of all languages, and with `--call` installs each outside the tree and makes a first call with it.

`make packages` and `make first-calls` call it. What it builds is in build/packages/, one folder a language, as a registry of
that language would have it; nothing leaves the machine. The programs that make the calls are in tests/packaging/first_call/.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.support.processes import ROOT, server_process
from tests.vectors.environment import running_environment
from tools.polyglot import LANGUAGES, lacking
from tools.setup import uv_environment

PACKAGES: Final = ROOT / "build" / "packages"
CLIENTS: Final = ROOT / "clients"
PROGRAMS: Final = ROOT / "tests" / "packaging" / "first_call"
VERSION: Final[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

GO_MODULES: Final = {
    "github.com/seqstep/seqstep/clients/go": CLIENTS / "go",
    "github.com/seqstep/seqstep/generated": ROOT / "generated",
}
MAVEN_PATH: Final = f"io/github/seqstep/seqstep-client/{VERSION}"


class Failed(Exception):
    """A command failed; the message has its output."""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Runs a command and returns what it wrote to standard output.

    Raises:
        Failed: It did not end with status 0.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=dict(os.environ) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        end = (done.stdout + done.stderr).splitlines()[-40:]
        raise Failed("\n".join([f"{' '.join(map(str, command))} failed with status {done.returncode}:", *end]))
    return done.stdout


def build_python(folder: Path) -> None:
    """A wheel and a source distribution."""
    run(sys.executable, "-m", "hatchling", "build", "--directory", folder, cwd=CLIENTS / "python")


def call_python(folder: Path, scratch: Path, subject: str) -> str:
    """Into a virtual environment that has nothing else."""
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=scratch)
    python = scratch / "venv" / "bin" / "python"
    [wheel] = folder.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    if uv := shutil.which("uv"):
        listed = run(*pip, "config", "list", cwd=scratch).splitlines()
        index = uv_environment(listed, os.environ)
        run(uv, "pip", "install", "--quiet", "--python", python, wheel, cwd=scratch, **index)
    else:
        run(*pip, "--python", python, "install", "--quiet", wheel, cwd=scratch)
    # -I: what the environment says of paths does not count.
    return run(python, "-I", "first_call.py", subject, cwd=scratch)


def build_go(folder: Path) -> None:
    """The folder of a module proxy, as `GOPROXY=file://…` reads it: the client, and the stubs that it requires."""
    for module, source in GO_MODULES.items():
        versions = folder / module / "@v"
        versions.mkdir(parents=True)
        version = f"v{VERSION}"
        (versions / "list").write_text(f"{version}\n", encoding="utf-8")
        (versions / f"{version}.info").write_text(json.dumps({"Version": version}), encoding="utf-8")
        shutil.copy(source / "go.mod", versions / f"{version}.mod")
        with zipfile.ZipFile(versions / f"{version}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in _files_of_module(source):
                archive.write(file, f"{module}@{version}/{file.relative_to(source).as_posix()}")
            # Go itself takes the license from the root of the repository, too.
            archive.write(ROOT / "LICENSE", f"{module}@{version}/LICENSE")


def _files_of_module(source: Path) -> list[Path]:
    """What git knows below a folder, without modules of their own."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=source).split("\0")
    files = [source / name for name in listed if name and (source / name).is_file()]
    nested = {file.parent for file in files if file.name == "go.mod"} - {source}
    return [file for file in files if not nested & {*file.parents}]


def call_go(folder: Path, scratch: Path, subject: str) -> str:
    """Into a module that requires it, from a proxy that is a folder; everything else comes from where it always does."""
    proxy = run("go", "env", "GOPROXY", cwd=scratch).strip()
    environment = {
        "GOPROXY": f"file://{folder},{proxy}",
        "GONOSUMDB": "github.com/seqstep/*",
        "GOFLAGS": "-mod=mod -modcacherw",
    }
    with _without_cached_modules(Path(run("go", "env", "GOMODCACHE", cwd=scratch).strip())):
        run("go", "get", f"github.com/seqstep/seqstep/clients/go@v{VERSION}", cwd=scratch, **environment)
        return run("go", "run", ".", subject, cwd=scratch, **environment)


@contextmanager
def _without_cached_modules(cache: Path) -> Iterator[None]:
    """Go keeps a version for ever, and this one is built again and again."""
    kept = [cache / "github.com" / "seqstep", cache / "cache" / "download" / "github.com" / "seqstep"]
    for path in kept:
        shutil.rmtree(path, ignore_errors=True)
    try:
        yield
    finally:
        for path in kept:
            shutil.rmtree(path, ignore_errors=True)


def build_typescript(folder: Path) -> None:
    """An npm tarball."""
    run(CLIENTS / "typescript" / "build.sh", cwd=ROOT)
    run("npm", "pack", "--loglevel=error", "--pack-destination", folder, cwd=CLIENTS / "typescript")


def call_typescript(folder: Path, scratch: Path, subject: str) -> str:
    """Into a project that is type-checked against it."""
    client = CLIENTS / "typescript"
    wanted = json.loads((client / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    [tarball] = folder.glob("*.tgz")
    others = [f"{name}@{wanted[name]}" for name in ("@grpc/grpc-js", "@types/node")]
    quiet = ("--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")
    run("npm", "install", *quiet, tarball, *others, cwd=scratch)
    run(client / "node_modules" / ".bin" / "tsc", cwd=scratch)
    return run("node", "first-call.js", subject, cwd=scratch)


def build_java(folder: Path) -> None:
    """A Maven repository of one artifact."""
    run(CLIENTS / "java" / "build.sh", cwd=ROOT)
    artifact = folder / MAVEN_PATH
    artifact.mkdir(parents=True)
    name = f"seqstep-client-{VERSION}"
    shutil.copy(CLIENTS / "java" / "target" / f"{name}.jar", artifact)
    shutil.copy(CLIENTS / "java" / "pom.xml", artifact / f"{name}.pom")


def call_java(folder: Path, scratch: Path, subject: str) -> str:
    """Into a project with a local repository of its own, which begins with what this machine has already."""
    repository = scratch / "repository"
    known = Path.home() / ".m2" / "repository"
    if known.exists():
        shutil.copytree(known, repository, copy_function=_link, ignore=shutil.ignore_patterns("seqstep"))
    return run(
        *("mvn", "--quiet", "--batch-mode", f"-Dmaven.repo.local={repository}", f"-Drepository=file://{folder}"),
        *("compile", "exec:java", f"-Dexec.args='{subject}'"),
        cwd=scratch,
    )


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def build_rust(folder: Path) -> None:
    """A crate."""
    client = CLIENTS / "rust"
    run("cargo", "package", "--quiet", "--locked", "--no-verify", "--allow-dirty", cwd=client)
    shutil.copy(client / "target" / "package" / f"seqstep-client-{VERSION}.crate", folder)


def call_rust(folder: Path, scratch: Path, subject: str) -> str:
    """Into a crate that depends on it, unpacked; what the client's own build has compiled is not compiled again."""
    with tarfile.open(folder / f"seqstep-client-{VERSION}.crate") as crate:
        crate.extractall(scratch, filter="data")
    unpacked = scratch / f"seqstep-client-{VERSION}"
    unpacked.rename(scratch / "seqstep-client")
    shutil.copy(scratch / "seqstep-client" / "Cargo.lock", scratch)
    target = str(CLIENTS / "rust" / "target")
    return run("cargo", "run", "--quiet", "--", subject, cwd=scratch, CARGO_TARGET_DIR=target)


def build_cpp(folder: Path) -> None:
    """An installed CMake package, for this machine's compiler and protobuf."""
    run(CLIENTS / "cpp" / "build.sh", cwd=ROOT)
    run("cmake", "--install", "build", "--prefix", folder, cwd=CLIENTS / "cpp")


def call_cpp(folder: Path, scratch: Path, subject: str) -> str:
    """Into a project that finds it."""
    run("cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={folder}", cwd=scratch)
    run("cmake", "--build", "build", cwd=scratch)
    return run("build/first-call", subject, cwd=scratch)


@dataclass(frozen=True)
class Package:
    """How the package of a language is built and used.

    Attributes:
        build: Builds it into a folder.
        call: Installs it from there into a project outside the tree, makes a call that sets a subject, and returns the output.
    """

    build: Callable[[Path], None]
    call: Callable[[Path, Path, str], str]


ALL: Final = {
    "go": Package(build_go, call_go),
    "python": Package(build_python, call_python),
    "java": Package(build_java, call_java),
    "typescript": Package(build_typescript, call_typescript),
    "rust": Package(build_rust, call_rust),
    "cpp": Package(build_cpp, call_cpp),
}


def build(language: str, console: Console) -> Path:
    """Builds the package of a language again, and returns its folder."""
    folder = PACKAGES / language
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    console.print(f"{language}: building", style="dim")
    started = time.monotonic()
    ALL[language].build(folder)
    console.print(f"{language}: {folder.relative_to(ROOT)} ({time.monotonic() - started:.0f} s)")
    return folder


def attempt(languages: Sequence[str], job: Callable[[str], object]) -> list[str]:
    """Does a job for each language, two at a time, and returns what failed."""

    def failure_of(language: str) -> str:
        try:
            job(language)
        except Failed as failure:
            return f"{language}: {failure}"
        return ""

    # One waits for its package manager or compiles on one processor while another does the same.
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return [*filter(None, pool.map(failure_of, languages))]


async def call(languages: Sequence[str], console: Console) -> list[str]:
    """Builds packages and makes a first call with each; returns what failed."""
    with tempfile.TemporaryDirectory(prefix="seqstep-packages-") as name:
        scratch = Path(name)
        async with (
            running_environment(scratch) as environment,
            server_process(scratch, dict(environment.settings)) as server,
        ):
            os.environ["SEQSTEP_ADDRESS"] = server.address
            os.environ["SEQSTEP_API_KEY"] = await environment.application("first-calls")

            def build_and_call(language: str) -> None:
                _first_call(language, build(language, console), scratch / language, console)

            return await asyncio.to_thread(attempt, languages, build_and_call)


def _first_call(language: str, folder: Path, scratch: Path, console: Console) -> None:
    shutil.copytree(PROGRAMS / language, scratch)
    console.print(f"{language}: installing outside the tree", style="dim")
    started = time.monotonic()
    output = ALL[language].call(folder, scratch, f"Hello from {language}")
    if "Changed template.subject." not in output:
        raise Failed(f"the first call did not change the step:\n{output}")
    console.print(f"{language}: a first call changed the step ({time.monotonic() - started:.0f} s)", style="green")


def main() -> int:
    """Builds what is asked for and can be built, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="make packages", description="Builds the packages of all languages.")
    parser.add_argument("--call", action="store_true", help="install each outside the tree, and make a first call")
    parser.add_argument(
        "languages", nargs="*", metavar="LANGUAGE", help=f"which ones: {', '.join(ALL)}; all if none is named"
    )
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.languages} - {*ALL}):
        parser.error(f"no such language: {', '.join(unknown)}; there are {', '.join(ALL)}")
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    lack = {each.name: why for each in LANGUAGES if (why := lacking(each))}
    asked = arguments.languages or [*ALL]
    for name in asked:
        if name in lack:
            console.print(f"{name} is skipped; install: {lack[name]}", style="yellow")
    languages = [name for name in asked if name not in lack]
    if arguments.call:
        failures = asyncio.run(call(languages, console))
    else:
        failures = attempt(languages, lambda language: build(language, console))
    for failure in failures:
        console.print(f"failed: {failure}", style="red", markup=False)
    if len(languages) < len(asked) and os.environ.get("CI") == "true":
        console.print("failed: in CI no language may be skipped", style="red")
        return 1
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
