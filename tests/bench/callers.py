"""Many callers at once: answers a second and latencies, beside bare tasks and a Captum loop."""

from concurrent.futures import ThreadPoolExecutor

from expound_client import AsyncClient
from expound_client import methods as m
from tests import photos
from tests.bench.bare_task import bare_worker, call
from tests.bench.load import Ask, Load, closed_loop, open_loop
from tests.bench.notebook import fastest
from tests.bench.table import Row, Table, columns, median, seconds, values_in_turns
from tests.service import Service

CALLERS = (1, 8, 32, 128, 256)
BESIDE = 32
IMAGES = 32
ROUNDS = 3
LASTING_S = 4.0
_BARE_CALLS = 20
_NOTEBOOK_S = 1.0


def run(service: Service) -> list[Table]:
    """Latencies of one to 256 callers, and what 32 of them get beside the floors."""
    return [_latencies(service), _beside_bare_tasks(service), _beside_captum(service)]


def _latencies(service: Service) -> Table:
    table = Table("callers", "Saliency on the CIFAR network, latencies in ms")
    ask = _saliency(1)
    for callers in CALLERS:
        load = closed_loop(service.address, ask, callers=callers, seconds=LASTING_S)
        table.rows.append(_row(f"{callers} callers", load))
    rate = 0.5 * float(table.rows[-1]["answers /s"])
    load = open_loop(service.address, ask, rate=rate, seconds=LASTING_S)
    table.rows.append(_row(f"open, {rate:.0f} /s", load))
    return table


def _row(name: str, load: Load) -> Row:
    percentiles: Row = {f"p{percent}": load.percentile_ms(percent) for percent in (50, 95, 99)}
    return {"load": name, "answers /s": load.rate, **percentiles, "refused": load.refused}


def _beside_bare_tasks(service: Service) -> Table:
    table = Table("beside_bare_tasks", f"{BESIDE} callers, CIFAR, answers a second")

    def bare() -> object:
        with ThreadPoolExecutor(BESIDE) as pool:
            return [call.result() for call in [pool.submit(_call_on) for _ in range(BESIDE)]]

    with bare_worker(service.redis.url):
        bare()
        rates = values_in_turns(
            {
                "bare tasks": lambda: BESIDE * _BARE_CALLS / seconds(bare),
                "saliency": lambda: _images_a_second(service, 1),
            },
            ROUNDS,
        )
    table.rows.append(_beside(rates))
    return table


def _call_on() -> None:
    for _ in range(_BARE_CALLS):
        call()


def _beside_captum(service: Service) -> Table:
    table = Table("beside_captum", f"{BESIDE} callers, {IMAGES} images a request, images a second")
    loop = fastest("cifar", m.Saliency())
    rates = values_in_turns(
        {
            "captum loop": lambda: loop.rate(_NOTEBOOK_S),
            "saliency": lambda: _images_a_second(service, IMAGES),
        },
        ROUNDS,
    )
    table.rows.append(_beside(rates))
    return table


def _images_a_second(service: Service, images: int) -> float:
    """What callers get whose requests have so many images each."""
    ask = _saliency(images)
    return images * closed_loop(service.address, ask, callers=BESIDE, seconds=LASTING_S).rate


def _beside(rates: dict[str, list[float]]) -> Row:
    """Both rates, and the second relative to the first."""
    floor, ours = rates
    ratio = median(rates[ours]) / median(rates[floor])
    return {
        **columns(floor, "/s", rates[floor]),
        **columns(ours, "/s", rates[ours]),
        "ratio": ratio,
    }


def _saliency(images: int) -> Ask:
    photo = photos.encoded("cifar")

    async def ask(client: AsyncClient) -> object:
        explanation = await client.explain(
            [photo] * images, model="cifar", methods=["saliency"], wait_s=60
        )
        return await explanation.result(60)

    return ask
