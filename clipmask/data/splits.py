"""Which picture of a described dataset belongs to which split.

Shares are drawn by a hash of each picture's path relative to the folder of images, so neither the order of the files
nor the machine matters, and a file that is added moves no other. Only a split that would get none at all takes the
picture nearest to its share from a larger one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from clipmask.errors import UserError

Source = float | Path  # a share, or a text file or folder


def split_paths(
    splits: Mapping[str, Source], pictures: Sequence[Path], labelled: Sequence[Path], descriptor: Path, images: Path
) -> dict[str, list[Path]]:
    """Shares pictures out.

    Args:
        splits: shares that sum to 1; or for each a text file, which lists pictures by their path relative to
            ``images``, with or without suffix, or by their name alone; or a folder below ``images``.
        pictures: all there are, relative to ``images``.
        labelled: those with a label map, in order; the others are in no split.
        descriptor: the YAML file, for messages.
        images: their folder.

    Returns:
        For each split its pictures, in the order of ``labelled`` or of the text file.

    Raises:
        UserError: a text file names a picture that is not there, or that could be several, or is empty.
    """
    shares = {split: source for split, source in splits.items() if isinstance(source, float)}
    if shares:
        return by_share(shares, labelled)
    found: dict[str, list[Path]] = {}
    for split, source in splits.items():
        assert isinstance(source, Path)
        if source.is_dir():
            inside = source.relative_to(images)
            found[split] = [image for image in labelled if image.is_relative_to(inside)]
        else:
            known = set(labelled)
            found[split] = [image for image in _listed(source, pictures, descriptor, images) if image in known]
    return found


def by_share(shares: Mapping[str, float], images: Sequence[Path]) -> dict[str, list[Path]]:
    """Draws splits by shares, see the module's text.

    Args:
        shares: of each split, sum 1.
        images: relative paths, each once.

    Returns:
        For each split its images, in the order given. None with a share above 0 is empty if there are as many images
        as splits.
    """
    wanted = [split for split, share in shares.items() if share > 0]
    ends = list(accumulate(shares[split] for split in wanted))
    draws = {image: _draw(image) for image in images}
    chosen = {
        image: next((split for split, end in zip(wanted, ends, strict=True) if draw < end), wanted[-1])
        for image, draw in draws.items()
    }
    if len(images) >= len(wanted):
        for split, end in zip(wanted, ends, strict=True):
            middle, members = end - shares[split] / 2, list(chosen.values())
            if split not in members:
                spare = [image for image in images if members.count(chosen[image]) > 1]
                chosen[min(spare, key=lambda image: abs(draws[image] - middle))] = split
    return {split: [image for image in images if chosen[image] == split] for split in shares}


def _draw(image: Path) -> float:
    """Returns a number from 0 up to 1 that depends on the path alone."""
    return int.from_bytes(hashlib.sha256(image.as_posix().encode()).digest()[:8], "big") / 2**64


def _listed(file: Path, pictures: Sequence[Path], descriptor: Path, images: Path) -> list[Path]:
    """Returns the pictures that a text file lists, each once; empty lines and those with # are passed over."""
    index: defaultdict[str, set[Path]] = defaultdict(set)
    for picture in pictures:
        for name in (picture.as_posix(), picture.with_suffix("").as_posix(), picture.name, picture.stem):
            index[name].add(picture)
    chosen: dict[Path, None] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        name = line.strip().replace("\\", "/").removeprefix("./")
        if not name or name.startswith("#"):
            continue
        found = index.get(name, set())
        exact = {picture for picture in found if picture.as_posix() == name} or found
        if len(exact) != 1:
            fault = f"could be {' or '.join(sorted(map(str, exact))[:3])}" if exact else f"no such picture in {images}"
            raise UserError(
                f"descriptor {descriptor}: {file}, line {number}: {name!r}: {fault}; write paths relative to images"
            )
        chosen[exact.pop()] = None
    if not chosen:
        raise UserError(f"descriptor {descriptor}: {file}: lists no pictures; write one path a line")
    return list(chosen)
