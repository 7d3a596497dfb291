"""Redis, as a worker sees it: the scripts that read and change the records."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.client import Pipeline
from redis.exceptions import NoScriptError
from redis.retry import Retry

from expound import records
from expound.v1 import worker_pb2

_SCRIPTS = (
    "claim",
    "claim_ready",
    "offer",
    "checkpoint",
    "renew",
    "release",
    "begin_anew",
    "workers",
    "predict",
    "progress",
    "finish",
    "end",
    "heartbeat",
)

logger = logging.getLogger(__name__)

# About as long as a lease lasts: when it has run out, the end is no longer this worker's to tell.
_TRIES_TO_END = 8
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Call:
    """One run of a script; its arguments and answer are written at the head of its Lua file."""

    script: str
    arguments: Sequence[str | bytes | int]


@contextmanager
def outlasting_outages() -> Iterator[None]:
    """Lets what the context has to tell Redis be untold where that fails.

    For what is told anew after a while, and is no reason for work to fail.
    """
    try:
        yield
    except redis.RedisError as error:
        logger.warning("Redis does not answer, and work goes on: %s", error)


class Store:
    """Runs the scripts of `expound.records` for one worker; any thread may use it."""

    def __init__(self, client: redis.Redis, worker: str) -> None:
        self.client = client
        self.worker = worker
        self._scripts = {name: client.register_script(records.script(name)) for name in _SCRIPTS}

    def run(self, script: str, *arguments: str | bytes | int) -> Any:
        """Runs one script and gives its answer."""
        (answer,) = self.run_all([Call(script, arguments)])
        return answer

    def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """Runs scripts one behind the other in one round trip, and gives their answers.

        Each stands for itself: what one answers does not keep the next from running.
        """
        if not calls:
            return []
        answers = self._send(calls)
        unknown = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # Redis has been started anew since, and knows no script.
            for script in self._scripts.values():
                self.client.script_load(script.script)
            again = self._send([calls[index] for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def run_to_end(self, calls: Sequence[Call]) -> None:
        """Runs calls that end units, and again where Redis has gone away meanwhile.

        Nothing is done twice: what has ended is no longer this worker's to end.
        """
        retry = Retry(
            ExponentialWithJitterBackoff(base=_FIRST_PAUSE_S, cap=_LONGEST_PAUSE_S),
            _TRIES_TO_END,
            supported_errors=(redis.ConnectionError, redis.TimeoutError),
        )
        retry.call_with_retry(lambda: self.run_all(calls), lambda _: None)

    def workers(self) -> list[worker_pb2.WorkerCard]:
        """The cards of the workers that live."""
        return [worker_pb2.WorkerCard.FromString(card) for card in self.run("workers")]

    def add(self, pipeline: Pipeline, call: Call) -> None:
        """Adds a call to a pipeline, to be run with it."""
        sha = self._scripts[call.script].sha
        pipeline.evalsha(sha, 1, records.PREFIX, *call.arguments)

    def _send(self, calls: Sequence[Call]) -> list[Any]:
        with self.client.pipeline(transaction=False) as pipeline:
            for call in calls:
                self.add(pipeline, call)
            return pipeline.execute(raise_on_error=False)
