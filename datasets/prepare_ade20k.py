"""Turns the annotations of ADEChallengeData2016 into what ``ade20k_sem_seg_*`` loads, as
Detectron2's script of that kind does.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clipmask.cli import run_main
from clipmask.data.datasets.ade20k import FOLDER, prepare
from clipmask.data.datasets.roots import dataset_root


def main() -> None:
    """Reads the command line, prepares the folder and prints how many files were written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help=f"{FOLDER}; by default the one in the first dataset root that has its annotations",
    )
    folder = parser.parse_args().folder
    if folder is None:
        needed = [f"{FOLDER}/annotations"]
        root = dataset_root(needed, dataset="the annotations of ADE20K", tree=needed[0])
        folder = root / FOLDER
    print(f"{prepare(folder)} label maps written below {folder / 'annotations_detectron2'}")


if __name__ == "__main__":
    sys.exit(run_main(main))
