"""``clipmask-data show``: labelled pictures to look at."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from clipmask.cli.data.check import output_folder
from clipmask.cli.data.pictures import contact_sheet, read_sample, truth_beside
from clipmask.curation.checking.pair import Pair
from clipmask.curation.checking.subject import Subject
from clipmask.errors import UserError
from clipmask.escaping import escaped


def show(subject: Subject, split: str | None, number: int, output: str | None, seed: int) -> int:
    """Writes pictures beside their labels, and a contact sheet, for each split.

    Args:
        subject: the dataset.
        split: the one to show; None: all.
        number: pictures of each split, at most.
        output: folder; None: the dataset's name with ``_shown``.
        seed: of the choice.

    Returns:
        1 if some of the chosen could not be read, else 0.

    Raises:
        UserError: there is no such split; ``number`` or ``seed`` makes no sense; the folder can't
            be used.
    """
    if number < 1 or seed < 0:
        raise UserError(
            f"--number {number}, --seed {seed}: at least one picture, and a seed of 0 or more"
        )
    if split is not None and split not in subject.splits:
        raise UserError(f"--split {split}: there is {', '.join(subject.splits)}")
    folder = output_folder(output or f"{subject.name}_shown", subject)
    broken, written, sheets = 0, 0, 0
    for name in subject.splits if split is None else [split]:
        samples = []
        for pair in draw_pairs(
            [pair for pair in subject.pairs if name in pair.splits], number, seed
        ):
            try:
                sample = read_sample(pair, subject.format, subject.image_format)
            except UserError as error:
                print(escaped(f"skipped: {error}"), file=sys.stderr)
                broken += 1
                continue
            samples.append(sample)
            _save(
                truth_beside(sample, subject),
                folder,
                f"{name}_{len(samples):02}_{sample.caption}.png",
            )
        if samples:
            _save(contact_sheet(samples, subject), folder, f"{name}_sheet.png")
        written, sheets = written + len(samples), sheets + bool(samples)
    print(
        f"{written} labelled pictures and {sheets} contact sheet{'s' * (sheets != 1)} (*_sheet.png)"
        f" -> {folder}"
    )
    return 1 if broken else 0


def draw_pairs(pairs: list[Pair], number: int, seed: int) -> list[Pair]:
    """Draws ``number`` of the pairs, or all if there are fewer, and keeps their order."""
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:number]
    return [pairs[position] for position in sorted(chosen)]


def _save(picture: np.ndarray, folder: Path, name: str) -> None:
    try:
        Image.fromarray(picture).save(folder / name)
    except OSError as error:
        raise UserError(f"--output {folder}: can't be written to ({error})") from error
