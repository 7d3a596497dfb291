"""Runs the server: `python -m expound_server --port 50051 --redis-url redis://127.0.0.1:6379/0`."""

import asyncio
import contextlib
import logging
import os
import signal
import sys

import uvloop

from expound_server.app import App
from expound_server.settings import Settings, SettingsError, read_settings


async def _run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains."""
    try:
        app = App(settings)
    except SettingsError as error:
        print(f"expound_server: error: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        port = await app.start()
    except RuntimeError as error:
        sys.exit(f"cannot listen on {settings.host}:{settings.port}: {error}")
    serving = asyncio.ensure_future(app.serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    print(f"listening on {settings.host}:{port}", flush=True)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    finally:
        await app.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uvloop.run(_run(read_settings(sys.argv[1:], os.environ)))
