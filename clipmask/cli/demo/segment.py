"""The demo's loop over pictures, and helpers that the loop over films uses too."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from clipmask.cli.demo.inputs import Input
from clipmask.cli.demo.truth import LabelledPictures
from clipmask.cli.interrupts import interrupted_by_signals
from clipmask.cli.output import progress_bar
from clipmask.cli.written import OwnResults
from clipmask.data.file_names import result_names
from clipmask.errors import UserError
from clipmask.escaping import escaped
from clipmask.film.video import CODECS
from clipmask.inference import Picture, Predictor, Segmentation
from clipmask.inference.segmentation import ENDINGS, result_name, server_id_table
from clipmask.inference.strip_files import check_suffix
from clipmask.paths import user_path

# the form of a file's suffix; the ends of folder names such as model.v2 and run1.5 don't match
_ENDING = re.compile(r"\.(?!v\d)[a-z][a-z0-9]{2,3}")


class Tally:
    """Counts the pixels of each class over many results.

    Args:
        names: the class names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.pixels = names, np.zeros(len(names), dtype=np.int64)

    def add(self, result: Segmentation) -> None:
        """Adds the pixels of one result."""
        self.pixels += result.pixels

    def most_frequent(self, count: int = 3) -> str:
        """Returns the most frequent classes with their percentages, as text."""
        parts = []
        for k in np.argsort(-self.pixels, kind="stable")[:count]:
            if self.pixels[k]:
                share = 100 * self.pixels[k] / self.pixels.sum()
                parts.append(f"{self.names[k].split(';')[0]} {share:.1f}%")
        return ", ".join(parts)


class PartsBar:
    """A progress bar for the parts of one large picture after the other.

    Args:
        unit: the name of the parts.
        what: what is done to the picture.
    """

    def __init__(self, unit: str, what: str) -> None:
        self._bar: tqdm | None = None
        self._unit, self._what = unit, what

    def __call__(self, done: int, total: int) -> None:
        """Shows how many parts of the picture are done, of how many."""
        if self._bar is None:
            self._bar = progress_bar(total, self._unit, self._what, inner=True)
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def segment_pictures(
    load: Callable[[], Predictor],
    inputs: Sequence[Input],
    output: Path,
    kinds: Sequence[str],
    *,
    dataset: LabelledPictures | None = None,
    force: bool = False,
) -> int:
    """Segments pictures and saves the results.

    Args:
        load: a function that builds the predictor; it is called after the output is checked.
        inputs: the pictures.
        output: a folder, or a file for a single picture.
        kinds: the kinds of results, some of ``KINDS``.
        dataset: the dataset of the pictures, if they have labels.
        force: True: replace files that ClipMask did not write.

    Returns:
        1 if some of the pictures could not be read, else 0.

    Raises:
        UserError: a result can't be written, or would replace a file that ClipMask did not write;
            or the model has no server ids, which ``kinds`` asks for.
    """
    paths = [picture.path for picture in inputs]
    fitting = {*Image.registered_extensions()}
    others = {*CODECS, *ENDINGS.values()} - fitting
    if len(kinds) == 1 and kinds[0] in ENDINGS:
        others = {*fitting, *others} - {ENDINGS[kinds[0]]}
        fitting = {ENDINGS[kinds[0]]}
    single = is_file(output, fitting, others)
    if single and (len(inputs) > 1 or len(kinds) > 1):
        what = " and ".join(kinds)
        if len(inputs) > 1:
            what = f"{len(inputs)} pictures"
        raise UserError(
            f"--output {output}: names one file, but there are {what} to write; name a folder"
        )
    protect(output, paths, single)
    targets: dict[str, list[Path]] = {}
    for path, stem in zip(paths, result_names(inputs), strict=True):
        targets[str(path)] = [output / result_name(str(stem), kind) for kind in kinds]
    if single:
        targets = {str(path): [output] for path in paths}
    own = OwnResults(None if single else output, force)
    own.refuse_others(itertools.chain.from_iterable(targets.values()))
    predictor = load()
    if "server_ids" in kinds:
        server_id_table(predictor.names, predictor.server_ids)
    in_memory = "scores" in kinds or "comparison" in kinds
    if not in_memory:
        large = _name_large(predictor, paths, targets, kinds, single)
        own.refuse_others(itertools.chain.from_iterable(targets[path] for path in large))
    broken: list[str] = []
    tally = Tally(predictor.names)
    with (
        own,
        interrupted_by_signals(),
        progress_bar(len(paths), "images", "segmenting") as bar,
        closing(PartsBar("windows", "one picture")) as windows,
        closing(PartsBar("rows", "saving it")) as rows,
    ):

        def report(picture: Picture, error: UserError) -> None:
            broken.append(str(picture))
            bar.write(escaped(f"skipped: {error}"), file=sys.stderr)
            bar.update()

        results = predictor.stream(
            paths,
            on_error=report,
            scores="scores" in kinds,
            in_memory=in_memory,
            on_window=windows,
        )
        for result in results:
            try:
                truth = None if dataset is None else dataset.truth(result)
            except UserError as error:
                report(str(result.source), error)
                continue
            for kind, place in zip(kinds, targets[str(result.source)], strict=True):
                result.save(place, kind, truth=truth, on_rows=rows)
                own.add(place)
            tally.add(result)
            if dataset is not None and truth is not None:
                dataset.add(truth, result)
            bar.update()
    done = len(paths) - len(broken)
    if done:
        notes = [f"most frequent: {tally.most_frequent()}"]
        if dataset is not None and dataset.labelled:
            notes.insert(0, dataset.notice())
        where = f"{output} ({', '.join(kinds)}); {'; '.join(notes)}"
        print(escaped(f"{done} picture{'s' * (done > 1)} -> {where}"))
    if broken:
        names = escaped(", ".join(broken))
        print(f"{len(broken)} of {len(paths)} could not be read: {names}", file=sys.stderr)
    return int(bool(broken))


