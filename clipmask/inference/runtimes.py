"""Files of exported networks as functions of arrays: ONNX Runtime, OpenVINO, ``torch.export``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clipmask.errors import UserError
from clipmask.weights.exported import IMAGE, KEY, TEXT

# Pictures (B, 3, H, W) and, for a free vocabulary, T (K, D), to what the network gives.
Run = Callable[[NDArray[np.uint8], NDArray[np.float32] | None], NDArray[Any]]


class Runtime(NamedTuple):
    """A loaded network.

    Attributes:
        run: the network.
        description: the text in its file, see ``clipmask.weights.exported``; None: there is none.
    """

    run: Run
    description: str | None


def open_network(path: Path, device: str = "cpu") -> Runtime:
    """Loads a file that ``clipmask-export`` wrote, with as many threads as torch has.

    Args:
        path: ends in one of ``OPENERS``.
        device: ``cpu``; for ONNX also ``cuda``, where the installed ONNX Runtime has it.

    Raises:
        UserError: there is no such file, it is damaged, its runtime is not installed, or does not
            run on the device.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if device.partition(":")[0] != "cpu" and path.suffix != ".onnx":
        raise UserError(f"{path}: networks of this format run on the CPU here, not on {device!r}")
    return OPENERS[path.suffix](path, device)


def load_package(name: str, what: str = "this") -> Any:
    """Returns a package of the extra ``export``.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{name} is not installed, which {what} needs: pip install 'clipmask[export]'"
        ) from error


def _open_onnx(path: Path, device: str) -> Runtime:
    runtime = load_package("onnxruntime", str(path))
    providers = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
    provider = providers.get(device.partition(":")[0])
    if provider not in runtime.get_available_providers():
        raise UserError(f"{path}: the installed ONNX Runtime does not run on {device!r}; say cpu")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = runtime.InferenceSession(str(path), options, providers=[provider])
    # ONNX Runtime has an exception of its own for each of its status codes
    except Exception as error:
        raise _damaged(path, "ONNX", error) from error

    def run(image: NDArray[np.uint8], text: NDArray[np.float32] | None) -> NDArray[Any]:
        return session.run(None, {IMAGE: image} if text is None else {IMAGE: image, TEXT: text})[0]

    return Runtime(run, session.get_modelmeta().custom_metadata_map.get(KEY))


def _open_openvino(path: Path, device: str) -> Runtime:
    openvino = load_package("openvino", str(path))
    # OpenVINO may compute in bfloat16 of its own accord
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    try:
        model = openvino.Core().read_model(path)
        description = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        compiled = openvino.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise _damaged(path, "OpenVINO", error) from error

    def run(image: NDArray[np.uint8], text: NDArray[np.float32] | None) -> NDArray[Any]:
        inputs = {IMAGE: image} if text is None else {IMAGE: image, TEXT: text}
        # an infer request of its own for each call: threads may call together
        return next(iter(compiled.create_infer_request().infer(inputs).values()))

    return Runtime(run, description)


def _open_torch(path: Path, device: str) -> Runtime:
    files = {KEY: ""}
    try:
        program = torch.export.load(path, extra_files=files)
        # Its guards tell sizes apart by whether a cut map is contiguous, and refuse some that the
        # graph serves; an export is compared with its model at sizes of both kinds.
        checks = "check_guards" in inspect.signature(program.module).parameters
        network = program.module(check_guards=False) if checks else program.module()
    # of the archive, of its JSON or of the tensors
    except Exception as error:
        raise _damaged(path, "torch.export", error) from error

    def run(image: NDArray[np.uint8], text: NDArray[np.float32] | None) -> NDArray[Any]:
        inputs = {IMAGE: torch.from_numpy(image)}
        if text is not None:
            inputs[TEXT] = torch.from_numpy(text)
        with torch.no_grad():
            return network(**inputs).numpy()

    description = files[KEY]
    return Runtime(
        run, description.decode() if isinstance(description, bytes) else description or None
    )


def _damaged(path: Path, kind: str, error: Exception) -> UserError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"{path}: damaged, or no {kind} file ({lines[0]})")


OPENERS = {".onnx": _open_onnx, ".xml": _open_openvino, ".pt2": _open_torch}
