"""What never ends, or fills the memory, is refused before it is read."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from clipmask import paths
from clipmask.curation.converting.pixel_masks import _array
from clipmask.data.descriptor import read_descriptor
from clipmask.data.reading import read_image
from clipmask.errors import UserError
from clipmask.paths import refuse_bomb, refuse_special, user_path
from clipmask.text.sources import FileSource
from clipmask.weights.checkpoint import load_checkpoint


@pytest.mark.parametrize("read", [read_image, read_descriptor, _array])
def test_readers_refuse_pipes_and_devices(tmp_path: Path, read) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(UserError, match=f"{path}: is {kind}"):
            read(path)


def test_files_folders_and_nothing_are_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path, tmp_path / "none", "nul\0"):
        refuse_special(path, "file")
        refuse_bomb(path, "file")


@pytest.fixture
def bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of zeros beyond the limits; beside it one of noise, which is allowed."""
    monkeypatch.setattr(paths, "_LEAST_BYTES", 2**20)
    zeros, noise = np.zeros((2**12, 2**8)), np.random.default_rng(0).random((2**12, 2**8))
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, names=np.arange(2**12).astype(str), embeddings=zeros)
    np.savez_compressed(
        tmp_path / "noise.npz", names=np.arange(2**12).astype(str), embeddings=noise
    )
    return path


def test_an_archive_that_unpacks_to_very_much_more_is_refused(bomb: Path) -> None:
    for read in (FileSource, _array):
        with pytest.raises(UserError, match=r"zeros\.npz: 0\.0 MiB that unpack to"):
            read(bomb)
    assert len(FileSource(bomb.with_name("noise.npz")).names) == 2**12


def test_so_is_a_checkpoint(bomb: Path, tmp_path: Path) -> None:
    stored, packed = tmp_path / "stored.pth", tmp_path / "packed.pth"
    torch.save({"model": {"weight": torch.zeros(2**20)}}, stored)
    with (
        zipfile.ZipFile(stored) as one,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for member in one.infolist():
            other.writestr(member.filename, one.read(member))
    assert load_checkpoint(stored)["model"]["weight"].shape == (2**20,)
    with pytest.raises(UserError, match="unpack to"):
        load_checkpoint(packed)


@pytest.mark.parametrize("text", ["~nobody-of-this-name/x", "x" * 3000, "a\0b"])
def test_what_is_no_path_is_told(text: str) -> None:
    with pytest.raises(UserError) as caught:
        user_path(text)
    assert len(str(caught.value)) < 250


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a") == tmp_path / "a"
    assert user_path("a/b") == Path("a/b")
