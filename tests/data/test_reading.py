"""Pictures and label maps: every mode of Pillow reads as it looks, every bad file is one error that
names it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipmask.data.label_format import LabelFormat
from clipmask.data.reading import read_image, read_labels
from clipmask.errors import UserError

COLOURS = np.zeros((6, 8, 3), np.uint8)
COLOURS[:, :4] = (200, 30, 60)
COLOURS[3:, 4:] = (10, 120, 240)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "CMYK"])
def test_colours_survive_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image = Image.fromarray(COLOURS)
    (image.quantize(8) if mode == "P" else image.convert(mode)).save(path)
    with Image.open(path) as written:
        assert written.mode == mode
    assert np.abs(read_image(path).astype(int) - COLOURS).max() <= 1


def test_channel_order(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", COLOURS)
    assert (read_image(path, "BGR") == COLOURS[..., ::-1]).all()
    assert read_image(path, "BGR").flags["C_CONTIGUOUS"]
    with pytest.raises(UserError, match=r"INPUT\.FORMAT"):
        read_image(path, "HSV")


def test_a_palette_with_transparency_reads_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    image = Image.fromarray(COLOURS).quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - COLOURS).max() <= 1
    # files of earlier tests may be collected at any time, with a ResourceWarning
    assert not [one for one in recwarn.list if one.category is not ResourceWarning]


def test_grey_of_one_eight_and_sixteen_bits(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    eight, sixteen = (
        save(tmp_path / "8.png", ramp.astype(np.uint8)),
        save(tmp_path / "16.png", ramp * 257),
    )
    assert (read_image(eight) == ramp[..., None]).all()
    assert (read_image(sixteen) == ramp[..., None]).all()
    one = save(tmp_path / "1.png", ramp > 100)
    assert (read_image(one)[..., 0] == np.where(ramp > 100, 255, 0)).all()


def test_more_than_sixteen_bits_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"deep\.tif.*16 bits"):
        read_image(save(tmp_path / "deep.tif", np.full((4, 4), 0.5, np.float32)))


def test_the_orientation_tag_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    path = save(tmp_path / "a.png", COLOURS, exif=exif)
    assert (read_image(path) == np.rot90(COLOURS, -1)).all()


@pytest.mark.parametrize("read", [read_image, lambda path: read_labels(path, LabelFormat(3))])
def test_bad_files_are_named(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(UserError, match=r"gone\.png: no such file"):
        read(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"text\.png: is not an image"):
        read(tmp_path / "text.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png: can't be opened"):
        read(tmp_path / "folder.png")
    whole = save(
        tmp_path / "whole.png", np.random.default_rng(0).integers(0, 3, (90, 90), np.uint8)
    ).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.png: is damaged or cut short"):
        read(tmp_path / "cut.png")


def test_damage_at_any_place_is_a_user_error_or_harmless(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", COLOURS)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            damaged = read_image(path)
        except UserError:
            continue
        assert damaged.dtype == np.uint8


@given(data=st.data())
@settings(max_examples=40)
def test_labels_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    num_classes = data.draw(st.integers(1, 300))
    ignore = data.draw(st.sampled_from([num_classes, max(num_classes, 255), 65535]))
    ids = np.array(
        data.draw(
            st.lists(st.sampled_from([*range(num_classes), ignore]), min_size=12, max_size=12)
        )
    ).reshape(3, 4)
    path = tmp_path_factory.mktemp("labels") / "a.png"
    save(path, ids.astype(np.uint16 if ids.max() > 255 else np.uint8))
    labels = read_labels(path, LabelFormat(num_classes, ignore), size=(3, 4))
    assert (labels == ids).all()
    assert labels.dtype == (np.uint8 if num_classes <= 256 and ignore <= 255 else np.int64)


def test_palette_indices_and_bilevel_pixels_are_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    image = Image.fromarray(ids)
    # turns grey into a palette picture of the same indices
    image.putpalette(list(range(255, -1, -1)) * 3)
    assert image.mode == "P"
    image.save(tmp_path / "p.png")
    assert (read_labels(tmp_path / "p.png", LabelFormat(3)) == ids).all()
    assert (read_labels(save(tmp_path / "1.png", ids > 0), LabelFormat(2)) == (ids > 0)).all()


@pytest.mark.parametrize(
    ("name", "pixels", "complaint"),
    [
        ("rgb.png", COLOURS, r"holds colours \(RGB"),
        ("lossy.jpg", np.zeros((6, 8), np.uint8), "JPEG"),
        ("small.png", np.zeros((3, 8), np.uint8), "is 8x3 pixels .* its image is 8x6"),
        (
            "id.png",
            np.array([[0, 1, 2, 3, 7, 9, 255, 0]] * 6, np.uint8),
            r"class id 3, 7, 9 out of range \(18 pixels\)",
        ),
        ("many.png", np.arange(48, dtype=np.uint8).reshape(6, 8), r"12, \.\.\. out of range"),
    ],
)
def test_bad_labels_are_named_with_their_fault(
    tmp_path: Path, name: str, pixels: np.ndarray, complaint: str
) -> None:
    with pytest.raises(UserError, match=f"{name}.*{complaint}"):
        read_labels(save(tmp_path / name, pixels), LabelFormat(3), size=(6, 8))


@pytest.mark.parametrize(
    ("dtype", "ignore"), [(np.uint8, 255), (np.uint16, 255), (np.uint16, 65535), (np.uint8, 2)]
)
def test_a_mapping_gives_the_class_of_each_raw_id_and_void_to_the_others(
    tmp_path: Path, dtype: type[np.generic], ignore: int
) -> None:
    top = np.iinfo(dtype).max
    raw = np.array([[7, 8, 0, top], [33, 7, 254, 1]], dtype)
    form = LabelFormat(2, ignore, {7: 0, 33: 1, 8: ignore}, others_are_void=True)
    labels = read_labels(save(tmp_path / "a.png", raw), form, size=(2, 4))
    assert labels.tolist() == [[0, ignore, ignore, ignore], [1, 0, ignore, ignore]]
    assert labels.dtype == (np.uint8 if ignore <= 255 else np.int64)


@pytest.mark.parametrize("other", [-1, 65536, 70000])
def test_ids_may_have_more_than_sixteen_bits_or_a_sign(tmp_path: Path, other: int) -> None:
    path = save(tmp_path / "wide.tif", np.array([[7, other, 0]], np.int32))
    assert read_labels(path, LabelFormat(2, 255, {7: 0}, others_are_void=True)).tolist() == [
        [0, 255, 255]
    ]
    assert read_labels(path, LabelFormat(2, -1, {7: 0, other: 1, 0: -1})).tolist() == [[0, 1, -1]]
    with pytest.raises(
        UserError, match=rf"wide\.tif: class id {other} out of range \(1 pixels\); expected 7, 0"
    ):
        read_labels(path, LabelFormat(2, 255, {7: 0, 0: 1}))


def test_a_mapped_file_is_checked_as_any_other(tmp_path: Path) -> None:
    form = LabelFormat(2, 255, {7: 0}, others_are_void=True)
    with pytest.raises(UserError, match=r"rgb\.png: holds colours"):
        read_labels(save(tmp_path / "rgb.png", COLOURS), form)
    with pytest.raises(UserError, match=r"small\.png: is 8x3"):
        read_labels(save(tmp_path / "small.png", np.zeros((3, 8), np.uint8)), form, size=(6, 8))


# Colours

TABLE = LabelFormat(3, 255, {(0, 0, 255): 0, (0, 255, 0): 1, (255, 255, 255): 2, (0, 0, 0): 255})
IDS = np.array([[0, 1, 2, 255], [2, 2, 1, 0]])
PAINTED = np.array([[0, 0, 255], [0, 255, 0], [255, 255, 255], [0, 0, 0]], np.uint8)[
    np.where(IDS == 255, 3, IDS)
]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "orientation"])
def test_colours_are_read_as_classes_however_they_are_stored(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PAINTED).convert("RGB" if mode == "orientation" else mode)
    tags = Image.Exif()
    if mode == "orientation":
        image, tags[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6  # to be turned back
    image.save(tmp_path / "a.png", exif=tags)
    labels = read_labels(tmp_path / "a.png", TABLE, size=(2, 4))
    assert labels.tolist() == IDS.tolist()
    assert labels.dtype == np.uint8


def test_black_and_white_are_colours_too(tmp_path: Path) -> None:
    for pixels in (np.array([[0, 255]], np.uint8), np.array([[False, True]])):
        assert read_labels(save(tmp_path / "a.png", pixels), TABLE).tolist() == [[255, 2]]


def test_many_classes_in_colours_take_wide_ids(tmp_path: Path) -> None:
    form = LabelFormat(
        300, 65535, {(0, 0, 255): 299, (0, 255, 0): 1, (255, 255, 255): 65535, (0, 0, 0): 0}
    )
    labels = read_labels(save(tmp_path / "a.png", PAINTED), form)
    assert labels.tolist() == [[299, 1, 65535, 0], [65535, 65535, 1, 299]]


@pytest.mark.parametrize(
    ("pixels", "mode", "message"),
    [
        ([[[0, 0, 255], [1, 2, 3], [1, 2, 3], [9, 9, 9]]], "RGB",
         r"the colour \[1, 2, 3\] \(2 pixels\) is .*; 1 more colours are unknown too"),
        ([[[0, 0, 255], [0, 0, 254]]], "RGB",
         r"\[0, 0, 254\] \(1 pixels\) .* void\. Known are \[0, 0, 255\], \[0, 255, 0\]"),
        ([[[0, 0, 255, 255], [0, 0, 255, 254]]], "RGBA", "1 pixels are transparent; save it as RGB"),  # noqa: E501
        ([[7, 300]], "I;16", "has I;16 pixels where 8-bit colours are expected"),
    ],
)  # fmt: skip
def test_colours_that_are_no_labels_are_told(
    tmp_path: Path, pixels: list, mode: str, message: str
) -> None:
    path = save(tmp_path / "a.png", np.array(pixels, np.uint16 if mode == "I;16" else np.uint8))
    with pytest.raises(UserError, match=rf"label map .*a\.png: .*{message}"):
        read_labels(path, TABLE)


def test_colours_of_a_jpeg_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="JPEG"):
        read_labels(save(tmp_path / "a.jpg", PAINTED), TABLE)


def test_exact_ids_let_no_other_pass(tmp_path: Path) -> None:
    path, table = save(tmp_path / "a.png", np.array([[7, 33], [8, 7]], np.uint8)), {7: 0, 33: 1}
    with pytest.raises(UserError, match=r"class id 8 out of range \(1 pixels\); expected 7, 33"):
        read_labels(path, LabelFormat(2, 255, table))
    assert read_labels(path, LabelFormat(2, 255, {**table, 8: 255})).tolist() == [[0, 1], [255, 0]]


def test_floats_may_hold_ids_but_no_fractions(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[0, 1], [2, 255]], np.float32))
    assert read_labels(path, LabelFormat(3)).tolist() == [[0, 1], [2, 255]]
    save(path, np.array([[0, 1.5]], np.float32))
    with pytest.raises(UserError, match=r"a\.tif: holds numbers that are not whole, such as 1\.5"):
        read_labels(path, LabelFormat(3))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "inf")])
def test_what_is_no_number_is_named(tmp_path: Path, value: float, word: str) -> None:
    path = save(tmp_path / "a.tif", np.array([[0, value], [value, 1.5]], np.float32))
    with pytest.raises(UserError, match=rf"a\.tif: holds numbers .* such as {word} \(3 pixels\)"):
        read_labels(path, LabelFormat(3))


def test_large_pictures_are_read_up_to_a_number_that_can_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow would refuse twice as many
    path = save(tmp_path / "a.png", np.zeros((20, 30, 3), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (20, 30, 3)
        assert read_image(path, max_pixels=0).shape == (20, 30, 3)
        assert read_image(path, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(UserError, match="30x20 .*INPUT.MAX_PIXELS 600"):
        read_image(path, max_pixels=599)
    labels = save(tmp_path / "b.png", np.zeros((20, 30), np.uint8))
    assert read_labels(labels, LabelFormat(1)).shape == (20, 30)
    assert Image.MAX_IMAGE_PIXELS == 100
