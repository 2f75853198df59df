"""Steps that failed: their loss or gradient was not finite, so they changed nothing."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from clipmask.engine.state import gather
from clipmask.errors import UserError

logger = logging.getLogger(__name__)

MAX_FAILED_STEPS = 5  # in a row; then the run stops


class FailedSteps:
    """Counts the failed steps of a run, and logs which pictures they saw.

    Args:
        fabric: of the run, whose processes see different pictures.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric
        self._in_a_row = self._all = 0

    def note(self, failed: bool, batch: list[dict[str, Any]], step: int) -> bool:
        """Notes a step.

        Args:
            failed: whether the step failed.
            batch: its pictures in this process.
            step: its number, from 1.

        Returns:
            Whether the run has to stop, because ``MAX_FAILED_STEPS`` failed in a row.
        """
        if not failed:
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        self._all += 1
        own = [str(sample["file_name"]) for sample in batch]
        files = chain.from_iterable(gather(self._fabric, own))
        logger.warning(
            "step %d skipped: its loss or gradient is not finite; its images: %s",
            step,
            ", ".join(files),
        )
        return self._in_a_row == MAX_FAILED_STEPS

    def judge(self, steps: int) -> None:
        """Logs a warning if steps were skipped.

        Args:
            steps: of the run.

        Raises:
            UserError: more than half of them were: this was no training.
        """
        if not self._all:
            return
        message = (
            f"{self._all} of {steps} steps were skipped, for their loss or gradient not finite"
        )
        if 2 * self._all > steps:
            raise UserError(
                f"{message}: log.txt names the pictures of each; look at them, or lower"
                " SOLVER.BASE_LR"
            )
        logger.warning("%s", message)


def stopped(step: int, path: Path) -> UserError:
    """Returns the error of a run that ended after step ``step``; ``path`` has its last weights."""
    return UserError(
        f"training stopped at step {step}: loss or gradient was not finite in {MAX_FAILED_STEPS}"
        f" steps in a row. The weights before the first of them are in {path}. Look at the images"
        " named in log.txt beside it; go on from the last regular checkpoint with --resume and a"
        " lower SOLVER.BASE_LR, with SOLVER.CLIP_GRADIENTS.ENABLED True, or with SOLVER.AMP.ENABLED"
        " False"
    )
