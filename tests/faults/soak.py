"""Mixed load while workers and servers are killed at random: `make soak`.

Three workers, two servers, a Redis that keeps what it is told; every 20 s one process is killed or
asked to stop, and started again, but for one worker, which is spared: what it holds in memory is
told minute by minute. At the end nothing may be lost, done twice or left over.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import redis

from expound import records
from expound_client import Client, Event
from expound_client import methods as m
from expound_client.errors import ExplanationFailedError, ExpoundError
from expound_client.requests import MethodLike
from tests import photos
from tests.faults.invariants import check_events, check_nothing_left
from tests.faults.ownership import Owned, owned
from tests.processes import Process, RedisServer, children, resident_bytes, wait_until
from tests.service import Server, Worker

MODELS = Path(__file__).parent / "models" / "soak.toml"
CALLERS = 4
PERIOD_S = 20.0
KILLS_A_MINUTE = 3
PATIENCE_S = 300.0
MIX: tuple[list[MethodLike], ...] = (
    ["saliency"],
    ["integrated_gradients", "grad_cam"],
    [m.Lime(n_samples=2000)],
    ["saliency", m.KernelShap(n_samples=5000)],
)


@dataclass
class Figures:
    """What was seen; times are of the monotonic clock.

    Attributes:
        asked: when each explanation was accepted and when it had ended, by its name.
        refused: why requests were not accepted.
        failed: why explanations failed.
        lost: explanations that did not end.
        broken: what the invariant checker says of the events of explanations.
        killed: when something was killed.
        owned: what workers ran when they were killed.
        memory: resident bytes, minute by minute, of what was never killed, by process id.
    """

    asked: dict[str, tuple[float, float]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)
    owned: list[Owned] = field(default_factory=list)
    memory: dict[int, list[int]] = field(default_factory=dict)

    def recovery_s(self) -> list[float]:
        """Of each kill, how long what was under way then took to end."""
        times = [
            [end - killed for begin, end in self.asked.values() if begin < killed < end]
            for killed in self.killed
        ]
        return [max(of_one) for of_one in times if of_one]


class Caller(threading.Thread):
    """Asks for one explanation behind the other, and watches each to its end."""

    def __init__(self, address: str, seed: int, figures: Figures, ends: threading.Event) -> None:
        super().__init__()
        self._address, self._figures, self._ends = address, figures, ends
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Asks until it is told to end."""
        with Client(self._address) as client:
            while not self._ends.is_set():
                self._ask(client)

    def _ask(self, client: Client) -> None:
        figures, methods = self._figures, self._chance.choice(MIX)
        seed = self._chance.randrange(2**31)
        try:
            explanation = client.explain(
                photos.chelsea(), model="cifar", methods=methods, seed=seed
            )
        except ExpoundError as error:
            figures.refused[str(error.reason or type(error).__name__)] += 1
            return
        accepted_s = time.monotonic()
        events: list[Event] = []
        try:
            events.extend(explanation.watch(timeout_s=PATIENCE_S))
            explanation.result(PATIENCE_S)
        except ExplanationFailedError as error:
            figures.failed[str(error.reason)] += 1
        except ExpoundError as error:
            figures.lost.append(f"{explanation.name}: {error}")
            return
        figures.asked[explanation.name] = (accepted_s, time.monotonic())
        try:
            check_events(events)
        except AssertionError as error:
            figures.broken.append(f"{explanation.name}: {error}")


def _kill(
    chance: random.Random, processes: list[Process], client: redis.Redis, figures: Figures
) -> None:
    victim = chance.choice(processes)
    figures.owned += owned(client, victim.pid)
    figures.killed.append(time.monotonic())
    if chance.random() < 0.5:
        victim.kill()
    else:
        victim.stop()
    victim.start()


def _memory(processes: list[Process]) -> dict[int, int]:
    """Resident bytes of every process and its children, by process id."""
    found = {}
    for process in processes:
        for each in (process.pid, *children(process.pid)):
            found[each] = resident_bytes(each)
    return found


def _print(
    figures: Figures, records_found: int, first: dict[int, int], last: dict[int, int]
) -> None:
    accepted = len(figures.asked) + len(figures.lost)
    failed = figures.failed.total()
    recovery_s = figures.recovery_s() or [0.0]
    print(f"kills {len(figures.killed)}, accepted {accepted}, refused {dict(figures.refused)}")
    print(f"completed {len(figures.asked) - failed}, failed {failed} {dict(figures.failed)}")
    print(f"lost {len(figures.lost)}, duplicated {records_found - accepted}")
    print(f"gaps, repeats and second ends {len(figures.broken)}")
    print(f"recovery median {statistics.median(recovery_s):.1f} s, worst {max(recovery_s):.1f} s")
    for process, size in last.items():
        before = f"{first[process] / 2**20:.0f}" if process in first else "new"
        print(f"memory of {process}: {before} -> {size / 2**20:.0f} MiB")
    for process, sizes in figures.memory.items():
        told = " ".join(f"{size / 2**20:.0f}" for size in sizes)
        print(f"memory of {process}, never killed, at each minute: {told} MiB")
    for line in (*figures.lost, *figures.broken):
        print(line)


def _print_reissued(methods: list[Owned], client: redis.Redis) -> None:
    times = [method.reissued_after_s(client) for method in methods]
    reissued_s = [each for each in times if each is not None]
    print(f"methods whose worker was killed {len(times)}, re-issued {len(reissued_s)}")
    if reissued_s:
        median_s, worst_s = statistics.median(reissued_s), max(reissued_s)
        print(f"until they were: median {median_s:.1f} s, worst {worst_s:.1f} s")


def soak(minutes: float, seed: int) -> bool:
    """Runs it; whether nothing was lost, done twice or left over."""
    chance, figures, ends = random.Random(seed), Figures(), threading.Event()
    with ExitStack() as running:
        store = RedisServer(Path(running.enter_context(tempfile.TemporaryDirectory())))
        running.enter_context(store)
        servers = [Server(store.url) for _ in range(2)]
        processes: list[Process] = [*servers, *(Worker(store.url, MODELS) for _ in range(2))]
        spared = Worker(store.url, MODELS)
        for process in (*processes, spared):
            running.enter_context(process)
        wait_until(lambda: all(server.serving() for server in servers), "being ready", 180)
        client = running.enter_context(redis.Redis.from_url(store.url))
        address = "ipv4:" + ",".join(server.address for server in servers)
        callers = [Caller(address, seed + number, figures, ends) for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        first: dict[int, int] = {}
        stop_s = time.monotonic() + minutes * 60
        while not ends.wait(min(PERIOD_S, max(stop_s - time.monotonic(), 0.0))):
            if time.monotonic() >= stop_s:
                break
            first |= {pid: size for pid, size in _memory(processes).items() if pid not in first}
            if len(figures.killed) % KILLS_A_MINUTE == 0:
                for pid, size in _memory([spared, store]).items():
                    figures.memory.setdefault(pid, []).append(size)
            _kill(chance, processes, client, figures)
        ends.set()
        for caller in callers:
            caller.join()
        found: list[bytes] = client.keys(records.events_key("*"))
        _print(figures, len(found), first, _memory(processes))
        _print_reissued(figures.owned, client)
        try:
            check_nothing_left(client)
        except AssertionError as error:
            figures.broken.append("left over")
            print(f"left over: {error}")
    return not figures.lost and not figures.broken and len(found) == len(figures.asked)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    sys.exit(0 if soak(**vars(parser.parse_args())) else 1)
