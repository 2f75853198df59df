"""What each config key may be: declared here alone, checked after merging, printed in the
configuration reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clipmask.errors import UserError


class Rule(Protocol):
    """A check of a config value. Its text completes the sentence "the value must be ..."."""

    def allows(self, value: Any) -> bool:
        """Tells whether a value is allowed."""

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Number:
    """A number between two bounds.

    Args:
        low: the least that is allowed, or with ``above`` the greatest that is not.
        high: the greatest that is allowed, or with ``below`` the least that is not.
        above: ``low`` itself is not allowed.
        below: ``high`` itself is not allowed.
        whole: no fractions.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False

    def allows(self, value: Any) -> bool:
        if self.whole and not isinstance(value, int):
            return False
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            return False
        if math.isinf(value):
            return value == self.high and not self.below
        if (self.above and value == self.low) or (self.below and value == self.high):
            return False
        return self.low <= value <= self.high

    def __str__(self) -> str:
        words = []
        if self.low > -math.inf:
            words.append(f"above {self.low}" if self.above else f"at least {self.low}")
        if self.high < math.inf:
            words.append(f"below {self.high}" if self.below else f"at most {self.high}")
        elif self.below and not words:
            words.append("finite")
        bounds = " and ".join(words)
        if self.whole:
            if bounds:
                return f"a whole number, {bounds}"
            return "a whole number"
        return bounds or "any number"


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return " or ".join(repr(value) if value == "" else str(value) for value in self.values)


@dataclass(frozen=True)
class Each:
    """A list whose items each obey a rule.

    Args:
        rule: of an item.
        length: of the list; 0 allows any but none.
        rising: no item is less than the one before.
        empty: the list may be empty.
    """

    rule: Rule
    length: int = 0
    rising: bool = False
    empty: bool = False

    def allows(self, value: Any) -> bool:
        items = list(value)
        if not items:
            return self.empty
        if (self.length and len(items) != self.length) or not all(map(self.rule.allows, items)):
            return False
        return not self.rising or items == sorted(items)

    def __str__(self) -> str:
        count = "one or more"
        if self.length:
            count = str(self.length)
        elif self.empty:
            count = "none or more"
        text = f"{count} values, each {self.rule}"
        if self.rising:
            text += ", in rising order"
        return text


@dataclass(frozen=True)
class SomeOf:
    """A list of some of these values, each once and in their order."""

    values: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        return bool(value) and list(value) == [item for item in self.values if item in value]

    def __str__(self) -> str:
        return f"some of {', '.join(map(str, self.values))}, in this order, each once"


def _at_least(low: float) -> Number:
    return Number(low, below=True)


_POSITIVE = Number(0, above=True, below=True)
_SHARE = Number(0, 1)
_BELOW_ONE = Number(0, 1, below=True)
_COUNT, _COUNT_OR_NONE = _at_least(1), _at_least(0)

