"""What the web page asks for: one model for all visitors, one picture or film at a time, and limits
for both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipmask.errors import MissingText, UserError
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
        pictures: that are given together.
        seconds: that several pictures or a film may take; what is not begun then is left out.
        waiting: visitors that wait while another one is served.
    """

    megabytes: float = 32
    megapixels: float = 16
    frames: int = 300
    pictures: int = 32
    seconds: float = 300
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
        # Whoever came first is served first; together they would only take longer.
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
        with self._turn, named_by_the_visitor(picture):
            return self._predictor(picture, vocabulary=self._asked(names))

    def segment_several(
        self, pictures: Sequence[Path], names: str, report: Callable[[int, int], object]
    ) -> tuple[list[Segmentation], list[str]]:
        """Segments pictures one after the other.

        Args:
            pictures: the uploaded files.
            names: of the classes, between commas.
            report: is given the pictures that are done, and how many there are, after each.

        Returns:
            The results, and for each picture that was left out a sentence that says why.

        Raises:
            UserError: there are too many, none of them can be segmented, or the names can't be
                looked for.
        """
        if len(pictures) > self.limits.pictures:
            raise UserError(
                f"{len(pictures)} pictures: at most {self.limits.pictures} are taken at once"
            )
        asked = self._asked(names)
        results: list[Segmentation] = []
        left_out: list[str] = []
        with self._turn:
            end = time.monotonic() + self.limits.seconds
            for done, picture in enumerate(pictures):
                if time.monotonic() > end:
                    left_out.append(f"{len(pictures) - done} pictures: {self._out_of_time()}")
                    break
                try:
                    self._check_picture(picture)
                    with named_by_the_visitor(picture):
                        results.append(self._predictor(picture, vocabulary=asked))
                except UserError as error:
                    left_out.append(str(error))
                report(done + 1, len(pictures))
        if not results:
            raise UserError("; ".join(left_out))
        return results, left_out

    def segment_film(
        self, film: Path, names: str, target: Path, report: Callable[[int, int], object]
    ) -> str:
        """Segments a film and writes it with its classes in colour.

        Args:
            film: the uploaded file.
            names: of the classes, between commas.
            target: the film to write.
            report: is given the frames that are done, and how many there are, after each.

        Returns:
            What was done, for reading.

        Raises:
            UserError: the file is no film or is beyond the limits, or the names can't be looked
                for.
        """
        asked = self._asked(names)
        try:
            video = Video(film)
        except UserError as error:  # which speaks of the command line's option
            raise UserError(
                f"{film.name}: no frame can be read; it is no film, damaged, or of a kind that is"
                " not known here"
            ) from error
        with self._turn:
            try:
                return self._write_film(video, asked, target, report)
            finally:
                video.close()

    def _write_film(
        self,
        video: Video,
        asked: tuple[str, ...],
        target: Path,
        report: Callable[[int, int], object],
    ) -> str:
        self._check_size(*video.size)
        end = time.monotonic() + self.limits.seconds
        most = self.limits.frames
        total = min(video.announced or most, most)
        rate = video.rate or USUAL_RATE
        results = FilmResults(target, ["overlay"], rate, video.size, single=True)
        frames: Iterator[NDArray[np.uint8]] = islice(video, most)
        late = False
        try:
            for result in self._predictor.stream(frames, vocabulary=asked):
                results.write(result, results.frames, video.time)
                report(results.frames, total)
                late = time.monotonic() > end
                if late:
                    break
            results.close()
        finally:
            results.discard()
        announced = video.announced or 0
        said = f"{results.frames} frames"
        if announced > results.frames:
            said += f"; the first {results.frames} of {announced}"
        return said + (f": {self._out_of_time()}" if late and announced > results.frames else "")

    def _out_of_time(self) -> str:
        return f"the {self.limits.seconds:g} seconds that one visit may take are over"

    def _asked(self, text: str) -> tuple[str, ...]:
        """The names that a visitor wrote; an empty box means those of the training."""
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        if not names or list(names) == shown_names(self._trained):
            return self._trained
        if len(names) > MAX_NAMES:
            raise UserError(
                f"{len(names)} class names: at most {MAX_NAMES} can be looked for at once"
            )
        return names

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


@contextmanager
def named_by_the_visitor(upload: Path) -> Iterator[None]:
    """Has errors name an upload as its visitor does: not by where it lies on this machine."""
    try:
        yield
    except MissingText:
        raise
    except UserError as error:
        raise UserError(str(error).replace(str(upload), upload.name)) from error


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
