"""Statistics over seeds: means, standard deviations, and paired differences with intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Summary(NamedTuple):
    """The mean, the standard deviation (nan for one value) and the number of some values."""

    mean: float
    deviation: float
    number: int


class Difference(NamedTuple):
    """The difference between two variants on their common seeds.

    Attributes:
        mean: the mean of the differences, first minus second.
        low, high: the ends of the 95 % confidence interval of the mean, by Student's t; nan for a
            single seed.
        number: the number of seeds.
    """

    mean: float
    low: float
    high: float
    number: int

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def summarize(values: Mapping[int, float]) -> Summary:
    """Returns the mean and standard deviation of the finite values, which are given by seed."""
    known = [value for value in values.values() if math.isfinite(value)]
    if not known:
        return Summary(math.nan, math.nan, 0)
    deviation = statistics.stdev(known) if len(known) > 1 else math.nan
    return Summary(statistics.fmean(known), deviation, len(known))


def paired(values: Mapping[int, float], others: Mapping[int, float]) -> Difference:
    """Compares two variants seed by seed, which removes the effect that a seed has on both.

    Args:
        values: seed -> value of the first variant.
        others: seed -> value of the second variant, which is subtracted.
    """
    both = [values[seed] - others[seed] for seed in values if seed in others]
    mean, deviation, number = summarize(dict(enumerate(both)))
    if number < 2:
        return Difference(mean, math.nan, math.nan, number)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, number - 1)) * deviation / math.sqrt(number)
    return Difference(mean, mean - half, mean + half, number)
