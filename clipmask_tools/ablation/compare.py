"""Statistics over seeds: means, deviations and paired differences with their confidence
intervals.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Summary(NamedTuple):
    """Of the values of some seeds: their mean, their standard deviation (nan of one) and their
    number.
    """

    mean: float
    deviation: float
    number: int


class Difference(NamedTuple):
    """Of two variants on the seeds that both have.

    Attributes:
        mean: of the differences, the second's value taken from the first's.
        low, high: the ends of the 95 % interval of that mean, by Student's t; nan where one seed
            tells of none.
        number: of the seeds.
    """

    mean: float
    low: float
    high: float
    number: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def summarize(values: Mapping[int, float]) -> Summary:
    """Returns mean and deviation of the finite values; ``values`` maps seeds to them."""
    known = [value for value in values.values() if math.isfinite(value)]
    if not known:
        return Summary(math.nan, math.nan, 0)
    return Summary(
        statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else math.nan, len(known)
    )


def paired(values: Mapping[int, float], others: Mapping[int, float]) -> Difference:
    """Compares two variants seed by seed, which takes out what a seed does to both.

    Args:
        values: seed to value of the one.
        others: of the other, whose values are subtracted.
    """
    both = [values[seed] - others[seed] for seed in values if seed in others]
    mean, deviation, number = summarize(dict(enumerate(both)))
    if number < 2:
        return Difference(mean, math.nan, math.nan, number)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, number - 1)) * deviation / math.sqrt(number)
    return Difference(mean, mean - half, mean + half, number)
