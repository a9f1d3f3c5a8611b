"""Stands in for docker, kubectl and a cluster of one pod, so that a page can be played on a machine without a container engine.

`python cluster.py docker|kubectl|helm ARGUMENTS`, with the state in the folder `$CLUSTER`. What Helm renders, the real one
renders (`$HELM`); what runs in a pod is the real `seqstep`, with the variables and the files that its container would have, and
`$POD_VARIABLES` in addition. An option that is not known here is refused, and so is a resource that nobody has made.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]

STATE = Path(os.environ["CLUSTER"])
RESOURCES, SECRETS, FILES = STATE / "resources", STATE / "secrets", STATE / "files"
TMP = STATE / "tmp"
READY_SECONDS = 40

# A root that is read-only, but for /tmp, where the manifest has a volume there.
IN_A_POD = f"""
    mount --make-rprivate / || exit 76
    [ -z "$1" ] || mount --bind {TMP} {TMP} || exit 76
    mount -o remount,bind,ro / || exit 76
    touch {STATE}/x 2> /dev/null && exit 77
    shift && exec "$@"
"""


def fail(message: str) -> NoReturn:
    sys.exit(f"error: {message}")


def say(message: str) -> None:
    sys.stdout.write(f"{message}\n")


# Resources


def path_of(name: str) -> Path:
    """The file of a resource by its name as on the command line, KIND/NAME."""
    kind, slash, rest = name.partition("/")
    if not slash:
        fail(f"{name} is not KIND/NAME")
    return RESOURCES / f"{kind.lower()}.{rest}"


def read(name: str) -> dict[str, Any]:
    if not path_of(name).exists():
        fail(f"{name} not found")
    resource: dict[str, Any] = json.loads(path_of(name).read_text())
    return resource


def apply(resource: dict[str, Any]) -> None:
    """Stores a resource, and does what a cluster would."""
    kind, name = resource["kind"], resource["metadata"]["name"]
    path = path_of(f"{kind}/{name}")
    before = path.read_text() if path.exists() else ""
    path.write_text(json.dumps(resource))
    if kind == "Secret":
        folder = SECRETS / name
        folder.mkdir(exist_ok=True)
        for key, value in resource["data"].items():
            (folder / key).write_text(value)
    elif kind == "Job":
        if before:
            fail(f"job/{name} exists, and cannot be changed")
        done = subprocess.run(command_of(resource), env=mount(resource), check=False)
        if done.returncode:
            fail(f"job/{name} ended with {done.returncode}")
    elif kind == "Deployment" and before != json.dumps(resource):
        restart(resource)


# Pods


def container_of(resource: dict[str, Any]) -> dict[str, Any]:
    [container] = resource["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def command_of(resource: dict[str, Any]) -> list[str]:
    container = container_of(resource)
    tmp = "tmp" if "/tmp" in {each["mountPath"] for each in container["volumeMounts"]} else ""
    return ["unshare", "--mount", "bash", "-c", IN_A_POD, "pod", tmp, "seqstep", *container["args"]]


def environment_of(resource: dict[str, Any]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEQSTEP_")}
    given = {each["name"]: each["value"].replace("/etc/seqstep", str(FILES)) for each in container_of(resource)["env"]}
    more: dict[str, str] = json.loads(os.environ["POD_VARIABLES"])
    return inherited | given | more | {"TMPDIR": str(TMP)}


def mount(resource: dict[str, Any]) -> dict[str, str]:
    """Puts the files of a pod where it reads them, and returns its variables."""
    [mounts, *_] = container_of(resource)["volumeMounts"]
    assert mounts["mountPath"] == "/etc/seqstep"
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    for source in resource["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]:
        for item in source["secret"]["items"]:
            secret = SECRETS / source["secret"]["name"] / item["key"]
            if not secret.exists():
                fail(f"MountVolume.SetUp failed: {secret.relative_to(SECRETS)} not found")
            shutil.copy(secret, FILES / item["path"])
    return environment_of(resource)


def restart(deployment: dict[str, Any]) -> None:
    stop()
    with (STATE / "pod.log").open("ab") as log:
        pod = subprocess.Popen(
            command_of(deployment),
            env=mount(deployment),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    (STATE / "pod.pid").write_text(str(pod.pid))


def stop() -> None:
    """Stops the pod, as the kubelet does."""
    path = STATE / "pod.pid"
    if path.exists():
        pid = int(path.read_text())
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            time.sleep(0.05)
        path.unlink()


def wait_until_ready(deployment: dict[str, Any]) -> None:
    """Probes as the manifest says."""
    container = container_of(deployment)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    end = time.monotonic() + READY_SECONDS
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container[name]["httpGet"]
        url = f"http://127.0.0.1:{ports[probe['port']]}{probe['path']}"
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    break
            except (urllib.error.URLError, TimeoutError):
                if time.monotonic() > end:
                    fail(f"{name} fails:\n{(STATE / 'pod.log').read_text()}")
                time.sleep(0.1)


# Commands


def docker(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("docker")
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build")
    build.add_argument("--tag", required=True)
    build.add_argument("folder", type=Path)
    verbs.add_parser("push").add_argument("image")
    run = verbs.add_parser("run")
    run.add_argument("--rm", action="store_true")
    run.add_argument("image")
    run.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if given.verb == "build":
        if not (given.folder / "Dockerfile").exists():
            fail("no Dockerfile")
        (STATE / "images").open("a").write(f"{given.tag}\n")
    elif given.image not in (STATE / "images").read_text().split():
        fail(f"no image {given.image}")
    if given.verb == "run":
        sys.exit(subprocess.run(["seqstep", *given.command], check=False).returncode)


def kubectl(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("kubectl")
    verbs = parser.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create").add_subparsers(dest="what", required=True)
    create.add_parser("namespace").add_argument("name")
    secret = create.add_parser("secret").add_subparsers(dest="type", required=True)
    generic = secret.add_parser("generic")
    generic.add_argument("name")
    generic.add_argument("--from-file", action="append", type=Path, required=True)
    generic.add_argument("--dry-run", choices=["client"])
    generic.add_argument("--output", choices=["yaml"])
    tls = secret.add_parser("tls")
    tls.add_argument("name")
    tls.add_argument("--cert", type=Path, required=True)
    tls.add_argument("--key", type=Path, required=True)
    context = verbs.add_parser("config").add_subparsers(required=True).add_parser("set-context")
    context.add_argument("--current", action="store_true", required=True)
    context.add_argument("--namespace", required=True)
    verbs.add_parser("apply").add_argument("--filename", type=argparse.FileType(), required=True)
    wait = verbs.add_parser("wait")
    wait.add_argument("--for", choices=["condition=complete"], required=True)
    wait.add_argument("--timeout")
    wait.add_argument("name")
    rollout = verbs.add_parser("rollout")
    rollout.add_argument("what", choices=["status", "restart"])
    rollout.add_argument("name")
    execute = verbs.add_parser("exec")
    execute.add_argument("--stdin", action="store_true")
    execute.add_argument("name")
    forward = verbs.add_parser("port-forward")
    forward.add_argument("name")
    forward.add_argument("port", type=int)
    logs = verbs.add_parser("logs")
    logs.add_argument("--selector", required=True)
    logs.add_argument("--tail", type=int)
    delete = verbs.add_parser("delete")
    delete.add_argument("--ignore-not-found", action="store_true")
    delete.add_argument("--filename", type=argparse.FileType())
    delete.add_argument("names", nargs="*")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    given = parser.parse_args(arguments[:split])
    if given.verb == "create" and given.what == "secret":
        create_secret(given)
    elif given.verb == "apply":
        for resource in yaml.safe_load_all(given.filename):
            apply(resource)
            say(f"{resource['kind'].lower()}/{resource['metadata']['name']} configured")
    elif given.verb == "wait":
        read(given.name)
    elif given.verb == "rollout" and given.what == "restart":
        restart(read(given.name))
    elif given.verb == "rollout":
        wait_until_ready(read(given.name))
    elif given.verb == "exec":
        stdin = None if given.stdin else subprocess.DEVNULL
        environment = environment_of(read(given.name))
        sys.exit(subprocess.run(arguments[split + 1 :], env=environment, stdin=stdin, check=False).returncode)
    elif given.verb == "port-forward":
        # The ports are this machine's own already.
        resource = read(given.name)
        ports = (
            [each["port"] for each in resource["spec"]["ports"]]
            if resource["kind"] == "Service"
            else [each["containerPort"] for each in container_of(resource)["ports"]]
        )
        if given.port not in ports:
            fail(f"{given.name} has no port {given.port}")
    elif given.verb == "logs":
        name, _, value = given.selector.partition("=")
        if read("deployment/seqstep")["spec"]["template"]["metadata"]["labels"].get(name) != value:
            fail("no pods")
        say((STATE / "pod.log").read_text())
    elif given.verb == "delete":
        remove(given)


def create_secret(given: argparse.Namespace) -> None:
    if given.type == "tls":
        data = {"tls.crt": given.cert.read_text(), "tls.key": given.key.read_text()}
    else:
        data = {path.name: path.read_text() for path in given.from_file}
    resource = {"kind": "Secret", "metadata": {"name": given.name}, "data": data}
    if given.type == "generic" and given.dry_run:
        say(yaml.safe_dump(resource))
        return
    if path_of(f"secret/{given.name}").exists():
        fail(f"secret/{given.name} exists")
    apply(resource)


def remove(given: argparse.Namespace) -> None:
    names = given.names
    if given.filename:
        names = [f"{each['kind']}/{each['metadata']['name']}" for each in yaml.safe_load_all(given.filename)]
    elif "/" not in names[0]:
        names = [f"{names[0]}/{name}" for name in names[1:]]
    for name in names:
        if name.startswith("namespace/"):
            continue
        if not path_of(name).exists():
            if given.ignore_not_found:
                continue
            fail(f"{name} not found")
        path_of(name).unlink()
        if name.startswith("secret/"):
            shutil.rmtree(SECRETS / name.partition("/")[2])
        if name.lower().startswith("deployment/"):
            stop()


def helm(arguments: list[str]) -> None:
    history = STATE / "releases"
    history.mkdir(exist_ok=True)
    revisions = sorted(history.iterdir())
    verb, *rest = arguments
    rest = [argument for argument in rest if argument not in {"--install", "--wait"}]
    if verb == "upgrade":
        if "--install" not in arguments and not revisions:
            fail("seqstep has no deployed releases")
        # Checks the options and the values as an installation does.
        subprocess.run(
            [os.environ["HELM"], "install", *rest, "--dry-run=client"], check=True, stdout=subprocess.DEVNULL
        )
        rendered = subprocess.run([os.environ["HELM"], "template", *rest], check=True, capture_output=True, text=True)
        (history / f"{len(revisions) + 1:03}").write_text(rendered.stdout)
        install(rendered.stdout, hook="pre-upgrade")
    elif (verb, rest) == ("rollback", ["seqstep"]):
        before = revisions[-2].read_text()
        (history / f"{len(revisions) + 1:03}").write_text(before)
        install(before, hook="pre-rollback")
    elif (verb, rest) == ("uninstall", ["seqstep"]):
        for resource in yaml.safe_load_all(revisions[-1].read_text()):
            path_of(f"{resource['kind']}/{resource['metadata']['name']}").unlink(missing_ok=True)
        stop()
    else:
        fail(f"unknown: helm {' '.join(arguments)}")
    say(f'Release "seqstep": {verb}')


def install(rendered: str, hook: str) -> None:
    resources = [resource for resource in yaml.safe_load_all(rendered) if resource]
    hooks = {resource["metadata"].get("annotations", {}).get("helm.sh/hook", "") for resource in resources}
    assert hooks == {"", "pre-install,pre-upgrade"}
    for resource in resources:
        if hook in resource["metadata"].get("annotations", {}).get("helm.sh/hook", ""):
            apply(resource)
            path_of(f"job/{resource['metadata']['name']}").unlink()
    for resource in resources:
        if "helm.sh/hook" not in resource["metadata"].get("annotations", {}):
            apply(resource)
            if resource["kind"] == "Deployment":
                wait_until_ready(resource)


if __name__ == "__main__":
    for folder in (RESOURCES, SECRETS, TMP):
        folder.mkdir(parents=True, exist_ok=True)
    {"docker": docker, "kubectl": kubectl, "helm": helm}[sys.argv[1]](sys.argv[2:])
