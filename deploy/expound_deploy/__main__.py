"""`expound up`: everything for one machine, with one command."""

import fcntl
import sys
from pathlib import Path
from typing import IO

import click

from expound_deploy.commands import commands
from expound_deploy.part import Part
from expound_deploy.ports import free_port, is_taken
from expound_deploy.readiness import is_serving, model_names
from expound_deploy.redis_server import RedisMissingError
from expound_deploy.settings import Settings, default_data_dir
from expound_deploy.supervisor import Supervisor

_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
_FOLDER = click.Path(file_okay=False, resolve_path=True, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=50051, show_default=True, help="Port to listen on; 0: a free one.")
@click.option(
    "--models",
    type=_FILE,
    envvar="EXPOUND_MODELS",
    show_envvar=True,
    help="The worker's models.toml.",
)
@click.option(
    "--redis-url",
    envvar="EXPOUND_REDIS_URL",
    show_envvar=True,
    help="A running Redis to use; none: one is started.",
)
@click.option(
    "--data-dir",
    type=_FOLDER,
    help="Folder of Redis' data and of the logs. Default: your state "
    "folder (~/.local/state/expound).",
)
@click.option("--verbose", is_flag=True, help="Print what the parts log.")
def main(
    host: str,
    port: int,
    models: Path | None,
    redis_url: str | None,
    data_dir: Path | None,
    verbose: bool,
) -> None:
    """Start Redis, a worker and a server, and keep them running until Ctrl-C."""
    data_dir = data_dir or default_data_dir()
    settings = Settings(host, port or free_port(), free_port(), data_dir, redis_url or None, models)
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    with _locked(data_dir) as lock:
        if is_taken(settings.host, settings.port):
            raise click.ClickException(
                f"port {settings.port} of {settings.host} is taken; choose another with --port"
            )
        try:
            parts = [Part(command, settings.logs_dir, lock) for command in commands(settings)]
        except RedisMissingError as error:
            raise click.ClickException(str(error)) from error
        supervisor = Supervisor(parts, lambda: _ready_line(settings), verbose=verbose)
        sys.exit(supervisor.run())


def _ready_line(settings: Settings) -> str | None:
    if not is_serving(settings.health_address):
        return None
    address = settings.address
    models = model_names(address)
    if models is None:
        return f"ready: {address} serves those who have the credentials that it asks for"
    tried = f"--model {models[0]} " if models else ""
    return (
        f"ready: {address} serves {', '.join(models) or 'no model'}; try: "
        f"expound explain PHOTO {tried}-m saliency -m lime --server {address} --out explained"
    )


def _locked(data_dir: Path) -> IO[str]:
    """Keeps a second `expound up` off the folder, for as long as a process has the file open."""
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise click.ClickException(
            f"another `expound up` uses {data_dir}, or has not ended yet; choose another folder "
            "with --data-dir"
        ) from None
    return lock


if __name__ == "__main__":
    main(prog_name="expound up")
