"""An exported network in the place of a model: same results object, same vocabularies, clear
refusals.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clipmask import Predictor
from clipmask.cli.export import main
from clipmask.errors import UserError
from clipmask.export.write import ENDINGS
from tests.checkpoints import pixels
from tests.closeness import assert_best, assert_same
from tests.conftest import PATIENCE


@pytest.mark.slow
def test_results_are_those_of_the_checkpoint(exported: tuple[Path, Path]) -> None:
    first, second = (Predictor.from_checkpoint(path, device="cpu") for path in exported)
    for size in ((40, 56), (33, 121)):
        one, other = first(pixels(*size)), second(pixels(*size))
        assert (one.labels == other.labels).mean() > 0.999
        assert one.labels.dtype == other.labels.dtype
        assert (one.names, one.colors) == (other.names, other.colors)
    assert first.dataset_colors == second.dataset_colors
    assert first.licenses == second.licenses
    batch = Predictor.from_checkpoint(exported[1], batch_size=2)(
        [pixels(), pixels(), pixels(24, 40)]
    )
    assert [result.labels.shape for result in batch] == [(40, 56), (40, 56), (24, 40)]
    with pytest.raises(UserError, match="--scores"):
        batch[0].scores()


@pytest.mark.slow
def test_another_vocabulary(exported: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (Predictor.from_checkpoint(path, device="cpu") for path in exported)
    width = first.model.text.width
    rows = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
    np.savez(tmp_path / "new.npz", names=np.array(["snow", "tram", "sky"]), embeddings=rows)
    np.savez(tmp_path / "narrow.npz", names=np.array(["snow"]), embeddings=rows[:1, :7])
    for names, file in ((["sky", "road"], None), (["tram", "snow"], str(tmp_path / "new.npz"))):
        for predictor in (first, second):
            predictor.set_vocabulary(names, file)
        one, other = first(pixels()), second(pixels())
        assert one.names == other.names == tuple(names)
        assert (one.labels == other.labels).mean() > 0.999
    for names, file in (([], None), (["a", "a"], None), (["snow"], str(tmp_path / "narrow.npz"))):
        with pytest.raises(UserError):
            second.set_vocabulary(names, file)
    assert second(pixels()).names == ("tram", "snow")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torch", "openvino"])
def test_other_formats(exported: tuple[Path, Path], tmp_path: Path, format: str) -> None:
    """The same results object from OpenVINO and torch.export, also from threads and a pickle."""
    if format == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / f"model{ENDINGS[format]}"
    words = ["--size", "40x56", "--scores", "--free-vocabulary"]
    words += ["--weights", str(exported[0]), "--output", str(path), "--format", format]
    assert main(words) == 0
    first, second = (Predictor.from_checkpoint(file, device="cpu") for file in (exported[0], path))
    one, other = first(pixels(), scores=True), second(pixels(), scores=True)
    assert (one.names, one.colors) == (other.names, other.colors)
    assert_same(other.scores(), one.scores())
    with ThreadPoolExecutor(3) as pool:
        for result in pool.map(second, [pixels()] * 6):
            assert_best(result.labels, one.scores())
    copy = pickle.loads(pickle.dumps(second))
    assert copy(pixels(), vocabulary=["sky", "road"]).names == ("sky", "road")
    with pytest.raises(UserError, match="56x40"):
        second(pixels(33, 20))
    with pytest.raises(UserError, match="CPU"):
        Predictor.from_checkpoint(path, device="cuda")
    with pytest.raises(UserError, match="--compile"):
        Predictor.from_checkpoint(path, opts=["MODEL.COMPILE", "True"])
    if format == "openvino":
        _outlives_a_signal(path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged"):
        Predictor.from_checkpoint(path)


# Python's handlers run on the stack for signals where a process has one; faulthandler sets one.
SIGNAL = """
import faulthandler, gc, os, signal, sys
from pathlib import Path
from clipmask.inference.runtimes import open_network
faulthandler.enable()
signal.signal(signal.SIGINT, lambda *_: print("heard"))
networks = [open_network(Path(sys.argv[1])) for _ in range(2)]
while networks:
    del networks[0]
    gc.collect()
os.kill(os.getpid(), signal.SIGINT)
"""


def _outlives_a_signal(path: Path) -> None:
    """A process that has let go of two networks still hears signals."""
    command = [sys.executable, "-c", SIGNAL, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (result.returncode, result.stdout) == (0, "heard\n"), result.stderr


@pytest.mark.slow
def test_what_it_can_not_do(exported: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"TEST\.AUG"):
        Predictor.from_checkpoint(exported[1], opts=["TEST.AUG.ENABLED", "True"])
    with pytest.raises(UserError, match="takes no text"):
        Predictor.from_checkpoint(exported[1])(pixels(), text="a street")
    with pytest.raises(UserError, match="mps"):
        Predictor.from_checkpoint(exported[1], device="mps")


def test_files_that_are_none(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [value],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "other.onnx"
    )
    for name, message in (
        ("broken", "damaged"),
        ("other", "clipmask-export"),
        ("missing", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            Predictor.from_checkpoint(tmp_path / f"{name}.onnx")
