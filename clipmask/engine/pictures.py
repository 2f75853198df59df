"""Pictures of an evaluation: validation images beside truth, prediction and errors.

The same images are drawn at each evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.d2 import MetadataCatalog
from clipmask.data import TestMapper, label_reader, read_image
from clipmask.data.catalog import dataset_vocabulary, load_dataset
from clipmask.data.file_names import result_names
from clipmask.data.image_format import PLAIN, shown
from clipmask.evaluation.evaluate import evaluation_mode
from clipmask.inference.views import with_views
from clipmask.modeling import ClipMask
from clipmask.visualizer import comparison, palette
from clipmask.visualizer.training_picture import sample_picture
from clipmask.vocabulary import Vocabulary


def spread(count: int, wanted: int) -> list[int]:
    """Returns ``wanted`` of ``count`` positions, evenly spread; all if there are fewer."""
    wanted = min(count, wanted)
    return [(2 * index + 1) * count // (2 * wanted) for index in range(wanted)]


def draw_pictures(cfg: CfgNode, model: ClipMask, folder: Path) -> dict[str, np.ndarray]:
    """Draws TEST.NUM_PICTURES images of the first test dataset and writes them as PNG files.

    Args:
        cfg: the config.
        model: whose predictions are drawn; its mode is as before afterwards.
        folder: where the files go; made if need be.

    Returns:
        Name to picture, uint8 (H, W, 3), RGB: input, truth, prediction and errors. A picture is
        named after its image; where two names clash, the folder's name is put before.
    """
    dataset = cfg.DATASETS.TEST[0]
    metadata = MetadataCatalog.get(dataset)
    names, ignore_label = list(metadata.stuff_classes), metadata.ignore_label
    colors = dataset_vocabulary(dataset).colors or palette(names)
    records = [
        record
        for record in load_dataset(dataset, labelled=False).records
        if "sem_seg_file_name" in record
    ]
    folder.mkdir(parents=True, exist_ok=True)
    read_truth = label_reader(dataset)
    chosen = [records[index] for index in spread(len(records), cfg.TEST.NUM_PICTURES)]
    files = result_names([(Path(record["file_name"]), Path()) for record in chosen])
    pictures = {}
    for file, (record, labels) in zip(files, _predictions(cfg, model, chosen), strict=True):
        image = read_image(
            record["file_name"],
            image_format=record.get("image_format", PLAIN),
            max_pixels=cfg.INPUT.MAX_PIXELS,
        )
        truth = read_truth(record["sem_seg_file_name"], size=image.shape[:2])
        picture = comparison(shown(image), truth, labels, names, colors, ignore_label)
        Image.fromarray(picture).save(folder / f"{file}.png")
        pictures[str(file)] = picture
    return pictures


def draw_sample(cfg: CfgNode, model: ClipMask, sample: dict[str, Any]) -> np.ndarray:
    """Draws a training sample as the model is given it, augmented, beside truth, prediction and
    errors.

    Args:
        cfg: the config.
        model: whose prediction is drawn; its mode is as before afterwards.
        sample: from the training loader.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    # of several datasets, the sample may be of another one
    vocabulary = sample.get("vocabulary") or Vocabulary.from_metadata(metadata.as_dict())
    inputs: dict[str, Any] = {
        key: sample[key] for key in ("image", "text", "vocabulary") if key in sample
    }
    labels = _labels(model, model, [inputs])[0]
    void = sample.get("ignore_label", metadata.ignore_label)
    return sample_picture(sample, labels, vocabulary, void, cfg.INPUT.FORMAT)


def _predictions(
    cfg: CfgNode, model: ClipMask, records: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Pairs each record with its predicted label map, (H, W)."""
    mapper, segmenter = TestMapper.from_config(cfg), with_views(cfg, model)
    return list(zip(records, _labels(model, segmenter, map(mapper, records)), strict=True))


def _labels(model: ClipMask, segmenter: Any, samples: Iterable[dict[str, Any]]) -> list[np.ndarray]:
    """Returns the label map that ``segmenter``, around ``model``, predicts of each sample, (H, W).

    The model's mode is as before afterwards.
    """
    with evaluation_mode(model), torch.inference_mode():
        return [segmenter.predict_labels([sample])[0].cpu().numpy() for sample in samples]
