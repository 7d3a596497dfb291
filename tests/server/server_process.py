"""The server as a process of its own."""

import sys

from tests.processes import Process, wait_until


def server_process(redis_url: str, *arguments: str) -> Process:
    command = [sys.executable, "-m", "expound_server", "--port", "0"]
    # Tests ask the same again and again, and mean it.
    command += ["--max-reuse-age-s", "0", *arguments]
    return Process(command, {"EXPOUND_REDIS_URL": redis_url})


def address_of(process: Process) -> str:
    """Waits until the process listens, and gives its address."""

    def listens() -> bool:
        process.check_alive()
        return "listening on " in process.output()

    wait_until(listens, "listening")
    return process.output().split("listening on ")[1].splitlines()[0]


def exit_code(process: Process) -> int:
    """Waits until the process ends by itself."""
    if process.process is None:
        raise RuntimeError("not started")
    return process.process.wait(30)
