"""The Kubernetes manifests: rendered where kubectl is there, valid and hardened in any case."""

import base64
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import kubernetes_validate
import pytest
import redis
import yaml  # type: ignore[import-untyped]  # the environment has no types of it
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.processes import Process, free_port, redis_executable, wait_until

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", kubernetes_validate.latest_version())
RENDERED = ("base", "overlays/gpu", "overlays/secure", "overlays/gpu-secure")
README = (ROOT / "deploy" / "README.md").read_text().partition("## Kubernetes")[2]

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders")

Manifest = dict[str, Any]


def render(folder: str, kubernetes: Path = KUBERNETES) -> list[Manifest]:
    """The objects that `kubectl apply --kustomize` would send."""
    kubectl = subprocess.run(
        ["kubectl", "kustomize", kubernetes / folder], capture_output=True, text=True
    )
    assert kubectl.returncode == 0, kubectl.stderr
    return list(yaml.safe_load_all(kubectl.stdout))


def render_own(folder: Path) -> list[Manifest]:
    """The objects of the overlay that the README prints, in a copy of the manifests."""
    shutil.copytree(KUBERNETES, folder / "kubernetes")
    own = folder / "kubernetes" / "overlays" / "own"
    own.mkdir()
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (own / "kustomization.yaml").write_text(example)
    return render("overlays/own", folder / "kubernetes")


def secrets_of(commands: str, folder: Path) -> dict[str, dict[str, str]]:
    """The Secrets that commands of the README make, by their names; nothing is sent."""
    dry = 'kubectl() { command kubectl "$@" --dry-run=client --output yaml && echo ---; }\n'
    shell = subprocess.run(
        ["bash", "-euc", dry + commands], cwd=folder, capture_output=True, text=True
    )
    assert shell.returncode == 0, shell.stderr
    return {
        secret["metadata"]["name"]: {
            key: base64.b64decode(value).decode() for key, value in secret["data"].items()
        }
        for secret in yaml.safe_load_all(shell.stdout)
        if secret
    }


def written() -> list[Manifest]:
    """The objects of the base as they stand in its files."""
    return [
        manifest
        for file in sorted((KUBERNETES / "base").rglob("*.yaml"))
        if file.name != "kustomization.yaml"
        for manifest in yaml.safe_load_all(file.read_text())
    ]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name and pod specification of every workload."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def has_gpu(container: Manifest) -> bool:
    return "nvidia.com/gpu" in container["resources"]["limits"]


def read_keys(container: Manifest) -> dict[str, set[str]]:
    """The keys that variables of a container take from each Secret."""
    keys: dict[str, set[str]] = {}
    for variable in container.get("env", []):
        if secret := variable.get("valueFrom", {}).get("secretKeyRef"):
            keys.setdefault(secret["name"], set()).add(secret["key"])
    return keys


def shell_blocks() -> list[str]:
    """What the README tells to type for Kubernetes."""
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name and specification of every container."""
    for name, pod in pods(manifests):
        yield from ((name, container) for container in pod["containers"])


@pytest.fixture(
    params=["written", *(pytest.param(folder, marks=needs_kubectl) for folder in RENDERED)]
)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The objects as they are written, and as the base and the overlay render them."""
    return written() if request.param == "written" else render(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_object(manifests: list[Manifest], version: str) -> None:
    assert manifests
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_container_has_requests_limits_and_probes(manifests: list[Manifest]) -> None:
    for name, container in containers(manifests):
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][kind].keys(), name
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert probe in container, name


def test_every_pod_is_restricted(manifests: list[Manifest]) -> None:
    assert list(pods(manifests))
    for name, pod in pods(manifests):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["terminationGracePeriodSeconds"] > 0, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    for name, container in containers(manifests):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], name


