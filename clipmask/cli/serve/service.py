"""The service behind the web page: one model for all visitors, with limits for uploads."""

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

MAX_NAMES = 64  # largest number of class names in one request
RETRY_SECONDS = 300  # time after which CLIP is looked for again where it could not be loaded


@dataclass(frozen=True)
class Limits:
    """Limits for the requests of a visitor.

    Attributes:
        megabytes: the largest size of an upload.
        megapixels: the largest size of a picture or frame, width x height / 1e6.
        frames: the largest number of frames of a film; later frames are left out.
        pictures: the largest number of pictures in one request.
        seconds: the time limit for several pictures or a film; the rest is left out.
        waiting: the largest number of visitors in the queue.
    """

    megabytes: float = 32
    megapixels: float = 16
    frames: int = 300
    pictures: int = 32
    seconds: float = 300
    waiting: int = 16


class Service:
    """Segments the uploads of visitors. Threads that call it are served one after the other.

    Args:
        predictor: the predictor.
        limits: the limits for requests.

    Attributes:
        limits: as given.
        names: the class names of the training, separated by commas.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self._predictor, self.limits = predictor, limits
        self._trained = predictor.names
        # Requests run one after the other; in parallel, each would take longer.
        self._turn = threading.Lock()
        self._no_clip_until = 0.0  # on the monotonic clock
        self.names = ", ".join(shown_names(self._trained))

    def segment(self, picture: Path, names: str) -> Segmentation:
        """Segments a picture.

        Args:
            picture: the uploaded file.
            names: the class names, separated by commas.

        Raises:
            UserError: the file is not a picture or exceeds a limit, or the names can't be used.
        """
        self._check_picture(picture)
        classes = self._class_names(names)
        with self._turn, named_by_the_visitor(picture):
            return self._predictor(picture, vocabulary=classes)

    def segment_several(
        self, pictures: Sequence[Path], names: str, report: Callable[[int, int], object]
    ) -> tuple[list[Segmentation], list[str]]:
        """Segments pictures one after the other.

        Args:
            pictures: the uploaded files.
            names: the class names, separated by commas.
            report: a function that is called after each picture, with the number of finished and of
                all pictures.

        Returns:
            The results, and for each picture that was left out a sentence with the reason.

        Raises:
            UserError: there are too many pictures, none of them can be segmented, or the names
                can't be used.
        """
        if len(pictures) > self.limits.pictures:
            raise UserError(
                f"{len(pictures)} pictures: at most {self.limits.pictures} are allowed at once"
            )
        classes = self._class_names(names)
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
                        results.append(self._predictor(picture, vocabulary=classes))
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
            names: the class names, separated by commas.
            target: the film to write.
            report: a function that is called after each frame, with the number of finished and of
                all frames.

        Returns:
            A summary, as text.

        Raises:
            UserError: the file is not a film or exceeds a limit, or the names can't be used.
        """
        classes = self._class_names(names)
        try:
            video = Video(film)
        except UserError as error:  # its message names an option of the command line
            raise UserError(
                f"{film.name}: no frame can be read; it is not a video, is damaged, or has an"
                " unknown format"
            ) from error
        with self._turn:
            try:
                return self._write_film(video, classes, target, report)
            finally:
                video.close()

    def _write_film(
        self,
        video: Video,
        classes: tuple[str, ...],
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
            for result in self._predictor.stream(frames, vocabulary=classes):
                results.write(result, results.frames, video.time)
                report(results.frames, total)
                late = time.monotonic() > end
                if late:
                    break
            results.close()
        finally:
            results.discard()
        announced = video.announced or 0
        summary = f"{results.frames} frames"
        if announced > results.frames:
            summary += f"; the first {results.frames} of {announced}"
            if late:
                summary += f": {self._out_of_time()}"
        return summary

    def _out_of_time(self) -> str:
        return f"the time limit of {self.limits.seconds:g} seconds is reached"

    def _class_names(self, text: str) -> tuple[str, ...]:
        """Returns the class names that a visitor wrote; those of the training for an empty text."""
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        if not names or list(names) == shown_names(self._trained):
            return self._trained
        if len(names) > MAX_NAMES:
            raise UserError(f"{len(names)} class names: at most {MAX_NAMES} are allowed at once")
        self._check_known(names)
        return names

    def _check_known(self, names: tuple[str, ...]) -> None:
        """Refuses names without embeddings, before a picture is read.

        Without a network, looking for CLIP takes many seconds; a failure is remembered for
        ``RETRY_SECONDS``. A file of embeddings is asked each time, because it may hold other names.
        """
        known = {*self._trained, *shown_names(self._trained)}
        unknown = [name for name in names if name not in known] or list(names)
        message = (
            f"{', '.join(unknown)}: the model was not trained on"
            f" {'this name' if len(unknown) == 1 else 'these names'}. Such names need CLIP, which"
            f" could not be loaded here. Names that work here: {self.names}"
        )
        if not known.issuperset(names) and time.monotonic() < self._no_clip_until:
            raise UserError(message)
        try:
            self._predictor.set_vocabulary(names)  # each call names its classes, so this is a check
        except MissingText as error:
            if not self._predictor.cfg.MODEL.CLIP.EMBEDDINGS:
                self._no_clip_until = time.monotonic() + RETRY_SECONDS
            raise UserError(message) from error

    def _check_picture(self, picture: Path) -> None:
        """Refuses a picture that exceeds a limit, before it is decoded."""
        size = picture.stat().st_size / 1e6
        if size > self.limits.megabytes:
            raise UserError(
                f"{picture.name}: has {size:.1f} MB; at most {self.limits.megabytes:g} are allowed"
                " here"
            )
        try:
            with Image.open(picture) as opened:
                width, height = opened.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{picture.name}: can't be read as a picture ({error})") from error
        self._check_size(height, width)

    def _check_size(self, height: int, width: int) -> None:
        pixels = height * width / 1e6
        if pixels > self.limits.megapixels:
            raise UserError(
                f"{width}x{height} are {pixels:.1f} megapixels; at most {self.limits.megapixels:g}"
                " are allowed here"
            )


@contextmanager
def named_by_the_visitor(upload: Path) -> Iterator[None]:
    """Replaces the path of an upload in error messages by the name that the visitor gave it."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace(str(upload), upload.name)) from error


def legend(result: Segmentation) -> str:
    """Returns the classes of a result with their colours, ids in the label map and shares, the
    largest first, as HTML.
    """
    rows = []
    shown = shown_names(result.names)
    shares = list(result.shares.values())
    for place in sorted(range(len(shares)), key=lambda place: -shares[place]):
        if shares[place] > 0:
            red, green, blue = result.colors[place]
            patch = f'<span class="patch" style="background: rgb({red}, {green}, {blue})"></span>'
            rows.append(
                f"<tr><td>{patch}</td><td>{place}</td><td>{_escaped(shown[place])}</td><td>{shares[place]:.1f}"
                " %</td></tr>"
            )
    head = "<tr><th></th><th>id</th><th>class</th><th>share</th></tr>"
    return f'<table class="legend"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def _escaped(text: str) -> str:
    """Escapes a text for HTML, because visitors write the class names."""
    from html import escape

    return escape(text)