RANGES: Mapping[str, Rule] = {
    "MODEL.PIXEL_MEAN": Each(Number(below=True)),
    "MODEL.PIXEL_STD": Each(_POSITIVE),
    "MODEL.BACKBONE.FREEZE_AT": Number(0, 5),
    "MODEL.CLIP.TEXT": OneOf(("vocabulary", "annotation")),
    "MODEL.CLIP.TEXT_DROP": _BELOW_ONE,
    "MODEL.CLIP.TOWER": OneOf(("frozen", "context", "full")),
    "MODEL.CLIP.CONTEXT_LENGTH": _COUNT,
    "MODEL.CLIPMASK.SIZE_DIVISIBILITY": _COUNT,
    "MODEL.CLIPMASK.HIDDEN_DIM": _COUNT,
    "MODEL.CLIPMASK.MASK_DIM": _COUNT,
    "MODEL.CLIPMASK.NUM_HEADS": _COUNT,
    "MODEL.CLIPMASK.FFN_DIM": _COUNT,
    "MODEL.CLIPMASK.DROPOUT": _BELOW_ONE,
    "MODEL.CLIPMASK.SCALES": SomeOf(("res3", "res4", "res5")),
    "MODEL.CLIPMASK.INJECTION": OneOf(("tokens", "channels", "none")),
    "MODEL.CLIPMASK.MAX_IMAGE_KEYS": _COUNT_OR_NONE,
    "MODEL.CLIPMASK.FUSION": OneOf(("both", "joint", "pairwise")),
    "MODEL.CLIPMASK.CLASSIFIER": OneOf(("cosine", "linear")),
    "MODEL.CLIPMASK.NUM_QUERIES": _COUNT,
    "MODEL.CLIPMASK.DEC_LAYERS": _COUNT,
    "MODEL.CLIPMASK.NO_OBJECT_WEIGHT": _at_least(0),
    "MODEL.CLIPMASK.CLASS_WEIGHT": _at_least(0),
    "MODEL.CLIPMASK.BCE_WEIGHT": _at_least(0),
    "MODEL.CLIPMASK.DICE_WEIGHT": _at_least(0),
    "MODEL.CLIPMASK.LOSS_STRIDE": OneOf((4, 2, 1)),
    "INPUT.FORMAT": OneOf(("RGB", "BGR")),
    "INPUT.MIN_SIZE_TEST": _COUNT_OR_NONE,
    "INPUT.MAX_SIZE_TEST": _COUNT,
    "INPUT.MIN_SIZE_TRAIN": Each(_COUNT_OR_NONE),
    "INPUT.MAX_SIZE_TRAIN": _COUNT,
    "INPUT.RANDOM_FLIP": OneOf(("horizontal", "vertical", "none")),
    "INPUT.CROP.TYPE": OneOf(("absolute", "absolute_range", "relative", "relative_range")),
    "INPUT.CROP.SIZE": Each(_POSITIVE, 2),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": Number(0, 1, above=True),
    "INPUT.CROP.CLASS_BALANCE": _SHARE,
    "INPUT.SCALE_RANGE": Each(_POSITIVE, 2, rising=True),
    "INPUT.LIGHTING_AUG": _SHARE,
    "INPUT.CLASS_MIX": _SHARE,
    "INPUT.MAX_PIXELS": _COUNT_OR_NONE,
    "DATASETS.TRAIN_WEIGHTS": Each(_POSITIVE, empty=True),
    "DATALOADER.NUM_WORKERS": _COUNT_OR_NONE,
    "SOLVER.MAX_ITER": _COUNT,
    "SOLVER.IMS_PER_BATCH": _COUNT,
    "SOLVER.MAX_IMS_PER_DEVICE": _COUNT_OR_NONE,
    "SOLVER.BASE_LR": _POSITIVE,
    "SOLVER.BACKBONE_MULTIPLIER": _POSITIVE,
    "SOLVER.TEXT_MULTIPLIER": _POSITIVE,
    "SOLVER.WEIGHT_DECAY": _at_least(0),
    "SOLVER.WARMUP_ITERS": _COUNT_OR_NONE,
    "SOLVER.WARMUP_FACTOR": _SHARE,
    "SOLVER.POLY_LR_POWER": _at_least(0),
    "SOLVER.STEPS": Each(_COUNT_OR_NONE, rising=True, empty=True),
    "SOLVER.GAMMA": _POSITIVE,
    "SOLVER.NUM_DECAYS": _COUNT,
    "SOLVER.BASE_LR_END": _at_least(0),
    "SOLVER.MOMENTUM": _BELOW_ONE,
    "SOLVER.CHECKPOINT_PERIOD": _COUNT_OR_NONE,
    "SOLVER.LOG_PERIOD": _COUNT_OR_NONE,
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Number(0, above=True),
    "SOLVER.AMP.DTYPE": OneOf(("bf16", "fp16")),
    "SOLVER.ACTIVATION_CHECKPOINT": OneOf(("none", "fine", "head", "all")),
    "SOLVER.STRATEGY": OneOf(("ddp", "fsdp")),
    "SOLVER.EMA_DECAY": _BELOW_ONE,
    "TEST.EVAL_PERIOD": _COUNT_OR_NONE,
    "TEST.NUM_PICTURES": _COUNT_OR_NONE,
    "TEST.AUG.SCALES": Each(_POSITIVE),
    # one cell of the coarsest scale
    "TEST.SLIDING_WINDOW.SIZE": Each(Number(32, below=True, whole=True), 2),
    "TEST.SLIDING_WINDOW.OVERLAP": _BELOW_ONE,
    "TEST.SLIDING_WINDOW.FROM_FILE_ABOVE": _COUNT_OR_NONE,
    "SEED": Number(high=2**62),
    "VIS_PERIOD": _COUNT_OR_NONE,
    "TRACKERS": Each(OneOf(("wandb", "mlflow")), empty=True),
}


def check_ranges(values: Mapping[str, Any], section: str = "") -> None:
    """Refuses values that their keys do not take.

    Args:
        values: config keys, dotted, with their values; a key of ``RANGES`` may be missing.
        section: only keys that begin with it.

    Raises:
        UserError: the first such key, its value and what it takes.
    """
    for key, rule in RANGES.items():
        if key in values and key.startswith(section) and not rule.allows(values[key]):
            value = list(values[key]) if isinstance(values[key], list | tuple) else values[key]
            raise UserError(f"{key} {value!r}: must be {rule}", key=key)
