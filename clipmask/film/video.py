"""Reading and writing films, and the webcam."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.data.reading import PICTURE_SUFFIXES
from clipmask.errors import UserError
from clipmask.film.opencv import load_cv2
from clipmask.signals import handled

# What a film may be called, and the codecs to try for it; an OpenCV without FFmpeg has fewer of
# them.
CODECS = {
    ".mp4": ("mp4v", "avc1"),
    ".avi": ("MJPG", "XVID", "mp4v"),
    ".mkv": ("mp4v", "MJPG"),
    ".mov": ("mp4v", "avc1"),
    ".m4v": ("mp4v", "avc1"),
    ".webm": ("VP80", "VP90"),
}
# What films are called that are read; some of these OpenCV can't write.
FILM_SUFFIXES = {
    *CODECS,
    ".3gp",
    ".flv",
    ".m2ts",
    ".mpeg",
    ".mpg",
    ".mpv",
    ".mts",
    ".ogv",
    ".wmv",
}
USUAL_RATE = 25.0  # frames per second of a film that does not tell

# what ends a film, which then plays up to there
_STOPS = ("SIGINT", "SIGTERM", "SIGHUP")


class Video:
    """A film or camera, read frame by frame; its first frame is read at once, to know that there is
    one.

    Args:
        source: path of a film, or the number of a camera.

    Attributes:
        rate: frames per second; None if the file does not say.
        size: (height, width).
        announced: the number of frames that the file says it has; None where it does not say.
        read: how many frames were given out.
        time: seconds from the film's beginning to the frame that was given out last.

    Raises:
        UserError: no OpenCV, no such file, or no frame can be read.
    """

    def __init__(self, source: Path | int) -> None:
        self._cv2 = load_cv2()
        camera = isinstance(source, int)
        if isinstance(source, Path):
            _check_file(source)
        self._capture = self._cv2.VideoCapture(source if isinstance(source, int) else str(source))
        self._first = self._read()
        if self._first is None:
            self.close()
            if camera:
                raise UserError(
                    f"--webcam {source}: no camera {source} on this machine gives a picture"
                )
            raise UserError(
                f"--video-input {source}: no frame can be read; it is no film, damaged, or OpenCV"
                " lacks its codec"
            )
        self.size = (self._first.shape[0], self._first.shape[1])
        rate = self._capture.get(self._cv2.CAP_PROP_FPS)
        self.rate = rate if math.isfinite(rate) and rate > 0 else None
        count = self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(count) if math.isfinite(count) and count > 0 and not camera else None
        self.read, self.time = 0, 0.0

    def _read(self) -> NDArray[np.uint8] | None:
        there, frame = self._capture.read()
        if not there:
            return None
        return np.ascontiguousarray(frame[..., ::-1])

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yields the frames, uint8 (H, W, 3) in RGB; once."""
        frame, self._first = self._first, None
        while frame is not None:
            self.time = self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000
            # Streams without a clock have every frame at 0.
            if not (math.isfinite(self.time) and self.time > 0):
                self.time = self.read / (self.rate or USUAL_RATE)
            self.read += 1
            yield frame
            frame = self._read()

    def close(self) -> None:
        """Lets the file or camera go."""
        self._capture.release()


def _check_file(source: Path) -> None:
    """Refuses what is no file, and pictures, which OpenCV would take for films of one frame."""
    if source.is_dir():
        raise UserError(
            f"--video-input {source}: is a folder; name one film in it, or segment its pictures"
            " with --input"
        )
    if not source.is_file():
        raise UserError(f"--video-input {source}: no such file")
    if source.suffix.lower() in PICTURE_SUFFIXES - {".gif"}:
        raise UserError(f"--video-input {source}: is a picture; segment it with --input")


