"""``clipmask-data convert``: annotations of other tools become label maps and a descriptor."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tqdm import tqdm

from clipmask.cli.data.init import init
from clipmask.cli.output import shortened
from clipmask.cli.vocabulary import read_vocabulary
from clipmask.curation.converting.convert import Options
from clipmask.curation.converting.convert import convert as write_labels
from clipmask.curation.converting.parquet import parquet_files, unpack
from clipmask.errors import UserError


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
    """Converts, and prints what was read and what to do next.

    Args:
        source: a file or folder of annotations.
        images: the folder of the pictures, if it is another.
        output: the folder to write into.
        format: of the annotations; None: finds out.
        names: of the classes in their order, between commas.
        labels: of Parquet files, the column of the label pictures; None: finds out.
        background: the class of pixels without annotation, or ``void``.
        overlap: ``smaller`` or ``later``: which of two shapes counts where they overlap.
        force: write into a folder that has something in it.

    Returns:
        0.

    Raises:
        UserError: see ``clipmask.curation.converting``; the folder is not empty; or an option does
            not go with the format.
    """
    folder = Path(output)
    if folder.is_file():
        raise UserError(f"--output {folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UserError(
            f"--output {folder}: is there already; name another folder, or write into it with"
            " --force"
        )
    files = parquet_files(Path(source)) if format in (None, "parquet") else []
    if files or format == "parquet":
        if images is not None or (background, overlap) != ("background", "smaller"):
            raise UserError(
                f"{source}: --images, --background and --overlap do not go with Parquet files,"
                " which hold the pictures, and a value for each pixel"
            )
        return _unpack(source, files, folder, names, labels)
    if labels is not None:
        raise UserError(f"--labels {labels}: names a column of Parquet files; {source} has none")
    options = Options(
        format,
        None if names is None else tuple(read_vocabulary(names, "--names")),
        None if background == "void" else background,
        overlap == "smaller",
    )
    interval = 0.1 if sys.stderr.isatty() else 30.0
    bar: tqdm | None = None  # not before there is something to show

    def tell(number: int, total: int) -> None:
        nonlocal bar
        bar = bar or tqdm(total=total, unit=" label maps", desc="writing", mininterval=interval)
        bar.update()

    try:
        done = write_labels(
            Path(source), None if images is None else Path(images), folder, options, tell
        )
    finally:
        if bar is not None:
            bar.close()
    splits = (
        ", ".join(f"{split} {count}" for split, count in done.splits.items())
        or f"shares: train 0.8, val 0.2{f', seed {done.seed}' if done.seed else ''}"
    )
    descriptor = folder / f"{folder.resolve().name}.yaml"
    print(
        f"{done.format}: {done.pictures} pictures, {len(done.names)} classes:"
        f" {shortened(done.names, 12)}"
    )
    print(f"splits      {splits}")
    print(
        f"background  {done.background or 'void'}; where shapes overlap, the {overlap} one counts"
    )
    for what, count in done.skipped.items():
        print(f"passed over {count} {what}")
    print(f"\n{descriptor} and {folder / 'labels'} are written. Then:")
    print(f"  clipmask-data check {shlex.quote(str(descriptor))}")
    return 0


def _unpack(
    source: str, files: list[Path], folder: Path, names: str | None, labels: str | None
) -> int:
    """Writes the pictures of Parquet files, and a descriptor as ``init`` does."""
    if not files:
        raise UserError(f"{source}: no files of Parquet (.parquet) or Arrow (.arrow) found")
    done = unpack(files, folder, labels)
    counts = ", ".join(f"{split or 'no split'} {count}" for split, count in done.splits.items())
    print(f"parquet: columns {' and '.join(done.columns)} of {len(files)} files: {counts}")
    if done.unlabelled:
        print(f"passed over {done.unlabelled} empty labels")
    print(f"{folder / 'images'} and {folder / 'labels'} are written.\n")
    descriptor = folder / f"{folder.resolve().name}.yaml"
    return init(str(folder), str(descriptor), names, sample=200, force=True)
