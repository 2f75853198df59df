"""Writing of pictures strip by strip: TIFF in tiles, and from it PNG and JPEG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.errors import UserError

TILE = 512  # the most rows and columns of a tile, a multiple of 16
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
    """Passes strips on, and reports the rows of those that were taken.

    The end is not reported, because the file is not whole then.
    """
    done = 0
    for strip in strips:
        yield strip
        done += len(strip)
        if done < total:
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
    side = min(TILE, -(-max(size) // 16) * 16)  # libvips refuses tiles far larger than the picture
    tiles = _tiles(size, side, first, strips)
    tifffile.imwrite(
        path,
        tiles,
        shape=(*size, *first.shape[2:]),
        dtype=first.dtype,
        tile=(side, side),
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
    size: tuple[int, int], side: int, first: NDArray[Any], others: Iterator[NDArray[Any]]
) -> Iterator[NDArray[Any]]:
    """Cuts strips into tiles, row by row; those at the borders are filled up with 0."""
    rows = np.zeros((side, -(-size[1] // side) * side, *first.shape[2:]), first.dtype)
    strip = first
    for _ in range(0, size[0], side):
        rows[:] = 0
        filled = 0
        while filled < side:
            if not len(strip):
                following = next(others, None)
                if following is None:
                    break
                strip = following
                continue
            part = strip[: side - filled]
            rows[filled : filled + len(part), : size[1]] = part
            filled += len(part)
            strip = strip[len(part) :]
        for left in range(0, size[1], side):
            yield np.ascontiguousarray(rows[:, left : left + side])


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
    percent = [0]

    def note(image: Any, progress: Any) -> None:
        percent[0] = min(progress.percent, 99)

    try:
        # of a source: for the name of a file, libvips may return an image of an earlier file
        opened = pyvips.Source.new_from_file(str(source))
        image = pyvips.Image.new_from_source(opened, "", access="sequential")
        image.set_progress(True)
        image.signal_connect("eval", note)
        # Another thread calls libvips, because what is raised while libvips calls ``note`` is lost:
        # in the main thread that may be an interrupt.
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(image.write_to_file, str(path), **options)
            try:
                while wait([written], timeout=0.1).not_done:
                    on_rows(rows + rows * percent[0] // 100, 2 * rows)
                written.result()
            except BaseException:
                image.set_kill(True)  # else the end of the thread is waited for
                raise
    except pyvips.Error as error:
        raise OSError(" ".join(str(error).split())) from error
    finally:
        # empties libvips's cache, which would keep the TIFF open, and so its space on the disk
        most = pyvips.cache_get_max()
        pyvips.cache_set_max(0)
        pyvips.cache_set_max(most)
    on_rows(2 * rows, 2 * rows)
