"""One tenant asks for more than all the others."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image

from expound import records
from expound_client import Client, Explanation, State
from expound_client.errors import QuotaExceededError
from tests import photos
from tests.faults.invariants import check_nothing_left
from tests.processes import RedisServer, wait_until
from tests.server.server_process import address_of, server_process
from tests.server.tenants import CARDIOLOGY, RADIOLOGY, two_tenants
from tests.service import Worker

MODELS = Path(__file__).parent / "models" / "limits.toml"
PHOTO = np.asarray(Image.fromarray(photos.chelsea()).resize((32, 32)))
BATCH = 8
ASKED = 1000
QUOTA = 300
OTHERS = 10
STOPPED_MS = 600_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, Worker, str]]:
    """Redis, a worker, and the address of a server that lets radiology have `QUOTA` in flight."""
    tenants = tmp_path_factory.mktemp("tenants") / "tenants.toml"
    tenants.write_text(two_tenants(requests_in_flight=QUOTA))
    with ExitStack() as running:
        store = running.enter_context(RedisServer())
        server = running.enter_context(server_process(store.url, "--tenants", str(tenants)))
        worker = running.enter_context(Worker(store.url, MODELS))
        address = address_of(server)
        with redis.Redis.from_url(store.url) as client:

            def known() -> bool:
                worker.check_alive()
                return bool(client.zcard(f"{records.PREFIX}workers") == 1)

            wait_until(known, "the worker being known", 180)
        yield store, worker, address


def _keep_known(store: RedisServer) -> None:
    """Lets the worker count as alive for longer than it is to be stopped."""
    with redis.Redis.from_url(store.url) as client:
        (name,) = client.zrange(f"{records.PREFIX}workers", 0, 0)
        client.zincrby(f"{records.PREFIX}workers", STOPPED_MS, name)
        client.pexpire(f"{records.PREFIX}worker:{name.decode()}", STOPPED_MS)


def _ask(client: Client) -> Explanation | QuotaExceededError:
    # A model whose batches are small, so that many are run.
    try:
        return client.explain(PHOTO, model="brittle", methods=["saliency"])
    except QuotaExceededError as error:
        return error


def test_a_tenants_flood_is_refused_beyond_its_quota_and_others_do_not_wait_behind_it(
    site: tuple[RedisServer, Worker, str],
) -> None:
    """Case 35: RESOURCE_EXHAUSTED beyond the quota; B's ten wait for no more than ten of A's.

    That is twice the wait that B's ten have alone, but for a batch: counted in explanations rather
    than in seconds, which other load on the machine would decide.
    """
    store, worker, address = site
    with (
        Client(address, tls=False, token=RADIOLOGY) as radiology,
        Client(address, tls=False, token=CARDIOLOGY) as cardiology,
    ):
        _keep_known(store)
        os.killpg(worker.pid, signal.SIGSTOP)
        try:
            answers = [_ask(radiology) for _ in range(ASKED)]
            flood = [answer for answer in answers if isinstance(answer, Explanation)]
            refused = [answer for answer in answers if isinstance(answer, QuotaExceededError)]
            others = [_ask(cardiology) for _ in range(OTHERS)]
        finally:
            os.killpg(worker.pid, signal.SIGCONT)
        assert (len(flood), len(refused)) == (QUOTA, ASKED - QUOTA)
        assert all(error.retry_after_s for error in refused)
        ended = []
        for other in others:
            assert isinstance(other, Explanation)
            ended.append(_end(other))
        before = [each for each in map(_end, flood) if each < max(ended)]
        assert len(before) <= OTHERS + 2 * BATCH
    with redis.Redis.from_url(store.url) as client:
        check_nothing_left(client)


def _end(explanation: Explanation) -> float:
    """When it succeeded."""
    result = explanation.result(120)
    assert result.state is State.SUCCEEDED
    assert result.end_time is not None
    return result.end_time.timestamp()
