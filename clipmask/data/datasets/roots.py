"""The folders in which datasets are searched.

The environment variables ``CLIPMASK_DATASETS`` and ``DETECTRON2_DATASETS`` may each name a folder;
``./datasets`` is searched last. The variables are read when a dataset is loaded, not when the
package is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from clipmask.errors import UserError

VARIABLES = ("CLIPMASK_DATASETS", "DETECTRON2_DATASETS")
FALLBACK = Path("datasets")


def dataset_roots() -> list[Path]:
    """Returns the folders in which datasets are searched, in order."""
    named = [Path(os.environ[name]).expanduser() for name in VARIABLES if os.environ.get(name)]
    return [*named, FALLBACK]


def dataset_root(needed: Sequence[str], *, dataset: str, tree: str) -> Path:
    """Returns the first root that holds a dataset.

    Args:
        needed: paths that must exist below the root, such as ``camvid/train.txt``.
        dataset: the name of the dataset, for the error message.
        tree: the files that are expected below a root, for the error message.

    Raises:
        UserError: no root holds all of them; the message lists the searched folders and the tree.
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
    """Returns the first needed path that a root lacks; "such folder" if the root is missing."""
    if not root.is_dir():
        return "such folder"
    return next(path for path in needed if not (root / path).exists())
