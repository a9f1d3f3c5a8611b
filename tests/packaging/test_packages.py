"""The packages of all languages: one family of names, one version, a licence, and nothing of the tests in them."""

import json
import re
import sys
import tomllib
import xml.etree.ElementTree as ET
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tools.packages import GO_MODULES, VERSION, build_go, build_python, run

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
PROGRAMS = ROOT / "tests" / "packaging" / "first_call"
POM = "{http://maven.apache.org/POM/4.0.0}"


def npm() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((CLIENTS / "typescript" / "package.json").read_text(encoding="utf-8"))
    return manifest


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def pom(path: Path) -> ET.Element:
    return ET.parse(path).getroot()


def text(element: ET.Element, path: str) -> str:
    found = element.findtext("/".join(f"{POM}{name}" for name in path.split("/")))
    assert found is not None, path
    return found


def cmake(name: str) -> str:
    found = re.search(
        rf'{name} ?"?([^"\s]+)', (CLIENTS / "cpp" / "CMakeLists.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found is not None
    return found[1]


def source(pattern: str, path: str) -> str:
    found = re.search(pattern, (CLIENTS / path).read_text(encoding="utf-8"))
    assert found is not None, path
    return found[1]


def repository() -> str:
    """Where the contract says that its Go package is."""
    contract = (ROOT / "protos/engagement/v1/envelope.proto").read_text(encoding="utf-8")
    found = re.search(r'go_package = "([\w.]+/[\w-]+/[\w-]+)/', contract)
    assert found is not None
    return found[1]


def test_names_are_of_one_family() -> None:
    site, owner, name = repository().split("/")
    java = pom(CLIENTS / "java" / "pom.xml")
    assert set(GO_MODULES) == {f"{repository()}/clients/go", f"{repository()}/generated"}
    for module, source in GO_MODULES.items():
        assert (source / "go.mod").read_text(encoding="utf-8").startswith(f"module {module}\n")
    assert npm()["name"] == f"@{owner}/client"
    assert text(java, "groupId") == f"io.{site.removesuffix('.com')}.{owner}"
    assert text(java, "artifactId") == f"{name}-client"
    assert toml(CLIENTS / "rust" / "Cargo.toml")["package"]["name"] == f"{name}-client"
    assert toml(CLIENTS / "python" / "pyproject.toml")["project"]["name"] == f"{name}-client"
    assert cmake(r"^project\(").startswith(f"{name}_client")


def test_all_have_the_version_of_the_service() -> None:
    java = pom(CLIENTS / "java" / "pom.xml")
    versions = {
        "python": toml(CLIENTS / "python" / "pyproject.toml")["project"]["version"],
        "npm": npm()["version"],
        "maven": text(java, "version"),
        "crate": toml(CLIENTS / "rust" / "Cargo.toml")["package"]["version"],
        "cmake": cmake(r"^project\(\w+ VERSION"),
        "user agent of go": source(r'(?m)^const Version = "(.+)"$', "go/seqstep/seqstep.go"),
        "user agent of typescript": source(r'VERSION = "(.+)"', "typescript/src/client.ts"),
        "user agent of java": source(
            r'VERSION = "(.+)"', "java/src/main/java/io/github/seqstep/client/SeqstepClient.java"
        ),
        "a project that uses maven": text(pom(PROGRAMS / "java" / "pom.xml"), "dependencies/dependency/version"),
    }
    for go_mod in (CLIENTS / "go" / "go.mod", CLIENTS / "go" / "vectors" / "go.mod"):
        required = re.findall(rf"{repository()}/\S+ v(\S+)", go_mod.read_text(encoding="utf-8"))
        versions |= {f"{go_mod} {index}": version for index, version in enumerate(required)}
    assert {name: version for name, version in versions.items() if version != VERSION} == {}
    assert f"seqstep-client=={VERSION}" in toml(ROOT / "pyproject.toml")["project"]["dependencies"]


def test_all_say_what_they_are_under_which_licence_and_where_from() -> None:
    url = f"https://{repository()}"
    java = pom(CLIENTS / "java" / "pom.xml")
    python = toml(CLIENTS / "python" / "pyproject.toml")["project"]
    crate = toml(CLIENTS / "rust" / "Cargo.toml")["package"]
    assert {npm()["license"], text(java, "licenses/license/name"), python["license"], crate["license"]} == {
        "Apache-2.0"
    }
    assert text(java, "scm/url") == python["urls"]["Repository"] == crate["repository"] == cmake("HOMEPAGE_URL") == url
    assert npm()["repository"]["url"] == f"git+{url}.git"
    for description in (npm()["description"], text(java, "description"), python["description"], crate["description"]):
        assert description.startswith(
            "Calls seqstep, the service that changes one step of a sequence at Apollo or Outreach"
        )
    assert "private" not in npm()
    assert "publish" not in crate


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build_python(folder)
    [built] = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_of_the_client_needs_grpc_and_protobuf_alone(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(f"seqstep_client-{VERSION}.dist-info/METADATA").decode())
    required = {Requirement(each).name for each in metadata.get_all("Requires-Dist", [])}
    assert required == {"grpcio", "googleapis-common-protos", "protobuf"}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_wheel_of_the_client_has_the_client_and_the_stubs_alone(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {
        *("seqstep_client", "engagement"),
        f"seqstep_client-{VERSION}.dist-info",
    }
    for name in ("seqstep_client/py.typed", "engagement/py.typed", "engagement/v1/sequence_step_service_pb2_grpc.pyi"):
        assert name in names
    assert any(name.endswith("/LICENSE") for name in names)
    for name in names:
        if name.endswith(".py"):
            assert not re.search(rb"^\s*(from|import) (service|sandbox|tests)\b", wheel.read(name), re.MULTILINE), name


def test_no_two_distributions_bring_the_stubs(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path, cwd=ROOT)
    [built] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as service:
        assert {name.split("/")[0] for name in service.namelist()} == {
            "service",
            "sandbox",
            f"seqstep-{VERSION}.dist-info",
        }


def test_a_go_module_has_what_its_path_and_go_mod_say(tmp_path: Path) -> None:
    build_go(tmp_path)
    for module, source in GO_MODULES.items():
        versions = tmp_path / module / "@v"
        assert (versions / "list").read_text() == f"v{VERSION}\n"
        with zipfile.ZipFile(versions / f"v{VERSION}.zip") as archive:
            prefix = f"{module}@v{VERSION}/"
            names = {name.removeprefix(prefix) for name in archive.namelist() if name.startswith(prefix)}
            assert len(names) == len(archive.namelist())
            assert {"go.mod", "LICENSE"} <= names
            assert archive.read(f"{prefix}go.mod") == (versions / f"v{VERSION}.mod").read_bytes()
            assert names - {"LICENSE"} == {name for name in names if (source / name).is_file()} - {"LICENSE"}
    with zipfile.ZipFile(tmp_path / f"{repository()}/clients/go/@v/v{VERSION}.zip") as archive:
        assert not [name for name in archive.namelist() if "vectors" in name.removesuffix("run-vectors.sh")]


def test_what_the_tests_need_is_no_dependency() -> None:
    """Of whoever depends on the client."""
    go = (CLIENTS / "go" / "go.mod").read_text(encoding="utf-8")
    assert "\ntool" not in go
    assert "protoc-gen" not in go
    assert "honnef.co" not in go
    assert set(npm()["dependencies"]) == {"@bufbuild/protobuf"}
    assert set(npm()["peerDependencies"]) == set(npm()["peerDependenciesMeta"])
    assert not [pattern for pattern in npm()["files"] if "vectors" in pattern]
    crate = toml(CLIENTS / "rust" / "Cargo.toml")
    assert not {"prost-reflect", "serde_json", "ureq"} & {*crate["dependencies"], *crate["dev-dependencies"]}
    assert not toml(CLIENTS / "rust" / "vectors" / "Cargo.toml")["package"]["publish"]
    assert not [pattern for pattern in crate["package"]["include"] if "vectors" in pattern]
    java = pom(CLIENTS / "java" / "pom.xml")
    needed = {
        text(each, "artifactId")
        for each in java.findall(f"{POM}dependencies/{POM}dependency")
        if each.findtext(f"{POM}scope") not in ("test", "provided")
    }
    assert needed == {
        *("grpc-netty-shaded", "grpc-protobuf", "grpc-services", "grpc-stub"),
        *("protobuf-java", "proto-google-common-protos"),
    }
