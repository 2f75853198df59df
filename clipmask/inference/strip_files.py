"""Writing of pictures strip by strip: TIFF in tiles, and from it PNG and JPEG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError

TILE = 512  # rows and columns of a tile
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
OnRows = Callable[[int, int], object]
_JPEG_SIDE = 65500  # the longest that libjpeg takes


def write_strips(
    path: Path,
    size: tuple[int, int],
    strips: Iterable[NDArray[Any]],
    place: Sequence[Any] = (),
    on_rows: OnRows | None = None,
) -> None:
    """Writes a picture of which only some rows are in memory.

    Args:
        path: the file, with one of ``SUFFIXES``.
        size: the height and the width of the picture.
        strips: its rows from the top, each (n, W) or (n, W, 3), uint8 or uint16.
        place: GeoTIFF tags for a TIFF, see ``PictureFile.place``.
        on_rows: is called with the numbers of rows done and in all. PNG and JPEG are made of a
            TIFF, so their rows count twice.

    Raises:
        UserError: the suffix is another one, or the picture is too large for a JPEG.
        OSError: the file can't be written.
    """
    suffix = path.suffix.lower()
    check_suffix(path, size)
    on_rows = on_rows or _ignore_rows
    if suffix in (".tif", ".tiff"):
        _write_tiff(path, size, _counted(strips, size[0], on_rows), place)
        on_rows(size[0], size[0])
        return
    between = path.with_name(f"{path.name}.tif")
    try:
        _write_tiff(between, size, _counted(strips, 2 * size[0], on_rows), ())
        _convert(between, path, size[0], on_rows)
    finally:
        between.unlink(missing_ok=True)


def _ignore_rows(done: int, total: int) -> None:
    """The ``on_rows`` of callers who do not want to know."""


def _counted(strips: Iterable[NDArray[Any]], total: int, on_rows: OnRows) -> Iterator[NDArray[Any]]:
    """Passes strips on, and reports the rows of those that were taken."""
    done = 0
    for strip in strips:
        yield strip
        done += len(strip)
        on_rows(done, total)


def check_suffix(path: Path, size: tuple[int, int]) -> None:
    """Refuses files that can't be written strip by strip.

    Raises:
        UserError: see ``write_strips``.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path}: pictures that are read part by part are written as .tif, .png or .jpg"
        )
    if suffix in (".jpg", ".jpeg") and max(size) > _JPEG_SIDE:
        raise UserError(
            f"{path}: a JPEG has at most {_JPEG_SIDE} pixels a side, and this picture"
            f" {max(size)}; save it as .tif"
        )


def _write_tiff(
    path: Path, size: tuple[int, int], strips: Iterable[NDArray[Any]], place: Sequence[Any]
) -> None:
    import tifffile

    strips = iter(strips)
    first = next(strips)
    tiles = _tiles(size, first, strips)
    tifffile.imwrite(
        path,
        tiles,
        shape=(*size, *first.shape[2:]),
        dtype=first.dtype,
        tile=(TILE, TILE),
        photometric="rgb" if first.ndim == 3 else "minisblack",
        compression="zlib",
        compressionargs={"level": 1},  # higher levels take several times as long
        predictor=first.ndim == 3,
        bigtiff=first.nbytes // len(first) * size[0] > 2**31,
        extratags=list(place),
        metadata=None,
        maxworkers=1,
    )


def _tiles(
    size: tuple[int, int], first: NDArray[Any], others: Iterator[NDArray[Any]]
) -> Iterator[NDArray[Any]]:
    """Cuts strips into tiles, row by row; those at the borders are filled up with 0."""
    rows = np.zeros((TILE, -(-size[1] // TILE) * TILE, *first.shape[2:]), first.dtype)
    strip = first
    for _ in range(0, size[0], TILE):
        rows[:] = 0
        filled = 0
        while filled < TILE:
            if not len(strip):
                following = next(others, None)
                if following is None:
                    break
                strip = following
                continue
            part = strip[: TILE - filled]
            rows[filled : filled + len(part), : size[1]] = part
            filled += len(part)
            strip = strip[len(part) :]
        for left in range(0, size[1], TILE):
            yield np.ascontiguousarray(rows[:, left : left + TILE])


def _convert(source: Path, path: Path, rows: int, on_rows: OnRows) -> None:
    """Writes a TIFF of ``_write_tiff`` in the format of another suffix.

    Args:
        rows: the height of the picture, which counts twice; the first half is done.
        on_rows: see ``write_strips``.
    """
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise UserError(
            f"{path}: is written strip by strip by pyvips, which is not installed: pip install"
            " 'clipmask[large]'; or save it as .tif"
        ) from error
    options = {"Q": 75} if path.suffix.lower() in (".jpg", ".jpeg") else {"compression": 6}
    try:
        image = pyvips.Image.new_from_file(str(source), access="sequential")
        image.set_progress(True)
        image.signal_connect(
            "eval", lambda _, part: on_rows(rows + rows * min(part.percent, 99) // 100, 2 * rows)
        )
        image.write_to_file(str(path), **options)
    except pyvips.Error as error:
        raise OSError(" ".join(str(error).split())) from error
    on_rows(2 * rows, 2 * rows)
