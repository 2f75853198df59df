"""Files that are called as weights but are something else are named for what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipmask.errors import UserError
from clipmask.weights.checkpoint import load_checkpoint
from clipmask.weights.foreign import read_weight_file
from clipmask.weights.mistaken import told_apart

READERS = {"checkpoint": load_checkpoint, "backbone": read_weight_file}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def _write(path: Path, kind: str) -> None:
    if kind == "pointer":
        path.write_text(POINTER)
    elif kind == "page":
        path.write_text("<!DOCTYPE html>\n<html><body>Not Found</body></html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "model":
        torch.save(torch.nn.Linear(2, 2), path)
    else:
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pointer", "git lfs pull"),
        ("page", "web page"),
        ("empty", "it is empty"),
        ("model", "torch.save\\(model.state_dict\\(\\)"),
        ("script", "TorchScript"),
    ],
)
def test_what_is_no_file_of_weights_is_told_apart(
    tmp_path: Path, reader: str, ending: str, kind: str, words: str
) -> None:
    if kind in ("model", "script") and ending != ".pth":
        pytest.skip("torch does not write it")
    path = tmp_path / f"weights{ending}"
    _write(path, kind)
    with pytest.raises(UserError, match=words) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value)
    assert ("damaged" in str(caught.value)) == (kind == "empty")


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_before_the_names_are_taken_off(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": {f"{wrapper}a.weight": torch.ones(2)}}, path)
    assert list(load_checkpoint(path)["model"]) == ["a.weight"]
    assert list(read_weight_file(path)) == ["a.weight"]


def test_a_damaged_archive_is_no_script(tmp_path: Path) -> None:
    """Whatever the reader of archives says of it."""
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(3)}, path)
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 6] = 90  # a version that no reader knows
    path.write_bytes(content)
    assert told_apart(path) is None
