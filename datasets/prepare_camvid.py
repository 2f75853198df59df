"""Turns the original CamVid into what ``camvid720_sem_seg_*`` loads; datasets/README.md tells where
to unpack it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clipmask.cli import run_main
from clipmask.data.datasets.camvid_original import COLOURED, IMAGES, prepare
from clipmask.data.datasets.roots import dataset_root


def main() -> None:
    """Reads the command line, prepares the folder and prints how often each class occurs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help=f"that holds {IMAGES} and {COLOURED}; by default camvid720 in the first dataset root that has them",  # noqa: E501
    )
    parser.add_argument(
        "--unknown-is-void",
        action="store_true",
        help="take colours that are none of the 32 for void",
    )
    args = parser.parse_args()
    folder = args.folder
    if folder is None:
        parts = [f"camvid720/{name}" for name in (IMAGES, COLOURED)]
        folder = (
            dataset_root(parts, dataset="the original CamVid", tree=" and ".join(parts))
            / "camvid720"
        )
    print(prepare(folder, unknown_is_void=args.unknown_is_void))


if __name__ == "__main__":
    sys.exit(run_main(main))
