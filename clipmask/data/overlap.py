"""Detection of pictures that are in the training and the test data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipmask.data.files import identities
from clipmask.errors import UserError

Record = Mapping[str, Any]

MOST_CHECKED = 100_000  # files that are looked up on disk before a run; of more files, this many


def refuse_shared(trained: Mapping[str, Sequence[Record]], tested: Mapping[str, Any]) -> None:
    """Refuses test datasets that hold pictures of the training datasets.

    Two paths show the same picture if they lead to the same file, also over links. If there are
    more than ``MOST_CHECKED`` pictures, only the paths are compared. A dataset that is named for
    both training and test is accepted, because its user did so on purpose.

    Args:
        trained: the names of the training datasets -> their dicts.
        tested: the names of the test datasets -> their dicts.

    Raises:
        UserError: two datasets of different names share a picture.
    """
    for test, records in tested.items():
        if test in trained:
            continue
        for train, others in trained.items():
            shared = shared_pictures(_pictures(others), _pictures(records))
            if shared:
                one, other = shared[0]
                both = one if one == other else f"{one}, which is {other},"
                raise UserError(
                    f"DATASETS.TRAIN {train!r} and DATASETS.TEST {test!r} share {len(shared)} of"
                    f" {len(records)} test pictures, the first is {both}: scores on training"
                    " pictures are meaningless. Put each picture into one split, or remove the"
                    " dataset from DATASETS.TEST"
                )


def shared_pictures(trained: Sequence[str], tested: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the test paths that lead to a training picture, each with the training path.

    Args:
        trained: the paths of the training pictures.
        tested: the paths of the test pictures.
    """
    if len(trained) + len(tested) > MOST_CHECKED:
        known = set(trained)
        return [(path, path) for path in tested if path in known]
    places = dict(zip(identities(trained), trained, strict=True))
    places.pop(None, None)
    found = [places.get(identity) for identity in identities(tested)]
    return [(path, other) for path, other in zip(tested, found, strict=True) if other is not None]


def _pictures(records: Sequence[Record]) -> list[str]:
    return [str(record["file_name"]) for record in records]
