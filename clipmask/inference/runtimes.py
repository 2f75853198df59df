"""Loading of exported networks with ONNX Runtime, OpenVINO or ``torch.export``."""

from __future__ import annotations

import functools
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

# a function from pictures (B, 3, H, W) and, for a free vocabulary, T (K, D), to the output
Run = Callable[[NDArray[np.uint8], NDArray[np.float32] | None], NDArray[Any]]


class Runtime(NamedTuple):
    """A loaded network.

    Attributes:
        run: the function that runs the network.
        description: the description in the file, see ``clipmask.weights.exported``, or None.
    """

    run: Run
    description: str | None


def open_network(path: Path, device: str = "cpu") -> Runtime:
    """Loads a file of ``clipmask-export``, with torch's number of threads.

    Args:
        path: the file; its suffix is one of ``OPENERS``.
        device: ``cpu``; for ONNX also ``cuda``, if the installed ONNX Runtime supports it.

    Raises:
        UserError: the file is missing or damaged; its runtime is not installed, or does not support
            the device.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if device.partition(":")[0] != "cpu" and path.suffix != ".onnx":
        raise UserError(f"{path}: networks of this format run on the CPU only, not on {device!r}")
    return OPENERS[path.suffix](path, device)


def load_package(name: str, what: str = "this") -> Any:
    """Imports a package of the extra ``export``.

    Args:
        name: the name of the package.
        what: the thing that needs it, for the message.

    Raises:
        UserError: the package is not installed.
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
        raise UserError(
            f"{path}: the installed ONNX Runtime does not support {device!r}; use the device cpu"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = runtime.InferenceSession(str(path), options, providers=[provider])
    # ONNX Runtime has one type of exception for each of its status codes
    except Exception as error:
        raise _damaged(path, "ONNX", error) from error

    def run(image: NDArray[np.uint8], text: NDArray[np.float32] | None) -> NDArray[Any]:
        return session.run(None, _inputs(image, text))[0]

    return Runtime(run, session.get_modelmeta().custom_metadata_map.get(KEY))


def _open_openvino(path: Path, device: str) -> Runtime:
    core = _core(load_package("openvino", str(path)))
    # without the hint, OpenVINO may choose bfloat16
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    try:
        model = core.read_model(path)
        description = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        compiled = core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise _damaged(path, "OpenVINO", error) from error

    def run(image: NDArray[np.uint8], text: NDArray[np.float32] | None) -> NDArray[Any]:
        # each call has its own infer request, so that several threads may call at the same time
        outputs = compiled.create_infer_request().infer(_inputs(image, text))
        return next(iter(outputs.values()))

    return Runtime(run, description)


def _inputs(image: NDArray[np.uint8], text: NDArray[np.float32] | None) -> dict[str, NDArray[Any]]:
    if text is None:
        return {IMAGE: image}
    return {IMAGE: image, TEXT: text}


@functools.cache
def _core(openvino: Any) -> Any:
    """Returns the process's only ``openvino.Core``.

    Each core gives its thread a stack for signal handlers, and unmaps it when its last network is
    gone. The end of a second core then puts back the first one's, which is unmapped, and the next
    signal that Python handles (a loader's SIGCHLD, Ctrl-C) ends the process with SIGSEGV.
    """
    return openvino.Core()


def _open_torch(path: Path, device: str) -> Runtime:
    files = {KEY: ""}
    try:
        program = torch.export.load(path, extra_files=files)
        # The guards check whether a cropped map is contiguous, so they refuse some sizes that the
        # graph supports. The export compares the results with the model at sizes of both kinds.
        checks = "check_guards" in inspect.signature(program.module).parameters
        network = program.module(check_guards=False) if checks else program.module()
    # the archive, its JSON or its tensors may be damaged, with different exceptions
    except Exception as error:
        raise _damaged(path, "torch.export", error) from error

    def run(image: NDArray[np.uint8], text: NDArray[np.float32] | None) -> NDArray[Any]:
        inputs = {IMAGE: torch.from_numpy(image)}
        if text is not None:
            inputs[TEXT] = torch.from_numpy(text)
        with torch.no_grad():
            return network(**inputs).numpy()

    description: str | bytes = files[KEY]
    if isinstance(description, bytes):
        description = description.decode()
    return Runtime(run, description or None)


def _damaged(path: Path, kind: str, error: Exception) -> UserError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(f"{path}: damaged, or not a file of {kind} ({lines[0]})")


OPENERS = {".onnx": _open_onnx, ".xml": _open_openvino, ".pt2": _open_torch}
