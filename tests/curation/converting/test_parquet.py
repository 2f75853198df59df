"""Files as Hugging Face ``datasets`` writes them become pictures, label maps and a descriptor."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipmask.cli.data.command import main
from clipmask.curation.converting.parquet import parquet_files, unpack
from clipmask.data.descriptor import read_descriptor
from clipmask.data.reading import read_labels
from clipmask.errors import UserError
from tests.curation.converting.exports import SIZE, truth

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = ["soil", "crop", "weed"]
COUNTS = {"train": 3, "validation": 2}


def packed(pixels: np.ndarray, format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def photo(number: int) -> bytes:
    rng = np.random.default_rng(number)
    return packed(rng.integers(0, 256, (*SIZE, 3), np.uint8), "JPEG")


def table(count: int, label: str = "annotation", **more: Any) -> Any:
    """The columns image and annotation, and names of classes as ``datasets`` keeps them."""
    labels = packed(truth())
    columns = {
        "image": pa.array([{"bytes": photo(n), "path": f"{n}.jpg"} for n in range(count)], PICTURE),
        label: pa.array([{"bytes": labels, "path": None}] * count, PICTURE),
        "scene": pa.array([0] * count),
        **more,
    }
    features = {
        "image": {"_type": "Image"},
        "scene": {"_type": "ClassLabel", "names": ["field"]},
        "kinds": {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": NAMES}},
    }
    text = json.dumps({"info": {"features": features}}).encode()
    return pa.table(columns).replace_schema_metadata({b"huggingface": text})


def write(root: Path, **more: Any) -> Path:
    (root / "data").mkdir(parents=True)
    for split, count in COUNTS.items():
        pq.write_table(table(count, **more), root / f"data/{split}-00000-of-00001.parquet")
    return root


def check(path: Path, names: list[str]) -> None:
    descriptor = read_descriptor(path)
    assert descriptor.class_names == tuple(names)
    samples = descriptor.samples()
    assert {split: len(records) for split, records in samples.items()} == {"train": 3, "val": 2}
    for records in samples.values():
        for record in records:
            labels = read_labels(record["sem_seg_file_name"], descriptor.label_format, SIZE)
            np.testing.assert_array_equal(labels, truth())


def test_pictures_labels_names_and_splits(tmp_path: Path) -> None:
    root = write(tmp_path / "repo")
    assert main(["convert", str(root), "--output", str(tmp_path / "mine")]) == 0
    check(tmp_path / "mine/mine.yaml", NAMES)
    stored = (tmp_path / "mine/images/train/1.jpg").read_bytes()
    assert stored == photo(1)  # not compressed again


def test_names_beside_the_files_and_of_the_command(tmp_path: Path) -> None:
    root = write(tmp_path / "repo")
    (root / "id2label.json").write_text(json.dumps({"0": "earth", "1": "plant", "2": "herb"}))
    assert main(["convert", str(root), "--output", str(tmp_path / "mine")]) == 0
    check(tmp_path / "mine/mine.yaml", ["earth", "plant", "herb"])
    arguments = ["convert", str(root), "--output", str(tmp_path / "own"), "--names", "a,b,c"]
    assert main(arguments) == 0
    check(tmp_path / "own/own.yaml", ["a", "b", "c"])


def test_arrow_files_of_save_to_disk(tmp_path: Path) -> None:
    for split, count in COUNTS.items():
        path = tmp_path / f"saved/{split}/data-00000-of-00001.arrow"
        path.parent.mkdir(parents=True)
        rows = table(count)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
            stream.write_table(rows)
    assert main(["convert", str(tmp_path / "saved"), "--output", str(tmp_path / "mine")]) == 0
    check(tmp_path / "mine/mine.yaml", NAMES)


def test_several_label_columns_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = pa.array([{"bytes": packed(truth() * 0), "path": None}] * 2, PICTURE)
    path = tmp_path / "a.parquet"
    pq.write_table(table(2, label="fine_mask", coarse_mask=other), path)
    with pytest.raises(UserError, match=r"fine_mask, coarse_mask.*--labels"):
        unpack([path], tmp_path / "out")
    assert unpack([path], tmp_path / "out", "fine_mask").columns == ("image", "fine_mask")
    with pytest.raises(UserError, match="column of pictures"):
        unpack([path], tmp_path / "out", "scene")
    # instance maps are not meant where there is another
    pq.write_table(table(2, label="mask", instance_mask=other), path)
    assert unpack([path], tmp_path / "other").columns == ("image", "mask")
    assert (
        main(["convert", str(path), "--output", str(tmp_path / "x"), "--background", "void"]) == 2
    )
    assert "--background" in capsys.readouterr().err


def test_what_can_not_be_unpacked_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": table(1)["image"], "label": pa.array([3])}), path)
    with pytest.raises(UserError, match=r"1 column of pictures.*label \(int64\)"):
        unpack([path], tmp_path / "out")
    absent = pa.array([{"bytes": None, "path": "elsewhere/0.png"}], PICTURE)
    pq.write_table(pa.table({"image": table(1)["image"], "label": absent}), path)
    with pytest.raises(UserError, match=r"row 0: label.*elsewhere/0\.png"):
        unpack([path], tmp_path / "out")
    broken = pa.array([{"bytes": b"no picture", "path": None}], PICTURE)
    pq.write_table(pa.table({"image": table(1)["image"], "label": broken}), path)
    with pytest.raises(UserError, match="no picture that can be read"):
        unpack([path], tmp_path / "out")
    path.write_bytes(b"PAR1 and nothing")
    with pytest.raises(UserError, match=r"a\.parquet: can't be read"):
        unpack([path], tmp_path / "out")


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "test-0.parquet"
    empty = pa.array([None, {"bytes": packed(truth()), "path": None}], PICTURE)
    pq.write_table(pa.table({"image": table(2)["image"], "label": empty}), path)
    done = unpack([path], tmp_path / "out")
    assert (done.splits, done.unlabelled) == ({"test": 2}, 1)


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "repo")
    assert len(parquet_files(root)) == 2
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["convert", str(root), "--output", str(tmp_path / "mine")]) == 2
    assert "clipmask[parquet]" in capsys.readouterr().err


def test_init_points_to_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "repo")
    assert main(["init", str(root), "--output", str(tmp_path / "x.yaml")]) == 2
    assert "clipmask-data convert" in capsys.readouterr().err
