"""Whatever is sent, the server answers with a status that says what was wrong, and lives."""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from expound.v1 import explanation_service_pb2, model_service_pb2
from expound.v1.explanation_pb2 import ExplainRequest
from tests.processes import Process, resident_bytes
from tests.server.calls import explain_request
from tests.server.fuzzing import Fuzzer
from tests.server.hand_worker import SUPPORTED, HandWorker, model
from tests.server.server_process import address_of, server_process

CALLS = [
    method
    for file in (explanation_service_pb2, model_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
EXPLAIN = next(method for method in CALLS if method.name == "Explain")
CALLERS = 16
TIMEOUT_S = 2.0
GROWTH_BYTES = 80_000_000
_HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Of the server: what the caller can do something about. Of the client: that it did not wait.
EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@pytest.fixture
def process(redis_url: str, worker: HandWorker) -> Iterator[Process]:
    """A server in a process of its own, so that its crash would be seen; its models stay."""
    worker.publish(model("tiny"), model("flat", layers=False), alive_ms=3_600_000)
    # Nobody works off what is accepted.
    with server_process(redis_url, "--max-waiting", "0") as running:
        yield running


def _case(seed: int) -> tuple[MethodDescriptor, bytes]:
    """A call, and what is sent with it."""
    fuzzer = Fuzzer(seed)
    if fuzzer.chance(0.7):
        method = EXPLAIN
        if fuzzer.chance(0.3):
            request = fuzzer.message(method.input_type)
        else:
            request = explain_request(fuzzer.choice(list(SUPPORTED)))
            for _ in range(fuzzer.choice([1, 1, 2, 4])):
                fuzzer.change(request)
    else:
        method = fuzzer.choice(CALLS)
        request = fuzzer.message(method.input_type)
    if isinstance(request, ExplainRequest) and request.wait.seconds > 0 and fuzzer.chance(0.95):
        request.wait.FromMilliseconds(1)
    data = request.SerializeToString()
    return method, fuzzer.damaged(data) if fuzzer.chance(0.3) else data


async def _send(
    channel: grpc.aio.Channel, method: MethodDescriptor, data: bytes
) -> grpc.StatusCode:
    path = f"/{method.containing_service.full_name}/{method.name}"
    # Without a serializer the types of gRPC know of no request that fits.
    calls: Any = channel
    try:
        if method.server_streaming:
            async for _ in calls.unary_stream(path)(data, timeout=TIMEOUT_S):
                pass
        else:
            await calls.unary_unary(path)(data, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def _fuzz(address: str, cases: int) -> Counter[grpc.StatusCode]:
    """Sends so many cases from several callers at once; counts the answers."""
    seeds = count()
    answers: Counter[grpc.StatusCode] = Counter()
    wrong: list[tuple[int, grpc.StatusCode]] = []
    async with grpc.aio.insecure_channel(address) as channel:

        async def call() -> None:
            while (seed := next(seeds)) < cases:
                code = await _send(channel, *_case(seed))
                answers[code] += 1
                if code not in EXPECTED:
                    wrong.append((seed, code))

        await asyncio.gather(*(call() for _ in range(CALLERS)))
        assert wrong[:20] == []
        # And goes on as if nothing had been.
        sane = explain_request().SerializeToString()
        assert await _send(channel, EXPLAIN, sane) is grpc.StatusCode.OK
    return answers


def _check_fuzzed(process: Process, cases: int) -> None:
    address = address_of(process)
    asyncio.run(_fuzz(address, 200))
    before = resident_bytes(process.pid)
    started_s = time.monotonic()
    answers = asyncio.run(_fuzz(address, cases))
    print(f"{cases} cases in {time.monotonic() - started_s:.0f} s: {dict(answers)}")
    assert answers[grpc.StatusCode.OK] > cases // 20
    assert answers[grpc.StatusCode.INVALID_ARGUMENT] > cases // 20
    process.check_alive()
    assert "Traceback" not in process.output()
    assert resident_bytes(process.pid) - before < GROWTH_BYTES


def test_two_thousand_random_requests_are_answered_with_what_is_wrong(process: Process) -> None:
    _check_fuzzed(process, 2_000)


@pytest.mark.parametrize("method", CALLS, ids=[method.name for method in CALLS])
def test_bytes_that_are_no_message_are_refused_as_such(
    process: Process, method: MethodDescriptor
) -> None:
    async def send() -> grpc.StatusCode:
        async with grpc.aio.insecure_channel(await asyncio.to_thread(address_of, process)) as to:
            return await _send(to, method, b"\xff\xff no message")

    assert asyncio.run(send()) is grpc.StatusCode.INVALID_ARGUMENT


def test_messages_above_the_limit_are_refused_and_not_kept(process: Process) -> None:
    async def send() -> grpc.StatusCode:
        unlimited = [("grpc.max_send_message_length", -1)]
        address = await asyncio.to_thread(address_of, process)
        async with grpc.aio.insecure_channel(address, options=unlimited) as channel:
            return await _send(channel, EXPLAIN, bytes(64 * 1024 * 1024 + 1))

    assert asyncio.run(send()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    before = resident_bytes(process.pid)
    for _ in range(5):
        assert asyncio.run(send()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident_bytes(process.pid) - before < GROWTH_BYTES


def test_what_does_not_speak_http_2_is_hung_up_on(process: Process) -> None:
    host, _, port = address_of(process).rpartition(":")
    for seed in range(50):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            preface = _HTTP_2 if seed % 2 else b""
            connection.sendall(preface + random.Random(seed).randbytes(5000))
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while connection.recv(65_536):
                    pass
    asyncio.run(_fuzz(address_of(process), 20))
    process.check_alive()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_random_requests_are_answered_with_what_is_wrong(
    process: Process,
) -> None:
    _check_fuzzed(process, 100_000)
