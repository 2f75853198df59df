"""The grid: which configs are trained with which seeds, and against which one they are measured.

against: full                 # the run that the others are compared with, seed by seed
seeds: [0, 1, 2]
register: [camvid_text.py]    # Python files for --register, relative to the grid's own folder; may
                              be left out
runs:                         # in the order of the tables
  full: full model            # name: title; the config is NAME.yaml beside the grid
  text: {title: "images' own text", also_test: [camvid_text_sem_seg_val]}   # datasets tested when
                                                                            training is over
  recipe: {title: our recipe, config: ../camvid/clipmask_mobilenetv2.yaml}
  random: {title: random text, config: full.yaml, text: random}   # T without meaning, a draw a
                                                                  seed: see text.py
folds: [0001TP, 0006R0]       # all runs once for each; "{fold}" in their DATASETS is its name; may
                              be left out
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from clipmask.errors import UserError
from clipmask_tools.ablation.text import CONTROLS

_KEYS = {"against", "seeds", "register", "runs", "folds"}
_RUN_KEYS = {"title", "config", "also_test", "text"}


@dataclass(frozen=True)
class Variant:
    """A row of the tables.

    Attributes:
        name: of the run, in commands and files.
        title: in tables and plots.
        config: path of the YAML file.
        also_test: datasets that the trained model is tested on besides the config's own
            DATASETS.TEST.
        text: the control that takes the meaning out of T, one of ``CONTROLS``; empty: T as the
            config says.
        fold: what "{fold}" in the config's datasets stands for; empty: nothing.
    """

    name: str
    title: str
    config: Path
    also_test: tuple[str, ...] = ()
    text: str = ""
    fold: str = ""


@dataclass(frozen=True)
class Grid:
    """A grid file's content.

    Attributes:
        path: of the file.
        against: name of the variant that the others are compared with.
        seeds: of every variant.
        register: Python files that register its datasets.
        variants: by their names, in the order of the tables; where there are folds, one for each,
            ``NAME_FOLD``.
        folds: what the variants are trained without and tested on, in turn; empty: there are none.
    """

    path: Path
    against: str
    seeds: tuple[int, ...]
    register: tuple[Path, ...]
    variants: dict[str, Variant]
    folds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its folders are called: the name of the folder that the file is in."""
        return self.path.resolve().parent.name

    def choose(
        self, names: Sequence[str] | None, seeds: Sequence[int] | None
    ) -> list[tuple[Variant, int]]:
        """Returns the (variant, seed) pairs to run, all variants of a seed before the next seed.

        Args:
            names: of some variants; None: all.
            seeds: in place of the grid's; None: those.

        Raises:
            UserError: there is no such variant, or no such seed can be.
        """
        unknown = [name for name in names or () if name not in self.variants]
        if unknown:
            raise UserError(
                f"grid {self.path}: no run {', '.join(unknown)}; there are"
                f" {', '.join(self.variants)}"
            )
        _check_seeds(seeds or self.seeds, "--seeds")
        chosen = [
            variant for name, variant in self.variants.items() if names is None or name in names
        ]
        return [
            (variant, seed)
            for seed, variant in itertools.product(dict.fromkeys(seeds or self.seeds), chosen)
        ]


def read_grid(path: str | Path) -> Grid:
    """Reads a grid file.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown or missing, a value is wrong, or
            a config or a Python file is not there; the message names file and key.
    """
    path = Path(path)
    content = _mapping(path, _load(path), "the file", _KEYS, needed={"against", "seeds", "runs"})
    runs = content["runs"]
    if not isinstance(runs, dict) or not runs:
        raise UserError(f"grid {path}: runs is {runs!r}; it must map names to titles")
    variants = {str(name): _variant(path, str(name), value) for name, value in runs.items()}
    if content["against"] not in variants:
        raise UserError(
            f"grid {path}: against is {content['against']!r}, which is no run; there are"
            f" {', '.join(runs)}"
        )
    seeds = content["seeds"]
    if not isinstance(seeds, list):
        raise UserError(f"grid {path}: seeds is {seeds!r}; it must be a list such as [0, 1, 2]")
    _check_seeds(seeds, f"grid {path}: seeds")
    register = tuple(_file(path, name, "register") for name in content.get("register", []))
    folds = _strings(content.get("folds", []), f"grid {path}: folds", "names")
    if folds:
        variants = _unfolded(variants, folds)
    return Grid(path, content["against"], tuple(seeds), register, variants, folds)


def _unfolded(variants: dict[str, Variant], folds: Sequence[str]) -> dict[str, Variant]:
    """Every variant once for each fold, under the name ``NAME_FOLD``."""
    unfolded = {}
    for (name, variant), fold in itertools.product(variants.items(), folds):
        unfolded[f"{name}_{fold}"] = replace(variant, name=f"{name}_{fold}", fold=fold)
    return unfolded


def _load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"grid {path}: can't be read ({error.strerror}); it is a YAML file of runs and seeds"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"grid {path}: not plain YAML: {' '.join(str(error).split())}") from error


def _mapping(
    path: Path, value: Any, where: str, known: set[str], needed: set[str]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"grid {path}: {where} is not a mapping of keys to values")
    unknown, missing = [key for key in value if key not in known], sorted(needed - value.keys())
    if unknown:
        raise UserError(
            f"grid {path}: {where} has no key {unknown[0]!r}; it takes {', '.join(sorted(known))}"
        )
    if missing:
        raise UserError(f"grid {path}: {where} lacks {', '.join(missing)}")
    return value


def _variant(path: Path, name: str, value: Any) -> Variant:
    if isinstance(value, str):
        value = {"title": value}
    value = _mapping(path, value, f"run {name}", _RUN_KEYS, needed={"title"})
    config = _file(path, value.get("config", f"{name}.yaml"), f"run {name}: config")
    also = _strings(value.get("also_test", []), f"grid {path}: run {name}: also_test", "datasets")
    text = value.get("text", "")
    if text not in ("", *CONTROLS):
        raise UserError(
            f"grid {path}: run {name}: text is {text!r}; it must be {' or '.join(CONTROLS)}"
        )
    return Variant(name, str(value["title"]), config, also, text)


def _strings(value: Any, where: str, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{where} is {value!r}; it must be a list of {what}")
    return tuple(value)


def _file(path: Path, name: Any, where: str) -> Path:
    file = path.parent / str(name)
    if not file.is_file():
        raise UserError(f"grid {path}: {where}: {file}: no such file")
    return file


def _check_seeds(seeds: Sequence[Any], where: str) -> None:
    if not seeds or any(
        isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds
    ):
        raise UserError(f"{where} {list(seeds)}: must be whole numbers from 0, one at least")
