"""Datasets: from files on disk to batches of dataset dicts with tensors."""

from clipmask.data.catalog import label_reader
from clipmask.data.datasets import register_builtin_datasets
from clipmask.data.datasets.registering import claim
from clipmask.data.datasets.roots import dataset_root
from clipmask.data.descriptor import read_descriptor
from clipmask.data.descriptor_datasets import register_descriptor
from clipmask.data.label_format import LabelFormat
from clipmask.data.loader import build_test_loader, build_train_loader
from clipmask.data.mapper import TestMapper, TrainMapper
from clipmask.data.reading import read_image, read_labels

__all__ = [
    "LabelFormat",
    "TestMapper",
    "TrainMapper",
    "build_test_loader",
    "build_train_loader",
    "claim",
    "dataset_root",
    "label_reader",
    "read_descriptor",
    "read_image",
    "read_labels",
    "register_builtin_datasets",
    "register_descriptor",
]
