"""``clipmask-data convert``: converts annotations of other tools to label maps."""

from __future__ import annotations

import shlex
from pathlib import Path

from tqdm import tqdm

from clipmask.cli.data.init import init
from clipmask.cli.output import progress_bar
from clipmask.cli.vocabulary import read_vocabulary
from clipmask.curation.converting.convert import Options
from clipmask.curation.converting.convert import convert as write_labels
from clipmask.curation.converting.parquet import parquet_files, unpack
from clipmask.errors import UserError, listed


def convert(
    source: str,
    images: str | None,
    output: str,
    *,
    format: str | None,
    names: str | None,
    labels: str | None = None,
    background: str,
    overlap: str,
    force: bool,
) -> int:
    """Converts annotations, and prints a summary and the next command.

    Args:
        source: a file or folder of annotations.
        images: the folder of the pictures, if it differs from that of ``source``.
        output: the output folder.
        format: the format of the annotations; None: it is detected.
        names: the class names in the order of their ids, separated by commas.
        labels: for Parquet files, the column of the label maps; None: it is guessed.
        background: the class of pixels without annotation, or ``void``.
        overlap: ``smaller`` or ``later``: which of two overlapping shapes is on top.
        force: True: write into a folder that is not empty.

    Returns:
        0.

    Raises:
        UserError: as for ``clipmask.curation.converting``; the folder is not empty; or an option
            can't be used with the format.
    """
    folder = Path(output)
    if folder.is_file():
        raise UserError(f"--output {folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UserError(
            f"--output {folder}: is there already; name another folder, or use --force to write"
            " into it"
        )
    files = []
    if format in (None, "parquet"):
        files = parquet_files(Path(source))
    if files or format == "parquet":
        if images is not None or (background, overlap) != ("background", "smaller"):
            raise UserError(
                f"{source}: --images, --background and --overlap can't be used with Parquet files,"
                " which contain the pictures and a value for each pixel"
            )
        return _unpack(source, files, folder, names, labels)
    if labels is not None:
        raise UserError(
            f"--labels {labels}: is for columns of Parquet files, but {source} has no such file"
        )
    options = Options(
        format,
        None if names is None else tuple(read_vocabulary(names, "--names")),
        None if background == "void" else background,
        overlap == "smaller",
    )
    bar: tqdm | None = None  # created with the first picture

    def progress(number: int, total: int) -> None:
        nonlocal bar
        bar = bar or progress_bar(total, "label maps", "writing")
        bar.update()

    try:
        done = write_labels(
            Path(source), None if images is None else Path(images), folder, options, progress
        )
    finally:
        if bar is not None:
            bar.close()
    splits = ", ".join(f"{split} {count}" for split, count in done.splits.items())
    if not splits:
        splits = "shares: train 0.8, val 0.2"
        if done.seed:
            splits += f", seed {done.seed}"
    descriptor = folder / f"{folder.resolve().name}.yaml"
    print(
        f"{done.format}: {done.pictures} pictures, {len(done.names)} classes:"
        f" {listed(done.names, 12)}"
    )
    print(f"splits      {splits}")
    background = done.background or "void"
    print(f"background  {background}; where shapes overlap, the {overlap} one is on top")
    for what, count in done.skipped.items():
        print(f"skipped     {count} {what}")
    print(f"\n{descriptor} and {folder / 'labels'} are written. Then:")
    print(f"  clipmask-data check {shlex.quote(str(descriptor))}")
    return 0


def _unpack(
    source: str, files: list[Path], folder: Path, names: str | None, labels: str | None
) -> int:
    """Unpacks Parquet files and writes a descriptor as ``init`` does."""
    if not files:
        raise UserError(f"{source}: no Parquet (.parquet) or Arrow (.arrow) files found")
    done = unpack(files, folder, labels)
    counts = ", ".join(f"{split or 'no split'} {count}" for split, count in done.splits.items())
    print(f"parquet: columns {' and '.join(done.columns)} of {len(files)} files: {counts}")
    if done.unlabelled:
        print(f"skipped {done.unlabelled} empty labels")
    print(f"{folder / 'images'} and {folder / 'labels'} are written.\n")
    descriptor = folder / f"{folder.resolve().name}.yaml"
    return init(str(folder), str(descriptor), names, sample=200, force=True)
