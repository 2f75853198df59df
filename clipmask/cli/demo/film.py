"""The demo's loops over the frames of a film and over a camera's pictures."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipmask.cli.demo.segment import Tally, is_file, protect
from clipmask.cli.output import progress_bar
from clipmask.cli.written import OwnResults
from clipmask.errors import UserError
from clipmask.film.results import FilmResults
from clipmask.film.smoothing import Smoothing
from clipmask.film.video import CODECS, USUAL_RATE, Video, Window, stop_on_interrupt
from clipmask.inference import Predictor


class Moment(NamedTuple):
    """The position of a frame in its film: its number, from 0, and its time in seconds."""

    frame: int
    time: float


def segment_film(
    load: Callable[[], Predictor],
    source: Path,
    output: Path,
    kinds: Sequence[str],
    *,
    every: int = 1,
    smooth: float | None = None,
    force: bool = False,
) -> int:
    """Segments a film; the result has the same duration and size.

    Args:
        load: a function that builds the predictor; it is called after the film is opened.
        source: the film.
        output: a folder, or a file for a single film.
        kinds: the kinds of results, some of ``film.results.FILM_KINDS``.
        every: every ``every``-th frame is segmented; the rate of the result is ``1 / every`` of the
            film's rate.
        smooth: the strength of smoothing over time; None: no smoothing.
        force: True: replace files that ClipMask did not write.

    Returns:
        130 if Ctrl-C ended it, else 0.

    Raises:
        UserError: the film can't be read, the result can't be written, or it would replace a file
            that ClipMask did not write.
    """
    smoothing = None if smooth is None else Smoothing(smooth)
    single = is_file(output, CODECS, Image.registered_extensions())
    if single and (len(kinds) > 1 or not set(kinds) <= {"overlay", "color"}):
        raise UserError(
            f"--output {output}: names one film, but --save {','.join(kinds)} writes other files;"
            " name a folder"
        )
    protect(output, [source], single)
    target = output if single else output / source.stem
    with ExitStack() as stack:
        video = Video(source)
        stack.callback(video.close)
        rate = (video.rate or USUAL_RATE) / every
        results = FilmResults(target, kinds, rate, video.size, single=single)
        stack.callback(results.discard)
        own = stack.enter_context(OwnResults(None if single else output, force))
        own.refuse_others(results.places)
        predictor = load()
        tally, moments = Tally(predictor.names), deque[Moment]()
        stop = stack.enter_context(stop_on_interrupt())
        total = None if video.announced is None else -(-video.announced // every)
        bar = stack.enter_context(progress_bar(total, "frames", "segmenting"))
        for result in predictor.stream(_frames(video, every, stop, moments), smoothing=smoothing):
            results.write(result, *moments.popleft())
            tally.add(result)
            bar.update()
        if not results.frames:
            raise KeyboardInterrupt  # before the first frame
        stopped = stop()
        results.close()
        for place in results.places:
            own.add(place)
    _report(results, tally, every, smooth)
    if stopped:
        print("interrupted: the written film ends there, but can be played", file=sys.stderr)
    elif video.announced and video.read < video.announced:
        print(
            f"{source} announces {video.announced} frames, but only {video.read} can be read",
            file=sys.stderr,
        )
    if stopped:
        return 130
    return 0


def _frames(
    video: Video, every: int, stop: Callable[[], bool], moments: deque[Moment]
) -> Iterator[NDArray[np.uint8]]:
    """Yields every ``every``-th frame and appends its position to ``moments``.

    It ends when ``stop`` returns True.
    """
    for frame in islice(video, 0, None, every):
        if stop():
            return
        moments.append(Moment(video.read - 1, video.time))
        yield frame


def _report(results: FilmResults, tally: Tally, every: int, smooth: float | None) -> None:
    """Prints the last line: the number of frames, the files, and the most frequent classes."""
    notes = [f"{results.size[1]}x{results.size[0]}", f"{results.rate:.4g} per second"]
    if every > 1:
        notes.append(f"one of {every} frames of the film, with the same duration")
    if smooth is not None:
        notes.append(f"smoothed by {smooth:g}")
    print(
        f"{results.frames} frame{'s' * (results.frames > 1)} ->"
        f" {', '.join(map(str, results.places))} ({', '.join(notes)}); most frequent:"
        f" {tally.most_frequent()}"
    )


def show_webcam(
    load: Callable[[], Predictor],
    camera: int,
    *,
    every: int = 1,
    smooth: float | None = None,
) -> int:
    """Segments the picture of a camera and shows it in a window, until the window is closed.

    Args:
        load: a function that builds the predictor; it is called after camera and window are opened.
        camera: the number of the camera.
        every: every ``every``-th frame is segmented and shown.
        smooth: the strength of smoothing over time; None: no smoothing.

    Returns:
        0.

    Raises:
        UserError: there is no camera or no display.
    """
    smoothing = None if smooth is None else Smoothing(smooth)
    video = Video(camera)
    with ExitStack() as stack:
        stack.callback(video.close)
        window = Window("ClipMask")
        stack.callback(window.close)
        predictor = load()
        predictor.batch_size = 1  # a larger batch would delay the picture
        for result in predictor.stream(islice(video, 0, None, every), smoothing=smoothing):
            if not window.show(result.overlay()):
                break
    return 0
