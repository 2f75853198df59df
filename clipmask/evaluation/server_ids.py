"""Predictions in the ids of a benchmark's server, and Cityscapes' own script run over them.

A dataset whose labels are withheld, or that is to be compared with a leaderboard, is scored by
others, who have ids of their own: ``server_ids`` in the metadata, one for each class. Cityscapes
publishes its script (``cityscapesscripts``), so where the labels are there its verdict stands
beside ours. Both count the same pixels, and each class' IoU is the same, with one exception: a
class that is predicted but occurs nowhere in the truth is 0 in the script and lowers its mean, nan
in ``SemSegEvaluator``.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipmask.builtin.evaluation import gather_to_main
from clipmask.d2 import DatasetCatalog, DatasetEvaluator, MetadataCatalog
from clipmask.data.catalog import load_dataset
from clipmask.data.datasets.cityscapes import CLASSES, LABEL_SUFFIX
from clipmask.errors import UserError
from clipmask.evaluation.together import predicted_labels

logger = logging.getLogger(__name__)

_MAX_ID = 65535  # of a PNG with 16 bits


def server_ids(dataset_name: str) -> list[int] | None:
    """Returns the id that the benchmark's server has for each class, or None for a dataset without
    a server.

    They are the metadata's ``server_ids``; Detectron2's own registration of Cityscapes, whose
    ``evaluator_type`` is ``cityscapes_sem_seg``, goes without.

    Raises:
        UserError: they are not one id a class.
    """
    metadata = MetadataCatalog.get(dataset_name)
    ids = metadata.get("server_ids", None)
    given = metadata.get("stuff_classes", None)  # a list, or an array of numpy's
    names = []
    if given is not None:
        names = list(given)
    if (
        ids is None
        and metadata.get("evaluator_type", None) == "cityscapes_sem_seg"
        and set(names) <= set(CLASSES)
    ):
        return [CLASSES[name].label_id for name in names]
    if ids is None:
        return None
    listed = isinstance(ids, list | tuple) and len(ids) == len(names)
    if not listed or not all(isinstance(x, int | np.integer) and 0 <= x <= _MAX_ID for x in ids):
        raise UserError(
            f"dataset {dataset_name!r}: its metadata's server_ids are {ids!r}; they must be one"
            f" whole number, 0 to {_MAX_ID}, for each of its {len(names)} classes. Correct it where"
            " the dataset is registered"
        )
    return list(map(int, ids))


def labels_withheld(dataset_name: str) -> bool:
    """Tells whether a dataset has a server but no labels: it can be predicted, and scored by the
    server alone.

    Raises:
        UserError: its samples can't be listed.
    """
    if dataset_name not in DatasetCatalog.list() or server_ids(dataset_name) is None:
        return False
    return _unlabelled(load_dataset(dataset_name, labelled=False).records)


def _unlabelled(records: Sequence[dict[str, Any]]) -> bool:
    return not any("sem_seg_file_name" in record for record in records)


class ServerIdEvaluator(DatasetEvaluator):
    """Writes label PNGs for a server; on Cityscapes with labels, also returns the official script's
    scores.

    Args:
        dataset_name: a dataset with server ids.
        folder: where ``<stem of the image>_pred.png`` go, and nothing else: it can be zipped as it
            is.

    Raises:
        UserError: two images have the same file name, so one's prediction would replace the
            other's.
    """

    def __init__(self, dataset_name: str, folder: Path) -> None:
        ids = server_ids(dataset_name)
        assert ids is not None
        records = load_dataset(dataset_name, labelled=False).records
        if len({Path(record["file_name"]).stem for record in records}) < len(records):
            raise UserError(
                f"dataset {dataset_name!r}: several images have the same file name in different"
                " folders, but its server_ids want all predictions in one folder; rename the"
                " images, or register it without server_ids"
            )
        self._folder = folder
        # Beyond the classes stands void, for a model that predicts it.
        self._ids = np.array([*ids, 0], dtype=np.min_scalar_type(max(ids)))
        names = MetadataCatalog.get(dataset_name).stuff_classes
        official = all(
            name in CLASSES and CLASSES[name].label_id == x
            for name, x in zip(names, ids, strict=True)
        )
        self._withheld = _unlabelled(records)
        # The script wants the ids as they were published; Detectron2's registration names the
        # converted ones.
        self._truth = {
            str(record["file_name"]): (
                str(record.get("sem_seg_file_name", "")).replace("labelTrainIds", "labelIds")
            )
            for record in records
        }
        official = official and all(path.endswith(LABEL_SUFFIX) for path in self._truth.values())
        self._script = None
        if official and not self._withheld:
            self._script = _official_script()
        self.reset()

    def reset(self) -> None:
        """Forgets all batches seen; files stay until they are written again."""
        self._pairs: list[tuple[str, str]] = []  # files of prediction and truth

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Writes the predictions of a batch.

        Args:
            inputs: dataset dicts with ``file_name`` and, where there are labels,
                ``sem_seg_file_name``.
            outputs: for each, ``labels``, (H, W) class ids at the size of the image, or
                ``sem_seg``, (K, H, W) scores.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for sample, output in zip(inputs, outputs, strict=True):
            path = self._folder / f"{Path(sample['file_name']).stem}_pred.png"
            labels = predicted_labels(output)
            Image.fromarray(self._ids[labels]).save(path)
            self._pairs.append((str(path), self._truth[str(sample["file_name"])]))

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Says where the files are, and scores them if that can be done here.

        Returns:
            ``{"cityscapes": {"IoU": ..., "IoU_sup": ..., "IoU-<class>": ...}}`` in percent,
            ``IoU_sup`` being the mean over Cityscapes' categories; None without the script, and on
            all processes but the main one. Its scores of instances (iIoU) are left out: that part
            of the script does not run with NumPy 2.4.
        """
        parts = gather_to_main(self._pairs)
        if not parts:
            return None
        if self._withheld:
            logger.info(
                "no scores, the labels are withheld; for the server, zip the PNGs in %s",
                self._folder,
            )
        else:
            logger.info("predictions in the server's ids: %s", self._folder)
        if self._script is None:
            return None
        scores = _official_scores(self._script, sorted(pair for pairs in parts for pair in pairs))
        if not scores:
            return None
        return {"cityscapes": scores}


