"""Pickles of arrays: every way in which Python and numpy write them is read, and nothing in a file
runs.
"""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipmask.weights.array_pickles import PickledArray, RefusedError, read_pickle


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


def stored(folder: Path, content: Any, protocol: int = 2) -> Any:
    (folder / "a.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    return read_pickle(folder / "a.pkl")


def raw(folder: Path, code: bytes) -> Any:
    (folder / "a.pkl").write_bytes(code)
    return read_pickle(folder / "a.pkl")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        np.arange(200, 206, dtype=np.uint8),
        np.arange(6, dtype=">f4"),
        np.array([True, False]),
        np.array(7),
        np.arange(6, dtype=np.float16)[::2],
    ],
    ids=["float32", "columns first", "bytes over 127", "big endian", "bool", "no axis", "strided"],
)
def test_arrays_of_every_protocol(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    read = stored(tmp_path, {"a": array}, protocol)["a"]
    assert isinstance(read, PickledArray)
    np.testing.assert_array_equal(read.array, array)
    assert read.array.dtype == array.dtype.newbyteorder("=")
    assert read.array.flags.writeable


def test_arrays_that_python_2_wrote(tmp_path: Path) -> None:
    """Its texts and the bytes of its arrays are the same type, and numpy's module has its old
    name.
    """
    head = b"\x80\x02}U\x05conv1cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"  # noqa: E501
    dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"  # noqa: E501
    data = np.array([1.5, -2.0], np.float32).tobytes()
    read = raw(tmp_path, head + b"(K\x01K\x02\x85" + dtype + b"\x89U\x08" + data + b"tbs.")
    assert list(read) == ["conv1"]
    np.testing.assert_array_equal(read["conv1"].array, np.array([1.5, -2.0], np.float32))


def test_containers_and_notes(tmp_path: Path) -> None:
    state = OrderedDict(b=np.zeros(1), a=np.ones(1))
    state._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    notes = {
        "__author__": "torchvision",
        "heuristics": True,
        "steps": [1, 2.5, None],
        "step": np.int64(3),
    }
    read = stored(tmp_path, {"model": state, **notes})
    assert list(read["model"]) == ["b", "a"]
    assert [read[key] for key in list(notes)[:3]] == [notes[key] for key in list(notes)[:3]]


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_a_file_runs(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    for content in (
        Call(os.system, f"touch {mark}"),
        Call(eval, f"open({str(mark)!r}, 'w')"),
        {"a": np.zeros(1), "b": [Call(os.mkdir, str(mark))]},
        np.array([Call(os.system, f"touch {mark}")], dtype=object),
        np.array([(1.0, Call(os.mkdir, str(mark)))], dtype=[("a", "f4"), ("b", "O")]),
    ):
        with pytest.raises(RefusedError):
            stored(tmp_path, content, protocol)
    assert not mark.exists()


def test_refusals_name_what_they_refuse(tmp_path: Path) -> None:
    with pytest.raises(
        RefusedError, match="system, which is neither an array nor a plain container"
    ):
        stored(tmp_path, Call(os.system, "true"))
    with pytest.raises(RefusedError, match="dtype 'O8'"):
        stored(tmp_path, np.array([None]))
    with pytest.raises(RefusedError, match="builtins.getattr"):
        raw(tmp_path, b"cbuiltins\ngetattr\n.")
    with pytest.raises(RefusedError, match="numpy.load,"):
        raw(tmp_path, b"cnumpy\nload\n.")


def test_encode_makes_bytes_and_does_nothing_else(tmp_path: Path) -> None:
    assert stored(tmp_path, b"\xff\x00", 2) == b"\xff\x00"
    for encoding in (b"rot13", b"zip", b"unicode_escape"):
        with pytest.raises(RefusedError, match="_codecs.encode with"):
            raw(
                tmp_path,
                b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aU"
                + bytes([len(encoding)])
                + encoding
                + b"\x86R.",
            )


@pytest.mark.parametrize(
    "name",
    [
        b"numpy\nndarray",
        b"numpy\ndtype",
        b"_codecs\nencode",
        b"collections\nOrderedDict",
        b"numpy._core.multiarray\nscalar",
    ],
)
def test_what_stands_for_a_name_cannot_be_changed(tmp_path: Path, name: bytes) -> None:
    """BUILD sets attributes of the object before it; here of what the name itself means."""
    attributes = (
        b"}U\x08__name__U\x05takens",
        b"}U\x08__name__U\x05takens\x86",
        b"N}U\x08__name__U\x05takens\x86",
    )
    for state in attributes:
        with pytest.raises((TypeError, AttributeError, pickle.UnpicklingError, IndexError)):
            raw(tmp_path, b"\x80\x02c" + name + b"\n" + state + b"b.")
    from clipmask.weights import array_pickles

    assert "taken" not in {kind.__name__ for kind in array_pickles._STAND_INS.values()}


def test_sizes_that_do_not_match_the_data(tmp_path: Path) -> None:
    whole = pickle.dumps(np.zeros((3, 5), np.float32), protocol=2)
    with pytest.raises(ValueError, match="reshape"):
        raw(tmp_path, whole.replace(b"K\x03K\x05\x86", b"K\x7fK\x7f\x86"))


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.arange(8, dtype=torch.int64)[2:6],
        torch.tensor([1.5, 2.0], dtype=torch.float16),
        torch.tensor(7.0),
    ],
    ids=["plain", "transposed", "a part", "half", "no axis"],
)
def test_tensors_that_torch_put_into_a_pickle(
    tmp_path: Path, tensor: torch.Tensor, protocol: int
) -> None:
    """As MaskFormer's conversion of Swin's weights leaves them."""
    read = stored(tmp_path, {"model": OrderedDict(a=tensor)}, protocol)["model"]["a"]
    assert isinstance(read, PickledArray)
    np.testing.assert_array_equal(read.array, tensor.numpy())
    assert read.array.dtype == tensor.numpy().dtype


def test_a_tensor_of_half_precision_that_numpy_lacks(tmp_path: Path) -> None:
    read = stored(tmp_path, torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
    np.testing.assert_array_equal(read.array, np.array([1.5, -2.0], np.float32))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (1000,), (1,)), (1, (4,), (1,)), (0, (2, 2), (3, 1)), (0, (2,), (-1,)), (-1, (2,), (1,))],
)
def test_a_tensor_never_goes_beyond_its_storage(
    tmp_path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    numbers = torch.storage.TypedStorage(
        wrap_storage=torch.arange(4.0).untyped_storage(), dtype=torch.float32, _internal=True
    )
    with pytest.raises(RefusedError, match="tensor of the shape"):
        stored(
            tmp_path,
            Call(
                torch._utils._rebuild_tensor_v2, numbers, offset, size, stride, False, OrderedDict()
            ),
        )


def test_objects_in_the_storage_of_a_tensor_are_refused(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Inside:
        def __reduce__(self) -> tuple[Any, ...]:
            file = io.BytesIO()
            torch.save(Call(os.mkdir, str(mark)), file, _use_new_zipfile_serialization=False)
            return torch.storage._load_from_bytes, (file.getvalue(),)

    with pytest.raises(pickle.UnpicklingError):
        stored(tmp_path, Inside())
    assert not mark.exists()
    with pytest.raises(RefusedError, match="without a storage"):
        raw(
            tmp_path,
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00K\x01\x85K\x01\x85\x89NtR.",
        )
