"""The demo's loops: pictures, a film, the webcam; read, segmented, drawn and counted one batch after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from clipmask.cli.inputs import find_pictures, result_names
from clipmask.cli.video import CODECS, USUAL_RATE, Film, Video, Window, stop_on_interrupt
from clipmask.errors import UserError
from clipmask.predictor import Picture, Predictor, Segmentation
from clipmask.visualizer import colorize


class Tally:
    """Counts pixels of each class over many results.

    Args:
        names: of the classes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.pixels = names, np.zeros(len(names), dtype=np.int64)

    def add(self, result: Segmentation) -> None:
        """Counts one result."""
        self.pixels += np.bincount(result.labels.ravel(), minlength=len(self.names))

    def most_frequent(self, count: int = 3) -> str:
        """Returns the classes with most pixels and their percentage, for reading."""
        order = [k for k in np.argsort(-self.pixels, kind="stable")[:count] if self.pixels[k]]
        return ", ".join(
            f"{self.names[k].split(';')[0]} {100 * self.pixels[k] / self.pixels.sum():.1f}%" for k in order
        )


def _bar(total: int | None, unit: str) -> tqdm:
    """A progress bar on stderr; a redirected one is a line for each update, so these come seldom."""
    return tqdm(total=total, unit=f" {unit}", desc="segmenting", mininterval=0.1 if sys.stderr.isatty() else 30.0)


