"""Reads pickles of arrays and tensors, as in the model zoos of Detectron2, Caffe2 and MaskFormer,
without running them.

A pickle is a program: it names functions and calls them. Here every name that it may use stands for
a class of this module that only stores what it is given; numpy and torch are called afterwards, by
us, for plain numbers alone. (numpy's own functions would not do: a crafted dtype makes them read
raw bytes as addresses of objects.)
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

# dtypes that torch has too, as a pickle writes them
_NUMBERS = re.compile(r"[?]|b1|[iu][1248]|f[248]")


class RefusedError(pickle.UnpicklingError):
    """A pickle holds something that is not loaded; the message says what."""


class PickledArray:
    """What a pickle says about one array; ``array`` returns it in this machine's byte order."""

    array: np.ndarray

    def __init__(self, *_: Any) -> None:
        pass  # numpy makes an empty array first; its state follows

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes | str]) -> None:
        _, shape, dtype, columns_first, data = state
        self._fill(data, dtype, shape, "F" if columns_first else "C")

    def _fill(self, data: bytes | str, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> None:
        """Reads ``data``, a text of one character a byte where Python 2 wrote it."""
        raw = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.numpy)
        self.array = np.array(
            raw.reshape(shape, order=order), dtype=dtype.numpy.newbyteorder("="), order="C"
        )


# Every stand-in has a __setstate__: without one, a pickle could set attributes of the class itself.
class _Buffer(PickledArray):
    """An array as protocol 5 writes it, in one call."""

    def __init__(self, data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> None:
        self._fill(data, dtype, shape, order)


class _Scalar(PickledArray):
    """A single number of numpy's: no weight, so its value is not kept."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage:
    """The numbers of a tensor, which torch has written into the pickle as a file of its own."""

    def __init__(self, data: bytes) -> None:
        storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if not isinstance(storage, torch.storage.TypedStorage):
            raise RefusedError(f"{type(storage).__name__} where a tensor has its numbers")
        self.storage = storage

    def __setstate__(self, state: Any) -> None:
        pass


class _Tensor(PickledArray):
    """A torch tensor: which of a storage's numbers it has, and in what shape."""

    def __init__(
        self,
        storage: _Storage,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *_: Any,
    ) -> None:
        if not isinstance(storage, _Storage):
            raise RefusedError("a tensor without a storage of its own")
        numbers = storage.storage
        if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
            raise RefusedError(f"a tensor of the shape {size} with the strides {stride}")
        last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
        # torch would make the storage larger, with whatever lies there
        if 0 not in size and last >= numbers._size():
            raise RefusedError(f"a tensor of the shape {size} that goes beyond its storage")
        tensor = torch.empty(0, dtype=numbers.dtype).set_(
            numbers._untyped_storage, offset, size, stride
        )
        self.array = (
            (tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
            .contiguous()
            .numpy()
            .copy()
        )

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """A dtype of numbers; of its state only the byte order counts."""

    def __init__(self, code: str, *_: Any) -> None:
        if not _NUMBERS.fullmatch(code):
            raise RefusedError(f"an array of dtype {code[:20]!r}, which is not of numbers")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            self.numpy = self.numpy.newbyteorder(">")


class _Dict(dict[Any, Any]):
    """An OrderedDict, without the attributes that torch gives to those of its weights."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Bytes(bytes):
    """Bytes as protocol 2 writes them: a text and how to encode it."""

    def __new__(cls, text: str, encoding: str) -> _Bytes:
        if encoding != "latin1":
            raise RefusedError(f"a call of _codecs.encode with {encoding[:20]!r}")
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: Any) -> None:
        pass


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _Dtype,
    ("collections", "OrderedDict"): _Dict,
    ("_codecs", "encode"): _Bytes,
    ("torch.storage", "_load_from_bytes"): _Storage,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
}
for _core in ("numpy.core", "numpy._core"):  # the name until numpy 1.26, and since
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = PickledArray
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _Scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _Buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _STAND_INS:
            raise RefusedError(
                f"{f'{module}.{name}'[:80]}, which is neither an array nor a plain container"
            )
        return _STAND_INS[module, name]


def read_pickle(path: Path) -> Any:
    """Reads a pickle, of Python 2 or 3, whose leaves are arrays, tensors, numbers and texts.

    Args:
        path: the file.

    Returns:
        What it holds: dicts, lists, tuples, numbers, texts, and a ``PickledArray`` for each array.

    Raises:
        RefusedError: the file names anything else (nothing of it has run), or has an array that is
            not of numbers.
        Exception: whatever a damaged file leads to.
    """
    with path.open("rb") as file:
        return _Unpickler(file, encoding="latin1").load()
