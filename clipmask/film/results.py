"""Results of a segmented film: other films, a folder of label maps, a JSON line for each frame."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from clipmask.errors import UserError
from clipmask.film.video import Film
from clipmask.inference import Segmentation
from clipmask.visualizer import colorize

FILM_KINDS = ("overlay", "labels", "color", "json")  # what can be written of a film


class FilmResults:
    """Writes the results of a film frame by frame. Films and JSON get their names when complete.

    ``overlay`` and ``color`` are films. ``labels`` is a folder of PNGs, each called by the number
    of its frame in the film that was read. ``json`` is a file of lines such as ``{"frame": 30,
    "time": 1.2, "shares": {"road": 41.3}}``: the same number, its time in seconds, and percentages.

    Args:
        target: a film; or how the names of all files begin, ``target_overlay.mp4``,
            ``target_labels/``, ``target.jsonl``.
        kinds: some of ``FILM_KINDS``.
        rate: frames per second of the films.
        size: (height, width) of the frames.
        single: ``target`` is the one film to write.

    Attributes:
        frames: how many were written.
        rate: as given.
        size: (height, width) of the films, which are even; that of the frames where no film is
            written.

    Raises:
        UserError: a kind is none of a film's, or something can't be written.
    """

    def __init__(
        self,
        target: Path,
        kinds: Sequence[str],
        rate: float,
        size: tuple[int, int],
        *,
        single: bool,
    ) -> None:
        if not set(kinds) <= set(FILM_KINDS):
            raise UserError(
                f"--save {','.join(kinds)}: what can be saved of a film is {', '.join(FILM_KINDS)}"
            )
        self.frames, self.rate, self.size = 0, rate, size
        self._films: dict[str, Film] = {}
        self._labels = target.with_name(f"{target.name}_labels") if "labels" in kinds else None
        self._lines = Lines(target.with_name(f"{target.name}.jsonl")) if "json" in kinds else None
        try:
            for kind in ("overlay", "color"):
                if kind in kinds:
                    path = target if single else target.with_name(f"{target.name}_{kind}")
                    self._films[kind] = Film(path, rate, size)
                    self.size = self._films[kind].size
        except UserError:
            self.discard()
            raise

    @property
    def places(self) -> list[Path]:
        """The files and folders that are written."""
        places = [film.path for film in self._films.values()]
        if self._labels is not None:
            places.append(self._labels)
        if self._lines is not None:
            places.append(self._lines.path)
        return places

    def write(self, result: Segmentation, frame: int, time: float) -> None:
        """Adds the result of one frame.

        Args:
            result: the result.
            frame: its number in the film that was read, from 0.
            time: its seconds from that film's beginning.
        """
        # names stand in the strip inside: one below would change the size
        if "overlay" in self._films:
            self._films["overlay"].write(result.overlay(legend="inside"))
        if "color" in self._films:
            self._films["color"].write(colorize(result.labels, result.colors))
        if self._labels is not None:
            result.save(self._labels / f"{frame:06d}.png", "labels")
        if self._lines is not None:
            shares = {name: round(share, 3) for name, share in result.shares.items()}
            self._lines.write({"frame": frame, "time": round(time, 4), "shares": shares})
        self.frames += 1

    def close(self) -> None:
        """Ends the files, reads the films back and gives all their names.

        Raises:
            UserError: a film does not hold the frames that were written.
        """
        for film in self._films.values():
            film.close()
        if self._lines is not None:
            self._lines.close()

    def discard(self) -> None:
        """Drops the films and lines that were not closed."""
        for film in self._films.values():
            film.discard()
        if self._lines is not None:
            self._lines.discard()


class Lines:
    """A file of JSON lines, under another name until it is whole.

    Args:
        path: the file; missing folders are made.

    Raises:
        UserError: it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._partial = path, path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("w", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: can't be written ({error})") from error

    def write(self, content: dict[str, object]) -> None:
        """Adds a line."""
        self._file.write(json.dumps(content, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Ends the file and gives it its name."""
        self._file.close()
        os.replace(self._partial, self.path)

    def discard(self) -> None:
        """Drops what was written; nothing after ``close``."""
        self._file.close()
        self._partial.unlink(missing_ok=True)
