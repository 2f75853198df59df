"""Detection of label maps with instance numbers.

They hold class * 1000 + instance, as in Cityscapes, or class * 256 + instance, as in KITTI.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from clipmask.errors import UserError

# the factor of the class, and whether smaller values are classes without instances
_STEPS = ((1000, True), (256, False))


def refuse_instances(found: Sequence[int]) -> None:
    """Refuses ids that are instance numbers, because each number would become a class.

    Ids are instance numbers if classes have several instances that count from 0 or 1. In
    Cityscapes, values below 1000 are classes without instances; in KITTI, every class is
    multiplied.

    Args:
        found: the ids in the label maps.

    Raises:
        UserError: the ids look like instance numbers.
    """
    for step, smaller_are_classes in _STEPS:
        numbers: defaultdict[int, list[int]] = defaultdict(list)
        for value in found:
            if value >= step:
                numbers[value // step].append(value % step)
        plain = smaller_are_classes or not any(0 < value < step for value in found)
        several = [sorted(own) for own in numbers.values() if len(own) > 1]
        counted = all(min(own) <= 1 for own in numbers.values())
        if plain and counted and several and all(own[1] <= 2 for own in several):
            shown = ", ".join(str(value) for value in found if value >= step)[:40]
            beyond = f" where a value is {step} or more" if smaller_are_classes else ""
            raise UserError(
                f"the label maps hold numbers such as {shown}, which look like instance numbers"
                f" (class * {step} + instance); if there are label maps of classes, name their"
                f" folder with --labels; else save some (value // {step}{beyond}); or, if the"
                f" numbers are classes, give them names in classes.txt ({step}: car)"
            )
