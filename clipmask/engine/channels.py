"""Means and deviations for pictures whose bands are not red, green and blue.

They are taken from the checkpoint that a run starts from, or else measured on training pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from clipmask.d2 import MetadataCatalog
from clipmask.data.catalog import load_dataset
from clipmask.data.image_format import ImageFormat
from clipmask.data.reading import read_image
from clipmask.errors import UserError
from clipmask.weights.stored import stored_values

logger = logging.getLogger(__name__)

MEASURED = 64  # pictures, spread over the training set
_COLORS = 3


def fit_channels(cfg: CfgNode, checkpoint: Mapping[str, Any] | None) -> CfgNode:
    """Returns a config whose MODEL.PIXEL_MEAN and PIXEL_STD have a number for each band of the
    datasets.

    Pictures in colour, or a config that has as many numbers already, leave the config as it is. For
    other counts of bands the numbers are those of ``checkpoint``, where it has as many; else the
    mean and standard deviation of each band over up to ``MEASURED`` training pictures, of values
    0..255.

    Args:
        cfg: the config, frozen or not.
        checkpoint: the one that the run resumes, starts from or evaluates; None: there is none.

    Raises:
        UserError: the datasets have different numbers of bands; or the config has more or fewer
            numbers that are not those for colours; or a picture can't be read.
    """
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    counts = {name: ImageFormat.from_metadata(MetadataCatalog.get(name)).channels for name in names}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(
            f"the datasets have different numbers of bands ({listed}); a model takes one number:"
            " give them the same with bands in their descriptors"
        )
    bands, given = next(iter(counts.values()), _COLORS), len(cfg.MODEL.PIXEL_MEAN)
    if bands == given:
        return cfg
    if given != _COLORS:
        raise UserError(
            f"MODEL.PIXEL_MEAN has {given} numbers, but the pictures of {names[0]} have {bands}"
            " bands; give one for each band, or leave PIXEL_MEAN and PIXEL_STD away: they are"
            " measured"
        )
    values = _stored(checkpoint, bands)
    if values is None:
        values = _measured(names[0], bands)
        logger.info(
            "%d bands: MODEL.PIXEL_MEAN %s and MODEL.PIXEL_STD %s, measured on training pictures",
            bands,
            *values,
        )
    own = cfg.clone()
    own.defrost()
    own.MODEL.PIXEL_MEAN, own.MODEL.PIXEL_STD = values
    own.freeze()
    return own


def _stored(
    checkpoint: Mapping[str, Any] | None, bands: int
) -> tuple[list[float], list[float]] | None:
    """The numbers in a checkpoint's config, if there is one for each band."""
    values = stored_values(checkpoint or {})
    mean, std = values.get("MODEL.PIXEL_MEAN"), values.get("MODEL.PIXEL_STD")
    if not isinstance(mean, list) or not isinstance(std, list):
        return None
    if len(mean) == len(std) == bands:
        return (mean, std)
    return None


def _measured(name: str, bands: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over pictures of a dataset."""
    records = load_dataset(name, labelled=False).records
    step = max(1, len(records) // MEASURED)
    total, squares, count = np.zeros(bands), np.zeros(bands), 0
    for record in records[::step][:MEASURED]:
        pixels = read_image(record["file_name"], image_format=record["image_format"])
        values = pixels.reshape(-1, bands).astype(np.float64)
        total += values.sum(0)
        squares += (values**2).sum(0)
        count += len(values)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return mean.round(3).tolist(), deviation.round(3).tolist()
