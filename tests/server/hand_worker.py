"""A worker moved by hand: it publishes a card, and runs the scripts that a real worker runs."""

import base64
import json
from typing import Any

import msgpack
import numpy as np
import redis
from google.protobuf.duration_pb2 import Duration

from expound import records, tasks
from expound.reasons import Reason, status
from expound.tensors import to_tensor
from expound.v1 import explanation_pb2, model_service_pb2, worker_pb2

Capability = model_service_pb2.Capability
SUPPORTED = (
    "saliency",
    "integrated_gradients",
    "grad_cam",
    "occlusion",
    "lime",
    "kernel_shap",
    "partition_shap",
)


def model(
    name: str, *, pool: str = tasks.DEFAULT_POOL, layers: bool = True
) -> model_service_pb2.Model:
    """Card of a model of inputs (3, 8, 6) and 4 classes; two of them are labelled "bird"."""
    card = model_service_pb2.Model(
        name=f"models/{name}",
        pool=pool,
        input_shape=[3, 8, 6],
        class_count=4,
        labels=["cat", "dog", "bird", "bird"],
    )
    for method in SUPPORTED:
        card.capabilities.add(method=method, support=Capability.SUPPORT_SUPPORTED)
    if layers:
        card.layers.add(name="features.0", kind="Conv2d", output_shape=[4, 4, 3], default=True)
    else:
        for capability in card.capabilities:
            if capability.method == "grad_cam":
                capability.support = Capability.SUPPORT_UNSUPPORTED
                capability.reason = "it has no layer with a spatial output"
    return card


