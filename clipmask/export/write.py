"""Writes an exported network in one of three formats.

All of them are made from one program of ``torch.export``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipmask.errors import UserError, first_line
from clipmask.export.network import ExportedNetwork
from clipmask.inference.runtimes import load_package
from clipmask.weights.exported import IMAGE, KEY, TEXT

ENDINGS = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml"}
BESIDE = {"openvino": (".bin",)}  # further files of a format, under the same name
OPSET = 20  # ONNX's version of operators, the first into which all of these graphs can be exported
LEAST_HALF = 64  # the fewest elements of a weight that is stored in 16 bits


def make_program(
    network: ExportedNetwork, size: tuple[int, int] | None, text: Tensor | None
) -> Any:
    """Traces a network into a ``torch.export.ExportedProgram``, for any number of pictures.

    Args:
        network: in evaluation mode.
        size: H and W; None: any.
        text: an example of T (K, D), which becomes an input for any K; None: T is no input.

    Raises:
        UserError: a part of the network, such as the backbone, can't be traced.
    """
    dynamic = torch.export.Dim.DYNAMIC
    # two different lengths, because the tracer treats equal dimensions as the same one
    height, width = size or (101, 139)
    inputs: dict[str, Tensor] = {
        IMAGE: torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    }
    free: dict[str, Any] = {IMAGE: {0: dynamic}}
    if size is None:
        free[IMAGE] |= {2: dynamic, 3: dynamic}
    if text is not None:
        inputs[TEXT], free[TEXT] = text.clone(), {0: dynamic}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own deprecations at every call
            return torch.export.export(network, (), inputs, dynamic_shapes=free, strict=False)
    except Exception as error:  # each stage of torch.export raises exceptions of its own
        sizes = "" if size else " A fixed size, --size HEIGHTxWIDTH, is easier to export"
        raise UserError(f"this network can't be exported: {first_line(error)}.{sizes}") from error


def write_onnx(program: Any, path: Path, description: str, half: bool) -> None:
    """Writes an ONNX file.

    Args:
        program: from ``make_program``.
        path: the file.
        description: from ``clipmask.weights.exported.describe``.
        half: store weights in float16; the runtime makes them float32 when it loads them.
    """
    onnx = load_package("onnx")
    load_package("onnxscript")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    assert exported is not None
    model = exported.model_proto
    if half:
        _halve(model)
    onnx.helper.set_model_props(model, {KEY: description})
    onnx.save(model, path)


def write_torch(program: Any, path: Path, description: str, half: bool) -> None:
    """Writes a file of ``torch.export``; arguments as for ``write_onnx``, but never ``half``."""
    assert not half, "torch.export.load does not widen weights"
    torch.export.save(program, path, extra_files={KEY: description})


def write_openvino(program: Any, path: Path, description: str, half: bool) -> None:
    """Writes OpenVINO's two files, .xml and .bin, through ONNX; arguments as for ``write_onnx``."""
    openvino = load_package("openvino")
    onnx_file = path.with_suffix(".onnx")
    try:
        write_onnx(program, onnx_file, description, False)
        model = openvino.convert_model(onnx_file)
    finally:
        onnx_file.unlink(missing_ok=True)
    model.set_rt_info(description, [KEY])
    openvino.save_model(model, path, compress_to_fp16=half)


WRITERS = {"onnx": write_onnx, "torch": write_torch, "openvino": write_openvino}


def _halve(model: Any) -> None:
    """Stores weights of an ONNX model in float16, and adds a cast of each to float32."""
    onnx = load_package("onnx")
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if (
            values.dtype != np.float32
            or values.size < LEAST_HALF
            or np.abs(values).max() > np.finfo(np.float16).max
        ):
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
