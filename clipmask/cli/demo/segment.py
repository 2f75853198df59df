"""The demo's loop over pictures, and what it shares with that over films: the bar, the count, what
--output means.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from clipmask.cli.demo.inputs import Input
from clipmask.cli.demo.truth import LabelledPictures
from clipmask.cli.written import OwnResults
from clipmask.data.file_names import result_names
from clipmask.errors import UserError
from clipmask.escaping import escaped
from clipmask.film.video import CODECS
from clipmask.inference import Picture, Predictor, Segmentation
from clipmask.inference.segmentation import ENDINGS, result_name, server_id_table
from clipmask.paths import user_path

# What looks like the ending of a file; v2 and 1.5 are ends of folders' names.
_ENDING = re.compile(r"\.(?!v\d)[a-z][a-z0-9]{2,3}")


class Tally:
    """Counts pixels of each class over many results.

    Args:
        names: of the classes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.pixels = names, np.zeros(len(names), dtype=np.int64)

    def add(self, result: Segmentation) -> None:
        """Counts one result."""
        self.pixels += result.pixels

    def most_frequent(self, count: int = 3) -> str:
        """Returns the classes with most pixels and their percentage, for reading."""
        order = [k for k in np.argsort(-self.pixels, kind="stable")[:count] if self.pixels[k]]
        return ", ".join(
            f"{self.names[k].split(';')[0]} {100 * self.pixels[k] / self.pixels.sum():.1f}%"
            for k in order
        )


def progress_bar(total: int | None, unit: str) -> tqdm:
    """A progress bar on stderr; a redirected one is a line for each update, so these come
    seldom.
    """
    return tqdm(
        total=total,
        unit=f" {unit}",
        desc="segmenting",
        mininterval=0.1 if sys.stderr.isatty() else 30.0,
    )


def segment_pictures(
    load: Callable[[], Predictor],
    inputs: Sequence[Input],
    output: Path,
    kinds: Sequence[str],
    *,
    dataset: LabelledPictures | None = None,
    force: bool = False,
) -> int:
    """Segments pictures.

    Args:
        load: makes the predictor; called when it is known where results go.
        inputs: the pictures.
        output: a folder, or a file for a single picture.
        kinds: what to save of each, some of ``KINDS``.
        dataset: what the pictures are from, if they have labels.
        force: write over files that ClipMask did not write itself.

    Returns:
        1 if some of the pictures could not be read, else 0.

    Raises:
        UserError: a result can't be written, or would take the place of a file that ClipMask
            did not write; or the model has no server ids to write.
    """
    paths = [picture.path for picture in inputs]
    fitting = (
        {ENDINGS[kinds[0]]}
        if len(kinds) == 1 and kinds[0] in ENDINGS
        else Image.registered_extensions()
    )
    single = is_file(
        output,
        fitting,
        {*Image.registered_extensions(), *CODECS, *ENDINGS.values()} - {*fitting},
    )
    if single and (len(inputs) > 1 or len(kinds) > 1):
        what = f"{len(inputs)} pictures" if len(inputs) > 1 else f"{' and '.join(kinds)}"
        raise UserError(
            f"--output {output}: names one file, but there are {what} to write; name a folder"
        )
    protect(output, paths, single)
    targets = {
        str(path): [output if single else output / result_name(str(stem), kind) for kind in kinds]
        for path, stem in zip(paths, result_names(inputs), strict=True)
    }
    own = OwnResults(None if single else output, force)
    own.refuse_others(place for places in targets.values() for place in places)
    predictor = load()
    if "server_ids" in kinds:
        server_id_table(predictor.names, predictor.server_ids)
    broken: list[str] = []
    tally = Tally(predictor.names)
    with own, progress_bar(len(paths), "images") as bar:

        def report(picture: Picture, error: UserError) -> None:
            broken.append(str(picture))
            bar.write(escaped(f"skipped: {error}"), file=sys.stderr)
            bar.update()

        for result in predictor.stream(paths, on_error=report, scores="scores" in kinds):
            try:
                truth = None if dataset is None else dataset.truth(result)
            except UserError as error:
                report(str(result.source), error)
                continue
            for kind, place in zip(kinds, targets[str(result.source)], strict=True):
                result.save(place, kind, truth=truth)
                own.add(place)
            tally.add(result)
            if dataset is not None and truth is not None:
                dataset.add(truth, result)
            bar.update()
    done = len(paths) - len(broken)
    if done:
        notes = [dataset.notice()] if dataset is not None and dataset.labelled else []
        notes += [f"most frequent: {tally.most_frequent()}"]
        where = f"{output} ({', '.join(kinds)}); {'; '.join(notes)}"
        print(escaped(f"{done} picture{'s' * (done > 1)} -> {where}"))
    if broken:
        names = escaped(", ".join(broken))
        print(f"{len(broken)} of {len(paths)} could not be read: {names}", file=sys.stderr)
    return 1 if broken else 0


def output_path(text: str) -> Path:
    """Returns the path that ``--output`` names; one that ends in ``/`` is made a folder at once, so
    that it may be called as a file would be.

    Raises:
        UserError: the folder can't be made.
    """
    path = user_path(text)
    if text.endswith(("/", os.sep)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output {text}: can't be made ({error})") from error
    return path


def is_file(output: Path, endings: Collection[str], others: Collection[str]) -> bool:
    """Whether ``--output`` is to be a file, by its ending; what is a folder already stays one.

    Raises:
        UserError: its ending is of the ``others``, which this result can't be written as, or looks
            like that of another kind of file.
    """
    ending = output.suffix.lower()
    if output.is_dir() or ending in endings or not ending:
        return not output.is_dir() and bool(ending)
    if ending in others or _ENDING.fullmatch(ending):
        shown = ", ".join(endings) if ".png" not in endings else ".png, .jpg and others"
        raise UserError(
            f"--output {output}: this result is written as {shown}, or into a folder; for a folder"
            f" of that name write {output}/"
        )
    return False


def protect(output: Path, inputs: Sequence[Path], single: bool) -> None:
    """Refuses to write over what is read, and into what is no folder."""
    if (
        single
        and output.is_file()
        and any(output.samefile(path) for path in inputs if path.is_file())
    ):
        raise UserError(f"--output {output}: is the input itself; choose another name")
    for folder in output.parents if single else (output, *output.parents):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--output {output}: {folder} is a file, not a folder")
