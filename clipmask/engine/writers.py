"""Writers for the numbers of a run: metrics.json, TensorBoard, the progress bar."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

from clipmask.engine.log import SHOWN_BY_BAR
from clipmask.engine.trackers import Trackers
from clipmask.errors import UserError
from clipmask.weights.checkpoint import describe, write_atomically

logger = logging.getLogger(__name__)


class MetricsFile:
    """metrics.json: one JSON object a line, each with ``iteration``; values that are not finite
        become null.

    Where it can't be written, or was removed, the lines wait in memory and all are written with a
    later one.

    Args:
        path: the file; made if absent.
        keep: returns whether a line of an earlier run is kept; broken lines never are.

    Attributes:
        kept: those lines.
    """

    def __init__(self, path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
        lines = []
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        self.kept: list[dict[str, Any]] = []
        for line in lines:
            record = _parse(line)
            if record is not None and keep(record):
                self.kept.append(record)
        self._path = path
        self._lines = [json.dumps(record) + "\n" for record in self.kept]
        self._file: IO[str] | None = None  # open while it holds all lines
        self._waiting = False

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Appends a line."""
        record = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.append(json.dumps({"iteration": iteration, **record}, allow_nan=False) + "\n")
        try:
            if self._file is None or not self._path.exists():
                self._write_all()
            else:
                self._file.write(self._lines[-1])
                self._file.flush()
            self._waiting = False
        except (OSError, UserError) as error:
            self._forget_file()
            if not self._waiting:  # once
                logger.warning(
                    "%s is not written, its lines wait in memory: %s",
                    self._path.name,
                    describe(error),
                )
            self._waiting = True

    def _write_all(self) -> None:
        # Not before there is something to write: a run that fails at its start takes nothing from
        # an earlier one.
        self._forget_file()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, lambda file: file.write("".join(self._lines).encode()))
        self._file = self._path.open("a", encoding="utf-8")

    def _forget_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what it could not write, it tries to write again
                self._file.close()
            self._file = None

    def close(self) -> None:
        """Closes the file."""
        self._forget_file()


def _parse(line: str) -> dict[str, Any] | None:
    """A line's object; None for a line that a crash cut short."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    if isinstance(record, dict) and isinstance(record.get("iteration"), int):
        return record
    return None


_excepthook = threading.excepthook


def _without_board(fault: threading.ExceptHookArgs) -> None:
    """Keeps back the traceback of TensorBoard's thread where it can't write: the next line that is
    given to it fails too, and that is logged.
    """
    board = type(fault.thread).__module__.split(".")[0] == "tensorboard"
    if not (board and isinstance(fault.exc_value, OSError)):
        _excepthook(fault)


class RunWriters:
    """All of a run's writers, in its main process.

    Args:
        folder: OUTPUT_DIR.
        start: the first step to come, 0-based; numbers of later steps of an earlier run are
            dropped.
        total: MAX_ITER.
        trackers: further services; None: none.
    """

    def __init__(
        self, folder: Path, start: int, total: int, trackers: Trackers | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        finished = start >= total  # only the last evaluation is to come, once more

        def keep(record: dict[str, Any]) -> bool:
            return record["iteration"] < start and not (
                finished and record["iteration"] == start - 1 and "time" not in record
            )

        self._metrics = MetricsFile(folder / "metrics.json", keep)
        threading.excepthook = _without_board
        self._board: SummaryWriter | None = SummaryWriter(log_dir=str(folder), purge_step=start)
        self._bar = tqdm(
            total=total,
            initial=start,
            desc="training",
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )
        self._total, self._trackers = total, trackers

    def scored(self, iteration: int) -> bool:
        """Returns whether the resumed part of the run has scores of this step."""
        return any(
            record["iteration"] == iteration and "time" not in record
            for record in self._metrics.kept
        )

    def best(self, name: str) -> float:
        """Returns the highest value of ``name`` in the part of the run that is continued; -inf
        where there is none.
        """
        values = (record.get(name) for record in self._metrics.kept)
        return max((value for value in values if value is not None), default=-math.inf)

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Writes named numbers of a step to metrics.json, TensorBoard and the trackers."""
        self._metrics.write(iteration, values)
        if self._trackers is not None:
            self._trackers.write(iteration, values)
        for name, value in values.items():
            self._show("add_scalar", name, value, iteration)

    def progress(self, iteration: int, values: Mapping[str, float]) -> None:
        """Reports the progress of training: in the bar, in log.txt and, without a terminal, on the
        console.
        """
        shown = {}
        if "total_loss" in values:
            shown["loss"] = f"{values['total_loss']:.3f}"
        shown |= {"lr": f"{values['lr']:.2e}", "img/s": f"{values['img/s']:.1f}"}
        self._bar.set_postfix(shown, refresh=False)
        losses = []
        for name, value in values.items():
            # the losses of single layers, such as loss_dice_0, are in metrics.json only
            if name.startswith("loss") and not name[-1].isdigit():
                losses.append(f"{name} {value:.4g}")
        listed = ""
        if losses:
            listed = f"  ({'  '.join(losses)})"
        words = "  ".join(f"{name} {value}" for name, value in shown.items())
        eta = timedelta(seconds=round(values["eta_seconds"]))
        logger.info(
            "step %d/%d  %s  eta %s%s",
            iteration + 1,
            self._total,
            words,
            eta,
            listed,
            extra=SHOWN_BY_BAR,
        )

    def advance(self) -> None:
        """Counts a step in the bar."""
        self._bar.update()

    def picture(self, name: str, image: np.ndarray, iteration: int) -> None:
        """Shows a picture, (H, W, 3) uint8 RGB, in TensorBoard."""
        self._show("add_image", name, image, iteration, dataformats="HWC")

    def _show(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Calls a method of TensorBoard's writer, until that fails: its own thread meets a full
        disk, and gives up.
        """
        if self._board is None:
            return
        try:
            getattr(self._board, method)(*args, **kwargs)
        except Exception as error:  # whatever it is: side work never costs training
            self._board = None
            logger.warning("TensorBoard's events are not written any more: %s", describe(error))

    def close(self) -> None:
        """Closes the files and the bar."""
        self._bar.close()
        self._show("close")
        self._metrics.close()
        if self._trackers is not None:
            self._trackers.close()
