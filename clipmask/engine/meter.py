"""Means of losses and times between two lines of the log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor

from clipmask.data.workers import GIVE_UP_S
from clipmask.engine.launch import reduce_sum
from clipmask.engine.waiting import waiting_for
from clipmask.errors import UserError

_Item = TypeVar("_Item")


class Meter:
    """Sums losses on the device and seconds on the host; one transfer reads them all."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._applied = 0
        self._steps = 0
        self._timed_steps = 0
        self._data_seconds = 0.0
        self._since = time.perf_counter()

    def timed(self, loader: Iterable[_Item]) -> Iterator[_Item]:
        """Passes the items of ``loader`` on, taking the time that they were waited for."""
        iterator = iter(loader)
        self._since = time.perf_counter()
        while True:
            start = time.perf_counter()
            try:
                with waiting_for("the next samples of the training loader"):
                    item = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader timed out" not in str(error):
                    raise
                raise UserError(
                    f"the training loader handed out no sample for {GIVE_UP_S} s: look whether"
                    " the file system of the pictures answers; DATALOADER.NUM_WORKERS 0 reads them"
                    " in the main process"
                ) from error
            self._data_seconds += time.perf_counter() - start
            yield item

    def add(self, losses: dict[str, Tensor], applied: bool) -> None:
        """Counts a step; its losses only where it was applied, for else they may not be finite."""
        self._steps += 1
        self._timed_steps += 1
        if applied:
            self._applied += 1
            for name, value in losses.items():
                self._sums[name] = self._sums.get(name, 0) + value

    def pause(self, seconds: float) -> None:
        """Leaves out time spent on something other than training steps."""
        self._since += seconds

    def read(self, fabric: Fabric) -> dict[str, float]:
        """Returns the means since the last call, over steps and processes, and resets.

        Returns:
            ``total_loss`` and each loss (absent if no step was applied), ``time`` and ``data_time``
            in seconds per step, and ``skipped_steps`` where there were any.
        """
        values: dict[str, float] = {}
        if self._sums:
            sums = reduce_sum(fabric, torch.stack(list(self._sums.values())))
            means = (sums / (self._applied * fabric.world_size)).tolist()
            values["total_loss"] = sum(means)
            values.update(zip(self._sums, means, strict=True))
        now = time.perf_counter()
        if self._timed_steps:
            values["data_time"] = self._data_seconds / self._timed_steps
            values["time"] = (now - self._since) / self._timed_steps
        if self._applied < self._steps:
            values["skipped_steps"] = self._steps - self._applied
        self._sums, self._applied, self._steps, self._timed_steps = {}, 0, 0, 0
        self._data_seconds, self._since = 0.0, now
        return values

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums so far; times are left out, a resumed run has its own."""
        return {"sums": dict(self._sums), "applied": self._applied, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continues from the sums of a checkpoint."""
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        self._applied, self._steps = state["applied"], state["steps"]
