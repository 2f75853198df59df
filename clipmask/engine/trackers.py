"""Services that follow runs, beside metrics.json and TensorBoard: Weights & Biases and MLflow.

The key TRACKERS names them. Where they send to is theirs to say, by their own environment variables
(WANDB_PROJECT, WANDB_MODE, MLFLOW_TRACKING_URI, ...). A run that is resumed goes on in the same run
of the service, whose id lies in OUTPUT_DIR.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fvcore.common.config import CfgNode

from clipmask.errors import UserError, first_line
from clipmask.merging import leaf_keys
from clipmask.weights.checkpoint import describe, write_atomically

logger = logging.getLogger(__name__)

IDS = "trackers.json"  # in OUTPUT_DIR: service to the id of its run
_PROJECT = "clipmask"  # where the environment names none
_MOST_LETTERS = 500  # of a parameter in MLflow


class Tracker(Protocol):
    """A run of a service."""

    id: str

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Sends the finite numbers of a step."""

    def close(self) -> None:
        """Ends the run there."""


class _Wandb:
    def __init__(self, folder: Path, cfg: CfgNode, id: str | None) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            dir=str(folder),
            name=folder.name,
            id=id,
            resume="allow",
            config=leaf_keys(cfg),
        )
        self.id = str(self._run.id)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    def __init__(self, folder: Path, cfg: CfgNode, id: str | None) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        if "MLFLOW_EXPERIMENT_NAME" not in os.environ and "MLFLOW_EXPERIMENT_ID" not in os.environ:
            mlflow.set_experiment(_PROJECT)
        run: Any = mlflow.start_run(run_id=id, run_name=None if id else folder.name)
        self.id = str(run.info.run_id)
        if id is None:
            mlflow.log_params(
                {key: str(value)[:_MOST_LETTERS] for key, value in leaf_keys(cfg).items()}
            )

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        # MLflow refuses other letters in names
        named = {re.sub(r"[^\w\-. /]", "_", key): float(value) for key, value in values.items()}
        self._mlflow.log_metrics(named, step=iteration)

    def close(self) -> None:
        self._mlflow.end_run()


_KINDS: dict[str, Callable[[Path, CfgNode, str | None], Tracker]] = {
    "wandb": _Wandb,
    "mlflow": _MLflow,
}


class Trackers:
    """All services of a run, in its main process.

    Args:
        cfg: TRACKERS names the services; the whole config is sent to them.
        folder: OUTPUT_DIR.
        resumed: whether the run goes on with an earlier one.

    Raises:
        UserError: a service is unknown, not installed, or does not begin a run.
    """

    def __init__(self, cfg: CfgNode, folder: Path, resumed: bool) -> None:
        names = _named(cfg.TRACKERS)
        ids = {}
        if resumed:
            ids = _ids(folder)
        self._open = {name: _begin(name, folder, cfg, ids.get(name)) for name in names}
        if names:
            ids = {name: tracker.id for name, tracker in self._open.items()}
            text = json.dumps(ids).encode()
            write_atomically(folder / IDS, lambda file: file.write(text))

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Sends the finite numbers of a step, to each service until it fails."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name, tracker in list(self._open.items()):
            self._try(name, lambda tracker=tracker: tracker.write(iteration, finite))  # type: ignore[misc]

    def close(self) -> None:
        """Ends the runs there."""
        for name, tracker in list(self._open.items()):
            self._try(name, tracker.close)
        self._open = {}

    def _try(self, name: str, send: Callable[[], None]) -> None:
        try:
            send()
        except Exception as error:  # whatever it is: side work never costs training
            del self._open[name]
            logger.warning("TRACKERS: %s gets nothing any more: %s", name, describe(error))


def _named(value: Sequence[str] | str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    unknown = [name for name in names if name not in _KINDS]
    if unknown:
        raise UserError(
            f"TRACKERS {names}: {unknown[0]!r} is not known; there are {', '.join(_KINDS)}."
            " metrics.json and TensorBoard are always written"
        )
    return names


def _begin(name: str, folder: Path, cfg: CfgNode, id: str | None) -> Tracker:
    try:
        return _KINDS[name](folder, cfg, id)
    except ImportError as error:
        raise UserError(
            f"TRACKERS {name}: is not installed: pip install {name} ({error})"
        ) from error
    except Exception as error:  # each service has errors of its own
        reason = first_line(error)
        if name == "wandb":
            reason += " (WANDB_MODE=offline works without)"
        raise UserError(f"TRACKERS {name}: begins no run: {reason}") from error


def _ids(folder: Path) -> dict[str, str]:
    try:
        content = json.loads((folder / IDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return content
