"""The device loop: one thread that decides what the device does next."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import redis
import torch
from torch import Tensor

from expound_worker.batches import in_halves
from expound_worker.models.model import Model
from expound_worker.threads import compute_on
from expound_worker.unit import Released, Work

logger = logging.getLogger(__name__)

_RETRY_S = 0.5

Works = Sequence[Work]

Take = Callable[[str], Works]
"""Takes an explanation of that id, or the oldest that waits, with others that can run beside it."""

Listen = Callable[[], Works]
"""Waits a while for explanations that nobody has, and takes some that can run as one batch."""

Explain = Callable[[Works], None]
"""Runs what was taken."""


@dataclass(frozen=True, eq=False)
class _Chunk:
    model: Model
    inputs: Tensor
    alone: bool
    logits: "Future[Tensor]"


class DeviceLoop:
    """Runs gradient work as soon as it is there, and else a chunk of the jobs that wait.

    A worker comes by gradient work in two ways: by tickets, and by listening to Redis itself, which
    is quicker and shares the work among the workers that are free. Chunks of several jobs
    that use the same model are run as one batch, the oldest first.
    """

    def __init__(self, take: Take, listen: Listen, explain: Explain) -> None:
        self._take = take
        self._listen = listen
        self._explain = explain
        self._changed = threading.Condition()
        self._listening = True
        self._stopping = False
        self._refusing = False
        self._heard: Works = ()
        self._tickets: deque[tuple[str, Future[None]]] = deque()
        self._chunks: deque[_Chunk] = deque()
        self._step_started_s: float | None = None
        self._runner = threading.Thread(target=self._run_or_exit, name="device-loop", daemon=True)
        self._listener = threading.Thread(target=self._hear, name="listener", daemon=True)

    def start(self, *, listening: bool) -> None:
        """Begins; without listening, tickets alone tell it of gradient work."""
        self._runner.start()
        if listening:
            self._listener.start()

    def stop_listening(self) -> None:
        """Takes no more work by itself; what it has heard of is run."""
        with self._changed:
            self._listening = False
            self._changed.notify_all()
        if self._listener.is_alive():
            self._listener.join()

    def stop(self) -> None:
        """Ends when all that waits is done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._runner.join()

    def step_s(self) -> float:
        """For how long it has been at what it does now; 0 when it does nothing."""
        started_s = self._step_started_s
        return 0.0 if started_s is None else time.monotonic() - started_s

    def look(self, explanation_id: str) -> None:
        """Makes the loop look whether an explanation is there to be taken; returns behind that."""
        looked: Future[None] = Future()
        with self._changed:
            self._tickets.append((explanation_id, looked))
            self._changed.notify_all()
        looked.result()

    def forward(self, model: Model, inputs: Tensor, *, alone: bool = False) -> Tensor:
        """Logits of a chunk, run when its turn comes.

        Args:
            model: the model.
            inputs: (N, C, H, W).
            alone: whether no other chunk may be run beside it in its batch.

        Raises:
            Exception: what the model raises.
            Released: chunks are refused at present.
        """
        chunk = _Chunk(model, inputs, alone, Future())
        with self._changed:
            if self._refusing:
                raise Released
            self._chunks.append(chunk)
            self._changed.notify_all()
        return chunk.logits.result()

    @contextmanager
    def refusing_chunks(self) -> Iterator[None]:
        """Refuses chunks within the context: those that come and those that wait."""
        with self._changed:
            self._refusing = True
            refused = list(self._chunks)
            self._chunks.clear()
        for chunk in refused:
            chunk.logits.set_exception(Released())
        try:
            yield
        finally:
            with self._changed:
                self._refusing = False

    def _run_or_exit(self) -> None:
        try:
            self._run()
        except BaseException:
            # Without it everything would wait for ever; a new process takes the work up again.
            logger.exception("the device loop has a defect, and the process ends")
            os._exit(os.EX_SOFTWARE)

    def _run(self) -> None:
        while True:
            self._step_started_s = None
            with self._changed:
                self._changed.wait_for(self._has_work)
                ticket = self._tickets[0] if self._tickets else None
                heard = self._heard
                if self._stopping and not (ticket or heard or self._chunks):
                    return
            self._step_started_s = time.monotonic()
            if heard:
                self._run_heard(heard)
            elif ticket is not None:
                self._answer(*ticket)
            else:
                self._run_chunks()

    def _has_work(self) -> bool:
        return bool(self._tickets or self._heard or self._chunks or self._stopping)

    def _answer(self, explanation_id: str, looked: "Future[None]") -> None:
        """Runs what waits, as much as runs at once; the ticket is answered when nothing does."""
        try:
            works = self._take(explanation_id)
            if works:
                self._explain(works)
                return
            looked.set_result(None)
        except Exception as error:
            looked.set_exception(error)
        self._tickets.popleft()

    def _run_heard(self, works: Works) -> None:
        try:
            self._explain(works)
        except redis.RedisError as error:
            logger.warning("Redis is away: %s", error)
        except Exception:
            logger.exception("explanation %s", works[0].unit.explanation_id)
        with self._changed:
            self._heard = ()
            self._changed.notify_all()

    def _hear(self) -> None:
        """Listens while the loop has nothing that it has heard of."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not (self._heard and self._listening))
                if not self._listening:
                    return
            try:
                heard = self._listen()
            except redis.RedisError as error:
                logger.warning("Redis is away: %s", error)
                heard = ()
                with self._changed:
                    self._changed.wait_for(lambda: not self._listening, _RETRY_S)
            with self._changed:
                self._heard = heard
                self._changed.notify_all()

    def _run_chunks(self) -> None:
        chunks = self._next_chunks()
        outcomes = in_halves(_forward, chunks)
        for chunk, logits in zip(chunks, outcomes, strict=True):
            if isinstance(logits, Exception):
                chunk.logits.set_exception(logits)
            else:
                chunk.logits.set_result(logits)

    def _next_chunks(self) -> list[_Chunk]:
        """The oldest chunk, and others of its model as far as they fit beside it."""
        with self._changed:
            first = self._chunks.popleft()
            together, room = [first], first.model.chunk_size - len(first.inputs)
            for chunk in () if first.alone else list(self._chunks):
                fits = chunk.model is first.model and len(chunk.inputs) <= room
                if fits and not chunk.alone:
                    together.append(chunk)
                    self._chunks.remove(chunk)
                    room -= len(chunk.inputs)
        return together


@torch.inference_mode()
def _forward(chunks: Sequence[_Chunk]) -> list[Tensor]:
    model, sizes = chunks[0].model, [len(chunk.inputs) for chunk in chunks]
    compute_on(model.cores_for(sum(sizes)))
    inputs = torch.cat([chunk.inputs for chunk in chunks]) if len(chunks) > 1 else chunks[0].inputs
    return list(torch.split(model.run(inputs), sizes))
