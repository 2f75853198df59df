"""``clipmask-data init``: writes a descriptor for a folder."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import tempfile
from pathlib import Path

from clipmask.cli.output import output_file
from clipmask.cli.vocabulary import read_vocabulary
from clipmask.curation.converting.parquet import parquet_files
from clipmask.curation.converting.sources import annotations_in
from clipmask.curation.guessing.drawing import seed_of_descriptor
from clipmask.curation.guessing.guess import SHARES, FolderGuess, guess_folder
from clipmask.curation.guessing.pairing import find_pictures
from clipmask.curation.guessing.writing import descriptor_text
from clipmask.data.descriptor import Descriptor, read_descriptor
from clipmask.errors import UserError, listed


def init(
    folder: str,
    output: str | None,
    names: str | None,
    *,
    labels: str | None = None,
    sample: int,
    force: bool,
) -> int:
    """Writes a descriptor, and prints the guesses with their reasons.

    Args:
        folder: a folder that contains pictures and label maps.
        output: the YAML file; None: the folder's name, in the current folder.
        names: the class names, separated by commas; None: they come from a file of names, or are
            placeholders.
        labels: the name of the folders of label maps; None: it is guessed.
        sample: the number of label maps that are read to find the classes.
        force: True: replace an existing file.

    Returns:
        0.

    Raises:
        UserError: no pairs are found; the file exists, or can't be written; a value is out of
            range.
    """
    if sample < 1:
        raise UserError(f"--sample {sample}: must be 1 or more")
    name = re.sub(r"[^\w.-]+", "_", Path(folder).resolve().name).strip("._") or "dataset"
    path = output_file(output or f"{name}.yaml", [".yaml", ".yml"], force)
    try:
        guess = guess_folder(
            Path(folder),
            None if names is None else read_vocabulary(names, "--names"),
            sample,
            labels,
        )
    except UserError as error:
        raise UserError(_with_advice(str(error), Path(folder))) from error
    if output:
        name = path.stem
    guess, descriptor = _write(guess, name, path)
    seed = seed_of_descriptor(descriptor, sample)
    if seed:
        why = f"{guess.splits.why}; with seed {seed}, the splits lack as few classes as possible"
        splits = dataclasses.replace(guess.splits, seed=seed, why=why)
        guess, descriptor = _write(dataclasses.replace(guess, splits=splits), name, path)
    _print_conclusions(guess, descriptor)
    first = ""
    if not guess.names_from:
        first = " First replace class_0, ... in it by the true names."
    print(f"\n{path} is written.{first} Then:")
    print(f"  clipmask-data check {shlex.quote(str(path))}")
    return 0


def _with_advice(message: str, folder: Path) -> str:
    """Returns a message that points to ``convert``, if the folder has other annotations."""
    if not folder.is_dir() or "clipmask-data convert" in message:
        return message
    pictures = find_pictures(folder)
    if not pictures and (files := parquet_files(folder)):
        return (
            f"{folder}: contains no picture, but {files[0].relative_to(folder)} may contain some."
            f" Unpack it: clipmask-data convert {shlex.quote(str(folder))} --output FOLDER"
        )
    kind = annotations_in(folder, pictures) if pictures else None
    if kind is None and "no label maps" in message:
        return (
            f"{message}. If there is a mask for each class, combine them: clipmask-data convert"
            f" {shlex.quote(str(folder))} --format masks --output FOLDER"
        )
    if kind is None:
        return message
    return (
        f"{folder}: {len(pictures)} pictures without label maps, but with annotations ({kind})."
        f" Make label maps from them: clipmask-data convert {shlex.quote(str(folder))} --output"
        " FOLDER"
    )


def _write(guess: FolderGuess, name: str, path: Path) -> tuple[FolderGuess, Descriptor]:
    """Writes the descriptor after checking that it can be read.

    If the lists of the splits don't fit the pictures, shares replace them.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(".yaml", f".{path.stem}_", path.parent)
        os.close(handle)
    except OSError as error:
        raise UserError(f"--output {path}: can't be written ({error})") from error
    try:
        Path(draft).write_text(descriptor_text(guess, name, path.parent), encoding="utf-8")
        try:
            read_descriptor(draft).samples()
        except UserError as error:
            if guess.splits.sources == SHARES.sources:
                message = str(error).replace(draft, f"that init made for {guess.folder}")
                raise UserError(message) from error
            why = f"shares: {guess.splits.why} don't fit the pictures"
            guess = dataclasses.replace(guess, splits=dataclasses.replace(SHARES, why=why))
            return _write(guess, name, path)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(draft, 0o666 & ~umask)
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)
    return guess, read_descriptor(path)


def _print_conclusions(guess: FolderGuess, descriptor: Descriptor) -> None:
    pairing, values = guess.pairing, guess.values
    samples = descriptor.samples()
    counts = ", ".join(f"{split} {len(records)}" for split, records in samples.items())
    pictures = "any picture"
    if pairing.image_suffix is not None:
        pictures = f"{pairing.image_prefix}*{pairing.image_suffix}"
    labels = f"{pairing.label_prefix}*{pairing.label_suffix}"
    for first, second in pairing.label_folders.items():
        labels += f", {first} -> {second}"
    found = len(descriptor.pairs())
    classes = f"{len(values.classes)}: {listed(descriptor.class_names, 12)}"
    names = "placeholders, because no file of names was found"
    if guess.names_from:
        names = f"from {guess.names_from}"
    rows = {
        "pictures": f"{guess.folder / pairing.images} ({pictures})",
        "label maps": f"{guess.folder / pairing.labels} ({labels})",
        "pairs": f"{found - descriptor.num_unlabelled} of {found} pictures have a label map",
    }
    image_format = guess.depth.format.as_metadata()
    if image_format:
        rows["pixels"] = f"{image_format}: {guess.depth.why}"
    rows |= {
        "encoding": f"{values.encoding}: {values.why['encoding']}",
        "classes": f"{classes} ({values.why['classes']})",
        "names": names,
        "void": _void(guess),
        "splits": f"{counts} ({guess.splits.why})",
    }
    for what, text in rows.items():
        print(f"{what:<12}{text}")


def _void(guess: FolderGuess) -> str:
    values = guess.values
    shown = ", ".join(map(str, values.void_colors)) or "no colour"
    if values.encoding == "ids":
        shown = ", ".join(map(str, values.ignore_ids))
    return f"{shown}: {values.why['void']}"
