"""Pictures that are trained on and tested too, whose scores say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipmask.data.files import identities
from clipmask.errors import UserError

Record = Mapping[str, Any]

MOST_ASKED = 100_000  # files that the system is asked about before a run; of more, so many


def refuse_shared(trained: Mapping[str, Sequence[Record]], tested: Mapping[str, Any]) -> None:
    """Refuses test datasets that hold pictures of the training datasets.

    A picture is the file that its path leads to; links are followed. Of more than ``MOST_ASKED``
    training pictures the paths alone are compared. A dataset that is named for both is meant so.

    Args:
        trained: name of a dataset to its dicts.
        tested: likewise.

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
                    f" {len(records)} test pictures, the first is {both}: scores on pictures that"
                    " were trained on say nothing. Put each picture into one split, or take the"
                    " dataset out of DATASETS.TEST"
                )


def shared_pictures(trained: Sequence[str], tested: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the tested paths that lead to a trained file, each with the trained path.

    Args:
        trained: paths of pictures.
        tested: likewise.
    """
    if len(trained) + len(tested) > MOST_ASKED:
        known = set(trained)
        return [(path, path) for path in tested if path in known]
    places = dict(zip(identities(trained), trained, strict=True))
    places.pop(None, None)
    found = [places.get(identity) for identity in identities(tested)]
    return [(path, other) for path, other in zip(tested, found, strict=True) if other is not None]


def _pictures(records: Sequence[Record]) -> list[str]:
    return [str(record["file_name"]) for record in records]