def segment_pictures(
    load: Callable[[], Predictor],
    patterns: Sequence[str],
    output: Path,
    kinds: Sequence[str],
    *,
    opacity: float,
    recursive: bool,
) -> int:
    """Segments the pictures that ``--input`` names.

    Args:
        load: makes the predictor; called when the pictures are found.
        patterns: files, patterns and folders.
        output: a folder, or a file for a single picture.
        kinds: what to save of each, some of ``KINDS``.
        opacity: of the overlay's colours.
        recursive: take the folders in folders too.

    Returns:
        1 if some of the pictures could not be read, else 0.

    Raises:
        UserError: nothing is found, or a result can't be written.
    """
    inputs = find_pictures(patterns, recursive=recursive, exclude=output)
    paths = [picture.path for picture in inputs]
    single = _is_file(output, Image.registered_extensions(), CODECS)
    if single and (len(inputs) > 1 or len(kinds) > 1):
        what = f"{len(inputs)} pictures" if len(inputs) > 1 else f"{' and '.join(kinds)}"
        raise UserError(f"--output {output}: names one file, but there are {what} to write; name a folder")
    _protect(output, paths, single)
    targets = dict(zip(map(str, paths), result_names(inputs), strict=True))
    predictor = load()
    broken: list[str] = []
    tally = Tally(predictor.names)
    with _bar(len(paths), "images") as bar:

        def report(picture: Picture, error: UserError) -> None:
            broken.append(str(picture))
            bar.write(f"skipped: {error}", file=sys.stderr)
            bar.update()

        for result in predictor.stream(paths, on_error=report):
            for kind in kinds:
                stem = targets[str(result.source)]
                result.save(output if single else output / f"{stem}_{kind}.png", kind, opacity)
            tally.add(result)
            bar.update()
    done = len(paths) - len(broken)
    if done:
        print(
            f"{done} picture{'s' * (done > 1)} -> {output} ({', '.join(kinds)}); most frequent: {tally.most_frequent()}"
        )
    if broken:
        print(f"{len(broken)} of {len(paths)} could not be read: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


def segment_film(
    load: Callable[[], Predictor], source: Path, output: Path, kinds: Sequence[str], *, opacity: float
) -> int:
    """Segments a film; the films that it writes have its rate, size and frame count.

    Args:
        load: makes the predictor; called when the film is open.
        source: the film.
        output: a folder, or a file for a single film.
        kinds: ``overlay`` and ``color`` are films, ``labels`` a folder of pictures.
        opacity: of the overlay's colours.

    Returns:
        130 if Ctrl-C ended it, else 0.

    Raises:
        UserError: the film can't be read, or none can be written.
    """
    films = [kind for kind in kinds if kind != "labels"]
    single = _is_file(output, CODECS, Image.registered_extensions())
    if single and (len(films) > 1 or "labels" in kinds):
        raise UserError(
            f"--output {output}: names one film, but --save {','.join(kinds)} makes more files; name a folder"
        )
    _protect(output, [source], single)
    video = Video(source)
    base = output / source.stem
    written: dict[str, Film] = {}
    with ExitStack() as stack:
        stack.callback(video.close)
        for kind in films:
            target = output if single else base.with_name(f"{base.name}_{kind}")
            written[kind] = Film(target, video.rate, video.size)
            stack.callback(written[kind].discard)
        predictor = load()
        tally, frames = Tally(predictor.names), 0
        stop = stack.enter_context(stop_on_interrupt())
        bar = stack.enter_context(_bar(video.announced, "images"))
        for result in predictor.stream(_until(video, stop)):
            if "overlay" in written:  # names stand in their regions: a strip below would change the size
                written["overlay"].write(result.overlay(opacity, legend="inside"))
            if "color" in written:
                written["color"].write(colorize(result.labels, result.colors))
            if "labels" in kinds:
                result.save(base.with_name(f"{base.name}_labels") / f"{frames:06d}.png", "labels")
            tally.add(result)
            frames += 1
            bar.update()
        if not frames:
            raise KeyboardInterrupt  # before anything was made
        for film in written.values():
            film.close()
        stopped = stop()
    places = [str(film.path) for film in written.values()]
    places += [str(base.with_name(f"{base.name}_labels"))] if "labels" in kinds else []
    height, width = next((film.size for film in written.values()), video.size)
    print(
        f"{frames} frames -> {', '.join(places)} ({width}x{height}, {video.rate or USUAL_RATE:g} per second); "
        f"most frequent: {tally.most_frequent()}"
    )
    if stopped:
        print("interrupted: the film ends there, and plays", file=sys.stderr)
    elif video.announced and frames < video.announced:
        print(f"{source} announces {video.announced} frames; {frames} can be read", file=sys.stderr)
    return 130 if stopped else 0


def show_webcam(load: Callable[[], Predictor], camera: int, *, opacity: float) -> int:
    """Segments what a camera sees, in a window, until that is closed.

    Args:
        load: makes the predictor; called when camera and window are there.
        camera: its number.
        opacity: of the overlay's colours.

    Returns:
        0.

    Raises:
        UserError: there is no camera or no display.
    """
    video = Video(camera)
    with ExitStack() as stack:
        stack.callback(video.close)
        window = Window("ClipMask")
        stack.callback(window.close)
        predictor = load()
        predictor.batch_size = 1  # a batch would be shown late
        for result in predictor.stream(video):
            if not window.show(result.overlay(opacity)):
                break
    return 0


def _until(video: Video, stop: Callable[[], bool]) -> Iterator[NDArray[np.uint8]]:
    for frame in video:
        if stop():
            return
        yield frame


def _is_file(output: Path, endings: Collection[str], others: Collection[str]) -> bool:
    """Whether ``--output`` is to be a file, by its ending; what is a folder already stays one.

    Raises:
        UserError: its ending is of the ``others``, which this result can't be written as.
    """
    ending = output.suffix.lower()
    if output.is_dir() or ending not in {*endings, *others}:
        return False
    if ending not in endings:
        shown = ", ".join(CODECS) if endings is CODECS else ".png, .jpg and others"
        raise UserError(f"--output {output}: this result is written as {shown}, or into a folder")
    return True


def _protect(output: Path, inputs: Sequence[Path], single: bool) -> None:
    """Refuses to write over what is read, and into what is no folder."""
    if single and output.is_file() and any(output.samefile(path) for path in inputs if path.is_file()):
        raise UserError(f"--output {output}: is the input itself; choose another name")
    for folder in output.parents if single else (output, *output.parents):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--output {output}: {folder} is a file, not a folder")
