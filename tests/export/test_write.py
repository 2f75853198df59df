"""One file for every size and vocabulary, in each format; run by itself and by a program without
torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipmask import Predictor
from clipmask.export.network import ExportedNetwork
from clipmask.export.verify import compare, made_pictures
from clipmask.export.write import ENDINGS, WRITERS, make_program
from clipmask.inference.runtimes import open_network
from tests.checkpoints import pixels
from tests.conftest import NAMES, ROOT


@pytest.mark.slow
def test_an_onnx_file_for_every_size_and_vocabulary(exported: tuple[Path, Path]) -> None:
    checkpoint, file = exported
    predictor, run = Predictor.from_checkpoint(checkpoint, device="cpu"), open_network(file).run
    text = predictor.model.text.embedding.numpy()
    agreement = compare(
        predictor, run, made_pictures([(64, 64), (33, 150), (20, 9), (190, 131)]), text
    )
    assert agreement.labels > 0.999
    rows = np.random.default_rng(0).normal(size=(40, text.shape[1])).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for count in (2, 8, 40):  # fewer and more than queries
        assert run(np.zeros((3, 3, 40, 56), np.uint8), rows[:count]).shape == (3, 40, 56)


@pytest.mark.slow
def test_a_program_without_torch(exported: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, file = exported
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    code = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['clipmask'] = None; sys.argv ="
        " sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [ROOT / "demo" / "onnx_example.py", file, "a.png", "b.png"]
    command = [sys.executable, "-c", code, *map(str, words)]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    shares = Predictor.from_checkpoint(checkpoint, device="cpu")(pixels()).shares
    assert [line.partition(":")[0] for line in told.splitlines()] == list(NAMES)
    for line in told.splitlines():
        name, share = line.removesuffix(" %").split(": ")
        assert float(share) == pytest.approx(shares[name], abs=0.2)
    assert Image.open(tmp_path / "b.png").size == (56, 40)


@pytest.mark.slow
def test_torch_s_format_takes_padded_and_whole_sizes(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    """The program is traced at a size that is padded; multiples of all strides are not."""
    predictor = Predictor.from_checkpoint(exported[0], device="cpu")
    program = make_program(ExportedNetwork(predictor.model, size=None, scores=True), None, None)
    WRITERS["torch"](program, tmp_path / "model.pt2", json.dumps({}), False)
    run = open_network(tmp_path / "model.pt2").run
    agreement = compare(predictor, run, made_pictures([(64, 96), (41, 70), (64, 70)]))
    assert agreement.labels > 0.999
    assert agreement.difference < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch", "openvino"])
def test_the_other_formats_at_one_size(
    exported: tuple[Path, Path], tmp_path: Path, format: str
) -> None:
    if format == "openvino":
        pytest.importorskip("openvino")
    predictor = Predictor.from_checkpoint(exported[0], device="cpu")
    program = make_program(
        ExportedNetwork(predictor.model, size=(48, 64), scores=True), (48, 64), None
    )
    path = tmp_path / f"model{ENDINGS[format]}"
    WRITERS[format](program, path, json.dumps({}), False)
    agreement = compare(predictor, open_network(path).run, made_pictures([(48, 64)]))
    assert agreement.labels > 0.999
    assert agreement.difference < 1e-3


def test_half_the_weights(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from clipmask.export.write import _halve

    weight = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "one",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 16])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 16])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    )
    _halve(model)
    assert [item.data_type for item in model.graph.initializer] == [onnx.TensorProto.FLOAT16]
    x = np.ones((1, 16), np.float32)
    (y,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert np.abs(y - x @ weight).max() < 0.05
