"""`expound up` as a process of a test."""

import os
import re
import sys
from pathlib import Path

import redis

from tests.processes import Process, free_port, wait_until


class Up(Process):
    """`expound up` in a folder of its own, on a free port."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        self.port = free_port()
        super().__init__(
            up_command(data_dir, "--port", str(self.port), *options),
            environment,
        )

    def wait_for(self, pattern: str, count: int = 1, timeout_s: float = 30) -> re.Match[str]:
        """Waits until the pattern has been printed so many times; gives the last match."""

        def printed() -> bool:
            self.check_alive()
            return len(re.findall(pattern, self.output())) >= count

        wait_until(printed, pattern, timeout_s)
        return list(re.finditer(pattern, self.output()))[-1]

    def part_pid(self, name: str) -> int:
        """Process id of a part's newest process."""
        return int(self.wait_for(rf"started {name} \(process (\d+)\)").group(1))

    @property
    def redis(self) -> redis.Redis:
        """A client of the Redis that was started."""
        variables = Path(f"/proc/{self.part_pid('worker')}/environ").read_text().split("\0")
        url = next(v for v in variables if v.startswith("EXPOUND_REDIS_URL="))
        return redis.Redis.from_url(url.partition("=")[2])


def up_command(data_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "expound_deploy", "--data-dir", str(data_dir), *options]


def is_alive(pid: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
