"""Files are whole or the old ones, equal contents are equal bytes, and nothing in a file runs."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clipmask.errors import UserError
from clipmask.weights import checkpoint as module
from clipmask.weights.checkpoint import (
    canonical,
    last_checkpoint,
    load_checkpoint,
    load_weights,
    of_backbone,
    save_checkpoint,
    write_atomically,
)
from tests.conftest import PATIENCE, ROOT
from tests.forked import run_forked


def _state(value: float = 1.0) -> dict:
    return {
        "model": {"weight": torch.full((3, 2), value)},
        "iteration": 4,
        "names": ["a", "b"],
        "pair": (1, None),
    }


def test_what_is_saved_comes_back_and_is_named_last(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new" / "model.pth", _state())
    loaded = load_checkpoint(tmp_path / "new" / "model.pth")
    assert torch.equal(loaded["model"]["weight"], torch.ones(3, 2))
    assert (loaded["iteration"], loaded["names"], loaded["pair"]) == (4, ["a", "b"], (1, None))
    assert last_checkpoint(tmp_path / "new") == tmp_path / "new" / "model.pth"
    assert last_checkpoint(tmp_path) is None


def test_not_last_leaves_the_pointer(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", _state())
    save_checkpoint(tmp_path / "b.pth", _state(), last=False)
    assert last_checkpoint(tmp_path) == tmp_path / "a.pth"


def test_a_crash_in_the_middle_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "model.pth"
    save_checkpoint(path, _state())
    before = path.read_bytes()

    def crash(value: object, file) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module.torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, _state(2.0))
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model.pth"]


def test_two_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    """The second begins and ends while the first is in the middle of its file."""
    path = tmp_path / "x"

    def slowly(file) -> None:
        file.write(b"first ")
        write_atomically(path, lambda other: other.write(b"second"))
        assert path.read_bytes() == b"second"
        file.write(b"first")

    write_atomically(path, slowly)
    assert path.read_bytes() == b"first first"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"../other/model.pth",
        b"/etc/passwd",
        b"..",
        b"a/b.pth",
        b"\xff\xfe",
        b"a\x00b",
        b"a\nb",
    ],
)
def test_a_pointer_names_a_file_beside_it_or_is_damaged(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "last_checkpoint").write_bytes(text)
    with pytest.raises(UserError, match="last_checkpoint"):
        last_checkpoint(tmp_path)


def test_a_disk_that_fills_up_while_torch_writes_is_called_full(tmp_path: Path) -> None:
    """torch itself would tell of an unexpected position."""
    code = (
        "import resource, torch\nfrom clipmask.weights.checkpoint import"
        " save_checkpoint\nresource.setrlimit(resource.RLIMIT_FSIZE, (20000,"
        f" 20000))\nsave_checkpoint({str(tmp_path / 'model.pth')!r}, {{'model': {{'weight':"
        " torch.ones(100000)}})\n"
    )
    result = run_forked(["python", "-c", code], ROOT, os.environ, PATIENCE)
    assert "UserError" in result.stderr
    assert "disk full" in result.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("write failed")]
)
def test_a_full_disk_is_one_clear_error(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def write(file) -> None:
        raise error

    with pytest.raises(UserError, match="could not be written"):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    """Whatever objects were shared, and whether tensors were views of larger storage."""
    shared, key = torch.arange(6.0), "".join(["we", "ight"])
    first = {
        "model": {"weight": shared[:3], "other": shared[3:]},
        "weight": "weight",
        "lists": [["x"], ["x"]],
    }
    inner = ["x"]
    second = {"model": OrderedDict([(key, torch.arange(3.0)), ("other", torch.arange(3.0, 6.0))])}
    second |= {"weight": "".join(["we", "ight"]), "lists": [inner, inner]}
    save_checkpoint(tmp_path / "a.pth", first)
    save_checkpoint(tmp_path / "another_name.pth", second)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "another_name.pth").read_bytes()


def test_bytes_do_not_change_through_loading(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pth", _state())
    save_checkpoint(tmp_path / "b.pth", load_checkpoint(tmp_path / "a.pth"))
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_only_plain_values_are_saved() -> None:
    with pytest.raises(TypeError, match="Path"):
        canonical({"a": [Path("x")]})


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_checkpoint(tmp_path / "none.pth")


@pytest.mark.parametrize("cut", [0, 10, 300, -10])
def test_truncated_file(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "model.pth"
    save_checkpoint(path, _state())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"model\.pth: damaged"):
        load_checkpoint(path)


def test_one_flipped_bit_among_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"model": {"weight": torch.full((64,), 1.5)}})
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((64,), 1.5).numpy().tobytes()) + 17] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_text_instead_of_a_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("404 not found\n" * 20)
    with pytest.raises(UserError, match="damaged, or not a"):
        load_checkpoint(tmp_path / name)


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_code_in_a_file_does_not_run(tmp_path: Path, form: str) -> None:
    path, trace = tmp_path / "model.pth", tmp_path / "it_ran"
    content = {"model": {"weight": torch.ones(2)}, "extra": _Hostile(trace)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(_Hostile(trace)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"model\.pth"):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [[torch.ones(2)], {}, {"model": {}}, {"model": {"a": 1}}, {"iteration": 3}, "text"]
)
def test_files_without_weights(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(UserError, match=r"model\.pth"):
        load_checkpoint(tmp_path / "model.pth")


def test_bare_weights_and_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = {"weight": torch.ones(2)}
    torch.save(weights, tmp_path / "bare.pth")
    save_file(weights, tmp_path / "bare.safetensors")
    for name in ("bare.pth", "bare.safetensors"):
        assert torch.equal(load_checkpoint(tmp_path / name)["model"]["weight"], torch.ones(2))


def test_a_file_of_detectron2s_zoo(tmp_path: Path) -> None:
    content = {
        "model": {"stem.conv1.weight": np.ones((2, 3), np.float32)},
        "__author__": "torchvision",
    }
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content))
    loaded = load_checkpoint(tmp_path / "R-50.pkl")
    assert loaded.keys() == {"model"}
    assert torch.equal(loaded["model"]["stem.conv1.weight"], torch.ones(2, 3))


@pytest.mark.parametrize("prefix", ["backbone.", "backbone.body."])
def test_the_weights_of_a_backbone_alone_are_recognised(prefix: str) -> None:
    own = [f"{prefix}stem.weight", f"{prefix}res2.weight", "text.embedding"]
    stem, head = torch.ones(1), torch.zeros(1)
    assert of_backbone({"stem.weight": stem, "fc.weight": head}, own) == {
        f"{prefix}stem.weight": stem
    }
    assert of_backbone({"conv1.weight": stem}, own) is None, "another backbone's"
    assert of_backbone({f"{prefix}stem.weight": stem}, own) is None, "a whole model's"


def test_weights_that_fit_are_loaded_strictly() -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    assert load_weights(target, source.state_dict(), "x.pth") == []
    assert torch.equal(source.weight, target.weight)


def test_each_misfit_is_named_and_an_error_where_strict() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {
        **model.state_dict(),
        "0.weight": torch.ones(9, 9),
        "1.running_mean": torch.ones(9),
        "head": torch.ones(1),
    }
    del state["1.bias"]
    with pytest.raises(UserError) as error:
        load_weights(model, state, "x.pth")
    for word in (
        "x.pth",
        "4 weight",
        "0.weight: (9, 9)",
        "1.running_mean",
        "1.bias: missing",
        "head: unknown",
    ):
        assert word in str(error.value)
    assert len(load_weights(model, state, "x.pth", strict=False)) == 4


def test_only_the_first_ten_misfits_are_listed() -> None:
    model = nn.Linear(2, 2)
    state = {**model.state_dict(), **{f"extra{index}": torch.ones(1) for index in range(14)}}
    with pytest.raises(UserError, match="and 4 more"):
        load_weights(model, state, "x.pth")


def test_nothing_that_fits_is_an_error_always() -> None:
    with pytest.raises(UserError, match="none of its 1 weights"):
        load_weights(nn.Linear(2, 2), {"other": torch.ones(1)}, "x.pth", strict=False)


def test_detectron2s_trainers_find_what_they_resume_from(tmp_path: Path) -> None:
    state = {
        **_state(),
        "optimizer": {"state": {0: {"exp_avg": torch.rand(50_000)}}},
        "scheduler": {"last_epoch": 4},
        "precision": {},
        "iteration": 4,
    }
    save_checkpoint(tmp_path / "model.pth", state)
    content = load_checkpoint(tmp_path / "model.pth")
    trainer = content["trainer"]
    assert trainer["iteration"] == trainer["_trainer"]["iteration"] == 4
    assert trainer["hooks"] == {"LRScheduler": {"last_epoch": 4}}
    moments = [part["optimizer"]["state"][0]["exp_avg"] for part in (content, trainer["_trainer"])]
    assert moments[0].data_ptr() == moments[1].data_ptr(), "written once"
    assert "grad_scaler" not in trainer["_trainer"]