def test_nothing_names_a_namespace_or_holds_a_secret(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        assert "namespace" not in manifest["metadata"]
        assert manifest["kind"] != "Secret"


def test_redis_is_durable_never_evicts_and_keeps_its_password_to_itself(tmp_path: Path) -> None:
    (redis_pod,) = [c for name, c in containers(written()) if name == "expound-redis"]
    (script,) = redis_pod["args"]
    port, password = free_port(), "a1b2c3"
    here = script.replace("dir /data\n", f'dir "{tmp_path}"\nport {port}\n')
    assert here != script
    path = f"{Path(redis_executable()).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {redis_pod["env"][0]["name"]: password, "PATH": path}
    with (
        Process([*redis_pod["command"], here], environment) as process,
        redis.Redis(port=port, password=password) as client,
    ):

        def answers() -> bool:
            process.check_alive()
            with contextlib.suppress(redis.ConnectionError):
                return bool(client.ping())
            return False

        wait_until(answers, "Redis answering", timeout_s=20)
        # It has the process of the shell, so that SIGTERM reaches it.
        assert client.info("server")["process_id"] == process.pid
        assert password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        for name, value in {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": str(1400 * 1024**2),
            "maxmemory-policy": "noeviction",
        }.items():
            assert client.config_get(name) == {name: value}
        assert process.stop() == 0


@needs_kubectl
@pytest.mark.parametrize("folder", RENDERED)
def test_there_are_workers_for_both_kinds_of_work(folder: str) -> None:
    workers = {name: c for name, c in containers(render(folder)) if c["name"] == "worker"}
    assert {name: container["args"][-2:] for name, container in workers.items()} == {
        "expound-worker-gradient": ["--kinds", "gradient"],
        "expound-worker-perturbation": ["--kinds", "perturbation"],
    }
    assert len({container["image"] for container in workers.values()}) == 1


@needs_kubectl
@pytest.mark.parametrize("folder", RENDERED)
def test_every_config_map_that_is_named_is_there(folder: str) -> None:
    manifests = render(folder)
    there = {m["metadata"]["name"] for m in manifests if m["kind"] == "ConfigMap"}
    named = set()
    for _, pod in pods(manifests):
        named |= {v["configMap"]["name"] for v in pod.get("volumes", []) if "configMap" in v}
        for container in pod["containers"]:
            named |= {source["configMapRef"]["name"] for source in container.get("envFrom", [])}
    assert named == there


@needs_kubectl
@pytest.mark.parametrize("folder", ["overlays/secure", "overlays/gpu-secure"])
def test_the_secure_overlays_give_the_server_files_that_are_mounted(folder: str) -> None:
    (pod,) = [pod for name, pod in pods(render(folder)) if name == "expound-server"]
    (server,) = pod["containers"]
    secrets = {volume["name"] for volume in pod["volumes"] if "secret" in volume}
    folders = [
        mount["mountPath"]
        for mount in server["volumeMounts"]
        if mount["name"] in secrets and mount["readOnly"]
    ]
    files = {
        variable["name"]: Path(variable["value"])
        for variable in server["env"]
        if variable["name"].startswith("EXPOUND_SERVER_")
    }
    assert {"EXPOUND_SERVER_TLS_CERTIFICATE", "EXPOUND_SERVER_TENANTS"} <= set(files)
    assert {str(file.parent) for file in files.values()} == set(folders)


@needs_kubectl
def test_the_secrets_of_the_readme_hold_every_file_that_is_mounted(tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key", "ca.crt", "tenants.toml", "jwks.json"):
        (tmp_path / name).write_text(name)
    (commands,) = [block for block in shell_blocks() if "expound-server-tls" in block]
    secrets = secrets_of(commands, tmp_path)
    (pod,) = [pod for name, pod in pods(render_own(tmp_path)) if name == "expound-server"]
    (server,) = pod["containers"]
    folders = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    mounted = {
        f"{folders[volume['name']]}/{key}"
        for volume in pod["volumes"]
        if "secret" in volume
        for key in secrets[volume["secret"]["secretName"]]
    }
    # The key set is named by tenants.toml, and stands beside it.
    assert mounted == {"/etc/expound/tenants/jwks.json"} | {
        variable["value"]
        for variable in server["env"]
        if variable["name"].startswith("EXPOUND_SERVER_")
    }


def test_every_pod_talks_to_those_it_needs_alone(manifests: list[Manifest]) -> None:
    policies = {
        manifest["metadata"]["name"]: manifest["spec"]
        for manifest in manifests
        if manifest["kind"] == "NetworkPolicy"
    }
    assert set(policies) == {"expound-redis", "expound-server", "expound-worker"}
    for policy in policies.values():
        assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policies["expound-redis"]
    assert "ingress" not in policies["expound-worker"]
    # The port of the probes is open to the node alone, which no policy keeps out.
    assert policies["expound-server"]["ingress"] == [{"ports": [{"port": "grpc"}]}]


@needs_kubectl
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the password")
def test_the_secret_of_redis_is_all_that_its_users_read(tmp_path: Path) -> None:
    (commands,) = [block for block in shell_blocks() if "generic expound-redis" in block]
    secret = secrets_of(commands.partition("\n\n")[0], tmp_path)["expound-redis"]
    url = urlsplit(secret["url"])
    assert url.password == secret["password"] and len(secret["password"]) == 64
    services = [m for m in render("base") if m["kind"] == "Service"]
    (port,) = [
        s["spec"]["ports"][0]["port"] for s in services if s["metadata"]["name"] == url.hostname
    ]
    assert url.port == port
    assert {name: read_keys(container) for name, container in containers(render("base"))} == {
        "expound-redis": {"expound-redis": {"password"}},
        "expound-server": {"expound-redis": {"url"}},
        "expound-worker-gradient": {"expound-redis": {"url"}},
        "expound-worker-perturbation": {"expound-redis": {"url"}},
    }


@needs_kubectl
def test_a_redis_of_ones_own_takes_the_place_of_that_of_the_base(tmp_path: Path) -> None:
    manifests = render_own(tmp_path)
    assert not [m for m in manifests if m["metadata"]["name"] == "expound-redis"]
    for name, container in containers(manifests):
        assert read_keys(container) == {"expound-redis": {"url"}}, name
    policies = [manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
    assert {policy["metadata"]["name"] for policy in policies} == {
        "expound-server",
        "expound-worker",
    }
    for policy in policies:
        to_redis, to_names = policy["spec"]["egress"]
        assert to_redis == {
            "to": [{"ipBlock": {"cidr": "192.0.2.10/32"}}],
            "ports": [{"port": 6379}],
        }
        assert {port["port"] for port in to_names["ports"]} == {53}


@needs_kubectl
def test_an_overlay_of_ones_own_has_all_components_at_once(tmp_path: Path) -> None:
    manifests = render_own(tmp_path)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    images = {container["image"] for _, container in containers(manifests)}
    assert images == {f"registry.example.org/expound-{part}:0.1.0" for part in ("server", "worker")}
    assert {name: has_gpu(container) for name, container in containers(manifests)} == {
        "expound-server": False,
        "expound-worker-gradient": True,
        "expound-worker-perturbation": True,
    }
    (server,) = [c for name, c in containers(manifests) if name == "expound-server"]
    assert "EXPOUND_SERVER_TLS_CLIENT_CA" in {variable["name"] for variable in server["env"]}


@needs_kubectl
@pytest.mark.parametrize("folder", ["overlays/gpu", "overlays/gpu-secure"])
def test_the_gpu_overlays_give_every_worker_a_gpu(folder: str) -> None:
    for name, container in containers(render(folder)):
        assert has_gpu(container) == name.startswith("expound-worker")


def test_every_selector_finds_its_pods(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            wanted = manifest["spec"]["selector"]["matchLabels"].items()
            assert wanted <= manifest["spec"]["template"]["metadata"]["labels"].items()


def test_the_models_are_those_of_one_machine() -> None:
    fleet = tomllib.loads((KUBERNETES / "base" / "config" / "models.toml").read_text())
    default = ROOT / "worker" / "expound_worker" / "models" / "models.toml"
    assert fleet == tomllib.loads(default.read_text())


def test_the_server_answers_the_probes_as_they_expect() -> None:
    """A server without Redis is alive and not ready."""
    (server,) = [c for name, c in containers(written()) if name == "expound-server"]
    services = {
        name: server[f"{name}Probe"]["grpc"]["service"] for name in ("liveness", "readiness")
    }
    address = f"127.0.0.1:{free_port()}"
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    command = [sys.executable, "-m", "expound_server", "--redis-url", nowhere, "--port", "0"]
    with (
        Process([*command, "--health-port", address.rpartition(":")[2]]) as process,
        grpc.insecure_channel(address) as channel,
    ):
        # The types of this package know no methods of its stub.
        health: Any = health_pb2_grpc.HealthStub(channel)

        def status(probe: str) -> int:
            process.check_alive()
            request = health_pb2.HealthCheckRequest(service=services[probe])
            answer = health.Check(request, timeout=20, wait_for_ready=True)
            return int(answer.status)

        serving = health_pb2.HealthCheckResponse.SERVING
        wait_until(lambda: status("liveness") == serving, "liveness", timeout_s=20)
        assert status("readiness") == health_pb2.HealthCheckResponse.NOT_SERVING
