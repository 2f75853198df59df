"""Pictures that are read window by window: the labels and the files of the picture in memory."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from PIL import Image

from clipmask.errors import UserError
from clipmask.inference import Predictor, from_file
from clipmask.inference import views as views_module
from clipmask.inference.large import LargeSegmentation
from tests.checkpoints import pixels, write_checkpoint
from tests.conftest import NAMES

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("pyvips")
WINDOWS = ["INPUT.MIN_SIZE_TEST", "0", "TEST.SLIDING_WINDOW.ENABLED", "True"]
WINDOWS += ["TEST.SLIDING_WINDOW.SIZE", "[64, 96]", "TEST.SLIDING_WINDOW.FROM_FILE_ABOVE"]
ALL, NONE = [*WINDOWS, "0"], [*WINDOWS, str(10**9)]
SIZE = (211, 305)
Write = Callable[[Path, np.ndarray], object]


def _tiff(**options: Any) -> Write:
    return lambda path, image: tifffile.imwrite(path, image, photometric="rgb", **options)


def _pillow(**options: Any) -> Write:
    return lambda path, image: Image.fromarray(image).save(path, **options)


FILES: dict[str, Write] = {
    "tiles.tif": _tiff(tile=(32, 48), compression="deflate"),
    "strips.tif": _tiff(rowsperstrip=7, compression="lzw"),
    "plain.tif": _tiff(),
    "big.tif": _tiff(tile=(64, 64), bigtiff=True),
    "lossy.tif": _tiff(tile=(64, 64), compression="jpeg"),
    "a.jpg": _pillow(quality=80),
    "a.png": _pillow(),
    "grey.png": lambda path, image: Image.fromarray(image[..., 0]).save(path),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [SIZE, (64, 96), (50, 400), (333, 31)])
def test_labels_are_those_of_the_picture_in_memory(
    checkpoint: Path, tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    FILES[name](tmp_path / name, pixels(*size))
    whole = Predictor.from_checkpoint(checkpoint, opts=NONE)(tmp_path / name)
    large = Predictor.from_checkpoint(checkpoint, opts=ALL)(tmp_path / name)
    assert type(whole) is not LargeSegmentation
    assert isinstance(large, LargeSegmentation)
    np.testing.assert_array_equal(large.labels, whole.labels)
    assert large.labels.dtype == whole.labels.dtype
    np.testing.assert_array_equal(np.asarray(large.image), whole.image)
    assert large.shares == whole.shares
    assert large.summary() == whole.summary()
    np.testing.assert_array_equal(large.overlay(), whole.overlay())


@pytest.mark.parametrize("overlap", ["0.0", "0.25", "0.6"])
def test_panels_change_nothing_but_the_memory(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: str
) -> None:
    path, opts = tmp_path / "a.tif", ["TEST.SLIDING_WINDOW.OVERLAP", overlap]
    FILES["strips.tif"](path, pixels(150, 900))
    whole = Predictor.from_checkpoint(checkpoint, opts=[*NONE, *opts])(path)
    monkeypatch.setattr(views_module, "PANEL_ELEMENTS", 1)
    seen: list[tuple[int, int]] = []
    predictor = Predictor.from_checkpoint(checkpoint, opts=[*ALL, *opts])
    (large,) = predictor.stream([path], on_window=lambda *numbers: seen.append(numbers))
    differ = large.labels != whole.labels
    assert differ.mean() < 1e-3  # where rounding decides
    assert seen[-1][0] == seen[-1][1] > len(seen) / 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    inputs = {"image": np.empty((3, 150, 900))}
    panels = predictor._segmenter.model.views.panels(inputs, 5)  # type: ignore[union-attr]
    assert len(panels) > 1
    assert max(right - left for left, right in panels) <= 4 * 96


def test_bands_of_sixteen_bits(tmp_path: Path, small_cfg: CfgNode) -> None:
    cfg = small_cfg.clone()
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0] * 4, [50.0] * 4
    for number, image_range in enumerate(([0, 4095], {"percentiles": [1.0, 99.0]})):
        metadata = {"bands": [4, 1, 2, 5], "image_range": image_range}
        path = write_checkpoint(tmp_path / f"{number}.pth", cfg, metadata=metadata)
        first, second = pixels(*SIZE), pixels(*SIZE, seed=1)
        deep = np.concatenate([first, second[..., :2]], axis=-1).astype(np.uint16) * 16
        for options in (
            {"tile": (32, 48), "planarconfig": "contig"},
            {"planarconfig": "separate", "rowsperstrip": 9},
        ):
            stored = np.moveaxis(deep, -1, 0) if options["planarconfig"] == "separate" else deep
            tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", **options)
            whole = Predictor.from_checkpoint(path, opts=NONE)(tmp_path / "a.tif")
            large = Predictor.from_checkpoint(path, opts=ALL)(tmp_path / "a.tif")
            assert isinstance(large, LargeSegmentation)
            np.testing.assert_array_equal(large.labels, whole.labels)
            np.testing.assert_array_equal(large.overlay(), whole.overlay())


@pytest.mark.parametrize("kind", ["overlay", "labels", "color"])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_files_hold_what_those_of_the_picture_in_memory_hold(
    checkpoint: Path, tmp_path: Path, kind: str, suffix: str
) -> None:
    FILES["tiles.tif"](tmp_path / "a.tif", pixels(700, 530))
    opts = ["TEST.SLIDING_WINDOW.SIZE", "[512, 512]"]
    whole = Predictor.from_checkpoint(checkpoint, opts=[*NONE, *opts])(tmp_path / "a.tif")
    large = Predictor.from_checkpoint(checkpoint, opts=[*ALL, *opts])(tmp_path / "a.tif")
    if suffix == ".jpg" and kind != "overlay":
        with pytest.raises(UserError, match="may change"):
            large.save(tmp_path / f"b{suffix}", kind)
        return
    for result, name in ((whole, "whole"), (large, "large")):
        result.save(tmp_path / f"{name}{suffix}", kind)
    one, other = (np.asarray(Image.open(tmp_path / f"{n}{suffix}")) for n in ("whole", "large"))
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    limit = 40 if suffix == ".jpg" else 0  # of another encoder
    assert np.abs(one.astype(int) - other).max() <= limit
    names = {path.name for path in tmp_path.iterdir()} - {"a.tif", "model.pth"}
    assert names == {f"whole{suffix}", f"large{suffix}"}


def test_the_place_on_earth_goes_into_the_results(checkpoint: Path, tmp_path: Path) -> None:
    tags = [
        (33550, 12, 3, (0.2, 0.2, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 500000.0, 5600000.0, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 25832), True),
    ]
    _tiff(extratags=tags)(tmp_path / "a.tif", pixels(*SIZE))
    result = Predictor.from_checkpoint(checkpoint, opts=ALL)(tmp_path / "a.tif")
    for kind in ("labels", "overlay"):
        result.save(tmp_path / "b.tif", kind)
        with tifffile.TiffFile(tmp_path / "b.tif") as file:
            found = file.pages[0].tags
            assert [found[tag[0]].value for tag in tags] == [tag[3] for tag in tags]
            assert file.pages[0].is_tiled
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.crs.to_epsg() == 25832
        assert (file.transform.a, file.transform.c) == (0.2, 500000.0)


def test_what_needs_the_whole_picture(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FILES["tiles.tif"](tmp_path / "a.tif", pixels(*SIZE))
    few = [*ALL, "INPUT.MAX_PIXELS", "1000"]
    for opts, key in (
        (["TEST.AUG.ENABLED", "True"], "TEST.AUG.ENABLED"),
        (["INPUT.MIN_SIZE_TEST", "100"], "INPUT.MIN_SIZE_TEST 100"),
    ):
        whole = Predictor.from_checkpoint(checkpoint, opts=[*ALL, *opts])(tmp_path / "a.tif")
        assert not isinstance(whole, LargeSegmentation)
        with pytest.raises(UserError, match=f"{key}.*305x211.*INPUT.MAX_PIXELS 64355"):
            Predictor.from_checkpoint(checkpoint, opts=[*few, *opts])(tmp_path / "a.tif")
    predictor = Predictor.from_checkpoint(checkpoint, opts=few)
    result = predictor(tmp_path / "a.tif")  # INPUT.MAX_PIXELS is for pictures in memory
    assert isinstance(result, LargeSegmentation)
    with pytest.raises(UserError, match="scores"):
        predictor(tmp_path / "a.tif", scores=True)
    with pytest.raises(UserError, match="comparison"):
        list(predictor.stream([tmp_path / "a.tif"], in_memory=True))
    for wrong in (result.scores, lambda: result.save(tmp_path / "a.npz", "scores")):
        with pytest.raises(UserError, match=r"GB; set .*FROM_FILE_ABOVE"):
            wrong()
    with pytest.raises(UserError, match="pickled"):
        pickle.dumps(result)
    with pytest.raises(UserError, match=r"\.tif, \.png or \.jpg") as told:
        result.save(tmp_path / "a.bmp")
    assert str(told.value).startswith(f"{tmp_path / 'a.bmp'}: "), "the name that the user gave"
    assert not isinstance(predictor(pixels(20, 30)), LargeSegmentation)
    assert f"{SIZE[1]}x{SIZE[0]}" in repr(result)


def test_without_the_extra_it_is_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    FILES["a.png"](tmp_path / "a.png", pixels(*SIZE))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    monkeypatch.setattr(from_file, "_warn_once", from_file._warn_once.__wrapped__)
    with caplog.at_level(logging.WARNING, "clipmask"):
        result = Predictor.from_checkpoint(checkpoint, opts=ALL)(tmp_path / "a.png")
    assert not isinstance(result, LargeSegmentation)
    assert "clipmask[large]" in caplog.text
    assert "GB of memory" in caplog.text
    few = [*ALL, "INPUT.MAX_PIXELS", "1000"]
    with pytest.raises(UserError, match=r"clipmask\[large\].*GB of memory"):
        Predictor.from_checkpoint(checkpoint, opts=few)(tmp_path / "a.png")


def test_damaged_files_are_left_out(checkpoint: Path, tmp_path: Path) -> None:
    FILES["a.png"](tmp_path / "a.png", pixels(*SIZE))
    FILES["tiles.tif"](tmp_path / "b.tif", pixels(*SIZE))
    content = (tmp_path / "b.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(content[: len(content) // 2])
    predictor = Predictor.from_checkpoint(checkpoint, opts=ALL)
    told: list[str] = []
    pictures = [tmp_path / "b.tif", tmp_path / "a.png", tmp_path / "none.png", pixels(20, 30)]
    results = list(predictor.stream(pictures, lambda _, error: told.append(str(error))))
    assert [result.source for result in results] == [str(tmp_path / "a.png"), None]
    assert ["b.tif" in told[0], "none.png: no such file" in told[1]] == [True, True]


def test_an_interrupted_file_has_no_name(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FILES["a.png"](tmp_path / "a.png", pixels(*SIZE))
    result = Predictor.from_checkpoint(checkpoint, opts=ALL)(tmp_path / "a.png")
    before = sorted(os.listdir(tmp_path))

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    for suffix in (".tif", ".png"):
        monkeypatch.setattr("clipmask.inference.large.colorize", interrupted)
        with pytest.raises(KeyboardInterrupt):
            result.save(tmp_path / f"b{suffix}", "color")
        assert sorted(os.listdir(tmp_path)) == before


def test_a_full_disk_is_named(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FILES["a.png"](tmp_path / "a.png", pixels(*SIZE))

    class Full:
        def seek(self, place: int) -> None: ...

        def close(self) -> None: ...

        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(UserError, match="TMPDIR"):
        Predictor.from_checkpoint(checkpoint, opts=ALL)(tmp_path / "a.png")


def test_other_names_for_each_call(checkpoint: Path, tmp_path: Path) -> None:
    FILES["a.png"](tmp_path / "a.png", pixels(*SIZE))
    predictor = Predictor.from_checkpoint(checkpoint, opts=ALL)
    result = predictor(tmp_path / "a.png", vocabulary=NAMES[:2])
    assert result.names == NAMES[:2]
    assert set(np.unique(result.labels)) <= {0, 1}
