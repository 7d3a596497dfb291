"""The device of a worker's child process: its models, its store and the work it runs."""

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial

from expound import records, tasks
from expound.v1 import worker_pb2
from expound.v1.model_service_pb2 import Capability
from expound_worker import explain, perturb
from expound_worker.claims import Claims
from expound_worker.connection import connect
from expound_worker.decoding.decoder import Decoder
from expound_worker.heartbeat import Heartbeat
from expound_worker.jobs import Jobs
from expound_worker.kept_sizes import KeptSizes
from expound_worker.leases import Leases
from expound_worker.listener import Listener
from expound_worker.loop import DeviceLoop
from expound_worker.models.capabilities import capabilities_at_load
from expound_worker.models.cards import resource_name, worker_card
from expound_worker.models.model import Model
from expound_worker.models.registry import Registry
from expound_worker.prober import Prober
from expound_worker.process.watchdog import Watchdog
from expound_worker.reader import Reader
from expound_worker.settings import Settings
from expound_worker.store import Store
from expound_worker.unit import Released, Work

logger = logging.getLogger(__name__)

MAX_JOBS = 4
_MAX_READERS = 4
_LISTEN_S = 1.0

Send = Callable[[str, int, str], None]
"""Sends the ticket of one perturbation method: explanation id, method index, queue."""


class Device:
    """Owns the models of one child process and runs the units of work that its tickets name."""

    def __init__(self, settings: Settings, worker: str, send: Send) -> None:
        self._settings = settings
        self._send = send
        client = connect(settings.redis_url)
        self._store = Store(client, worker)
        self._claims = Claims(self._store)
        self._leases = Leases(self._store)
        self._decode = Decoder()
        self._reader = Reader(self._decode, min(len(os.sched_getaffinity(0)), _MAX_READERS))
        self._models = Registry.load(settings.models, settings.pool, KeptSizes(client))
        self._batch_sizes = {resource_name(model): model.batch_size for model in self._models}
        self._loop = DeviceLoop()
        self._stopping = threading.Event()
        self._one_alone = threading.Lock()
        self._listeners = [self._listener(lasting=lasting) for lasting in (False, True)]
        forward = self._loop.forward
        self._job_models = {
            alone: self._models.forwarding(partial(forward, alone=alone)) for alone in (False, True)
        }
        self._jobs = Jobs(MAX_JOBS, self._perturb, self._next_job)
        self._capabilities: dict[str, Sequence[Capability]] = {
            model.name: capabilities_at_load(model) for model in self._models
        }
        step_s = self._loop.step_s
        self._heartbeat = Heartbeat(
            self._store, self._card(), settings.heartbeat_file, step_s, settings.hung_after_s
        )
        self._watchdog = Watchdog(step_s, settings.max_step_s)
        self._prober = Prober(client, self._models, self._learn)

    def start(self) -> None:
        """Takes work, and tells that the worker lives, from now on and until `stop`."""
        # What is loaded by now stays; the garbage collector need not go through it again.
        gc.freeze()
        self._leases.start()
        self._loop.start()
        if tasks.GRADIENT in self._settings.kinds:
            for listener in self._listeners:
                listener.start()
        self._jobs.start(listening=tasks.PERTURBATION in self._settings.kinds)
        self._heartbeat.start()
        self._watchdog.start()
        self._prober.start()
        names = ", ".join(model.name for model in self._models)
        logger.info("worker %s serves %s", self._store.worker, names)

    def stop(self) -> None:
        """Ends what it has begun, and stops telling that the worker lives."""
        self._stopping.set()
        for listener in self._listeners:
            listener.join()
        self._prober.stop()
        self._jobs.stop()
        self._loop.stop()
        self._watchdog.stop()
        self._leases.stop()
        self._heartbeat.stop()
        self._reader.close()
        self._decode.close()

    def explain(self, explanation_id: str) -> None:
        """Makes it look whether an explanation waits for the unit ``explain``, to run it."""
        for listener in self._listeners:
            listener.look(explanation_id)

    def perturb(self, explanation_id: str, method_index: int) -> None:
        """Starts one perturbation method of an explanation, unless another worker has it."""
        self._jobs.offer(explanation_id, method_index)

    def _card(self) -> worker_pb2.WorkerCard:
        return worker_card(self._store.worker, self._settings, self._models, self._capabilities)

    def _learn(self, model: Model, capabilities: Sequence[Capability]) -> None:
        self._capabilities[model.name] = capabilities
        self._heartbeat.update(self._card())

    def _listener(self, *, lasting: bool) -> Listener:
        """Takes explanations of which gradient work lasts, or those of which it does not."""
        pool, sizes = self._settings.pool, self._batch_sizes
        queue = records.lasting_queue(pool) if lasting else pool
        return Listener(
            lambda explanation_id: self._claims.take_ready(queue, explanation_id, sizes),
            lambda: self._claims.wait_ready(queue, _LISTEN_S, sizes),
            partial(self._explain, lasting=lasting),
            self._stopping,
        )

    def _explain(self, works: Sequence[Work], *, lasting: bool) -> Future[None] | None:
        again = any(work.unit.attempt > 1 for work in works)
        with ExitStack() as until_ended:
            until_ended.enter_context(self._leases.held([work.unit for work in works]))
            if again:
                until_ended.enter_context(self._nothing_else())
            images = explain.read(works, self._models, self._reader)
            if not images:
                return None
            give_way = partial(self._give_way, again) if lasting else self._go_on
            run = partial(explain.run, images, self._models, self._hand_out, give_way)
            ended = self._loop.run(run, lasting=lasting)
            # One alone has nobody behind it most of the time, and to look takes time from it.
            if again or lasting or len(images) == 1:
                ended.result()
                return None
            leases = until_ended.pop_all()
            ended.add_done_callback(lambda _: leases.close())
            return ended

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise Released

    def _give_way(self, again: bool) -> None:
        # Should it end the worker again, short work beside it is lost once, and then runs alone.
        self._go_on()
        self._loop.give_way(refuses=again)

    @contextmanager
    def _nothing_else(self) -> Iterator[None]:
        """Gives all else back: what may have ended a worker before takes none with it again."""
        with self._one_alone, self._loop.refusing(), self._jobs.none():
            yield

    def _next_job(self) -> tuple[str, int] | None:
        return self._claims.next_job(self._settings.pool, _LISTEN_S)

    def _hand_out(self, explanation_id: str, method_index: int) -> None:
        queue = tasks.queue(tasks.PERTURBATION, self._settings.pool)
        self._send(explanation_id, method_index, queue)

    def _perturb(self, explanation_id: str, method_index: int) -> None:
        work = self._claims.take(explanation_id, str(method_index))
        if work is None:
            return
        again = work.unit.attempt > 1
        with self._leases.held([work.unit]), self._jobs.alone() if again else nullcontext():
            models = self._job_models[work.request.deterministic]
            perturb.run(work, method_index, models, self._decode, self._jobs.stopping)
