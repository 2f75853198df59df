"""Invalid config values that must be refused before a training starts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from clipmask_tools.faulting.bench import Bench, Outcome
from clipmask_tools.faulting.stops import Fault

VALUES = [
    *(("SOLVER.BASE_LR", value) for value in ("-0.1", "0", ".nan", ".inf", "fast")),
    *(("SOLVER.EMA_DECAY", value) for value in ("1", "2", "-0.5")),
    *(("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", value) for value in ("0", "-1")),
    ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", "0"),
    ("SOLVER.WARMUP_FACTOR", "-1"),
    ("SOLVER.WARMUP_ITERS", "-5"),
    ("SOLVER.BACKBONE_MULTIPLIER", "-1"),
    ("SOLVER.WEIGHT_DECAY", "-0.1"),
    ("SOLVER.POLY_LR_POWER", "-1"),
    ("SOLVER.MAX_IMS_PER_DEVICE", "-1"),
    ("SOLVER.MAX_ITER", "0"),
    ("SOLVER.IMS_PER_BATCH", "0"),
    ("SOLVER.CHECKPOINT_PERIOD", "-1"),
    ("SOLVER.LOG_PERIOD", "-1"),
    ("TEST.EVAL_PERIOD", "-1"),
    ("TEST.NUM_PICTURES", "-1"),
    ("SEED", "100000000000000000000"),
    ("DATALOADER.NUM_WORKERS", "-2"),
    ("MODEL.CLIPMASK.DROPOUT", "2"),
    ("MODEL.CLIPMASK.NUM_QUERIES", "0"),
    ("MODEL.CLIPMASK.INJECTION", "token"),
    ("MODEL.PIXEL_STD", "[58.4, 0.0, 57.4]"),
    ("INPUT.SCALE_RANGE", "[2.0, 0.5]"),
    ("INPUT.CROP.SIZE", "(0, 32)"),
    ("INPUT.RANDOM_FLIP", "diagonal"),
    ("TEST.SLIDING_WINDOW.OVERLAP", "1"),
]


def faults() -> Iterator[Fault]:
    """Yields the name of each fault and the function that tries it."""
    for key, value in VALUES:
        yield f"{key} {value}", partial(_value, key, value)


def _value(key: str, value: str, bench: Bench) -> Outcome:
    ended = bench.train(key, value)
    good = (
        ended.status == 2 and key in ended.line and not ended.traceback and not bench.run.exists()
    )
    return Outcome(
        f"status {ended.status}; {ended.line[:110]}",
        "nothing" if ended.status else "a training",
        good,
    )