class Film:
    """A film being written: under another name until it is whole and was read back.

    Odd sizes, which the codecs don't have, get their last row or column twice.

    Args:
        path: the file. Without an ending of ``CODECS``, the first of ``.mp4``, ``.avi`` and
            ``.mkv`` that OpenCV can write here is added.
        rate: frames per second.
        size: (height, width) of the frames.

    Attributes:
        path: the file, with its ending.
        frames: how many were written.

    Raises:
        UserError: OpenCV can't write such a film here.
    """

    def __init__(self, path: Path, rate: float | None, size: tuple[int, int]) -> None:
        self._cv2 = load_cv2()
        self.rate = rate or USUAL_RATE
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        suffixes: tuple[str, ...] = (".mp4", ".avi", ".mkv")
        if path.suffix.lower() in CODECS:
            suffixes = (path.suffix.lower(),)
        suffix, codec = self._choose(suffixes)
        self.path = path if path.suffix.lower() == suffix else path.with_name(path.name + suffix)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: its folder can't be made ({error})") from error
        self._partial = self.path.with_name(f".{self.path.stem}.partial{suffix}")
        self._writer = self._open(self._partial, codec)
        if not self._writer.isOpened():
            raise UserError(f"{self.path}: can't be written; is its folder writable?")
        self.frames = 0

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Adds a frame, uint8 (H, W, 3) in RGB."""
        rows, columns = self.size[0] - frame.shape[0], self.size[1] - frame.shape[1]
        even = frame
        if rows or columns:
            even = np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode="edge")
        self._writer.write(np.ascontiguousarray(even[..., ::-1]))
        self.frames += 1

    def close(self) -> None:
        """Ends the film, reads it back and gives it its name.

        Raises:
            UserError: it does not hold the frames that were written; there is no file then.
        """
        self._writer.release()
        readable = self._readable(self._partial)
        if readable != self.frames:
            self.discard()
            raise UserError(
                f"{self.path}: of {self.frames} frames written {readable} can be read back, so the"
                " film was not kept; is the disk full? Otherwise choose another ending, such as"
                " --output film.avi"
            )
        os.replace(self._partial, self.path)

    def discard(self) -> None:
        """Drops what was written; nothing after ``close``."""
        self._writer.release()
        self._partial.unlink(missing_ok=True)

    def _choose(self, suffixes: tuple[str, ...]) -> tuple[str, str]:
        """Returns the first ending and codec that a film of this size and rate was really written
        with.
        """
        with tempfile.TemporaryDirectory() as folder:
            for suffix in suffixes:
                for codec in CODECS[suffix]:
                    trial = Path(folder) / f"{codec}{suffix}"
                    writer = self._open(trial, codec)
                    if not writer.isOpened():
                        continue
                    for shade in range(3):
                        writer.write(np.full((*self.size, 3), 80 * shade, dtype=np.uint8))
                    writer.release()
                    if self._readable(trial) == 3:
                        return suffix, codec
        raise UserError(
            f"this OpenCV can write no film of {self.size[1]}x{self.size[0]} pixels at"
            f" {self.rate:g} frames per second as {' or '.join(suffixes)}; choose another ending of"
            f" {', '.join(CODECS)} with --output, or install opencv-python from PyPI, which has"
            " FFmpeg"
        )

    def _open(self, path: Path, codec: str) -> Any:
        code = self._cv2.VideoWriter.fourcc(*codec)
        return self._cv2.VideoWriter(str(path), code, self.rate, (self.size[1], self.size[0]))

    def _readable(self, path: Path) -> int:
        """Counts the frames of this film's size in a file."""
        capture, count = self._cv2.VideoCapture(str(path)), 0
        try:
            while True:
                there, frame = capture.read()
                if not there or frame.shape[:2] != self.size:
                    return count
                count += 1
        finally:
            capture.release()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C, or the first signal of a scheduler or a closed terminal, into a wish
    to stop, which the body asks for; the second ends the process as ever. A signal that is ignored,
    as under nohup, stays so.
    """
    wished = threading.Event()

    def note(restore: Callable[[], None]) -> None:
        wished.set()
        restore()

    with handled(_STOPS, note):
        yield wished.is_set


class Window:
    """A window on the screen.

    Raises:
        UserError: there is no screen, or this OpenCV can't open windows.
    """

    def __init__(self, title: str) -> None:
        self._cv2, self._title = load_cv2(), title
        screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        # Qt would end the process, without an exception
        if sys.platform.startswith("linux") and not screen:
            raise UserError(
                "--webcam shows a window, but there is no display here (DISPLAY is not set)"
            )
        try:
            self._cv2.namedWindow(title, self._cv2.WINDOW_NORMAL)
        except self._cv2.error as error:
            raise UserError(
                "--webcam shows a window, which this OpenCV can't (opencv-python-headless?); pip"
                " install opencv-python"
            ) from error

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Shows uint8 (H, W, 3), RGB. Returns False after q, Escape or closing."""
        self._cv2.imshow(self._title, np.ascontiguousarray(image[..., ::-1]))
        key = self._cv2.waitKey(1) & 0xFF
        return (
            key not in (ord("q"), 27)
            and self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) >= 1
        )

    def close(self) -> None:
        """Closes it."""
        self._cv2.destroyAllWindows()
