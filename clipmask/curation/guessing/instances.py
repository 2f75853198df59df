"""Label maps that number instances: class * 1000 + instance as in Cityscapes, or class * 256 +
instance as in KITTI.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from clipmask.errors import UserError

# what the class is multiplied by, and whether smaller values are classes without instances
_STEPS = ((1000, True), (256, False))


def refuse_instances(found: Sequence[int]) -> None:
    """Refuses numbers of instances, each of which would be a class.

    They are known by classes of which several instances occur, counted from 0 or 1. Below 1000,
    Cityscapes has the classes that it does not count; in KITTI every class is multiplied.

    Args:
        found: the ids in the label maps.

    Raises:
        UserError: the ids look like numbers of instances.
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
                f"the label maps hold numbers such as {shown}, as instances are numbered (class *"
                f" {step} + instance); name the folder of the label maps of classes with --labels,"
                f" or save some (value // {step}{beyond}), or give the ids names in classes.txt"
                f" ({step}: car) if they are classes"
            )
