"""``clipmask-data show``: writes labelled pictures for inspection."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from clipmask.cli.data.check import output_folder
from clipmask.cli.data.pictures import contact_sheet, read_sample, truth_beside
from clipmask.cli.written import OwnResults
from clipmask.curation.checking.pair import Pair
from clipmask.curation.checking.subject import Subject
from clipmask.errors import UserError
from clipmask.escaping import escaped


def show(
    subject: Subject,
    split: str | None,
    number: int,
    output: str | None,
    seed: int,
    *,
    force: bool = False,
) -> int:
    """Writes pictures beside their labels, and a contact sheet, for each split.

    Args:
        subject: the dataset.
        split: the split to show; None: all splits.
        number: the largest number of pictures of each split.
        output: the output folder; None: the dataset's name with ``_shown``.
        seed: the seed of the random choice.
        force: True: replace files that ClipMask did not write.

    Returns:
        1 if some of the chosen pictures could not be read, else 0.

    Raises:
        UserError: there is no such split; ``number`` or ``seed`` is out of range; the folder can't
            be used; a file in it has the name of a result, but ClipMask did not write it.
    """
    if number < 1 or seed < 0:
        raise UserError(
            f"--number {number}, --seed {seed}: the number must be 1 or more, the seed 0 or more"
        )
    if split is not None and split not in subject.splits:
        raise UserError(f"--split {split}: the splits are {', '.join(subject.splits)}")
    folder = output_folder(output or f"{subject.name}_shown", subject)
    broken, written, sheets = 0, 0, 0
    with OwnResults(folder, force) as own:
        for name in subject.splits if split is None else [split]:
            pairs = draw_pairs([p for p in subject.pairs if name in p.splits], number, seed)
            samples = []
            for pair in pairs:
                try:
                    sample = read_sample(pair, subject.format, subject.image_format)
                except UserError as error:
                    print(escaped(f"skipped: {error}"), file=sys.stderr)
                    broken += 1
                    continue
                samples.append(sample)
                place = folder / f"{name}_{len(samples):02}_{sample.caption}.png"
                _save(truth_beside(sample, subject), own, place)
            if samples:
                _save(contact_sheet(samples, subject), own, folder / f"{name}_sheet.png")
            written, sheets = written + len(samples), sheets + bool(samples)
    print(
        f"{written} labelled pictures and {sheets} contact sheet{'s' * (sheets != 1)} (*_sheet.png)"
        f" -> {folder}"
    )
    return int(bool(broken))


def draw_pairs(pairs: list[Pair], number: int, seed: int) -> list[Pair]:
    """Chooses ``number`` of the pairs (or all, if there are fewer) at random, in their order."""
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:number]
    return [pairs[position] for position in sorted(chosen)]


def _save(picture: np.ndarray, own: OwnResults, place: Path) -> None:
    own.refuse_others([place])
    try:
        Image.fromarray(picture).save(place)
    except OSError as error:
        raise UserError(f"--output {place}: can't be written ({error})") from error
    own.add(place)
