"""Whatever bytes a file holds, its reader returns or raises a ``UserError``, and nothing else.

Files are sound ones with some bytes changed, put in or cut off: what a bad disk, a broken download
or an attacker makes of them. Longer searches, led by coverage, are made by hand (docs/faults.md).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clipmask.config import load_cfg
from clipmask.data.descriptor import read_descriptor
from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_labels
from clipmask.errors import UserError
from clipmask.text.sources import FileSource
from clipmask.weights.checkpoint import load_checkpoint
from tests.curation.checking.made import make


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


CONFIG = b"SOLVER: {BASE_LR: 0.1, MAX_ITER: 30}\nINPUT:\n  CROP: {SIZE: [32, 48]}\nSEED: 3\n"
LABELS = Image.fromarray(np.arange(42, dtype=np.uint8).reshape(6, 7) % 3)
ROWS = {"names": np.array(["road", "sky"]), "embeddings": np.eye(3, dtype=np.float32)[:2]}
CHECKPOINT = {"model": {"a": torch.ones(3)}, "config": "SEED: 3", "class_names": ["road"]}
FORMAT = LabelFormat(num_classes=3)


def _read_labels(path: Path) -> None:
    read_labels(str(path), FORMAT, (6, 7))


READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "config": ("c.yaml", CONFIG, load_cfg),
    "labels, PNG": ("l.png", _saved(lambda file: LABELS.save(file, "PNG")), _read_labels),
    "labels, TIFF": ("l.tif", _saved(lambda file: LABELS.save(file, "TIFF")), _read_labels),
    "embeddings": ("e.npz", _saved(lambda file: np.savez(file, **ROWS)), FileSource),
    "checkpoint": ("m.pth", _saved(lambda file: torch.save(CHECKPOINT, file)), load_checkpoint),
    "old checkpoint": (
        "o.pth",
        _saved(lambda file: torch.save(CHECKPOINT, file, _use_new_zipfile_serialization=False)),
        load_checkpoint,
    ),
}
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4
)


def _changed(content: bytes, changes: list[tuple[float, bytes, int]], kept: float) -> bytes:
    for place, new, gone in changes:
        at = int(place * len(content))
        content = content[:at] + new + content[at + gone :]
    return content[: int(kept * len(content)) + 1]


@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES, kept=st.just(1.0) | st.floats(0, 1))
def test_readers_of_files(
    name: str, changes: list[tuple[float, bytes, int]], kept: float, tmp_path: Path
) -> None:
    called, content, read = READERS[name]
    path = tmp_path / called
    path.write_bytes(_changed(content, changes, kept))
    with contextlib.suppress(UserError):
        read(path)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.text(max_size=5),
    st.sampled_from(["/dev/zero", "../..", "~nobody/x", "x" * 3000, "\0", "a;b", "void", "rgb"]),
    st.lists(st.integers(-1, 300) | st.text(max_size=2), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
KEYS = ("images", "labels", "classes", "splits", "encoding", "ignore_id", "void_colors", "bands")
KEYS += ("image_suffix", "label_suffix", "label_folders", "color_tolerance", "name", "license")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.dictionaries(st.sampled_from(KEYS), ODD, min_size=1, max_size=2), inner=ODD)
def test_descriptors_with_any_value(
    values: dict[str, object], inner: object, tmp_path: Path
) -> None:
    if not (tmp_path / "images").exists():
        make(tmp_path)
    path = next(tmp_path.glob("*.yaml"))
    sound = yaml.safe_load(path.read_text())
    nested = {**sound, "classes": [*sound["classes"], {"name": "more", "color": inner}]}
    for content in ({**sound, **values}, nested):
        odd = path.with_name("odd.yml")
        odd.write_text(yaml.safe_dump(content), encoding="utf-8")
        with contextlib.suppress(UserError):
            read_descriptor(odd).samples()