class HandWorker:
    """One worker; all of its steps are taken by the test.

    Attributes:
        needs_ticket: whether what it has created last needs a ticket.
    """

    needs_ticket: bool

    def __init__(self, redis_url: str, worker: str = "hand") -> None:
        self.redis = redis.Redis.from_url(redis_url, socket_timeout=30)
        self.worker = worker
        self.weights = records.weights("", "")

    def run(self, script: str, *arguments: str | bytes | int) -> Any:
        """Runs one script of the contract."""
        source = records.script(script)
        return self.redis.eval(source, 1, records.PREFIX, *arguments)

    def publish(
        self,
        *models: model_service_pb2.Model,
        kinds: tuple[str, ...] = (tasks.GRADIENT, tasks.PERTURBATION),
        pool: str = tasks.DEFAULT_POOL,
        alive_ms: int = 60_000,
    ) -> None:
        """Publishes the worker's card."""
        card = worker_pb2.WorkerCard(worker=self.worker, pool=pool, kinds=kinds, models=models)
        self.run("heartbeat", self.worker, alive_ms, card.SerializeToString())

    def create(
        self,
        explanation_id: str,
        *,
        request_id: str = "",
        digest: str = "digest",
        methods: tuple[str, ...] = ("saliency",),
        timeout_ms: float = 60_000,
        ttl_ms: float = 60_000,
        tenant: str = "default",
        limits: tuple[int, int, int] = (0, 0, 0),
        question: str = "",
        max_reuse_age_ms: float = 60_000,
        stored_bytes: int = 0,
        waiting: str = "",
        lasting: bool = False,
        inputs: tuple[bytes, ...] = (b"first", b"second"),
    ) -> tuple[str, str]:
        """Creates a record as a server does.

        `limits` are those of requests in flight, of images a minute and of what may wait.
        """
        request = explanation_pb2.ExplainRequest(model="tiny")
        for method in methods:
            added = request.methods.add(key=method)
            getattr(added, method).SetInParent()
        requests_in_flight, images_per_minute, max_waiting = limits
        asked = {
            "id": explanation_id,
            "request_id": request_id,
            "hash": digest,
            "tenant": tenant,
            "model": "models/tiny",
            "pool": tasks.DEFAULT_POOL,
            "methods": len(methods),
            "timeout_us": int(timeout_ms * 1000),
            "ttl_us": int(ttl_ms * 1000),
            "group": digest,
            "lasting": lasting,
            "weights": self.weights,
            "questions": [f"{question}{index}" for index in range(len(methods))]
            if question
            else [],
            "max_reuse_age_us": int(max_reuse_age_ms * 1000),
            "waiting": waiting,
            "max_waiting": max_waiting,
            "requests_in_flight": requests_in_flight,
            "images_per_minute": images_per_minute,
            "stored_bytes": stored_bytes,
        }
        outcome, found, needs_ticket, *_ = self.run(
            "create", msgpack.packb(asked), request.SerializeToString(), *inputs
        )
        self.needs_ticket = needs_ticket == 1
        return outcome.decode(), found.decode()

    def claim(self, explanation_id: str, unit: str | int = records.EXPLAIN_UNIT) -> int | None:
        """Claims a unit; gives the attempt."""
        claimed = self.run("claim", explanation_id, str(unit), self.worker, "")
        return None if claimed is None else int(claimed[0])

    def progress(self, explanation_id: str, unit: int, attempt: int, done: int) -> int:
        """Reports progress of a method, with a second left."""
        progress = explanation_pb2.Progress(evaluations_done=done, time_left=Duration(seconds=1))
        payload = explanation_pb2.MethodProgressed(
            key="lime", progress=progress
        ).SerializeToString()
        return int(self.run("progress", explanation_id, str(unit), attempt, payload, payload))

    def predict(self, explanation_id: str, attempt: int) -> int:
        """Writes predictions and provenance."""
        predictions = explanation_pb2.PredictionsReady()
        predictions.predictions.add().classes.add(index=0, label="cat", probability=0.75)
        payload = predictions.SerializeToString()
        provenance = explanation_pb2.Provenance(worker=self.worker).SerializeToString()
        return int(self.run("predict", explanation_id, attempt, payload, provenance, self.weights))

    def succeed(
        self,
        explanation_id: str,
        unit: int,
        attempt: int,
        size: int = 8,
        done: int = 0,
        inputs: int = 1,
    ) -> int:
        """Ends a method with a map of `size` times 6 an input, no two of them equal.

        It says that it took so many evaluations if any are given.
        """
        result = explanation_pb2.MethodResult()
        if done:
            result.progress.evaluations_done = done
        values = np.arange(size * 6, dtype=np.float32).reshape(size, 6)
        for index in range(inputs):
            result.attributions.add(
                input_index=index,
                values=to_tensor(values + index),
                score=explanation_pb2.SCORE_PROBABILITY,
                output=0.5,
            )
        whole = result.SerializeToString()
        for attribution in result.attributions:
            attribution.ClearField("values")
        ended = (str(int(explanation_pb2.STATE_SUCCEEDED)), b"", whole, result.SerializeToString())
        return int(self.run("finish", explanation_id, str(unit), attempt, *ended))

    def fail(self, explanation_id: str, unit: int, attempt: int) -> int:
        """Ends a method with an error."""
        error = status(Reason.MODEL_ERROR, "the model broke").SerializeToString()
        ended = (str(int(explanation_pb2.STATE_FAILED)), error, b"", b"")
        return int(self.run("finish", explanation_id, str(unit), attempt, *ended))

    def work_off(self, explanation_id: str, methods: int = 1) -> None:
        """Takes an explanation from its claim to its end."""
        attempt = self.claim(explanation_id)
        if attempt is None:
            raise RuntimeError(f"{explanation_id} is not to be claimed")
        self.predict(explanation_id, attempt)
        for unit in range(methods):
            claimed = self.claim(explanation_id, unit)
            if claimed is None:
                raise RuntimeError(f"method {unit} of {explanation_id} is not to be claimed")
            self.succeed(explanation_id, unit, claimed)

    def next_ticket(self, queue: str = tasks.GRADIENT) -> dict[str, Any]:
        """Waits for a ticket and takes it: its task's name, arguments and content type."""
        found = self.redis.brpop([tasks.queue_key(queue)], timeout=10)
        if found is None:
            raise TimeoutError(f"no ticket came to {queue}")
        message = json.loads(found[1])
        arguments, keywords, _ = json.loads(base64.b64decode(message["body"]))
        return {
            "task": message["headers"]["task"],
            "arguments": arguments,
            "keywords": keywords,
            "content_type": message["content-type"],
        }

    def tickets(self, queue: str = tasks.GRADIENT) -> int:
        """Number of tickets that wait in a queue."""
        return int(self.redis.llen(tasks.queue_key(queue)))

    def record(self, explanation_id: str) -> dict[bytes, bytes]:
        """The fields of a record."""
        fields: dict[bytes, bytes] = self.redis.hgetall(records.record_key(explanation_id))  # type: ignore[assignment]  # sync client
        return fields
