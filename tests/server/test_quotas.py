"""What a tenant may ask for, and how much may wait: refused beyond, and nothing ever leaks."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from expound import records
from expound.reasons import Reason
from expound.v1.explanation_pb2 import ExplainRequest, Explanation
from expound.v1.explanation_service_pb2 import CancelExplanationRequest, DeleteExplanationRequest
from expound_server.settings import Settings
from tests.processes import wait_until
from tests.server.calls import Refusal, explain_request, refusal
from tests.server.conftest import Server, running
from tests.server.hand_worker import HandWorker
from tests.server.tenants import CARDIOLOGY, RADIOLOGY, bearer, serving, two_tenants

IMAGES = f"{records.PREFIX}images:radiology"


@pytest.fixture
def folder(tmp_path: Path, worker: HandWorker) -> Path:
    """A folder for tenants.toml; a worker serves the models."""
    return tmp_path


@asynccontextmanager
async def limited(settings: Settings, folder: Path, **limits: int) -> AsyncIterator[Server]:
    """Runs a server on which radiology has these limits, and cardiology has none."""
    async with serving(settings, folder, two_tenants(**limits)) as server:
        yield server


async def _ask(
    server: Server, request: ExplainRequest | None = None, token: str = RADIOLOGY
) -> Explanation:
    return await server.explanations.Explain(request or explain_request(), metadata=bearer(token))


async def _exceeds(server: Server, limit: str, request: ExplainRequest | None = None) -> Refusal:
    """Asks for what is refused for a limit of the tenant."""
    refused = await refusal(_ask(server, request))
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.reason == Reason.QUOTA_EXCEEDED
    assert refused.metadata == {"limit": limit, "tenant": "radiology"}
    assert refused.quotas == ("tenant:radiology",)
    return refused


def _images(count: int) -> ExplainRequest:
    request = explain_request()
    request.inputs.extend(list(request.inputs) * (count - 1))
    return request


async def test_a_request_above_those_in_flight_is_refused_until_one_ends(
    settings: Settings, folder: Path, worker: HandWorker
) -> None:
    async with limited(settings, folder, requests_in_flight=3) as server:
        names = [(await _ask(server)).name for _ in range(3)]
        assert (await _exceeds(server, "requests_in_flight")).retry_after_s == 1
        assert (await _ask(server, token=CARDIOLOGY)).name
        worker.work_off(names[0].removeprefix("explanations/"))
        assert (await _ask(server)).name
        await _exceeds(server, "requests_in_flight")
        cancel = CancelExplanationRequest(name=names[1])
        await server.explanations.CancelExplanation(cancel, metadata=bearer(RADIOLOGY))
        assert (await _ask(server)).name
        await _exceeds(server, "requests_in_flight")
        delete = DeleteExplanationRequest(name=names[2])
        await server.explanations.DeleteExplanation(delete, metadata=bearer(RADIOLOGY))
        request = explain_request()
        request.timeout.FromMilliseconds(1100)
        assert (await _ask(server, request)).name
        await _exceeds(server, "requests_in_flight")
        open_ids = f"{records.PREFIX}open:radiology"
        late = asyncio.to_thread(wait_until, lambda: worker.redis.zcard(open_ids) == 2, "its end")
        await late
        assert (await _ask(server)).name


async def test_a_repeated_request_is_none_more(settings: Settings, folder: Path) -> None:
    async with limited(settings, folder, requests_in_flight=1, images_per_minute=1) as server:
        request = explain_request()
        request.request_id = "the-same"
        names = {(await _ask(server, request)).name for _ in range(3)}
        assert len(names) == 1


async def test_what_a_refused_request_asked_for_costs_nothing(
    settings: Settings, folder: Path, worker: HandWorker
) -> None:
    async with limited(settings, folder, requests_in_flight=1, images_per_minute=2) as server:
        name = (await _ask(server)).name
        for _ in range(5):
            await _exceeds(server, "requests_in_flight")
        worker.work_off(name.removeprefix("explanations/"))
        assert (await _ask(server)).name


async def test_images_above_those_of_a_minute_are_refused_until_there_is_room(
    settings: Settings, folder: Path, worker: HandWorker
) -> None:
    async with limited(settings, folder, images_per_minute=4) as server:
        await _ask(server, _images(3))
        refused = await _exceeds(server, "images_per_minute", _images(2))
        assert refused.retry_after_s == pytest.approx(15, abs=5)
        await _ask(server, _images(1))
        refused = await _exceeds(server, "images_per_minute")
        assert refused.retry_after_s == pytest.approx(15, abs=5)
        assert "may ask for 4 images a minute; try again in 1" in refused.message
        assert await _ask(server, _images(4), CARDIOLOGY)
        _pass(worker, 15)
        await _ask(server)
        await _exceeds(server, "images_per_minute")


async def test_more_images_than_a_minute_allows_do_at_once_but_count_for_longer(
    settings: Settings, folder: Path, worker: HandWorker
) -> None:
    async with limited(settings, folder, images_per_minute=4) as server:
        await _ask(server, _images(8))
        refused = await _exceeds(server, "images_per_minute")
        assert refused.retry_after_s == pytest.approx(75, abs=5)
        assert 110_000 < worker.redis.pttl(IMAGES) <= 121_000


async def test_bytes_above_those_that_may_be_kept_are_refused_until_some_are_deleted(
    settings: Settings, folder: Path, worker: HandWorker
) -> None:
    async with limited(settings, folder, stored_bytes=2000) as server:
        first = await _ask(server)
        worker.work_off(first.name.removeprefix("explanations/"))
        big = explain_request()
        big.inputs[0].image = bytes(1900)
        refused = await _exceeds(server, "stored_bytes", big)
        assert refused.retry_after_s == pytest.approx(3600, abs=60)
        assert "may ask for 2000 bytes to be kept" in refused.message
        assert await _ask(server, big, CARDIOLOGY)
        request = DeleteExplanationRequest(name=first.name)
        await server.explanations.DeleteExplanation(request, metadata=bearer(RADIOLOGY))
        assert await _ask(server, big)


async def test_who_asks_for_more_bytes_waits_a_second_at_least(
    settings: Settings, folder: Path, worker: HandWorker
) -> None:
    async with limited(settings, folder, stored_bytes=2000) as server:
        await _ask(server)
        # As where the first of them is forgotten at this moment.
        worker.redis.delete(f"{records.PREFIX}stored:radiology:until")
        big = explain_request()
        big.inputs[0].image = bytes(1900)
        assert (await _exceeds(server, "stored_bytes", big)).retry_after_s == 1


async def test_inputs_that_are_more_than_may_ever_be_kept_are_refused_for_good(
    settings: Settings, folder: Path
) -> None:
    async with limited(settings, folder, stored_bytes=2000) as server:
        request = explain_request()
        request.inputs[0].image = bytes(2001)
        refused = await _exceeds(server, "stored_bytes", request)
        assert refused.retry_after_s is None
        assert "take more than the 2000 bytes" in refused.message


def test_what_is_stored_counts_all_that_grows_until_it_is_forgotten(
    worker: HandWorker,
) -> None:
    def stored() -> int:
        return int(worker.redis.hget(f"{records.PREFIX}stored:default", "") or 0)

    worker.create("a", stored_bytes=10_000)
    asked = len(b"first") + len(b"second") + len(worker.record("a")[b"request"])
    assert stored() == asked
    worker.work_off("a")
    told = worker.redis.strlen(records.result_key("a", 0))
    told += len(worker.record("a")[b"predictions"])
    assert stored() == asked + told
    worker.create("b", stored_bytes=10_000, ttl_ms=0)
    worker.create("c", stored_bytes=10_000)
    assert stored() == 2 * asked + told
    worker.run("delete", "a")
    worker.run("delete", "c")
    assert stored() == 0


def test_what_fits_to_the_byte_is_kept(worker: HandWorker) -> None:
    worker.create("a", stored_bytes=10_000)
    bytes_of_each = int(worker.redis.hget(f"{records.PREFIX}stored:default", "") or 0)
    assert worker.create("b", stored_bytes=2 * bytes_of_each - 1)[0] == "refused"
    assert worker.create("b", stored_bytes=2 * bytes_of_each)[0] == "created"
    assert worker.create("c", stored_bytes=bytes_of_each, tenant="another")[0] == "created"


def test_an_answer_that_is_reused_takes_as_much_as_one_that_is_made(worker: HandWorker) -> None:
    def stored(explanation_id: str) -> int:
        return int(worker.redis.hget(f"{records.PREFIX}stored:default", explanation_id) or 0)

    worker.create("a", question="q", stored_bytes=10_000)
    worker.create("follows", question="q", stored_bytes=10_000)
    worker.work_off("a")
    worker.create("again", question="q", stored_bytes=10_000)
    asked = len(b"first") + len(b"second") + len(worker.record("a")[b"request"])
    for name in ("follows", "again"):
        assert stored(name) == asked + worker.redis.strlen(records.result_key(name, 0))


def _pass(worker: HandWorker, seconds: int) -> None:
    """Does to the allowance what the passing of time does."""
    worker.redis.decrby(IMAGES, seconds * 1_000_000)


@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_request_that_takes_too_many_evaluations_is_refused_for_good(
    settings: Settings, folder: Path, validate_only: bool
) -> None:
    async with limited(settings, folder, evaluations_per_request=500) as server:
        request = explain_request("lime")
        request.validate_only = validate_only
        refused = await _exceeds(server, "evaluations_per_request", request)
        # Nothing changes by waiting.
        assert refused.retry_after_s is None
        assert "takes about 1001 evaluations of the model, above the limit of 500" in (
            refused.message
        )
        request = explain_request("lime")
        request.methods[0].lime.n_samples = 499
        assert await _ask(server, request)


async def test_without_tenants_the_limits_hold_for_all_callers(
    settings: Settings, folder: Path
) -> None:
    async with serving(settings, folder, "limits.requests_in_flight = 1") as server:
        await server.explanations.Explain(explain_request())
        refused = await refusal(server.explanations.Explain(explain_request()))
        assert refused.quotas == ("tenant:default",)


async def test_a_full_queue_is_full_for_all(settings: Settings, worker: HandWorker) -> None:
    async with running(replace(settings, max_waiting=2)) as server:
        names = [(await server.explanations.Explain(explain_request())).name for _ in range(2)]
        refused = await refusal(server.explanations.Explain(explain_request()))
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (refused.reason, refused.quotas) == (Reason.QUEUE_FULL, ("service",))
        assert refused.retry_after_s == 2
        # Another pool has a queue of its own.
        assert await server.explanations.Explain(explain_request(model="slow"))
        worker.claim(names[0].removeprefix("explanations/"))
        assert await server.explanations.Explain(explain_request())


@pytest.mark.parametrize("kind", ["gradients", "lasting gradients", "a job"])
def test_all_that_waits_in_a_pool_is_counted(worker: HandWorker, kind: str) -> None:
    worker.create("a", lasting=kind == "lasting gradients")
    if kind == "a job":
        attempt = worker.claim("a")
        assert attempt
        worker.run("offer", "a", attempt, "0")
    assert worker.create("b", limits=(0, 0, 1))[0] == "refused"
    assert worker.create("c", limits=(0, 0, 2))[0] == "created"


async def test_of_many_requests_at_once_as_many_as_may_are_accepted(
    settings: Settings, folder: Path, worker: HandWorker
) -> None:
    async def outcome(server: Server) -> str:
        try:
            return "accepted" if (await _ask(server)).name else ""
        except grpc.aio.AioRpcError as error:
            return error.code().name

    async with limited(settings, folder, requests_in_flight=20) as server:
        outcomes = Counter(await asyncio.gather(*(outcome(server) for _ in range(200))))
    assert outcomes == {"accepted": 20, "RESOURCE_EXHAUSTED": 180}
    assert worker.redis.zcard(f"{records.PREFIX}open:radiology") == 20


def test_whatever_is_long_past_its_deadline_is_not_in_flight(worker: HandWorker) -> None:
    worker.create("a", limits=(1, 0, 0))
    assert worker.create("b", limits=(1, 0, 0))[0] == "refused"
    worker.redis.delete(records.record_key("a"))
    now_s, _ = worker.redis.time()
    worker.redis.zadd(f"{records.PREFIX}open:default", {"a": (now_s - 61) * 1e6})
    assert worker.create("c", limits=(1, 0, 0))[0] == "created"


def test_what_is_kept_of_a_tenant_goes_with_its_last_explanation(worker: HandWorker) -> None:
    worker.create("a", ttl_ms=100_000)
    worker.create("b", ttl_ms=50_000, timeout_ms=10_000)
    assert 155_000 < worker.redis.pttl(records.index_key("default")) <= 160_000
    assert 115_000 < worker.redis.pttl(f"{records.PREFIX}open:default") <= 120_000
