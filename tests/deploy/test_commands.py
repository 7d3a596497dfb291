"""What the parts are told by their commands."""

from pathlib import Path

from expound_deploy.commands import commands
from expound_deploy.settings import Settings


def test_worker_and_server_are_told_what_the_settings_say(tmp_path: Path) -> None:
    url, models = "redis://:secret@one/0", tmp_path / "models.toml"
    settings = Settings("0.0.0.0", 7, 8, tmp_path, url, models)
    worker, server = commands(settings)
    assert worker.arguments[-2:] == ("--models", str(models))
    assert server.arguments[3:] == ("--host", "0.0.0.0", "--port", "7", "--health-port", "8")
    for part in (worker, server):
        assert part.environment["EXPOUND_REDIS_URL"] == url
        assert part.environment["PYTHONUNBUFFERED"] == "1"
        assert not any("secret" in argument for argument in part.arguments)
    assert worker.drain_s > server.drain_s
