"""Runs the methods on a classifier, and gives a verdict on each."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from expound.reasons import Reason
from expound_worker.methods.catalogue import GRADIENT_METHODS, METHODS, PERTURBATION_METHODS
from expound_worker.methods.method import Answer, MethodError
from expound_worker.models.model import Model
from tests.numeric.models import ignore, resolved
from tests.zoo.checks import Verdict, judge
from tests.zoo.subject import Subject
from tests.zoo.trials import TRIALS, Trial

LIMIT_S = 120.0
"""Processor time that one method may take on one classifier, its check included."""
_REFUSALS = (Reason.METHOD_UNSUPPORTED, Reason.NOT_COMPLETE, Reason.NOT_FINITE)
"""Reasons of a refusal that concerns the model or the input; another one is a failure."""


class TooSlow(BaseException):
    """The time is up. No Exception: a method that catches those must not go on."""


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        model: name of the classifier.
        method: name of the method, or of what stands beside it.
        verdict: what came of it.
        error: the error found, where there is an answer.
        seconds: processor time of the answer, on one core.
        reason: why there is no answer, or what is wrong with it.
    """

    model: str
    method: str
    verdict: Verdict
    error: float | None = None
    seconds: float | None = None
    reason: str = ""


def run_method(
    subject: Subject, name: str, trial: Trial | None = None, limit_s: float = LIMIT_S
) -> Cell:
    """Runs one method of the catalogue on a classifier, and checks its answer.

    Its own trial is run where no other one is given.
    """
    trial = trial or TRIALS[name]
    refusal = METHODS[name].refusal(subject.model)
    if refusal is not None:
        return Cell(subject.name, name, Verdict.REFUSED, reason=refusal)
    return measured(subject.name, name, lambda: _answered(subject, name, trial), limit_s)


def measured(
    model: str,
    method: str,
    run: Callable[[], tuple[Verdict, float | None, float, str]],
    limit_s: float,
) -> Cell:
    """The cell of a run that gives verdict, error, seconds and reason, or raises."""
    try:
        with processor_time_limit(limit_s):
            return Cell(model, method, *run())
    except TooSlow:
        return Cell(model, method, Verdict.SLOW, reason=f"more than {limit_s:g} s")
    except MethodError as error:
        verdict = Verdict.REFUSED if error.reason in _REFUSALS else Verdict.WRONG
        return Cell(model, method, verdict, reason=error.message)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Cell(model, method, Verdict.WRONG, reason=f"raises {cause}")


@contextmanager
def processor_time_limit(limit_s: float) -> Iterator[None]:
    """Raises TooSlow when this process has computed for so long, inside the block."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _answered(subject: Subject, name: str, trial: Trial) -> tuple[Verdict, float, float, str]:
    parameters, model = resolved(trial.parameters(subject)), trial.model(subject)
    start = time.process_time()
    answer = _answer(subject, model, name, parameters)
    seconds = time.process_time() - start
    check = trial.check(subject, answer)
    verdict, reason = judge(answer, check)
    return verdict, check.error, seconds, reason


def _answer(subject: Subject, model: Model, name: str, parameters: object) -> Answer:
    if name in GRADIENT_METHODS:
        (answer,) = GRADIENT_METHODS[name].attribute(model, subject.batch, parameters, seed=0)
    else:
        (answer,) = PERTURBATION_METHODS[name].attribute(
            model, subject.image, [subject.target], parameters, 0, ignore
        )
    return answer
