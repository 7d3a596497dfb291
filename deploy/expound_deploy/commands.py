"""The commands of the service's parts on one machine, in the order in which they start."""

import secrets
import sys
from functools import partial

from expound_deploy.part import Command
from expound_deploy.ports import free_port
from expound_deploy.redis_server import answers, redis_command, redis_executable
from expound_deploy.settings import Settings


def commands(settings: Settings) -> list[Command]:
    """Redis unless one was given, a worker, and a server.

    Raises:
        RedisMissingError: a Redis server is to be started, and there is none to start.
    """
    if settings.redis_url:
        return [_worker(settings, settings.redis_url), _server(settings, settings.redis_url)]
    port, password = free_port(), secrets.token_hex(32)
    redis_url = f"redis://:{password}@127.0.0.1:{port}/0"
    return [
        _redis(settings, port, password),
        _worker(settings, redis_url),
        _server(settings, redis_url),
    ]


def _redis(settings: Settings, port: int, password: str) -> Command:
    folder = settings.data_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    arguments = redis_command(redis_executable(), folder, port, password)
    return Command("redis", tuple(arguments), answers=partial(answers, port, password))


def _worker(settings: Settings, redis_url: str) -> Command:
    arguments = [sys.executable, "-m", "expound_worker", "--pool", "default"]
    if settings.models:
        arguments += ["--models", str(settings.models)]
    heartbeat = settings.data_dir / "worker-heartbeat"
    environment = {**_environment(redis_url), "EXPOUND_HEARTBEAT_FILE": str(heartbeat)}
    return Command(
        "worker",
        tuple(arguments),
        environment,
        drain_s=30,
        ready_file=heartbeat,
        begins_with="load its models",
    )


def _server(settings: Settings, redis_url: str) -> Command:
    address = ["--host", settings.host, "--port", str(settings.port)]
    address += ["--health-port", str(settings.health_port)]
    arguments = [sys.executable, "-m", "expound_server", *address]
    return Command("server", tuple(arguments), _environment(redis_url), drain_s=15)


def _environment(redis_url: str) -> dict[str, str]:
    # A URL may hold a password, so it does not go among the arguments.
    return {"EXPOUND_REDIS_URL": redis_url, "PYTHONUNBUFFERED": "1"}
