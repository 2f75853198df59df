"""Pages of documentation, taken apart and run as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from tests.conftest import PATIENCE, ROOT
from tests.forked import run_forked

# Makes any training of a page a matter of seconds that needs no download.
SHORT = [
    "--start-over",  # in a folder where an earlier command of the page has trained
    *(
        "SOLVER.MAX_ITER",
        "3",
        "SOLVER.IMS_PER_BATCH",
        "2",
        "INPUT.CROP.SIZE",
        "(64,64)",
        "TEST.NUM_PICTURES",
        "1",
    ),
    *(
        "MODEL.BACKBONE.WEIGHTS",
        "random",
        "MODEL.CLIP.EMBEDDINGS",
        "random",
        "DATALOADER.NUM_WORKERS",
        "0",
    ),
]


def blocks(page: Path, kind: str) -> list[str]:
    """Returns the code blocks of a Markdown file that are marked as ``kind``, such as python or
    bash.
    """
    return [
        code
        for found, code in re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL)
        if found == kind
    ]


def commands(page: Path) -> list[str]:
    """Returns the command lines of a Markdown file, without what stands behind two blanks and a
    ``#``.
    """
    return [
        line.split("  #")[0].strip()
        for block in blocks(page, "bash")
        for line in block.splitlines()
    ]


def checkout(folder: Path, scenes: Path | None = None) -> Path:
    """Makes ``folder`` look like a checkout with datasets and results of its own; returns it.

    Args:
        folder: empty.
        scenes: the drawn scenes of toy_street, which are then there already; None: the first
            command that needs them draws them.
    """
    for name in ("configs", "demo", "models", "train_net.py"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "datasets").mkdir()
    if scenes:
        shutil.copytree(scenes, folder / "datasets" / scenes.name, copy_function=os.link)
    return folder


def quick_start_command() -> list[str]:
    """Returns the first training that the README names."""
    line = next(line for line in commands(ROOT / "README.md") if "pip install -e . &&" in line)
    return shlex.split(line.split("&&")[1])


def run_quick_start(folder: Path) -> Path:
    """Runs the README's first training, shortened, in a new checkout; returns ``folder``."""
    printed = run([*quick_start_command(), *SHORT], checkout(folder))
    (folder / "printed.txt").write_text(printed)
    return folder


def run(command: list[str], folder: Path, implementation: str = "builtin") -> str:
    """Runs a command in ``folder`` as a reader would, and returns what it printed.

    Args:
        command: ``python`` stands for this Python.
        folder: a checkout.
        implementation: of Detectron2's names, ``builtin`` or ``detectron2``.
    """
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_DATASETS")}
    places = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment |= {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "CLIPMASK_D2": implementation}
    result = run_forked(command, folder, environment, PATIENCE)
    printed = result.stdout + result.stderr
    assert result.returncode == 0, f"{shlex.join(command)}\n{printed}"
    return printed
