"""How a map is brought to the range of its colours: the normalisation of Captum's pictures."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from expound_client.errors import InvalidArgumentError

Sign: TypeAlias = Literal["all", "positive", "negative", "absolute"]
"""Which values are drawn: all with their signs; those that speak for the target, those that speak
against it, or all as magnitudes."""

SIGNS: tuple[Sign, ...] = get_args(Sign)
OUTLIER_PERC = 2.0


@dataclass(frozen=True, eq=False)
class NormalizedMap:
    """A map in the range of its colours.

    Attributes:
        positions: (H, W), in [-1, 1] for `sign` "all", in [0, 1] for the others; zero everywhere
            for an empty map.
        sign: which values it holds.
        limit: magnitude, in units of the explained score, from which on a value takes the strongest
            colour; 0 for an empty map.
    """

    positions: NDArray[np.floating]
    sign: Sign
    limit: float

    @property
    def empty(self) -> bool:
        """Whether nothing is left to draw: the map has no value of this sign but zero."""
        return self.limit == 0

    @property
    def signed(self) -> bool:
        """Whether it holds something that speaks against the target, as a negative position."""
        return bool((self.positions < 0).any())


def normalize(
    values: NDArray[np.floating], *, sign: Sign = "all", outlier_perc: float = OUTLIER_PERC
) -> NormalizedMap:
    """Brings a map to the range of its colours.

    The values are divided by the magnitude below which lie ``100 - outlier_perc`` percent of the
    sum of all magnitudes, and clipped.

    Args:
        values: (C, H, W), whose channels are summed, or (H, W); finite.
        sign: which values are kept.
        outlier_perc: share of the sum of all magnitudes, 0 to 100 percent, whose values, the
            strongest, all take the strongest colour.

    Raises:
        InvalidArgumentError: `sign` or `outlier_perc` is none of those.
    """
    if not 0 <= outlier_perc <= 100:
        raise InvalidArgumentError.of("outlier_perc", f"must be from 0 to 100, not {outlier_perc}")
    kept = _kept(_flat(values), sign)
    limit = _limit(np.abs(kept), outlier_perc)
    if limit == 0:
        return NormalizedMap(np.zeros_like(kept), sign, 0.0)
    # Clipped first: a quotient by a limit near zero could overflow.
    positions = np.clip(kept, -limit, limit) / limit
    return NormalizedMap(-positions if sign == "negative" else positions, sign, limit)


def _flat(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """(H, W) of a map, its channels summed; half precision is widened, for its sums overflow."""
    wide = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    flat: NDArray[np.floating] = wide.sum(axis=0) if wide.ndim == 3 else wide
    return flat


def _kept(flat: NDArray[np.floating], sign: Sign) -> NDArray[np.floating]:
    """The values of a sign, the others zero; raises InvalidArgumentError for no sign."""
    if sign not in SIGNS:
        raise InvalidArgumentError.of("sign", f"must be one of {', '.join(SIGNS)}, not {sign!r}")
    kept: NDArray[np.floating] = flat
    if sign == "positive":
        kept = np.maximum(flat, 0)
    elif sign == "negative":
        kept = np.minimum(flat, 0)
    elif sign == "absolute":
        kept = np.abs(flat)
    return kept


def _limit(magnitudes: NDArray[np.floating], outlier_perc: float) -> float:
    """The magnitude that takes the strongest colour; 0 when all are 0."""
    ascending = np.sort(magnitudes, axis=None)
    mass = np.cumsum(ascending)
    wanted = mass[-1] * 0.01 * (100.0 - outlier_perc)
    # Rounded, the product may be above the whole mass.
    index = min(int(np.searchsorted(mass, wanted)), len(mass) - 1)
    # At 100 percent every value is an outlier, the zeros apart: the smallest other is the limit.
    reached = ascending[index:]
    return float(reached[np.argmax(reached > 0)])
