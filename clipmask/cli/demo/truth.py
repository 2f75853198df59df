"""``--dataset`` of the demo: the pictures of a registered dataset, its classes, and what its labels
say of results.
"""

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
from clipmask.data.descriptor import register_descriptor
from clipmask.data.image_format import ImageFormat
from clipmask.errors import MissingText, UserError
from clipmask.evaluation.scores import count_pixels, scores
from clipmask.evaluation.server_ids import server_ids
from clipmask.inference import Predictor, Segmentation
from clipmask.vocabulary import shown_names


class LabelledPictures:
    """A dataset's pictures, and the scores of what is predicted for them.

    Args:
        name: of the dataset, which is registered.

    Attributes:
        inputs: its pictures; those in folders keep their place in the results.
        labelled: whether there are labels.

    Raises:
        UserError: it is not registered, its files are not there, or its metadata are wrong.
    """

    def __init__(self, name: str) -> None:
        records = load_dataset(name, labelled=False).records
        paths = [Path(record["file_name"]) for record in records]
        root = Path(os.path.commonpath([path.parent.absolute() for path in paths]))
        self.inputs = [Input(path, path.parent.absolute().relative_to(root)) for path in paths]
        self._files = {
            str(record["file_name"]): record["sem_seg_file_name"]
            for record in records
            if "sem_seg_file_name" in record
        }
        self.name, self.labelled = name, bool(self._files)
        self.vocabulary = dataset_vocabulary(name)
        self.classes = self.vocabulary.names
        self._read: Callable[..., NDArray[Any]] = label_reader(name)
        self._confusion = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)

    def truth(self, result: Segmentation) -> NDArray[Any] | None:
        """Reads the truth of a picture, (H, W) class ids or void; None where there is none.

        Raises:
            UserError: the label map can't be read, or does not fit the picture.
        """
        height, width = result.labels.shape
        return self.labels(str(result.source), (height, width))

    def labels(self, picture: str | Path, size: tuple[int, int]) -> NDArray[Any] | None:
        """Reads the truth of a picture, (H, W); None where there is none.

        Args:
            picture: its path, as it stands in ``inputs``.
            size: H and W.

        Raises:
            UserError: see ``truth``.
        """
        file = self._files.get(str(picture))
        return None if file is None else self._read(file, size=size)

    def add(self, truth: NDArray[Any], result: Segmentation) -> None:
        """Counts what is right in a picture."""
        self._confusion += count_pixels(truth, result.labels, len(self.classes))

    def notice(self) -> str:
        """Returns mIoU and share of right pixels over all pictures that were counted, for
        reading.
        """
        found = scores(self._confusion)
        return (
            f"mIoU {found.mean_iou:.1f} over these pictures, {found.accuracy:.1f}% of their"
            " labelled pixels right"
        )

    def prepare(self, predictor: Predictor, embeddings: str | None) -> dict[str, list[int]]:
        """Makes the dataset's classes, and its server ids, the predictor's.

        Args:
            predictor: is changed.
            embeddings: see ``Predictor.set_vocabulary``.

        Returns:
            Class name to the dataset's colour, [r, g, b]; empty where it has none.

        Raises:
            UserError: the model can't be asked for these classes.
        """
        metadata = MetadataCatalog.get(self.name)
        if predictor.names != self.classes or embeddings is not None:
            self._set_vocabulary(predictor, embeddings)
        predictor.image_format = ImageFormat.from_metadata(metadata)
        ids, colors = server_ids(self.name), metadata.get("stuff_colors", None)
        if ids is not None:
            predictor.server_ids = dict(zip(predictor.names, ids, strict=True))
        return (
            {}
            if colors is None
            else dict(zip(predictor.names, np.asarray(colors).tolist(), strict=True))
        )

    def _set_vocabulary(self, predictor: Predictor, embeddings: str | None) -> None:
        own = dict(zip(shown_names(predictor.names), predictor.names, strict=True))
        known = [own.get(name) for name in shown_names(self.classes)]
        try:
            predictor.set_vocabulary(self.vocabulary, embeddings)
        except MissingText as error:
            if None in known:
                raise UserError(
                    f"--dataset {self.name}: its classes ({', '.join(shown_names(self.classes))})"
                    f" are others than the model's ({', '.join(own)}), and can't be looked for:"
                    f" {error}"
                ) from error
            # the same classes without their synonyms
            predictor.set_vocabulary([name for name in known if name])


def dataset_name(dataset: str, split: str | None) -> str:
    """Registers a descriptor and returns the name of one of its splits; the name of what is
    registered already stays.

    Args:
        dataset: path of a YAML file, or a name.
        split: of a descriptor; None: ``val``.

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
            f"--split goes with a descriptor; {dataset} names a dataset with its split already"
        )
    return dataset
