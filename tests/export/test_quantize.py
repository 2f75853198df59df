"""Convolutions in 8 bits, with ranges from pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from clipmask import Predictor
from clipmask.export.quantize import quantize, spread_evenly
from clipmask.export.verify import compare
from clipmask.inference.runtimes import open_network
from clipmask.modeling import ClipMask
from tests.checkpoints import pixels


@pytest.mark.slow
def test_a_network_in_eight_bits(exported: tuple[Path, Path], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    checkpoint, file = exported
    path = tmp_path / "model.onnx"
    shutil.copy(file, path)
    predictor = Predictor.from_checkpoint(checkpoint, device="cpu")
    assert isinstance(predictor.model, ClipMask)
    text = predictor.model.text.embedding.numpy()
    pictures = [pixels(40, 56, seed) for seed in range(4)]
    quantize(path, pictures, text)
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "QuantizeLinear" in kinds
    network = open_network(path)
    assert (
        network.description == open_network(file).description
    )  # what the file says of itself stays
    assert compare(predictor, network.run, pictures, text).labels > 0.8
    assert network.run(np.zeros((2, 3, 33, 71), np.uint8), text[:3]).shape == (2, 33, 71)


def test_pictures_of_the_whole_list() -> None:
    paths = [Path(str(number)) for number in range(10)]
    assert [path.name for path in spread_evenly(paths, 4)] == ["0", "2", "5", "7"]
    assert spread_evenly(paths[:2], 4) == paths[:2]