def _name_large(
    predictor: Predictor,
    paths: Sequence[Path],
    targets: dict[str, list[Path]],
    kinds: Sequence[str],
    single: bool,
) -> list[str]:
    """Names the results of pictures that are read window by window: as TIFF in a folder.

    Args:
        predictor: it decides which pictures are read so.
        paths: the pictures.
        targets: picture -> its results; names in a folder are changed.
        kinds: the kinds of results.
        single: whether the user named the file of the result.

    Returns:
        The pictures that are read window by window.

    Raises:
        UserError: the file that the user named can't be written part by part.
    """
    large = []
    for path in paths:
        with suppress(UserError):  # the loop over the pictures reports it
            size = predictor.size_in_parts(path)
            if size is not None:
                large.append((str(path), size))
    for name, size in large:
        for number, kind in enumerate(kinds):
            if kind not in ENDINGS:
                if not single:
                    targets[name][number] = targets[name][number].with_suffix(".tif")
                check_suffix(targets[name][number], size)
    return [name for name, _ in large]


def output_path(text: str) -> Path:
    """Returns the path of ``--output``.

    If it ends in ``/``, the folder is created, so that its name may look like that of a file.

    Raises:
        UserError: the folder can't be created.
    """
    path = user_path(text)
    if text.endswith(("/", os.sep)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output {text}: can't be created ({error})") from error
    return path


def is_file(output: Path, endings: Collection[str], others: Collection[str]) -> bool:
    """Returns whether ``--output`` means a file: it has a suffix and is not an existing folder.

    Args:
        output: the path.
        endings: the suffixes of this result.
        others: the suffixes of other results.

    Raises:
        UserError: it has a suffix of ``others`` or of another kind of file.
    """
    ending = output.suffix.lower()
    if output.is_dir() or ending in endings or not ending:
        return not output.is_dir() and bool(ending)
    if ending in others or _ENDING.fullmatch(ending):
        shown = ", ".join(endings)
        if ".png" in endings:
            shown = ".png, .jpg and others"
        raise UserError(
            f"--output {output}: this result is written as {shown}, or into a folder; to name a"
            f" folder, write {output}/"
        )
    return False


def protect(output: Path, inputs: Sequence[Path], single: bool) -> None:
    """Refuses an output that is one of the inputs, or lies below a file."""
    existing = [path for path in inputs if path.is_file()]
    if single and output.is_file() and any(map(output.samefile, existing)):
        raise UserError(f"--output {output}: is the input itself; choose another name")
    folders = [output, *output.parents]
    if single:
        folders.remove(output)
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--output {output}: {folder} is a file, not a folder")
