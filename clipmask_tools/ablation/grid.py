"""Grid files: which configs are trained with which seeds, and to which run they are compared.

against: full                 # the run to which all others are compared, seed by seed
seeds: [0, 1, 2]
register: [camvid_text.py]    # optional: Python files for --register, relative to the grid
runs:                         # in the order of the tables
  full: full model            # name: title; the config is NAME.yaml beside the grid
  # also_test: datasets on which the trained model is tested too
  text: {title: "images' own text", also_test: [camvid_text_sem_seg_val]}
  recipe: {title: our recipe, config: ../camvid/clipmask_mobilenetv2.yaml}
  # text: embeddings T without meaning, other ones for each seed, see text.py
  random: {title: random text, config: full.yaml, text: random}
folds: [0001TP, 0006R0]       # optional: all runs are repeated for each fold, whose name
                              # replaces "{fold}" in their DATASETS and MODEL.WEIGHTS
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
    """A run of the grid, which is a row of the tables.

    Attributes:
        name: the name of the run, in commands and files.
        title: the title in tables and plots.
        config: the path of the YAML file.
        also_test: further datasets on which the trained model is tested, besides the config's
            DATASETS.TEST.
        text: the control that removes the meaning of T, one of ``CONTROLS``; empty: T is that of
            the config.
        fold: the text that replaces "{fold}" in the config's datasets and weights; empty: no fold.
    """

    name: str
    title: str
    config: Path
    also_test: tuple[str, ...] = ()
    text: str = ""
    fold: str = ""


@dataclass(frozen=True)
class Grid:
    """The content of a grid file.

    Attributes:
        path: the path of the file.
        against: the name of the variant to which the others are compared.
        seeds: the seeds of every variant.
        register: the Python files that register the datasets.
        variants: the variants by name, in the order of the tables; with folds, one for each fold,
            ``NAME_FOLD``.
        folds: the names of the folds; each is left out of the training and tested. Empty: none.
    """

    path: Path
    against: str
    seeds: tuple[int, ...]
    register: tuple[Path, ...]
    variants: dict[str, Variant]
    folds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the grid, which is that of the file's folder."""
        return self.path.resolve().parent.name

    def choose(
        self, names: Sequence[str] | None, seeds: Sequence[int] | None
    ) -> list[tuple[Variant, int]]:
        """Returns the (variant, seed) pairs to run, all variants of a seed before the next seed.

        Args:
            names: the names of some variants; None: all.
            seeds: seeds that replace those of the grid; None: those of the grid.

        Raises:
            UserError: there is no such variant, or a seed is not a whole number of 0 or more.
        """
        unknown = [name for name in names or () if name not in self.variants]
        if unknown:
            raise UserError(
                f"grid {self.path}: no run {', '.join(unknown)}; there are"
                f" {', '.join(self.variants)}"
            )
        _check_seeds(seeds or self.seeds, "--seeds")
        variants = list(self.variants.values())
        if names is not None:
            variants = [self.variants[name] for name in self.variants if name in names]
        pairs: list[tuple[Variant, int]] = []
        for seed in dict.fromkeys(seeds or self.seeds):
            pairs.extend((variant, seed) for variant in variants)
        return pairs


def read_grid(path: str | Path) -> Grid:
    """Reads a grid file.

    Raises:
        UserError: the file is missing or not YAML, a key is unknown or missing, a value is wrong,
            or a config or Python file is missing; the message names the file and the key.
    """
    path = Path(path)
    content = _mapping(path, _load(path), "the file", _KEYS, needed={"against", "seeds", "runs"})
    runs = content["runs"]
    if not isinstance(runs, dict) or not runs:
        raise UserError(f"grid {path}: runs is {runs!r}; it must map names to titles")
    variants = {str(name): _variant(path, str(name), value) for name, value in runs.items()}
    if content["against"] not in variants:
        raise UserError(
            f"grid {path}: against is {content['against']!r}, which is not a run; the runs are"
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
    """Returns a copy of every variant for each fold, with the name ``NAME_FOLD``."""
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
    whole = [isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds]
    if not whole or not all(whole):
        raise UserError(f"{where} {list(seeds)}: must be one or more whole numbers of 0 or more")
