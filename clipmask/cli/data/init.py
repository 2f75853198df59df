"""``clipmask-data init``: a folder becomes a descriptor."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import tempfile
from pathlib import Path

from clipmask.cli.output import output_file, shortened
from clipmask.cli.vocabulary import read_vocabulary
from clipmask.curation.converting.parquet import parquet_files
from clipmask.curation.converting.sources import annotations_in
from clipmask.curation.guessing.drawing import seed_of_descriptor
from clipmask.curation.guessing.guess import SHARES, FolderGuess, guess_folder
from clipmask.curation.guessing.pairing import find_pictures
from clipmask.curation.guessing.writing import descriptor_text
from clipmask.data.descriptor import Descriptor, read_descriptor
from clipmask.errors import UserError


def init(
    folder: str,
    output: str | None,
    names: str | None,
    *,
    labels: str | None = None,
    sample: int,
    force: bool,
) -> int:
    """Writes a descriptor, and prints what was concluded from what.

    Args:
        folder: with pictures and label maps.
        output: the YAML file; None: the folder's name, here.
        names: of the classes, between commas; None: from a file of names, or placeholders.
        labels: what the folders of the label maps are called; None: finds out.
        sample: label maps that are read to find the classes.
        force: overwrite the file.

    Returns:
        0.

    Raises:
        UserError: nothing is found; the file is there, or can't be written; a value makes no sense.
    """
    if sample < 1:
        raise UserError(f"--sample {sample}: read at least one label map")
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
    name = path.stem if output else name
    guess, descriptor = _write(guess, name, path)
    seed = seed_of_descriptor(descriptor, sample)
    if seed:
        why = (
            f"{guess.splits.why}; seed {seed}, with which no split lacks a class that it could have"
        )
        splits = dataclasses.replace(guess.splits, seed=seed, why=why)
        guess, descriptor = _write(dataclasses.replace(guess, splits=splits), name, path)
    _print_conclusions(guess, descriptor)
    first = "" if guess.names_from else " First put the true names in place of class_0, ... in it."
    print(f"\n{path} is written.{first} Then:")
    print(f"  clipmask-data check {shlex.quote(str(path))}")
    return 0


def _with_advice(message: str, folder: Path) -> str:
    """Points to ``convert`` where a folder without label maps has annotations of another kind."""
    if not folder.is_dir() or "clipmask-data convert" in message:
        return message
    pictures = find_pictures(folder)
    if not pictures and (files := parquet_files(folder)):
        return (
            f"{folder}: no picture in it, but {files[0].relative_to(folder)}, which may hold some."
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
        f" Make label maps of them: clipmask-data convert {shlex.quote(str(folder))} --output"
        " FOLDER"
    )


def _write(guess: FolderGuess, name: str, path: Path) -> tuple[FolderGuess, Descriptor]:
    """Writes the file, once it has been read back; where lists of splits don't fit the pictures,
    with shares.
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
                raise UserError(
                    str(error).replace(draft, f"that init made for {guess.folder}")
                ) from error
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
    pictures = (
        "any picture"
        if pairing.image_suffix is None
        else f"{pairing.image_prefix}*{pairing.image_suffix}"
    )
    folders = "".join(f", {a} -> {b}" for a, b in pairing.label_folders.items())
    found = len(descriptor.pairs())
    rows = [
        ("pictures", f"{guess.folder / pairing.images} ({pictures})"),
        (
            "label maps",
            (
                f"{guess.folder / pairing.labels}"
                f" ({pairing.label_prefix}*{pairing.label_suffix}{folders})"
            ),
        ),
        ("pairs", f"{found - descriptor.num_unlabelled} of {found} pictures have a label map"),
        *(
            [("pixels", f"{guess.depth.format.as_metadata()}: {guess.depth.why}")]
            if guess.depth.format.as_metadata()
            else []
        ),
        ("encoding", f"{values.encoding}: {values.why['encoding']}"),
        (
            "classes",
            (
                f"{len(values.classes)}: {shortened(descriptor.class_names, 12)}"
                f" ({values.why['classes']})"
            ),
        ),
        (
            "names",
            (
                f"from {guess.names_from}"
                if guess.names_from
                else "placeholders, for nothing told them"
            ),
        ),
        ("void", _void(guess)),
        ("splits", f"{counts} ({guess.splits.why})"),
    ]
    for what, text in rows:
        print(f"{what:<12}{text}")


def _void(guess: FolderGuess) -> str:
    values = guess.values
    shown = (
        ", ".join(map(str, values.ignore_ids))
        if values.encoding == "ids"
        else ", ".join(map(str, values.void_colors)) or "no colour"
    )
    return f"{shown}: {values.why['void']}"
