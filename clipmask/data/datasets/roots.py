"""Where datasets lie on disk.

Each of the environment variables ``CLIPMASK_DATASETS`` and ``DETECTRON2_DATASETS`` may name a
folder; ``./datasets`` comes last. They are read when a dataset is loaded, not when the package is
imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from clipmask.errors import UserError

VARIABLES = ("CLIPMASK_DATASETS", "DETECTRON2_DATASETS")
FALLBACK = Path("datasets")


def dataset_roots() -> list[Path]:
    """Returns the folders to look in, first choice first."""
    named = [Path(os.environ[name]).expanduser() for name in VARIABLES if os.environ.get(name)]
    return [*named, FALLBACK]


def dataset_root(needed: Sequence[str], *, dataset: str, tree: str) -> Path:
    """Returns the first root that holds a dataset.

    Args:
        needed: paths relative to the root that must exist there, such as ``camvid/train.txt``.
        dataset: what to call the dataset in an error.
        tree: the files that are expected below a root, for the error.

    Raises:
        UserError: no root holds them all; the message lists the places and the tree.
    """
    roots = dataset_roots()
    for root in roots:
        if all((root / path).exists() for path in needed):
            return root
    looked = "; ".join(f"{root.absolute()} (no {_first_missing(root, needed)})" for root in roots)
    raise UserError(
        f"dataset {dataset} was not found. Looked in: {looked}. Set CLIPMASK_DATASETS to the folder"
        f" that holds {tree} (datasets/README.md describes it)"
    )


def _first_missing(root: Path, needed: Sequence[str]) -> str:
    """Names the first needed path that a root lacks, or the root itself."""
    if not root.is_dir():
        return "such folder"
    return next(path for path in needed if not (root / path).exists())
