"""What the web page asks for: one model for all visitors, one picture or film at a time, and limits
for both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipmask.errors import UserError
from clipmask.film.results import FilmResults
from clipmask.film.video import USUAL_RATE, Video
from clipmask.inference import Predictor, Segmentation
from clipmask.vocabulary import shown_names

MAX_NAMES = 64  # class names of one visit


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        megabytes: of an upload.
        megapixels: of a picture, width x height / 1e6; of a frame too.
        frames: of a film; what comes after is left out.
        waiting: visitors that wait while another one is served.
    """

    megabytes: float = 32
    megapixels: float = 16
    frames: int = 300
    waiting: int = 16


class Service:
    """The model of a page. Several threads may call it; they are served one after the other.

    Args:
        predictor: of the model.
        limits: of what is asked for.

    Attributes:
        names: what the names' box holds at first: those of the training.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self._predictor, self.limits = predictor, limits
        self._trained = predictor.names
        self._turn = threading.Lock()
        self.names = ", ".join(shown_names(self._trained))

    def segment(self, picture: Path, names: str) -> Segmentation:
        """Segments a picture.

        Args:
            picture: the uploaded file.
            names: of the classes, between commas.

        Raises:
            UserError: the file is no picture or is beyond the limits, or the names can't be looked
                for.
        """
        self._check_picture(picture)
        with self._turn:
            self._look_for(names)
            return self._predictor(picture)

    def segment_film(
        self, film: Path, names: str, target: Path, told: Callable[[int, int], object]
    ) -> str:
        """Segments a film and writes it with its classes in colour.

        Args:
            film: the uploaded file.
            names: of the classes, between commas.
            target: the film to write.
            told: is given the frames that are done, and how many there are, after each.

        Returns:
            What was done, for reading.

        Raises:
            UserError: the file is no film or is beyond the limits, or the names can't be looked
                for.
        """
        with self._turn:
            self._look_for(names)
            video = Video(film)
            try:
                return self._write_film(video, target, told)
            finally:
                video.close()

    def _write_film(self, video: Video, target: Path, told: Callable[[int, int], object]) -> str:
        self._check_size(*video.size)
        most = self.limits.frames
        total = min(video.announced or most, most)
        rate = video.rate or USUAL_RATE
        results = FilmResults(target, ["overlay"], rate, video.size, single=True)
        frames: Iterator[NDArray[np.uint8]] = islice(video, most)
        try:
            for result in self._predictor.stream(frames):
                results.write(result, results.frames, video.time)
                told(results.frames, total)
            results.close()
        finally:
            results.discard()
        cut = f"; the first {most} of {video.announced}" if (video.announced or 0) > most else ""
        return f"{results.frames} frames{cut}"

    def _look_for(self, text: str) -> None:
        """Sets the vocabulary that a visitor wrote; an empty box means the names of the
        training.
        """
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        if not names or list(names) == shown_names(self._trained):
            names = self._trained
        if len(names) > MAX_NAMES:
            raise UserError(
                f"{len(names)} class names: at most {MAX_NAMES} can be looked for at once"
            )
        if names != self._predictor.names:
            self._predictor.set_vocabulary(names)

    def _check_picture(self, picture: Path) -> None:
        """Refuses a picture by what its head announces, before it is decoded."""
        size = picture.stat().st_size / 1e6
        if size > self.limits.megabytes:
            raise UserError(
                f"{picture.name}: has {size:.1f} MB; at most {self.limits.megabytes:g} are taken"
                " here"
            )
        try:
            with Image.open(picture) as opened:
                width, height = opened.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{picture.name}: is no picture that can be read ({error})") from error
        self._check_size(height, width)

    def _check_size(self, height: int, width: int) -> None:
        pixels = height * width / 1e6
        if pixels > self.limits.megapixels:
            raise UserError(
                f"{width}x{height} are {pixels:.1f} megapixels; at most {self.limits.megapixels:g}"
                " are taken here"
            )


def legend(result: Segmentation) -> str:
    """Returns the classes of a result with colour and share, the largest first, as HTML."""
    rows = []
    shown = shown_names(result.names)
    shares = list(result.shares.values())
    for place in sorted(range(len(shares)), key=lambda place: -shares[place]):
        if shares[place] > 0:
            red, green, blue = result.colors[place]
            patch = f'<span class="patch" style="background: rgb({red}, {green}, {blue})"></span>'
            rows.append(
                f"<tr><td>{patch}</td><td>{_escaped(shown[place])}</td><td>{shares[place]:.1f}"
                " %</td></tr>"
            )
    return f'<table class="legend"><tbody>{"".join(rows)}</tbody></table>'


def _escaped(text: str) -> str:
    """Names are what a visitor wrote: they must not become part of the page."""
    from html import escape

    return escape(text)
