"""Work that was begun with another version of its model: none goes on with this worker's.

While a new version of a model is rolled out, workers serve different weights under one name. What
was predicted, scored or explained with one of them says nothing of the other.
"""

from collections.abc import Callable, Sequence

from expound.reasons import Reason
from expound.v1 import explanation_pb2, model_service_pb2
from expound_worker.methods.method import MethodError
from expound_worker.models.cards import resource_name
from expound_worker.models.model import Model
from expound_worker.unit import Released, Unit

Predictions = Sequence[explanation_pb2.Prediction]


def take_over(
    unit: Unit,
    kind: str,
    model: Model,
    provenance: explanation_pb2.Provenance,
    predict: Callable[[], Predictions],
) -> Predictions | None:
    """Begins anew what was begun with a version that no worker serves any more.

    Args:
        unit: a unit that this worker has claimed.
        kind: which kind of work it is.
        model: this worker's model of the name that the request asks for.
        provenance: of what this worker makes.
        predict: what this worker's model says of the inputs.

    Returns:
        The predictions that now stand in the record; None where this worker's model made those that
        stood there, or there were none.

    Raises:
        Released: a live worker serves the version that the work was begun with.
        Stopped: the unit is no longer this worker's.
        MethodError: a method has ended with the other version, so that what is left cannot be this
            one's.
    """
    before = unit.provenance()
    if before is None or _version(before) == _version(provenance):
        return None
    if _is_served(before, unit, kind, model):
        raise Released(later=True)
    predictions = predict()
    if not unit.begin_anew(predictions, provenance):
        raise MethodError(
            Reason.MODEL_NOT_FOUND,
            f"this explanation was begun with version {before.model_version} of {before.model}, "
            f"which no worker serves any more; ask again for one of {provenance.model_version}",
        )
    return predictions


def _is_served(wanted: explanation_pb2.Provenance, unit: Unit, kind: str, model: Model) -> bool:
    """Whether a live worker, of the pool and the kind of this one, serves a version."""
    return any(
        worker.pool == model.pool and kind in worker.kinds and _holds(worker.models, wanted, model)
        for worker in unit.store.workers()
    )


def _holds(
    cards: Sequence[model_service_pb2.Model], wanted: explanation_pb2.Provenance, model: Model
) -> bool:
    return any(
        card.name == resource_name(model) and (card.version, card.digest) == _version(wanted)
        for card in cards
    )


def _version(made_by: explanation_pb2.Provenance) -> tuple[str, str]:
    return made_by.model_version, made_by.model_digest
