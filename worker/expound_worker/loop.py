"""The device loop: one thread that decides what the device does next."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from expound_worker.batches import in_halves
from expound_worker.models.model import Model
from expound_worker.process.threads import compute_on
from expound_worker.process.watchdog import vital_thread
from expound_worker.unit import Released


@dataclass(frozen=True, eq=False)
class _Work:
    run: Callable[[], None]
    ended: "Future[None]"


@dataclass(frozen=True, eq=False)
class _Chunk:
    model: Model
    inputs: Tensor
    alone: bool
    logits: "Future[Tensor]"


class DeviceLoop:
    """Runs gradient work as soon as it is there, and else a chunk of the jobs that wait.

    Both come from other threads, which wait for what becomes of it. Chunks of several jobs that use
    the same model are run as one batch, the oldest first. Gradient work that lasts gives way to
    both between two of its passes.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stopping = False
        self._refusing = False
        self._works: deque[_Work] = deque()
        self._lasting: deque[_Work] = deque()
        self._chunks: deque[_Chunk] = deque()
        self._step_started_s: float | None = None
        self._runner = vital_thread(self._run, "device-loop")

    def start(self) -> None:
        """Begins."""
        self._runner.start()

    def stop(self) -> None:
        """Ends when all that waits is done."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._runner.join()

    def step_s(self) -> float:
        """For how long it has been at what it does now, or has left alone what waits; else 0."""
        started_s = self._step_started_s
        return 0.0 if started_s is None else time.monotonic() - started_s

    def run(self, work: Callable[[], None], *, lasting: bool = False) -> "Future[None]":
        """Runs gradient work, before all chunks that wait; gives what waits for its end.

        Args:
            work: to be run, on the loop's thread.
            lasting: whether it takes longer than a chunk, and calls `give_way` meanwhile.
        """
        waiting = _Work(work, Future())
        with self._changed:
            (self._lasting if lasting else self._works).append(waiting)
            self._wake()
        return waiting.ended

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
            self._wake()
        return chunk.logits.result()

    def give_way(self, *, refuses: bool = False) -> None:
        """Runs the work and the chunks that are next, before work that lasts goes on.

        To be called by that work, which the loop runs, between two passes.

        Args:
            refuses: whether it is for this work that the loop refuses what lasts.

        Raises:
            Released: the loop refuses it, for another's sake.
        """
        with self._changed:
            if self._refusing and not refuses:
                raise Released
            work = self._works.popleft() if self._works else None
            chunks = self._next_chunks() if self._chunks else []
        cores = torch.get_num_threads()
        if work:
            self._step(partial(_run_work, work))
        if chunks:
            self._step(partial(_run_chunks, chunks))
        compute_on(cores)
        self._step_started_s = time.monotonic()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuses chunks within the context, and has work that lasts given back."""
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

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_wanted():
                    self._step_started_s = None
                    self._changed.wait()
                if self._works or self._lasting:
                    work = (self._works or self._lasting).popleft()
                    step = partial(_run_work, work)
                elif self._chunks:
                    step = partial(_run_chunks, self._next_chunks())
                else:
                    return
            self._step(step)

    def _wake(self) -> None:
        # Its step begins with what waits for it: should it not wake, that shows.
        if self._step_started_s is None:
            self._step_started_s = time.monotonic()
        self._changed.notify_all()

    def _is_wanted(self) -> bool:
        return bool(self._works or self._lasting or self._chunks or self._stopping)

    def _step(self, run: Callable[[], None]) -> None:
        self._step_started_s = time.monotonic()
        run()

    def _next_chunks(self) -> list[_Chunk]:
        """The oldest chunk, and others of its model as far as they fit beside it."""
        first = self._chunks.popleft()
        together, room = [first], first.model.chunk_size - len(first.inputs)
        for chunk in () if first.alone else list(self._chunks):
            fits = chunk.model is first.model and len(chunk.inputs) <= room
            if fits and not chunk.alone:
                together.append(chunk)
                self._chunks.remove(chunk)
                room -= len(chunk.inputs)
        return together


def _run_work(work: _Work) -> None:
    try:
        work.run()
    except Exception as error:
        work.ended.set_exception(error)
    else:
        work.ended.set_result(None)


def _run_chunks(chunks: Sequence[_Chunk]) -> None:
    outcomes = in_halves(_forward, chunks)
    for chunk, logits in zip(chunks, outcomes, strict=True):
        if isinstance(logits, Exception):
            chunk.logits.set_exception(logits)
        else:
            chunk.logits.set_result(logits)


@torch.inference_mode()
def _forward(chunks: Sequence[_Chunk]) -> list[Tensor]:
    model, sizes = chunks[0].model, [len(chunk.inputs) for chunk in chunks]
    compute_on(model.cores_for(sum(sizes)))
    inputs = torch.cat([chunk.inputs for chunk in chunks]) if len(chunks) > 1 else chunks[0].inputs
    return list(torch.split(model.run(inputs), sizes))
