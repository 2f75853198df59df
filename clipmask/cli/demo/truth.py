"""``--dataset`` of the demo: the pictures, classes and labels of a registered dataset."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipmask.cli.demo.inputs import Input
from clipmask.d2 import DatasetCatalog, MetadataCatalog
from clipmask.data.catalog import dataset_vocabulary, label_reader, load_dataset
from clipmask.data.descriptor_datasets import register_descriptor
from clipmask.data.image_format import ImageFormat
from clipmask.errors import MissingText, UserError
from clipmask.evaluation.scores import count_pixels, scores
from clipmask.evaluation.server_ids import server_ids
from clipmask.inference import Predictor, Segmentation
from clipmask.vocabulary import shown_names


class LabelledPictures:
    """The pictures of a dataset, and the scores of their predictions.

    Args:
        name: the name of a registered dataset.

    Attributes:
        inputs: the pictures; the results have the same subfolders.
        labelled: whether there are labels.

    Raises:
        UserError: the dataset is not registered, its files are missing, or its metadata are wrong.
    """

    def __init__(self, name: str) -> None:
        records = load_dataset(name, labelled=False).records
        paths = [Path(record["file_name"]) for record in records]
        root = Path(os.path.commonpath([path.parent.absolute() for path in paths]))
        self.inputs = [Input(path, path.parent.absolute().relative_to(root)) for path in paths]
        self._files: dict[str, str] = {}
        for record in records:
            if "sem_seg_file_name" in record:
                self._files[str(record["file_name"])] = record["sem_seg_file_name"]
        self.name, self.labelled = name, bool(self._files)
        self.vocabulary = dataset_vocabulary(name)
        self.classes = self.vocabulary.names
        self._read: Callable[..., NDArray[Any]] = label_reader(name)
        self._confusion = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)

    def truth(self, result: Segmentation) -> NDArray[Any] | None:
        """Reads the ground truth for a result, (H, W) class ids or void; None if there is none.

        Raises:
            UserError: the label map can't be read, or has another size than the picture.
        """
        height, width = result.labels.shape
        return self.labels(str(result.source), (height, width))

    def labels(self, picture: str | Path, size: tuple[int, int]) -> NDArray[Any] | None:
        """Reads the ground truth of a picture, (H, W) class ids or void; None if there is none.

        Args:
            picture: the path of the picture, as in ``inputs``.
            size: H and W.

        Raises:
            UserError: as for ``truth``.
        """
        file = self._files.get(str(picture))
        if file is None:
            return None
        return self._read(file, size=size)

    def add(self, truth: NDArray[Any], result: Segmentation) -> None:
        """Adds a result and its ground truth to the scores."""
        self._confusion += count_pixels(truth, result.labels, len(self.classes))

    def notice(self) -> str:
        """Returns the mIoU and the pixel accuracy of all added results, as text."""
        found = scores(self._confusion)
        return (
            f"mIoU {found.mean_iou:.1f} over these pictures, {found.accuracy:.1f}% of their"
            " labelled pixels right"
        )

    def prepare(self, predictor: Predictor, embeddings: str | None) -> dict[str, list[int]]:
        """Sets the classes and server ids of a predictor to those of the dataset.

        Args:
            predictor: the predictor, which is changed.
            embeddings: as for ``Predictor.set_vocabulary``.

        Returns:
            Class name -> the dataset's colour, [r, g, b]; empty if it has no colours.

        Raises:
            UserError: the model can't use these classes.
        """
        metadata = MetadataCatalog.get(self.name)
        if predictor.names != self.classes or embeddings is not None:
            self._set_vocabulary(predictor, embeddings)
        predictor.image_format = ImageFormat.from_metadata(metadata)
        ids, colors = server_ids(self.name), metadata.get("stuff_colors", None)
        if ids is not None:
            predictor.server_ids = dict(zip(predictor.names, ids, strict=True))
        if colors is None:
            return {}
        return dict(zip(predictor.names, np.asarray(colors).tolist(), strict=True))

    def _set_vocabulary(self, predictor: Predictor, embeddings: str | None) -> None:
        trained = dict(zip(shown_names(predictor.names), predictor.names, strict=True))
        known = [trained.get(name) for name in shown_names(self.classes)]
        try:
            predictor.set_vocabulary(self.vocabulary, embeddings)
        except MissingText as error:
            if None in known:
                raise UserError(
                    f"--dataset {self.name}: its classes ({', '.join(shown_names(self.classes))})"
                    f" differ from the model's ({', '.join(trained)}), and the model can't use"
                    f" them: {error}"
                ) from error
            # these are the model's classes with other synonyms
            predictor.set_vocabulary([name for name in known if name])


def dataset_name(dataset: str, split: str | None) -> str:
    """Returns the name of a registered dataset; a descriptor is registered first.

    Args:
        dataset: the path of a descriptor (YAML file), or the name of a registered dataset.
        split: the split of a descriptor; None: ``val``.

    Raises:
        UserError: the descriptor is wrong, or has no such split; or a split is given for a name.
    """
    if Path(dataset).suffix.lower() in (".yaml", ".yml"):
        splits = register_descriptor(dataset)
        if (split or "val") not in splits:
            raise UserError(
                f"--split {split or 'val'}: {dataset} has the splits {', '.join(splits)}"
            )
        return splits[split or "val"]
    if (
        split is not None
        and dataset not in DatasetCatalog.list()
        and f"{dataset}_{split}" in DatasetCatalog.list()
    ):
        return f"{dataset}_{split}"
    if split is not None:
        raise UserError(
            f"--split needs a descriptor; {dataset} is the name of a dataset with its split"
        )
    return dataset
