"""`expound up` with a real Redis, and stand-ins for a worker and a server that can fail."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.certificates import Authority
from tests.deploy.up import Up, is_alive, up_command
from tests.processes import wait_until

STAND_INS = {
    "PYTHONPATH": os.pathsep.join(
        [str(Path(__file__).parent / "stand_ins"), os.environ.get("PYTHONPATH", "")]
    ).rstrip(os.pathsep)
}


class StoodInUp(Up):
    """`expound up` with stand-ins for worker and server."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        super().__init__(data_dir, *options, **STAND_INS, **environment)


@pytest.fixture(autouse=True)
def _no_settings_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXPOUND_REDIS_URL", raising=False)
    monkeypatch.delenv("EXPOUND_MODELS", raising=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_says_when_it_is_ready_and_drains_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    with StoodInUp(tmp_path) as up:
        ready = up.wait_for("ready: .*").group()
        pids = [up.part_pid(name) for name in ("redis", "worker", "server")]
        up.signal(number)
        assert up.process is not None and up.process.wait(20) == 0
        output = up.output()
    assert f"127.0.0.1:{up.port} serves efficientnet_lite0" in ready
    assert "expound explain" in ready
    assert re.findall("started (.*) \\(", output) == ["redis", "worker", "server"]
    started_all = output.partition("started server")[0]
    assert started_all.endswith("waiting for worker to load its models\n")
    assert output.count("waiting for") == 1
    assert re.findall("stopping (.*)", output) == ["server", "worker", "redis"]
    assert not any(is_alive(pid) for pid in pids)
    for name in ("redis", "worker", "server"):
        assert f"log {tmp_path}/logs/{name}.log" in output


def test_a_part_that_dies_is_started_again(tmp_path: Path) -> None:
    killed: list[str] = []
    with StoodInUp(tmp_path) as up:
        up.wait_for("ready:")
        # The second death of the worker is the first since the service was last ready.
        for count, name in enumerate(("worker", "server", "redis", "worker"), start=2):
            pid = up.part_pid(name)
            killed.append(name)
            os.kill(pid, signal.SIGKILL)
            told = f"{name} ended with signal SIGKILL; starting it again in 0.5 s"
            up.wait_for(told, killed.count(name))
            up.wait_for("ready:", count)
            assert up.part_pid(name) != pid


def test_an_exit_code_of_a_part_is_told(tmp_path: Path) -> None:
    with StoodInUp(tmp_path) as up:
        up.wait_for("ready:")
        os.kill(up.part_pid("worker"), signal.SIGUSR1)
        up.wait_for("worker ended with exit code 7")
        up.wait_for("ready:", 2)


def test_a_worker_that_never_starts_ends_all_with_its_last_words(tmp_path: Path) -> None:
    # Left by a run before; it says nothing about the worker of this one.
    (tmp_path / "worker-heartbeat").touch()
    up = subprocess.run(
        up_command(tmp_path, "--port", "0"),
        env={**os.environ, **STAND_INS, "STAND_IN_FAULT": "worker fails"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert up.returncode == 1
    assert "weights file /models/cat.safetensors is missing" in up.stderr
    assert f"{tmp_path}/logs/worker.log" in up.stderr
    assert len(re.findall("started worker", up.stdout)) == 3
    assert "started server" not in up.stdout
    assert "ready:" not in up.stdout
    pids = [int(pid) for pid in re.findall(r"\(process (\d+)\)", up.stdout)]
    assert pids and not any(is_alive(pid) for pid in pids)


def test_no_part_survives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with StoodInUp(tmp_path) as up:
        up.wait_for("ready:")
        pids = [up.part_pid(name) for name in ("redis", "worker", "server")]
        os.kill(up.pid, signal.SIGKILL)
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "the end of all parts", 20)


def test_redis_keeps_its_data_from_run_to_run(tmp_path: Path) -> None:
    with StoodInUp(tmp_path) as up:
        up.wait_for("ready:")
        with up.redis as client:
            client.set("kept", "yes")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    with StoodInUp(tmp_path) as up:
        up.wait_for("ready:")
        with up.redis as client:
            assert client.get("kept") == b"yes"


def test_two_at_once_cannot_share_a_data_folder(tmp_path: Path) -> None:
    with StoodInUp(tmp_path) as up:
        up.wait_for("ready:")
        second = subprocess.run(
            up_command(tmp_path, "--port", "0"), capture_output=True, text=True, timeout=30
        )
    assert second.returncode == 1
    assert "--data-dir" in second.stderr


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with StoodInUp(tmp_path / "first") as up:
        up.wait_for("ready:")
        second = subprocess.run(
            up_command(tmp_path / "second", "--port", str(up.port)),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert second.returncode == 1
    assert f"port {up.port} of 127.0.0.1 is taken" in second.stderr
    assert "started" not in second.stdout


def test_a_redis_that_was_given_is_used_and_its_url_kept_secret(
    tmp_path: Path, redis_url: str
) -> None:
    with_password = redis_url.replace("redis://", "redis://:hidden@")
    with StoodInUp(tmp_path, EXPOUND_REDIS_URL=with_password) as up:
        up.wait_for("ready:")
        for name in ("worker", "server"):
            process = Path(f"/proc/{up.part_pid(name)}")
            assert with_password in (process / "environ").read_text()
            assert "hidden" not in (process / "cmdline").read_text()
        assert "hidden" not in up.output()
        assert "started redis" not in up.output()


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_variables(option: str) -> None:
    command = [sys.executable, "-m", "expound_client.cli", "up", option]
    up = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert up.returncode == 0, up.stderr
    assert up.stdout.startswith("Usage: expound up ")
    for name in ("EXPOUND_MODELS", "EXPOUND_REDIS_URL"):
        assert name in up.stdout


def test_verbose_prints_what_the_parts_log(tmp_path: Path) -> None:
    with StoodInUp(tmp_path, "--verbose") as up:
        up.wait_for("worker \\| worker has begun")
        up.wait_for("server \\| listening on")


def test_redis_asks_for_a_password_that_only_its_parts_know(tmp_path: Path) -> None:
    with StoodInUp(tmp_path) as up:
        up.wait_for("ready:")
        with up.redis as client:
            password = client.get_connection_kwargs()["password"]
            port = client.get_connection_kwargs()["port"]
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        for name in ("redis", "worker", "server"):
            arguments = Path(f"/proc/{up.part_pid(name)}/cmdline").read_text()
            assert password not in arguments
        assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o077 == 0
        assert password not in up.output()
        for log in (tmp_path / "logs").iterdir():
            assert password not in log.read_text()


def test_a_server_with_tls_is_found_ready(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue("127.0.0.1")
    files = {
        "EXPOUND_SERVER_TLS_CERTIFICATE": str(certificate.chain),
        "EXPOUND_SERVER_TLS_KEY": str(certificate.key),
    }
    with StoodInUp(tmp_path / "up", **files) as up:
        ready = up.wait_for("ready: .*").group()
    assert ready.endswith("serves those who have the credentials that it asks for")