def _official_script() -> Any:
    """Returns Cityscapes' module of pixel-level scores; None, and a line in the log, where it can't
    be imported.
    """
    try:
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling
    # mostly that it is not installed; it also reads the environment when it is imported
    except Exception as error:
        logger.info(
            "Cityscapes' official script is not used (%s); pip install 'clipmask[cityscapes]' adds"
            " its scores",
            error,
        )
        return None
    return evalPixelLevelSemanticLabeling


def _official_scores(script: Any, pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Runs the official script over files of prediction and truth.

    What it can't score is a warning and no scores of it: the others, which are computed already,
    are not to be lost.
    """
    missing = [file for pair in pairs for file in pair if not Path(file).is_file()]
    if missing:
        logger.warning(
            "Cityscapes' official script is not run: %s is not there (%d files). It needs the"
            " *_labelIds.png of gtFine and, on several machines, an OUTPUT_DIR that all of"
            " them see",
            missing[0],
            len(missing),
        )
        return {}
    args = copy.copy(script.args)  # its settings are a global object, and stay as they are
    args.quiet, args.JSONOutput, args.evalInstLevelScore, args.evalPixelAccuracy = (
        True,
        False,
        False,
        False,
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            result = script.evaluateImgLists(
                [pair[0] for pair in pairs], [pair[1] for pair in pairs], args
            )
    # it prints what is wrong with a file and exits, or NumPy is too new
    except (SystemExit, Exception) as error:
        reason = said.getvalue().strip() or f"{type(error).__name__}: {error}"
        logger.warning("Cityscapes' official script gave up, its scores are missing: %s", reason)
        return {}
    scores = {"IoU": result["averageScoreClasses"], "IoU_sup": result["averageScoreCategories"]}
    scores |= {f"IoU-{name}": result["classScores"][name] for name in CLASSES}
    return {name: 100 * float(score) for name, score in scores.items()}
